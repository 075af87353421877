"""Images that lie where BIDS has no place for them: they are told, not passed over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bids_app.inputs.series import LABEL

#: The folders of a session (BIDS 1.10): what lies in those that are not structural is another kind of data.
_STRUCTURAL = frozenset({"anat", "dwi", "swi"})
_OTHER = frozenset(
    {"func", "fmap", "perf", "pet", "meg", "eeg", "ieeg", "emg", "beh", "micr", "motion", "mrs", "nirs", "phenotype"}
)
#: Datasets of their own, which are no part of this one wherever they lie (BIDS 1.10, "Common principles").
_NESTED = frozenset({"derivatives", "sourcedata", "code", "stimuli"})
_SUBMODULE = re.compile(r"^\s*path\s*=\s*(sub-[^/\s]+)\s*$", re.M)


def subdatasets(root: Path) -> frozenset[str]:
    """The participants' folders that are datasets of their own (git submodules, as datalad makes them)."""
    try:
        return frozenset(_SUBMODULE.findall((root / ".gitmodules").read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return frozenset()


def is_session(name: str) -> bool:
    """Whether a folder's name is a session's; one with another label (`ses-1_old`) would name the output's files."""
    return name.startswith("ses-") and LABEL.fullmatch(name.removeprefix("ses-")) is not None


def misplaced_images(
    folder: Path, is_image: Callable[[str], bool], ignored: Callable[[Path], bool]
) -> Iterator[tuple[Path, str]]:
    """The images of a participant's or session's folder that are in no folder of a datatype, and why each is refused.

    They lie beside `anat`, in a folder that BIDS does not know, or in a folder inside of `anat`. Hidden files, folders
    of other datatypes, further sessions, derivatives and what `.bidsignore` names (`ignored`) are left alone.
    """
    for place, folders, names in os.walk(folder):
        where = Path(place)
        inside = where.relative_to(folder).parts
        if not inside:
            folders[:] = [name for name in folders if not is_session(name)]
        if not inside or (len(inside) == 1 and inside[0].startswith("ses-")):
            folders[:] = [name for name in folders if name not in _OTHER]
        images = [name for name in (*names, *folders) if is_image(name)]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in images)
        folders[:] = [name for name in folders if name not in _NESTED and not ignored(where / name)]
        if len(inside) == 1 and inside[0] in _STRUCTURAL:
            continue
        if not inside:
            reason = "it lies in no folder of a datatype; move it into anat/"
        elif inside[0] in _STRUCTURAL:
            reason = f"it lies in a folder inside of {inside[0]}/; move it up"
        elif inside[0].startswith("ses-"):
            reason = f"it lies in {inside[0]}/: a session's label is of letters and digits; rename folder and files"
        else:
            reason = f"it lies in a folder that BIDS does not know ({inside[0]}/); move it into anat/"
        for name in sorted(images):
            if not name.startswith(".") and not ignored(where / name):
                yield where / name, reason
