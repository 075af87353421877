"""The files at the root of the output: what makes the tree a BIDS derivative, and what the run was.

Many jobs of one array write them at the same time: each is written whole, and only when its content changes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from bids_app import __version__
from bids_app.outputs.lesions_table import LESION_COLUMNS
from bids_app.outputs.manifest import record_table
from bids_app.outputs.methods import DONE
from bids_app.outputs.series_table import COLUMNS
from bids_app.outputs.writer import json_bytes, write_if_changed

BIDS_VERSION = "1.10.0"

#: What the validator does not know: suffixes and files of ours that BIDS has no name for. (A pattern with a trailing
#: slash is not understood by every validator, so folders are named with their content.)
BIDSIGNORE = (
    "*_swi.*",
    "*_SWI.*",
    "*_SWAN.*",
    "*_TOF.*",
    "*_MRA.*",
    "*_xfm.*",
    "*_series.tsv",
    "series.json",
    "*_thickness.*",
    "*_stats.*",
    "*_lesions.tsv",
    "lesions.json",
    "*_volumes.*",
    "group_*",
    "group_maps/**",
    "qc_ratings.*",
    "*.html",
    "**/figures/**",
    "exports/**",
)

#: Everything that a run at the participant level writes at the root, or below it for all participants.
ROOT_FILES = (
    "dataset_description.json", ".bidsignore", "README.md", "series.json", "lesions.json", "scans.json",
    "participants.tsv", "participants.json", "sessions.json", "docs/methods.md", "logs/settings.toml",
    "logs/methods.json", "logs/manifest.json", "qc_ratings.tsv", "qc_ratings.json",
)  # fmt: skip

#: Names of folders that tell nothing of whose data they are; any other name is not written to the output.
_PLAIN = re.compile(
    r"\.\.|(bids|raw|source|input|output|demo|derivatives?|nifti|images?|mri)?-?_?(data)?(sets?)?|in|out|work|shared|"
    r"mnt|scratch|tmp|home|srv|ds\d{6}"
)
_DOI = re.compile(r"doi:10\.\d{4,9}/[\w./;()-]{1,64}")

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
| `*_label-lesion_*_mask`, `*_lesions.tsv` | lesion masks that were given, in every space; their volumes and centres |
| `*_label-<GM, WM, CSF>_*_probseg` | how much of each voxel is grey matter, white matter, fluid (step `segment`) |
| `*_volumes.tsv` | volumes of tissue, structures and the space inside the skull; its `.json` says what each means |
| `*_series.tsv` | every image that was found and what became of it |
| `*_scans.tsv` | quality of every series in numbers; `scans.json` says what each means |
| `sub-*.html`, `group.html` | reports for the browser: pictures, numbers, what to look at |
| `participants.tsv`, `*_sessions.tsv` | age (89+ from 89 on), sex; dates only shifted, and only with a secret key |
| `logs/` | per session: manifest of finished work with hashes, errors |
| `docs/methods.md` | text for a paper's methods section, with references |

Without `space-` a file is on the grid of its own scan. Its sidecar (`.json`) says from what and how it was made.
"""


def write_root_files(
    output: Path, *, description: Mapping[str, Any], source_root: Path, settings: Mapping[str, Any], methods: str,
    steps: Mapping[str, Any] | None = None, atlases: Mapping[str, Path] | None = None,
) -> None:  # fmt: skip
    """Write dataset_description.json, .bidsignore, README, the methods text and the settings.

    Of the dataset no name is passed on (it is free text, and so are the names of its authors and its institution),
    only its DOI.

    Parameters
    ----------
    description
        The dataset's own `dataset_description.json`.
    methods, steps
        The methods text, and what was done in each step that it is made from.
    atlases
        Folders of atlases that were given by path, by the label of their space.
    """
    links = _links_so_far(output)
    for label, folder in {"raw": source_root, **(atlases or {})}.items():
        links[label] = _link(folder, output) or links.get(label, f"sourcedata/{label}")
    doi = description.get("DatasetDOI")
    source = {"DOI": doi} if isinstance(doi, str) and _DOI.fullmatch(doi) else {"URL": links["raw"]}
    content = {
        "Name": "Derivatives of brain MRI",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bids_app", "Version": __version__}],
        "SourceDatasets": [source],
        "DatasetLinks": links,
    }
    files = {
        "dataset_description.json": json_bytes(content),
        ".bidsignore": ("\n".join(BIDSIGNORE) + "\n").encode(),
        "README.md": _README.format(version=__version__).encode(),
        "series.json": json_bytes(COLUMNS),
        "lesions.json": json_bytes(LESION_COLUMNS),
        "docs/methods.md": methods.encode(),
        DONE: json_bytes(steps or {}),
        "logs/settings.toml": tomli_w.dumps(dict(settings)).encode(),
    }
    for name, data in files.items():
        write_if_changed(output / name, data)
        record_table(output / "logs" / "manifest.json", name, data)


def _links_so_far(output: Path) -> dict[str, str]:
    """The links that earlier runs, perhaps with other atlases, refer to."""
    try:
        description = json.loads((output / "dataset_description.json").read_text(encoding="utf-8"))
        return dict(description["DatasetLinks"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _link(source: Path, output: Path) -> str | None:
    """The dataset's place relative to the output, or None where a folder on the way could tell whose data it is.

    It is the same wherever both are mounted. In its stead stands `sourcedata/raw`, where BIDS has the source of a
    derivative: a link there, or an edited `DatasetLinks`, leads to the dataset.
    """
    place = Path(os.path.relpath(source, output))
    return place.as_posix() if all(_PLAIN.fullmatch(part.lower()) for part in place.parts) else None
