"""Maps over participants in an atlas' space: mean and standard deviation of an image, and how often a lesion is where.

One image after another is read and forgotten, so that memory does not depend on how many there are: mean and variance
by Welford's recurrence (1962, doi:10.1080/00401706.1962.10490022), a lesion's frequency by counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.exit_codes import NOTHING_MATCHES, USAGE
from bids_app.inputs.participants import table_rows
from bids_app.outputs.manifest import Manifest, read_manifest
from bids_app.outputs.writer import image_bytes, json_bytes, write_bytes, write_if_changed
from bids_app.settings import Settings
from bids_app.steps.images import new_image

FOLDER = "group_maps"
#: The column that every participant has: whether a lesion mask was given and is not empty (1), is empty (0), or none
#: was given (n/a).
LESION = "lesion"
_WITH_UNIT = ("ADC",)
_CONDITION = re.compile(r"([^=<>!]+)=(.*)")


class MapsError(Exception):
    """Maps that cannot be made; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Found:
    """An image of a session in an atlas' space.

    Attributes
    ----------
    kind
        What is averaged together: space and resolution, variant ("lesion" for a lesion mask), suffix of the series.
    mask
        The brain mask of its session there, if there is one.
    """

    subject: str
    kind: tuple[str, str, str]
    image: Path
    mask: Path | None


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of each voxel, updated with one image at a time."""

    affine: NDArray[np.float64]
    count: NDArray[np.int32]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    images: int = 0

    @classmethod
    def on(cls, image: Any) -> Moments:
        """Of no image yet, on the grid of one."""
        shape = tuple(image.shape[:3])
        return cls(np.array(image.affine), np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape))

    def add(self, values: NDArray[Any], where: NDArray[np.bool_]) -> None:
        """Add an image, at the voxels that it shows."""
        self.images += 1
        self.count[where] += 1
        off = values[where] - self.mean[where]
        self.mean[where] += off / self.count[where]
        self.squares[where] += off * (values[where] - self.mean[where])

    def sd(self) -> NDArray[np.float64]:
        """Standard deviation (n - 1); 0 where fewer than two images show a voxel."""
        return np.sqrt(np.where(self.count > 1, self.squares / np.maximum(self.count - 1, 1), 0.0))


def write_maps(settings: Settings) -> list[str]:
    """Write the maps that were asked for into `group_maps`; their paths below the output.

    For every atlas, image variant and suffix: mean, standard deviation and count of images; for lesion masks the share
    of participants that have a lesion at a voxel, and their count. A participant's sessions count as one image each.

    Raises
    ------
    MapsError
        A column that no table has, a condition that cannot be understood, or no image that answers (18).
    """
    if not settings.maps:
        return []
    output = settings.output_dir
    table = participants(settings)
    chosen = _chosen(table, settings.maps_where)
    column = settings.maps_by
    if column and not any(column in row for row in table.values()):
        raise MapsError(_no_column(column, table))
    groups: dict[tuple[str, tuple[str, str, str]], list[Found]] = {}
    for found in images_in_atlases(output):
        if found.subject in chosen:
            value = table[found.subject].get(column, "n/a") if column else ""
            groups.setdefault((value, found.kind), []).append(found)
    written: list[str] = []
    for value, kind in sorted(groups):  # one after another: an atlas' grid at a time is in memory
        written += _write(output, groups[value, kind], kind, column, value)
    if not written:
        raise MapsError("no participant that was asked for has an image in an atlas' space", NOTHING_MATCHES)
    return written


def participants(settings: Settings) -> dict[str, dict[str, str]]:
    """The columns of participants.tsv (of the dataset, else of the output) of every participant in the output.

    `lesion` is added where the table has no such column.
    """
    rows: dict[str, dict[str, str]] = {}
    for path in (settings.output_dir / "participants.tsv", settings.bids_dir / "participants.tsv"):
        for row in table_rows(path):
            label = row.get("participant_id", "").removeprefix("sub-")
            rows.setdefault(label, {}).update({key: value for key, value in row.items() if key != "participant_id"})
    result = {}
    for subject, lesion in _with_lesion(settings.output_dir).items():
        result[subject] = {LESION: lesion, **rows.get(subject, {})}
    return result


def images_in_atlases(output: Path) -> Iterator[Found]:
    """Every image and lesion mask in an atlas' space, by the sessions' manifests, participants in order.

    Images whose numbers have neither a unit nor a normalisation are left out: their mean says nothing.
    """
    for subject, manifest in _manifests(output):
        masks = {
            task.split("/")[2]: file
            for task, file in _files(manifest, "masks")
            if "_label-brain_" in file and task.count("/") == 3
        }
        for task, file in _files(manifest):
            step, series, *rest = task.split("/")
            if step not in ("resample", "normalize") or len(rest) != 2 or rest[0] in ("reference", "isotropic"):
                continue
            space, variant = rest
            suffix = series.rpartition("_")[2]
            comparable = step == "normalize" or variant == "lesion" or (variant == "brain" and suffix in _WITH_UNIT)
            if not comparable:
                continue
            if "_rec-computed_" in f"{series}_":
                suffix = f"computed{suffix}"
            kind = (space, variant, suffix)
            mask = masks.get(space)
            yield Found(subject, kind, output / file, output / mask if mask else None)


def _add(moments: Moments, found: Found) -> None:
    image: Any = nib.load(found.image)
    if moments.count.shape != tuple(image.shape[:3]) or not np.allclose(moments.affine, image.affine, atol=1e-3):
        raise MapsError(f"{found.image.name} is on another grid than the other images of {found.kind[0]}; run it again")
    values = np.asarray(image.dataobj, dtype=np.float64)
    if found.kind[1] == "lesion":
        where = np.ones(values.shape, bool)
        values = (values > 0).astype(np.float64)
    else:
        where = values != 0  # neither outside of the field of view nor of a brain
        if found.mask is not None and found.kind[1].startswith("brain"):
            where &= np.asanyarray(nib.load(found.mask).dataobj) > 0  # type: ignore[attr-defined]
    moments.add(values, where)


def _write(
    output: Path, images: Sequence[Found], kind: tuple[str, str, str], column: str | None, value: str
) -> Iterator[str]:
    moments = Moments.on(nib.load(images[0].image))
    for found in images:
        _add(moments, found)
    space, variant, suffix = kind
    group = f"_{_word(column)}-{_word(value)}" if column else ""
    label = f"space-{space}{group}_desc-{variant}"
    maps: Mapping[str, NDArray[Any]] = (
        {"frequency": moments.mean, "count": np.rint(moments.mean * moments.images)}
        if variant == "lesion"
        else {"mean": moments.mean, "sd": moments.sd(), "count": moments.count}
    )
    for name, array in maps.items():
        path = f"{FOLDER}/{label}_stat-{name}_{suffix}.nii.gz"
        dtype = "int32" if name == "count" else "float32"
        write_bytes(output / path, image_bytes(new_image(array.astype(dtype), moments.affine), dtype))
        said = {
            "Description": _MEANING[name],
            "Images": moments.images,
            "Participants": len({found.subject for found in images}),
            **({"Column": column, "Value": value} if column else {}),
        }
        write_if_changed(output / path.replace(".nii.gz", ".json"), json_bytes(said))
        yield path


_MEANING = {
    "mean": "Mean over the images that show a voxel.",
    "sd": "Standard deviation (n - 1) over the images that show a voxel.",
    "count": "Images that show the voxel; of lesions, images with a lesion there.",
    "frequency": "Share of the images with a lesion mask, empty ones included, that have a lesion at the voxel.",
}


def _chosen(table: Mapping[str, Mapping[str, str]], conditions: Sequence[str]) -> frozenset[str]:
    """The participants that answer all conditions (`group=control`; several values: `site=A,B`)."""
    result = set(table)
    for condition in conditions:
        found = _CONDITION.fullmatch(condition)
        if found is None:
            raise MapsError(f"--maps-where {condition}: write COLUMN=VALUE, such as group=control or {LESION}=0")
        column, values = found[1].strip(), {value.strip() for value in found[2].split(",")}
        if not any(column in row for row in table.values()):
            raise MapsError(_no_column(column, table))
        result &= {subject for subject, row in table.items() if row.get(column, "n/a") in values}
    if not result:
        raise MapsError(f"no participant answers --maps-where {' '.join(conditions)}", NOTHING_MATCHES)
    return frozenset(result)


def _no_column(column: str, table: Mapping[str, Mapping[str, str]]) -> str:
    known = sorted({name for row in table.values() for name in row})
    return f"participants.tsv has no column {column}; it has {', '.join(known)}"


def _with_lesion(output: Path) -> dict[str, str]:
    """Whether each participant has a lesion: "1", "0" (an empty mask) or "n/a" (no mask)."""
    result: dict[str, str] = {}
    for subject, manifest in _manifests(output):
        volumes = [task.facts.get("lesion_ml") for name, task in manifest.tasks.items() if name.startswith("lesion/")]
        here = "n/a" if not volumes else "1" if any(volumes) else "0"
        before = result.get(subject, "n/a")
        result[subject] = max(before, here) if "n/a" not in (before, here) else here if before == "n/a" else before
    return result


def _manifests(output: Path) -> Iterator[tuple[str, Manifest]]:
    logs = output / "logs"
    found = [*logs.glob("sub-*/manifest.json"), *logs.glob("sub-*/ses-*/manifest.json")]
    for path in sorted(found, key=lambda one: one.parts):
        yield path.relative_to(logs).parts[0].removeprefix("sub-"), read_manifest(path)


def _files(manifest: Manifest, variant: str = "") -> Iterator[tuple[str, str]]:
    for name, task in sorted(manifest.tasks.items()):
        if name.endswith(f"/{variant}") if variant else True:
            for file in task.files:
                if file.path.endswith(".nii.gz"):
                    yield name, file.path


def _word(text: str | None) -> str:
    return re.sub("[^A-Za-z0-9]", "", text or "") or "none"
