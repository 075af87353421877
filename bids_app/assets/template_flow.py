"""Fetching a space or a parcellation of TemplateFlow, through its own client.

The client writes to its home as soon as it is imported and fills it with an empty file for everything that TemplateFlow
has. So it runs in a process of its own on a home that is thrown away, and what it brought is moved into ours once read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bids_app.assets.fetching import AssetError
from bids_app.assets.parcellations import find_parcellation, templateflow_parcellation
from bids_app.assets.spaces import EMBEDDED, find_space, load_space, parse, templateflow_space
from bids_app.exit_codes import CANNOT_CREATE, NO_INPUT, TRY_AGAIN, USAGE

TEMPLATEFLOW_URL = "https://templateflow.s3.amazonaws.com"  # what its client fetches from

#: Entities by their names in the client's queries and in file names; one that a name lacks is asked to be absent.
_ENTITIES = {"cohort": "cohort", "desc": "desc", "resolution": "res", "atlas": "atlas", "label": "label"}
_PARCELLATION = re.compile(r"(?P<space>[A-Za-z0-9]+):atlas-(?P<atlas>[A-Za-z0-9]+)(:desc-(?P<desc>[A-Za-z0-9]+))?")
_UNKNOWN = 3  # exit code of the client's process for a space that TemplateFlow does not have


def fetch_space(spec: str, home: Path, *, url: str = TEMPLATEFLOW_URL) -> Path:
    """Fetch a TemplateFlow space, `NAME[:cohort-X][:res-Y]`, into `home/templateflow`; the folder of its files.

    Only the image and brain mask of that resolution (default: the finest) are fetched, with description and licence. A
    space that is there already is left alone.

    Raises
    ------
    AssetError
        Code 66: TemplateFlow has no such space; 75: network trouble; 73: `home` cannot be written to; 64: not a name.
    """
    name, cohort, resolution = parse(spec)
    if name == EMBEDDED:
        return find_space(spec, home, None).brain.parent
    there = templateflow_space(home / "templateflow", name, cohort, resolution)
    if there is not None:
        return there.brain.parent
    with _fetched(spec, home, url) as root:
        space = templateflow_space(root, name, cohort, resolution)
        if space is None:
            raise AssetError(f"{spec}: TemplateFlow sent no image and mask; try again", TRY_AGAIN)
        load_space(space)  # half a file fails here, not in a run
        # the mask before the image that is of no use without it
        _move(name, root, home, space.brain_mask, space.brain, space.head)
    return home / "templateflow" / space.brain.parent.relative_to(root)


def fetch_parcellation(spec: str, home: Path, *, url: str = TEMPLATEFLOW_URL) -> Path:
    """Fetch a parcellation of TemplateFlow, `NAME:atlas-X[:desc-Y]`, and its table into `home/templateflow`; its image.

    The finest that there is in the space. One that is there already is left alone.

    Raises
    ------
    AssetError
        Code 66: TemplateFlow has no such atlas there; 75: network trouble; 73: `home` cannot be written to; 64: not a
        name.
    """
    name, atlas, desc = _parse_parcellation(spec)
    there = templateflow_parcellation(home / "templateflow", name, atlas, desc)
    if there is not None:
        return there
    with _fetched(spec, home, url) as root:
        image = templateflow_parcellation(root, name, atlas, desc)
        if image is None:
            raise AssetError(f"{spec}: TemplateFlow sent no image; try again", TRY_AGAIN)
        find_parcellation(str(image), [], home, None)  # half a file, or no table, fails here, not in a run
        _move(name, root, home, _table_of(image), image)  # the table before the image that is of no use without it
    return home / "templateflow" / image.relative_to(root)


def is_parcellation(spec: str) -> bool:
    """Whether a word means a parcellation (`NAME:atlas-X`) and no space."""
    return ":atlas-" in spec


def _parse_parcellation(spec: str) -> tuple[str, str, str | None]:
    named = _PARCELLATION.fullmatch(spec)
    if named is None:
        raise AssetError(f"{spec}: not a name of a parcellation; write SPACE:atlas-NAME[:desc-X]", USAGE)
    return named["space"], named["atlas"], named["desc"]


def _table_of(image: Path) -> Path:
    """The table of a label image; one serves all resolutions."""
    stem = re.sub(r"\.nii(\.gz)?$", "", image.name)
    return image.with_name(re.sub(r"_res-[A-Za-z0-9]+", "", stem) + ".tsv")


@contextmanager
def _fetched(spec: str, home: Path, url: str) -> Iterator[Path]:
    """A TemplateFlow home with what was asked for, gone when this ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".templateflow-", dir=home, ignore_cleanup_errors=True) as folder:
            _run_client(spec, Path(folder), url)
            yield Path(folder)
    except OSError as error:
        raise AssetError(
            f"{home}: cannot be written to ({error.strerror or error}); set BIDS_APP_HOME to a folder that can",
            CANNOT_CREATE,
        ) from error


def _move(name: str, root: Path, home: Path, *files: Path | None) -> None:
    """Move files into place in this order, each whole, description and licence before."""
    source = root / f"tpl-{name}"
    wanted = [source / "template_description.json", source / "LICENSE", *files]
    for path in dict.fromkeys(path for path in wanted if path is not None and path.is_file()):
        destination = home / "templateflow" / path.relative_to(root)
        destination.parent.mkdir(parents=True, exist_ok=True)
        path.replace(destination)


def _run_client(spec: str, root: Path, url: str) -> None:
    environment = {**os.environ, "TEMPLATEFLOW_HOME": str(root), "TEMPLATEFLOW_USE_DATALAD": "0"}
    program = "from bids_app.assets.template_flow import run_client; run_client()"
    command = [sys.executable, "-c", program, spec, str(root), url]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode == _UNKNOWN:
        what = "parcellation of that name" if is_parcellation(spec) else "brain of that name, cohort and resolution"
        raise AssetError(f"{spec}: TemplateFlow has no {what}", NO_INPUT)
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise AssetError(
            f"{spec}: cannot be fetched from {url} ({reason[0][:300]}); is there a network? Try again", TRY_AGAIN
        )


def run_client() -> None:
    """The client's process: arguments on the command line, the reason of a failure in the last line that it prints."""
    try:
        code = _client(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)
    sys.exit(code)


def _client(spec: str, root: Path, url: str) -> int:
    """What the client's process does: fetch into its home, `root`."""
    from templateflow.client import TemplateFlowClient

    client = TemplateFlowClient(root=root, s3_root=url, use_datalad=False, autoupdate=False, timeout=60)
    client.cache.ensure()
    name, needed = _needed_parcellation(spec, root) if is_parcellation(spec) else _needed_space(spec, root)
    if not needed:
        return _UNKNOWN
    for path in needed:
        entities: dict[str, str] = dict(re.findall(r"_([a-z]+)-([A-Za-z0-9]+)", path.name))
        client.get(
            name,
            raise_empty=True,
            suffix=path.name.split("_")[-1].split(".")[0],
            extension=path.name.partition(".")[2],
            **{key: entities.get(short) for key, short in _ENTITIES.items()},
        )
    return 0


def _needed_space(spec: str, root: Path) -> tuple[str, list[Path]]:
    """The name of a space, and its files that are fetched; none where TemplateFlow has no such space."""
    name, cohort, resolution = parse(spec)
    space = templateflow_space(root, name, cohort, resolution, with_empty=True)
    if space is None:
        return name, []
    shown = space.head if space.brain_mask and space.head else space.brain
    return name, [path for path in (space.brain_mask, shown) if path is not None]


def _needed_parcellation(spec: str, root: Path) -> tuple[str, list[Path]]:
    """The same for a parcellation: its image and its table."""
    name, atlas, desc = _parse_parcellation(spec)
    image = templateflow_parcellation(root, name, atlas, desc, with_empty=True)
    return name, [] if image is None else [image, _table_of(image)]
