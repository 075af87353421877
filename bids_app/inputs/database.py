"""Filter queries answered by a pybids database that other BIDS Apps share (`--bids-database-dir`).

Without a database the walk matches the queries itself (`filters.matches`, the same answers without an index).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.exit_codes import IO_ERROR, USAGE
from bids_app.inputs.errors import InputError
from bids_app.inputs.filters import QUERIES, Filters

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

_FILE = "layout_index.sqlite"


class Database:
    """A pybids layout of a dataset, kept on disk: made at the first use, reused afterwards."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root.absolute()
        if not (folder / _FILE).is_file():
            _create(self._root, folder)
        self._layout = _load(self._root, folder)

    def known(self, subjects: Sequence[str]) -> frozenset[str]:
        """The paths, relative to the dataset, of the subjects' files in the database."""
        return self._paths(subject=list(subjects))

    def wanted(self, subjects: Sequence[str], filters: Filters) -> frozenset[str]:
        """The paths, relative to the dataset, of the subjects' files that answer one of the queries."""
        found: set[str] = set()
        for kind, query in QUERIES.items():
            entities = {"subject": list(subjects), **_pybids(query), **_pybids(filters.get(kind, {}))}
            found |= self._paths(**entities)
        return frozenset(found)

    def _paths(self, **query: Any) -> frozenset[str]:
        paths = self._layout.get(return_type="filename", invalid_filters="allow", **query)
        return frozenset(Path(path).relative_to(self._root).as_posix() for path in paths)


def _pybids(query: Mapping[str, Any]) -> dict[str, Any]:
    """A query of a filter file in pybids' own values."""
    from bids.layout import Query

    special = {None: Query.NONE, "*": Query.REQUIRED, "Query.ANY": Query.REQUIRED}
    special |= {f"Query.{member.name}": member for member in Query}

    def value(one: Any) -> Any:
        return special.get(one, one) if isinstance(one, str | None) else one

    return {
        key: [value(one) for one in given] if isinstance(given, list) else value(given) for key, given in query.items()
    }


def _create(root: Path, folder: Path) -> None:
    """Index the whole dataset beside its final place, so that a database is whole whenever it is there."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".indexing-"))
    except OSError as error:
        raise InputError(f"--bids-database-dir {folder} cannot be written: {error.strerror}", IO_ERROR) from None
    try:
        # validate=False: names that pybids' validator does not know (swi) must be found, too
        BIDSLayout(
            root,
            validate=False,
            database_path=scratch,
            indexer=BIDSLayoutIndexer(validate=False, index_metadata=False),
        ).connection_manager.engine.dispose()
        (scratch / _FILE).replace(folder / _FILE)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _load(root: Path, folder: Path) -> BIDSLayout:
    from bids.layout import BIDSLayout

    remedy = "give the folder of this dataset's database, or an empty one to make it anew"
    try:
        layout = BIDSLayout(database_path=folder, validate=False)
    except Exception as error:  # whatever pybids, SQLAlchemy and SQLite raise for a file that is none of theirs
        raise InputError(
            f"--bids-database-dir {folder} holds no usable pybids database ({error}); {remedy}", USAGE
        ) from None
    if Path(str(layout.root)).absolute() != root:
        raise InputError(f"--bids-database-dir {folder} was made for {layout.root}, not for {root}; {remedy}", USAGE)
    return layout
