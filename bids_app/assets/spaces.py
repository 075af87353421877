"""Atlas spaces: where their images are on this machine, and loading them.

A space is named as fMRIPrep does, `NAME[:cohort-X][:res-Y]`, or is the path of an image. Templates of TemplateFlow are
looked for as files under its published names; its own client is not imported, because that writes to its home.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.assets.fetching import AssetError, user_home
from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.steps.images import (
    Affine,
    Image,
    ImageError,
    array_of,
    conform,
    like,
    mask_of,
    same_grid,
    spacing_mm,
    voxel_ml,
)

EMBEDDED = "MNI152NLin2009aSym"  # comes with nilearn, so it is always there

_EMBEDDED_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_EMBEDDED_LICENSE = (
    "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill "
    "University. Use, copy, modification and distribution are permitted provided that this notice is kept."
)
_SPEC = re.compile(r"(?P<name>[A-Za-z0-9]+)(?P<modifiers>(:[A-Za-z0-9-]*)*)")
_SUFFIXES = ("T1w", "T2w")  # the contrast of a template, the better one for registration first
#: Volume of a brain in ml; a path without a mask beside it whose image has more non-zero voxels is a head.
_BRAIN_ML = (600.0, 2400.0)


@dataclass(frozen=True)
class Space:
    """An atlas space at hand.

    `brain` is what a brain is registered to, once `brain_mask` (None: its non-zero voxels) is applied to it;
    `resolution` names the output grid (None: the space has just one), `step` is how many voxels of `brain` make one of
    that grid.
    """

    name: str
    resolution: str | None
    head: Path | None
    brain: Path
    brain_mask: Path | None
    source: str
    license: str
    standard: bool
    cohort: str | None = None
    step: int = 1


def parse(spec: str) -> tuple[str, str | None, str | None]:
    """Name, cohort and resolution of `NAME[:cohort-X][:res-Y]`. Raises AssetError, code 64, for anything else."""
    named = _SPEC.fullmatch(spec)
    if named is None:
        raise AssetError(f"{spec}: not a name of a space; write NAME[:cohort-X][:res-Y]", USAGE)
    given: dict[str, str] = {}
    for modifier in named["modifiers"].split(":")[1:]:
        key, _, value = modifier.partition("-")
        if key not in ("res", "cohort") or not value or key in given:
            raise AssetError(f"{spec}: cannot be understood at {modifier!r}; write NAME[:cohort-X][:res-Y]", USAGE)
        given[key] = value
    return named["name"], given.get("cohort"), given.get("res")


def find_space(spec: str, home: Path, templateflow_home: Path | None) -> Space:
    """Find a space on this machine; nothing is fetched or created.

    Parameters
    ----------
    spec
        `MNI152NLin2009aSym[:res-MM]`; any TemplateFlow name with optional `:cohort-X` and `:res-Y` (default: the
        finest at hand), looked up in `templateflow_home`, `home/templateflow` and TemplateFlow's default home; or a
        path of a NIfTI image `X.nii.gz`: a brain (zero outside it), or a head with its brain mask beside it as
        `X_mask.nii.gz` or, where X ends in a suffix, with `desc-brain_mask` in the suffix's place.

    Raises
    ------
    AssetError
        Code 66: not at hand, and how to fetch it; 64: not a name of a space.
    """
    if not _SPEC.fullmatch(spec) or spec.endswith((".nii", ".nii.gz")):
        return _space_of_file(Path(spec))
    name, cohort, resolution = parse(spec)
    if name == EMBEDDED:
        return _embedded(spec, cohort, resolution)
    roots = [templateflow_home, home / "templateflow"]
    if (user := user_home()) is not None:
        roots.append(user / ".cache" / "templateflow")
    for root in roots:
        if root is not None and (space := templateflow_space(root, name, cohort, resolution)) is not None:
            return space
    raise AssetError(
        f"{spec}: no such space on this machine; fetch it with `bids_app fetch {spec}`, "
        f"or use {EMBEDDED}, which is always there, or the path of an image",
        NO_INPUT,
    )


def _embedded(spec: str, cohort: str | None, resolution: str | None) -> Space:
    if cohort is not None or not re.fullmatch(r"0*[1-8]", resolution or "1"):
        raise AssetError(f"{spec}: {EMBEDDED} has no cohorts, and resolutions of 1 to 8 whole millimetres", USAGE)
    package = importlib.util.find_spec("nilearn")  # importing it costs a second
    if package is None or not package.submodule_search_locations:
        raise AssetError(f"{EMBEDDED}: nilearn, which carries it, is not installed", NO_INPUT)
    brain = Path(package.submodule_search_locations[0]) / _EMBEDDED_FILE
    if not brain.is_file():
        raise AssetError(f"{brain}: this version of nilearn does not carry {EMBEDDED}", NO_INPUT)
    step = int(resolution or 1)
    return Space(EMBEDDED, str(step), None, brain, None, "nilearn", _EMBEDDED_LICENSE, standard=True, step=step)


def templateflow_space(
    root: Path, name: str, cohort: str | None, resolution: str | None, *, with_empty: bool = False
) -> Space | None:
    """A space among the files of one TemplateFlow home; None: not there.

    The client of TemplateFlow makes an empty file for everything that can be fetched; `with_empty` counts those in.
    """
    folder = root / f"tpl-{name}"
    inner = folder / f"cohort-{cohort}" if cohort else folder
    stem = f"tpl-{name}" + (f"_cohort-{cohort}" if cohort else "")
    pattern = re.compile(
        rf"{re.escape(stem)}(_res-0*(?P<res>\w+))?(?P<brain>_desc-brain)?_(?P<suffix>T1w|T2w|mask)\.nii(\.gz)?"
    )
    files: dict[tuple[str, bool, str], Path] = {}
    for path in sorted(inner.glob(f"{stem}_*.nii*")):
        found = pattern.fullmatch(path.name)
        if found and path.is_file() and (with_empty or path.stat().st_size > 0):
            files[found["res"] or "", bool(found["brain"]), found["suffix"]] = path
    available = sorted(
        {res for res, _, _ in files}, key=lambda res: (not res.isdigit(), int(res) if res.isdigit() else 0)
    )
    for res in available if resolution is None else [resolution.lstrip("0")]:
        for suffix in _SUFFIXES:
            head, brain, mask = (
                files.get(key) for key in ((res, False, suffix), (res, True, suffix), (res, True, "mask"))
            )
            best = brain or head
            if best is not None and (mask is not None or brain is not None):
                return Space(name, res or None, head, best, mask, "TemplateFlow", _license(folder), True, cohort)
    return None


def _license(folder: Path) -> str:
    """The licence of a template: the text that lies beside it, else what its description says."""
    try:
        return " ".join((folder / "LICENSE").read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        pass
    try:
        description = json.loads((folder / "template_description.json").read_text(encoding="utf-8"))
        return str(description["License"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _space_of_file(path: Path) -> Space:
    if not path.is_file():
        raise AssetError(
            f"{path}: there is no such image; name a space, or the path of a .nii or .nii.gz image", NO_INPUT
        )
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    if stem == path.name:
        raise AssetError(f"{path}: not a .nii or .nii.gz image", USAGE)
    names = [f"{stem}_mask", re.sub(r"_[A-Za-z0-9]+$", "_desc-brain_mask", stem)]
    masks = [path.with_name(f"{name}{extension}") for name in names for extension in (".nii.gz", ".nii")]
    mask = next((candidate for candidate in masks if candidate.is_file() and candidate != path), None)
    name = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^tpl-([A-Za-z0-9]+)_.*", r"\1", stem)) or "custom"
    space = Space(name, None, path if mask else None, path, mask, str(path), "unknown", standard=False)
    load_space(space)  # what is wrong with it is said before any work
    return space


def space_grid(space: Space) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine (voxel -> RAS+ mm) of the output grid of a space.

    A coarser grid starts at the centre of the same first voxel, as those of TemplateFlow do.
    """
    brain = _load(space.brain)
    shape = tuple(-(-n // space.step) for n in brain.shape)
    affine = np.asarray(brain.affine, dtype=float) @ np.diag([*[float(space.step)] * 3, 1.0])
    return (shape[0], shape[1], shape[2]), affine


def load_space(space: Space) -> tuple[Image, Image]:
    """The brain without its skull (float32) and its mask (uint8), both conformed, at the space's own finest grid.

    Raises
    ------
    AssetError
        An image cannot be read, image and mask have different grids, or there is a head and no mask.
    """
    brain = _load(space.brain)
    if space.brain_mask is None:
        mask = array_of(brain) > 0 if space.name == EMBEDDED else array_of(brain) != 0
        volume = float(mask.sum() * voxel_ml(brain))
        if not _BRAIN_ML[0] <= volume <= _BRAIN_ML[1]:
            raise AssetError(
                f"{space.brain}: {volume:.0f} ml of it are not zero, so it is no brain without its head; "
                f"put its brain mask beside it, named {re.sub(r'[.]nii([.]gz)?$', '', space.brain.name)}_mask.nii.gz"
            )
    else:
        mask_image = _load(space.brain_mask)
        if not same_grid(brain, mask_image, tolerance_mm=0.01 * min(spacing_mm(brain))):
            raise AssetError(f"{space.brain_mask}: not on the grid of {space.brain.name}")
        mask = mask_of(mask_image)
    return like(np.where(mask, array_of(brain), np.float32(0)), brain), like(mask.astype(np.uint8), brain)


def _load(path: Path) -> Image:
    try:
        return conform(nib.load(path))
    except ImageError as error:
        raise AssetError(f"{path}: {error}") from error
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise AssetError(f"{path}: cannot be read as an image ({error})") from error
