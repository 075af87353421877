"""Lesion masks of a session, beside its images or in the folder of `--lesions`, and the series each was drawn on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app.inputs.content import file_sha256, read_to_the_end
from bids_app.inputs.diffusion_images import load_series
from bids_app.inputs.places import is_file
from bids_app.inputs.series import LesionMask, Series, Session
from bids_app.steps.images import ImageError, grid_affine
from bids_app.steps.lesions import on_grid, read_mask
from bids_app.steps.resampling import Grid

__all__ = ["check_lesion", "file_sha256", "lesions_in", "lesions_of", "with_lesions"]

#: `sub-01_label-lesion_mask`, `sub-01_acq-b1000_label-lesion_roi`, `sub-01_label-lesion_desc-FLAIR_mask`,
#: `sub-01_desc-lesion_mask`, `sub-01_msk` (of a challenge for stroke) and `sub-01_lesion`.
_NAME = re.compile(r"sub-[A-Za-z0-9+]+(_[A-Za-z0-9]+(-[A-Za-z0-9+]+)?)*?_(mask|roi|msk|lesion)\.nii(\.gz)?")
_ENTITIES = re.compile(r"sub-[A-Za-z0-9+]+(_[a-z]+-[A-Za-z0-9+]+)*_[A-Za-z]+\.nii(\.gz)?")
_SAYS_LESION = re.compile(r"(label|desc|acq|seg)-[A-Za-z0-9]*(lesion|infarct|stroke)[A-Za-z0-9]*", re.I)
_LESION_SUFFIXES = ("msk", "lesion")
_OTHER_SPACE = re.compile(r"_space-(?!orig|native|individual)", re.I)
_OURS = ("sub", "ses", "label", "desc", "space", "res", "seg")
#: On which images lesions are drawn, where neither the name nor the grid of a mask tells.
_PREFERENCE = ("trace", "S0map", "FLAIR", "T1w", "T2w", "ADC")


def with_lesions(session: Session, root: Path, folder: Path | None) -> Session:
    """The session with its lesion masks; a mask that is one is no rejected image any more."""
    if not session.series:
        return session
    places = [(root, path) for path in _in_session(session, root)]
    places += [(folder, path) for path in lesions_of(folder, session.subject, session.session)] if folder else []
    lesions = []
    for number, (base, path) in enumerate(places, start=1):
        series = _drawn_on(path, session.series)
        if series is not None:
            # what says more than entities do can say who it is, and stays here
            told = base == root and _is_bids(path.name)
            relative = path.relative_to(base).as_posix() if told else f"lesion:{number}"
            lesions.append(LesionMask(path, relative, series.name))
    used = {lesion.path for lesion in lesions}
    rejected = tuple(one for one in session.rejected if root / one.relative not in used)
    return replace(session, lesions=tuple(lesions), rejected=rejected)


def check_lesion(lesion: LesionMask, series: Series) -> str | None:
    """Why a lesion mask cannot be used for its series, in words; None where it can. An empty one can: no lesion."""
    name = f"lesion mask {lesion.path.name}" if _is_bids(lesion.path.name) else "lesion mask"
    try:
        image: Any = nib.load(lesion.path)
        mask = read_mask(image)
        if lesion.path.name.endswith(".gz"):
            read_to_the_end(lesion.path)
        on_grid(mask, _grid_of(series))
    except ImageError as error:
        return f"the {name} cannot be used: {error}"
    except MemoryError:
        raise
    except Exception:  # whatever nibabel raises for a file that it cannot make sense of
        return f"the {name} cannot be read as an image; copy or convert it again"
    return None


def _grid_of(series: Series) -> Grid:
    image: Any = load_series(series) if series.diffusion and series.diffusion.made_of else nib.load(series.path)
    x, y, z = (int(size) for size in image.shape[:3])
    return Grid((x, y, z), grid_affine(image))


def _in_session(session: Session, root: Path) -> Iterator[Path]:
    """Masks beside the images: the session's files that were refused, so that what is ignored stays so."""
    for one in session.rejected:
        path = root / one.relative
        if is_lesion_name(path.name) and not _of_another(path.name, session) and is_file(path):
            yield path


def _of_another(name: str, session: Session) -> bool:
    """Whether a mask is named for another participant or session than those in whose folder it lies."""
    found = dict(part.split("-", 1) for part in name.split("_") if "-" in part)
    return found["sub"] != session.subject or found.get("ses", session.session) != session.session


def lesions_in(folder: Path) -> list[Path]:
    """All files of the folder of `--lesions` that are lesion masks by their names."""
    return [path for paths in _listed(folder).values() for path in paths]


def lesions_of(folder: Path, subject: str, session: str | None) -> Sequence[Path]:
    """Those of one session."""
    start = f"sub-{subject}_" + (f"ses-{session}_" if session else "")
    found = _listed(folder).get(subject, ())
    return [path for path in found if path.name.startswith(start) and (session or "_ses-" not in path.name)]


@cache
def _listed(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The lesion masks of a folder by participant; listed once for a run."""
    result: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("sub-*.nii*")):
        if _is_lesion_in_folder(path.name):
            result.setdefault(path.name.split("_")[0].removeprefix("sub-"), []).append(path)
    return {subject: tuple(paths) for subject, paths in result.items()}


def _is_bids(name: str) -> bool:
    """Whether a name is made of entities and a suffix alone."""
    return _ENTITIES.fullmatch(name) is not None


def is_lesion_name(name: str) -> bool:
    """Whether a file's name is that of a lesion mask in native space."""
    found = _NAME.fullmatch(name)
    if found is None or _OTHER_SPACE.search(name):
        return False
    return found[3] in _LESION_SUFFIXES or _SAYS_LESION.search(name) is not None


def _is_lesion_in_folder(name: str) -> bool:
    """In the folder of `--lesions` a mask without a label is a lesion too, but for those that say something else."""
    found = _NAME.fullmatch(name)
    if found is None or _OTHER_SPACE.search(name):
        return False
    return is_lesion_name(name) or re.search("_(label|desc)-", name) is None


def _drawn_on(path: Path, series: Sequence[Series]) -> Series | None:
    """The series that a mask was drawn on: the one its name says, the one with its grid, else the likeliest."""
    named = _named(path.name)
    fitting = [one for one in series if all(one.entity(key) == value for key, value in named.items() if key != "desc")]
    fitting = fitting or list(series)
    fitting = [one for one in fitting if not (one.diffusion and one.diffusion.made_of)] or fitting
    by_suffix = [one for one in fitting if _says(named.get("desc", ""), one)]
    ordered = sorted(by_suffix or fitting, key=_preference(path))
    if not by_suffix:
        same = [one for one in ordered if _on_grid_of(path, one)]
        ordered = same or ordered
    return ordered[0] if ordered else None


def _named(name: str) -> dict[str, str]:
    pairs = (part.partition("-") for part in name.split("_")[:-1])
    found = {key: value for key, dash, value in pairs if dash}
    return {key: value for key, value in found.items() if key not in _OURS or key == "desc"}


def _says(word: str, series: Series) -> bool:
    """Whether `desc-` names a series: its suffix, or what it is called in a clinic."""
    also = {"S0map": ("b0",), "trace": ("dwi", "tracew"), "ADC": ("adc",)}.get(series.suffix, ())
    return bool(word) and word.lower() in (series.suffix.lower(), *also)


def _preference(path: Path) -> Callable[[Series], tuple[bool, int, str]]:
    folder = path.parent.name

    def key(series: Series) -> tuple[bool, int, str]:
        rank = _PREFERENCE.index(series.suffix) if series.suffix in _PREFERENCE else len(_PREFERENCE)
        return folder in ("anat", "dwi") and series.datatype != folder, rank, series.name

    return key


def _on_grid_of(path: Path, series: Series) -> bool:
    try:
        mask: Any = nib.load(path)
        affine, other = grid_affine(mask), _grid_of(series)
    except Exception:  # whatever nibabel raises for a file that it cannot make sense of: reading it tells what it is
        return False
    return tuple(mask.shape[:3]) == other.shape and bool(abs(affine - other.affine).max() < 0.01)
