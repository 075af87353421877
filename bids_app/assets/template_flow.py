"""Fetching a space of TemplateFlow, through its own client.

The client writes to its home as soon as it is imported and fills it with an empty file for everything that TemplateFlow
has. So it runs in a process of its own on a home that is thrown away, and what it brought is moved into ours once read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bids_app.assets.fetching import AssetError
from bids_app.assets.spaces import EMBEDDED, Space, find_space, load_space, parse, templateflow_space
from bids_app.exit_codes import CANNOT_CREATE, NO_INPUT, TRY_AGAIN

TEMPLATEFLOW_URL = "https://templateflow.s3.amazonaws.com"  # what its client fetches from

#: Entities by their names in the client's queries and in file names; one that a name lacks is asked to be absent.
_ENTITIES = {"cohort": "cohort", "desc": "desc", "resolution": "res", "atlas": "atlas", "label": "label"}
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
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".templateflow-", dir=home, ignore_cleanup_errors=True) as folder:
            root = Path(folder)
            _run_client(spec, root, url)
            space = templateflow_space(root, name, cohort, resolution)
            if space is None:
                raise AssetError(f"{spec}: TemplateFlow sent no image and mask; try again", TRY_AGAIN)
            load_space(space)  # half a file fails here, not in a run
            return _move(space, root / f"tpl-{name}", home / "templateflow" / f"tpl-{name}")
    except OSError as error:
        raise AssetError(
            f"{home}: cannot be written to ({error.strerror or error}); set BIDS_APP_HOME to a folder that can",
            CANNOT_CREATE,
        ) from error


def _move(space: Space, source: Path, target: Path) -> Path:
    """Move the files into place, each whole; the mask before the image that is of no use without it."""
    files = [source / "template_description.json", source / "LICENSE", space.brain_mask, space.brain, space.head]
    for path in dict.fromkeys(path for path in files if path is not None and path.is_file()):
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        path.replace(destination)
    return target / space.brain.parent.relative_to(source)


def _run_client(spec: str, root: Path, url: str) -> None:
    environment = {**os.environ, "TEMPLATEFLOW_HOME": str(root), "TEMPLATEFLOW_USE_DATALAD": "0"}
    program = "from bids_app.assets.template_flow import run_client; run_client()"
    command = [sys.executable, "-c", program, spec, str(root), url]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode == _UNKNOWN:
        raise AssetError(f"{spec}: TemplateFlow has no brain of that name, cohort and resolution", NO_INPUT)
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

    name, cohort, resolution = parse(spec)
    client = TemplateFlowClient(root=root, s3_root=url, use_datalad=False, autoupdate=False, timeout=60)
    client.cache.ensure()
    space = templateflow_space(root, name, cohort, resolution, with_empty=True)
    if space is None:
        return _UNKNOWN
    needed = [space.brain_mask, space.head] if space.brain_mask and space.head else [space.brain_mask, space.brain]
    for path in needed:
        if path is not None:
            entities: dict[str, str] = dict(re.findall(r"_([a-z]+)-([A-Za-z0-9]+)", path.name))
            client.get(
                name,
                raise_empty=True,
                suffix=path.name.split("_")[-1].split(".")[0],
                extension=path.name.partition(".")[2],
                **{key: entities.get(short) for key, short in _ENTITIES.items()},
            )
    return 0
