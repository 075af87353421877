"""Maps over participants in an atlas' space: mean and standard deviation of an image, and how often a lesion is where.

One image after another is read and forgotten, so that memory does not depend on how many there are: mean and variance
by Welford's recurrence (1962, doi:10.1080/00401706.1962.10490022), a lesion's frequency by counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.exit_codes import NOTHING_MATCHES
from bids_app.group.cohorts import (
    UNKNOWN,
    Condition,
    MapsError,
    answering,
    conditions_of,
    group_words,
    known_column,
    manifests,
    participants,
    subject_of,
    where_word,
    with_public,
)
from bids_app.inputs.metadata import read_json_object
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.landmarks import contrast_label
from bids_app.outputs.manifest import Manifest
from bids_app.outputs.writer import image_bytes, json_bytes, write_bytes, write_if_changed
from bids_app.reports.contents import UNREADABLE, read_table
from bids_app.settings import Settings
from bids_app.steps.images import new_image

FOLDER = "group_maps"
_WITH_UNIT = ("ADC",)


class Kind(NamedTuple):
    """What is averaged together.

    Attributes
    ----------
    space
        Atlas and resolution.
    variant
        "lesion" for a lesion mask.
    suffix
        Of the series.
    contrast_agent
        Whether one was given: with it, vessels and some lesions are bright.
    """

    space: str
    variant: str
    suffix: str
    contrast_agent: bool


@dataclass(frozen=True)
class Found:
    """An image of a session in an atlas' space.

    Attributes
    ----------
    mask
        The brain mask of its session there, if there is one.
    """

    subject: str
    kind: Kind
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


def check_maps(settings: Settings) -> None:
    """See that words about maps are not without the maps.

    Raises
    ------
    MapsError
        `--maps-by` or `--maps-where` without `--maps`.
    """
    words = [("--maps-by", settings.maps_by), ("--maps-where", settings.maps_where)]
    given = [word for word, value in words if value]
    if given and not settings.maps:
        raise MapsError(f"{' and '.join(given)} without --maps: add --maps, else no map is made")


def write_maps(settings: Settings, tell: Callable[[str], object] = lambda _: None) -> list[str]:
    """Write the maps that were asked for into `group_maps`; their paths below the output.

    Maps of an earlier call with the same column and conditions that are not made any more are removed; those of others
    stay.

    For every atlas, image variant and contrast (with and without contrast agent apart): mean, standard deviation and
    count of images; for lesion masks the share of participants that have a lesion at a voxel, and their count. A
    participant's sessions count as one image each.

    Parameters
    ----------
    tell
        Takes one sentence for the user about what is left out.

    Raises
    ------
    MapsError
        A column that no table has, a condition that cannot be understood, or no image that answers (18).
    """
    if not settings.maps:
        return []
    output = settings.output_dir
    table = participants(settings)
    conditions = conditions_of(table, settings.maps_where)
    chosen = answering(table, conditions)
    nobody = not chosen
    column = known_column(settings.maps_by, table) if settings.maps_by else None
    if column:
        chosen = with_public(table, chosen, column, tell)
    groups: dict[tuple[str, Kind], list[Found]] = {}
    for found in images_in_atlases(output):
        if found.subject in chosen:
            value = (table[found.subject].get(column) or UNKNOWN) if column else ""
            groups.setdefault((value, found.kind), []).append(found)
    words = group_words(table, column) if column else {"": ""}
    written: list[str] = []
    for value, kind in sorted(groups):  # one after another: an atlas' grid at a time is in memory
        told: dict[str, Any] = {"Column": column, "Value": value} if column else {}
        if conditions:
            told["Where"] = [one.text for one in conditions]
        moments, people = _moments(groups[value, kind], output, tell)
        if moments is not None:
            written += _write(output, moments, people, kind, where_word(conditions) + words[value], told)
    _remove_earlier(output, written, column, conditions)
    if nobody and conditions:
        raise MapsError(f"no participant answers --maps-where {' '.join(settings.maps_where)}", NOTHING_MATCHES)
    if not written:
        raise MapsError(
            "no participant that was asked for has an image in an atlas' space that can be read", NOTHING_MATCHES
        )
    return written


def images_in_atlases(output: Path) -> Iterator[Found]:
    """Every image and lesion mask in an atlas' space, by the sessions' manifests, participants in order.

    Images whose numbers have neither a unit nor a normalisation are left out: their mean says nothing.
    """
    for folder, manifest in manifests(output):
        subject, enhanced = subject_of(folder), _with_agent(output / folder)
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
            kind = Kind(space, variant, suffix, enhanced.get(series, "_ce-" in series))
            mask = masks.get(space)
            yield Found(subject, kind, output / file, output / mask if mask else None)


def _moments(images: Sequence[Found], output: Path, tell: Callable[[str], object]) -> tuple[Moments | None, int]:
    """The moments of the images that can be read, None where none can, and how many participants they are of."""
    moments: Moments | None = None
    people = set()
    for found in images:
        try:
            if moments is None:
                moments = Moments.on(nib.load(found.image))
            _add(moments, found)
        except UNREADABLE as error:
            name, reason = found.image.relative_to(output), safe_text(str(error), {output: "the output"})
            tell(f"{name} is in no map, it or its brain mask cannot be read: {reason}")
        else:
            people.add(found.subject)
    return (moments if people else None), len(people)


def _add(moments: Moments, found: Found) -> None:
    """Add an image; nothing is added where an error is raised."""
    image: Any = nib.load(found.image)
    if moments.count.shape != tuple(image.shape[:3]) or not np.allclose(moments.affine, image.affine, atol=1e-3):
        raise MapsError(
            f"{found.image.name} is on another grid than the other images of {found.kind.space}; run it again"
        )
    values = np.asarray(image.dataobj, dtype=np.float64)
    if found.kind.variant == "lesion":
        where = np.ones(values.shape, bool)
        values = (values > 0).astype(np.float64)
    else:
        where = values != 0  # neither outside of the field of view nor of a brain
        if found.mask is not None and found.kind.variant.startswith("brain"):
            where &= np.asanyarray(nib.load(found.mask).dataobj) > 0  # type: ignore[attr-defined]
    moments.add(values, where)


def _write(
    output: Path, moments: Moments, people: int, kind: Kind, group: str, told: Mapping[str, Any]
) -> Iterator[str]:
    """Write the maps of a group's images of a kind; the group is a part of their names, and is told beside them."""
    agent = "_ce-agent" if kind.contrast_agent else ""
    label = f"space-{kind.space}{agent}{group}_desc-{kind.variant}"
    maps: Mapping[str, NDArray[Any]] = (
        {"frequency": moments.mean, "count": np.rint(moments.mean * moments.images)}
        if kind.variant == "lesion"
        else {"mean": moments.mean, "sd": moments.sd(), "count": moments.count}
    )
    for name, array in maps.items():
        path = f"{FOLDER}/{label}_stat-{name}_{kind.suffix}.nii.gz"
        dtype = "int32" if name == "count" else "float32"
        write_bytes(output / path, image_bytes(new_image(array.astype(dtype), moments.affine), dtype))
        said = {
            "Description": _MEANING[name],
            "Contrast": contrast_label(kind.suffix, kind.contrast_agent),
            "Images": moments.images,
            "Participants": people,
            **told,
        }
        write_if_changed(output / path.replace(".nii.gz", ".json"), json_bytes(said))
        yield path


def _remove_earlier(
    output: Path, written: Collection[str], column: str | None, conditions: Sequence[Condition]
) -> None:
    """Remove the maps that an earlier call with this column and these conditions made and this one did not.

    They are of participants that are no longer in the output, or no longer answer.
    """
    where = [one.text for one in conditions]
    for path in (output / FOLDER).glob("*.json"):
        image = path.with_suffix(".nii.gz")
        said = read_json_object(path)[0]
        # "Images": it tells of a map. Earlier versions had the column as it was typed.
        mine = "Images" in said and str(said.get("Column", "")).lower() == (column or "")
        if mine and said.get("Where", []) == where and f"{FOLDER}/{image.name}" not in written:
            image.unlink(missing_ok=True)  # first: what is left by a killed run still tells what it is
            path.unlink(missing_ok=True)


_MEANING = {
    "mean": "Mean over the images that show a voxel.",
    "sd": "Standard deviation (n - 1) over the images that show a voxel.",
    "count": "Images that show the voxel; of lesions, images with a lesion there.",
    "frequency": "Share of the images with a lesion mask, empty ones included, that have a lesion at the voxel.",
}


def _with_agent(folder: Path) -> dict[str, bool]:
    """Whether a contrast agent was given for each series of a session, by its table."""
    rows = (row for table in folder.glob("*_series.tsv") for row in read_table(table))
    return {row["series"]: row.get("contrast_agent") == "1" for row in rows if "series" in row}


def _files(manifest: Manifest, variant: str = "") -> Iterator[tuple[str, str]]:
    for name, task in sorted(manifest.tasks.items()):
        if name.endswith(f"/{variant}") if variant else True:
            for file in task.files:
                if file.path.endswith(".nii.gz"):
                    yield name, file.path
