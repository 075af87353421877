"""A within-subject template: the rigid average of one person's heads at several visits, which favours none of them.

After Reuter et al. 2012 (doi:10.1016/j.neuroimage.2012.02.084): what is done to one visit is done to all. Each visit is
interpolated once, into a space half-way between all of them, instead of leaving one as it is; the space is found from
pairs registered in both directions, and then refined by registering each visit to their average until nothing moves.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, array_of, like, mask_of, new_image, spacing_mm
from bids_app.steps.registration import RegistrationError, register
from bids_app.steps.resampling import Grid, resample, resample_mask
from bids_app.steps.rigid import affine_of, centred, displacement_mm, half_way, matrix_of

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "5"

#: Largest displacement of a visit from one round to the next at which the template stands; the optimiser's own noise is
#: of this size. And the rounds at most: computed heads took one or two.
_CONVERGED_MM = 0.05
_MAX_ROUNDS = 4
#: The two directions of a pair that differ by more than this were not both right.
_MAX_DISAGREEMENT_MM = 3.0
#: What the median of the brain is brought to before images are averaged.
_LEVEL = 1000.0
_COMMONEST_FIRST = ("T1w", "T2w", "FLAIR")  # where several contrasts are as common


@dataclass(frozen=True)
class Visit:
    """One session's reference: conformed and bias-corrected, with its masks, and its contrast as BIDS suffix.

    Attributes
    ----------
    lesion
        What is left out of the metric of its registrations, on the image's grid; in the template, for all visits.
    """

    image: Image
    brain_mask: Image
    contrast: str
    face_mask: Image | None = None
    lesion: Image | None = None


@dataclass(frozen=True)
class Placed:
    """Where a visit lies: the transform (points of the template, LPS+ mm, to the visit's), and how it got there."""

    transform: sitk.AffineTransform
    matrix: NDArray[np.float64]
    rotation_deg: float
    translation_mm: float
    mutual_information: float


@dataclass(frozen=True)
class Template:
    """The average on its grid, the average of the brain masks, and every visit's way there.

    Attributes
    ----------
    problems
        Why a visit is not part of it, by its name.
    rounds, moved_mm
        Rounds of refinement, and how far a visit moved at most in the last one.
    averaged
        Visits whose intensities are in the image: those of the commonest contrast.
    lesion
        What is a lesion at any visit; None where there is none.
    """

    image: Image
    brain_mask: Image
    visits: Mapping[str, Placed]
    problems: Mapping[str, str]
    rounds: int
    moved_mm: float
    averaged: tuple[str, ...]
    lesion: Image | None = None


def build_template(visits: Mapping[str, Visit], *, seed: int = 0, threads: int = 1) -> Template:
    """Align visits rigidly to their own average.

    Parameters
    ----------
    visits
        By name, in any order: the work is done in an order of their contents, so that a name or a date plays no part.

    Raises
    ------
    RegistrationError
        No two visits can be aligned.
    """
    order = sorted(visits, key=lambda name: _content(visits[name]))
    poses, problems = _first_poses({name: visits[name] for name in order}, seed)
    poses = centred(poses)
    kept = {name: visits[name] for name in poses}
    rounds, moved = 0, np.inf
    found: dict[str, float] = {}
    while moved > _CONVERGED_MM and rounds < _MAX_ROUNDS:
        rounds += 1
        average = _average(kept, poses, threads)
        better: dict[str, NDArray[np.float64]] = {}
        for name, visit in kept.items():
            try:
                result = register(
                    average.image, visit.image, kind="rigid", fixed_mask=average.brain_mask,
                    moving_mask=visit.brain_mask, fixed_lesion=average.lesion, seed=seed, start=affine_of(poses[name]),
                )  # fmt: skip
            except RegistrationError as error:
                problems[name] = str(error)
                continue
            better[name], found[name] = matrix_of(result.transform), result.similarity
        if len(better) < 2:
            raise RegistrationError(f"no two sessions can be aligned: {next(iter(problems.values()))}")
        better = centred(better)
        centre = _centre(average.brain_mask)
        moved = max(displacement_mm(poses[name], better[name], centre) for name in better)
        if len(better) < len(kept):  # the average without the one that does not fit is another one
            moved, kept = np.inf, {name: kept[name] for name in better}
        poses = better
    average = _average(kept, poses, threads)
    centre = _centre(average.brain_mask)
    placed = {name: _placed(poses[name], centre, found[name]) for name in sorted(poses)}
    return replace(average, visits=placed, problems=problems, rounds=rounds, moved_mm=float(moved))


def _first_poses(visits: Mapping[str, Visit], seed: int) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """Every visit's pose against one of them, the mean of both directions; the one that most can be aligned to."""
    best: tuple[dict[str, NDArray[np.float64]], dict[str, str]] = ({}, {})
    for hub in visits:
        poses, problems = {hub: np.eye(4)}, {}
        for name in visits:
            if name != hub:
                try:
                    poses[name] = _both_ways(visits[hub], visits[name], seed)
                except RegistrationError as error:
                    problems[name] = str(error)
        if len(poses) > len(best[0]):
            best = poses, problems
        if len(best[0]) > len(visits) / 2:  # what the others agree on; a hub that fits none is the odd one itself
            break
    if len(best[0]) < 2:
        raise RegistrationError(f"no two sessions can be aligned: {next(iter(best[1].values()), 'there is only one')}")
    return best


def _both_ways(hub: Visit, visit: Visit, seed: int) -> NDArray[np.float64]:
    """Rigid matrix from the hub's space to the visit's: the inverse of what the swapped pair gives."""
    there = _between(hub, visit, seed)
    back = np.asarray(np.linalg.inv(_between(visit, hub, seed)), dtype=np.float64)
    apart = displacement_mm(there, back, _centre(hub.brain_mask))
    if apart > _MAX_DISAGREEMENT_MM:
        raise RegistrationError(f"the two directions of its alignment differ by {apart:.1f} mm")
    return half_way(there, back)


def _between(fixed: Visit, moving: Visit, seed: int) -> NDArray[np.float64]:
    result = register(
        fixed.image, moving.image, kind="rigid", fixed_mask=fixed.brain_mask, moving_mask=moving.brain_mask,
        fixed_lesion=fixed.lesion, moving_lesion=moving.lesion, seed=seed,
    )  # fmt: skip
    return matrix_of(result.transform)


def _average(visits: Mapping[str, Visit], poses: Mapping[str, NDArray[np.float64]], threads: int) -> Template:
    """Median over the visits of the commonest contrast that reach a voxel; the mean of all brain masks, cut at half.

    What was face in one visit is 0 for all.
    """
    grid = _grid(list(visits.values()), [poses[name] for name in visits])
    counts = Counter(visit.contrast for visit in visits.values())
    rank = {contrast: place for place, contrast in enumerate((*_COMMONEST_FIRST, *sorted(counts)))}
    shown = min(counts, key=lambda contrast: (-counts[contrast], rank[contrast]))
    layers, brain = [], np.zeros(grid.shape, np.float32)
    face, lesion = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for name, visit in visits.items():
        way = [affine_of(poses[name])]
        mask = like(mask_of(visit.brain_mask).astype(np.float32), visit.brain_mask)
        brain += array_of(resample(mask, grid, way, threads=threads))
        if visit.face_mask is not None:
            face |= mask_of(resample_mask(visit.face_mask, grid, way))
        if visit.lesion is not None:
            lesion |= mask_of(resample_mask(visit.lesion, grid, way))
        if visit.contrast == shown:
            array = array_of(visit.image)
            factor = np.float32(_LEVEL / _level(array[mask_of(visit.brain_mask)]))
            layer = array_of(resample(like(array * factor, visit.image), grid, way, threads=threads))
            reached = mask_of(resample_mask(like(np.ones(array.shape, np.uint8), visit.image), grid, way))
            layers.append(np.where(reached, layer, np.nan))
    image = _median(layers)
    image[face] = 0
    mask = new_image((brain >= 0.5 * len(visits) - 1e-3).astype(np.uint8), grid.affine)
    averaged = tuple(sorted(name for name, visit in visits.items() if visit.contrast == shown))
    shows = new_image(lesion.astype(np.uint8), grid.affine) if lesion.any() else None
    return Template(new_image(image, grid.affine), mask, {}, {}, 0, 0.0, averaged, shows)


def _level(values: NDArray[np.float32]) -> float:
    """The brain's median; of a ratio of images with negative values (UNIT1), which has its scale already, `_LEVEL`."""
    low, middle = np.percentile(values, (5, 50))
    return float(middle) if low >= 0 and middle > 0 else _LEVEL


def _median(layers: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Median over the layers that are no NaN at a voxel, 0 where all are; slice by slice, which bounds the memory."""
    result = np.zeros_like(layers[0])
    for k in range(result.shape[2]):
        stack = np.stack([layer[:, :, k] for layer in layers])
        stack[:, np.isnan(stack).all(axis=0)] = 0
        result[:, :, k] = np.nanmedian(stack, axis=0)
    return result


def _grid(visits: Sequence[Visit], poses: Sequence[NDArray[np.float64]]) -> Grid:
    """Cubes along the template's axes that hold every visit's field of view; as many a mL as the finest visit has."""
    edge = min(float(np.prod(spacing_mm(visit.image))) ** (1 / 3) for visit in visits)
    edge = round(edge, 2)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    corners = []
    for visit, pose in zip(visits, poses, strict=True):
        size = np.asarray(visit.image.shape[:3], dtype=float)
        box = np.array([[i, j, k, 0] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
        box = box * [*size, 1.0] - [0.5, 0.5, 0.5, 0.0]
        box[:, 3] = 1.0
        to_template = flip @ np.linalg.inv(pose) @ flip @ np.asarray(visit.image.affine)
        corners.append((box @ to_template.T)[:, :3])
    low, high = (np.concatenate(corners).min(axis=0), np.concatenate(corners).max(axis=0))
    first = np.floor(np.round(low / edge, 2)).astype(int)  # rounded, so that a last bit moves no border
    last = np.ceil(np.round(high / edge, 2)).astype(int)
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = (first + 0.5) * edge
    x, y, z = (int(n) for n in np.maximum(last - first, 1))
    return Grid((x, y, z), affine)


def _placed(pose: NDArray[np.float64], centre: NDArray[np.float64], similarity: float) -> Placed:
    angle = np.rad2deg(np.arccos(np.clip((np.trace(pose[:3, :3]) - 1) / 2, -1, 1)))
    shift = float(np.linalg.norm((pose @ [*centre, 1.0])[:3] - centre))
    return Placed(affine_of(pose), pose, float(angle), shift, similarity)


def _centre(mask: Image) -> NDArray[np.float64]:
    """Centre of a mask in LPS+ mm."""
    index = np.argwhere(mask_of(mask)).mean(axis=0)
    return np.asarray((np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(mask.affine) @ [*index, 1.0])[:3], dtype=np.float64)


def _content(visit: Visit) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(array_of(visit.image)).tobytes())
    digest.update(np.round(np.asarray(visit.image.affine), 6).tobytes())
    return digest.hexdigest()
