"""The files at the root of the output: what makes the tree a BIDS derivative, and what the run was.

Many jobs of one array write them at the same time: each is written whole, and only when its content changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from bids_app import __version__
from bids_app.outputs.writer import json_bytes, write_if_changed

BIDS_VERSION = "1.10.0"

#: What the validator does not know: suffixes and files of ours that BIDS has no name for. (A pattern with a trailing
#: slash is not understood by every validator, so folders are named with their content.)
BIDSIGNORE = (
    "*_swi.*",
    "*_SWI.*",
    "*_xfm.*",
    "*_series.tsv",
    "series.json",
    "group_*",
    "*.html",
    "**/figures/**",
)

_README = """# Derivatives of brain MRI

Made by bids_app {version} from the dataset named in `dataset_description.json`.

| files | what they are |
|---|---|
| `*_desc-defaced_*` | the image as it was measured, the face set to 0 |
| `*_desc-preproc_*` | the same, bias field removed |
| `*_desc-biasfield_*` | that field |
| `*_label-brain_desc-<contrast>_mask` | brain mask of that contrast; `label-face` is what was removed |
| `*_from-<A>_to-<B>_mode-image_xfm.*` | ITK transform that moves images from A to B |
| `*_space-<contrast>_*` | on the grid of the session's reference |
| `*_space-<atlas>_res-<mm>_*` | on the grid of the atlas |
| `*_desc-brain<normaliser>_*` | intensities normalised, brain only |
| `*_series.tsv` | every image that was found and what became of it |
| `logs/` | per session: manifest of finished work with hashes, errors |
| `docs/methods.md` | text for a paper's methods section, with references |

Without `space-` a file is on the grid of its own scan. Its sidecar (`.json`) says from what and how it was made.
"""


def write_root_files(
    output: Path, *, source_name: str, source_root: Path, settings: Mapping[str, Any], methods: str,
    atlases: Mapping[str, Path] | None = None,
) -> None:  # fmt: skip
    """Write dataset_description.json, .bidsignore, README, the methods text and the settings.

    Parameters
    ----------
    atlases
        Folders of atlases that were given by path, by the label of their space.
    """
    links = _links_so_far(output) | {"raw": _link(source_root, output)}
    links |= {label: _link(folder, output) for label, folder in (atlases or {}).items()}
    description = {
        "Name": f"bids_app derivatives of {source_name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bids_app", "Version": __version__}],
        "SourceDatasets": [{"URL": _link(source_root, output)}],
        "DatasetLinks": links,
    }
    write_if_changed(output / "dataset_description.json", json_bytes(description))
    write_if_changed(output / ".bidsignore", ("\n".join(BIDSIGNORE) + "\n").encode())
    write_if_changed(output / "README.md", _README.format(version=__version__).encode())
    write_if_changed(output / "docs" / "methods.md", methods.encode())
    write_if_changed(output / "logs" / "settings.toml", tomli_w.dumps(dict(settings)).encode())


def _links_so_far(output: Path) -> dict[str, str]:
    """The links that earlier runs, perhaps with other atlases, refer to."""
    try:
        description = json.loads((output / "dataset_description.json").read_text(encoding="utf-8"))
        return dict(description["DatasetLinks"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _link(source: Path, output: Path) -> str:
    """The dataset's place relative to the output: the same wherever both are mounted, and no path of this machine."""
    return Path(os.path.relpath(source, output)).as_posix()
