"""A face is removed and the result is looked at; where masks are in doubt, deep only if a face is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .deface import deface, face_mask
from .face_check import FaceCheck, check_face
from .images import Image, conform


@dataclass(frozen=True)
class Removal:
    """A head without its face.

    Attributes
    ----------
    face
        What was removed, uint8, on the conformed grid.
    defaced
        The image as stored, with its face set to 0; every other voxel keeps its bits.
    before, after
        The image before and after, conformed; `after` is what the file of `defaced` will be read as.
    check
        The verdict on `after`; it may still be that a face is left.
    deep
        Whether the orbits were emptied to their ends.
    """

    face: Image
    defaced: Any
    before: Image
    after: Image
    check: FaceCheck
    deep: bool


def remove_face(raw: Any, brain_mask: Image, intracranial: Image | None = None, *, doubtful: bool = False) -> Removal:
    """Deface an image as it is stored.

    Parameters
    ----------
    brain_mask
        Conformed, on the grid of the conformed `raw`.
    intracranial
        The space inside the skull, likewise, where it is known: nothing of it is removed.
    doubtful
        The mask may lack more of the brain than `SAFETY_MM` makes up for: the orbits are emptied to their ends only
        where a face is seen without.

    Raises
    ------
    ImageError
        The brain mask is empty or tiny.
    """
    before = conform(raw)
    for deep in (False, True) if doubtful else (True,):
        face = face_mask(brain_mask, intracranial, deep=deep)
        defaced = deface(raw, face)
        after = conform(type(defaced).from_bytes(defaced.to_bytes()))
        check = check_face(before, brain_mask, after)
        if check.passed:
            break
    return Removal(face, defaced, before, after, check, deep)
