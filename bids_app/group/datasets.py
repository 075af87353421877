"""The datasets that are looked at together: this one, and those of `--also`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from bids_app.exit_codes import INVALID_BIDS
from bids_app.group.errors import GroupError
from bids_app.inputs.dataset import open_dataset
from bids_app.inputs.places import named_folder
from bids_app.settings import Settings

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


@dataclass(frozen=True)
class Source:
    """A dataset.

    Attributes
    ----------
    label
        What it is called in every table: the user's word, else `dataset-1`, … in the order given. A dataset's own
        name is free text and is not passed on.
    raw
        Its BIDS folder; None where only an output of ours is at hand.
    output
        What was made of it; None where nothing was.
    """

    label: str
    raw: Path | None
    output: Path | None


def sources(settings: Settings) -> list[Source]:
    """The dataset of the command line, then those of `--also`.

    Raises
    ------
    InputError, GroupError
        A folder is not there or no dataset; two have one name, or a name cannot stand in a table.
    """
    found = [Source(settings.dataset_name or "dataset-1", settings.bids_dir, settings.output_dir)]
    for number, word in enumerate(settings.also, start=2):
        name, folder = named_folder(word)
        found.append(_further(name or f"dataset-{number}", folder))
    labels = [one.label for one in found]
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise GroupError(f"{label!r} cannot name a dataset: letters, digits and _ . + - only, 64 at most")
        if labels.count(label) > 1:
            raise GroupError(f"two datasets are called {label}: name them, --also NAME={found[-1].label}, apart")
    return found


def _further(label: str, folder: Path) -> Source:
    """A dataset of `--also`: a BIDS dataset, or an output of ours."""
    open_dataset(folder)
    try:
        description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        description = {}
    if not isinstance(description, dict) or description.get("DatasetType", "raw") != "derivative":
        return Source(label, folder, None)
    makers = description.get("GeneratedBy")
    names = [one.get("Name") for one in makers if isinstance(one, dict)] if isinstance(makers, list) else []
    if "bids_app" not in names:
        raise GroupError(
            f"--also {folder}: a derivative of another tool; give the BIDS dataset, or an output of bids_app",
            INVALID_BIDS,
        )
    return Source(label, None, folder)
