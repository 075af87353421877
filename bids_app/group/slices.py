"""Which central axial slices there are of a collection, before and after each normalisation, and their features.

Features are kept in `logs/group`, by the hashes of the image and of the mask that they are of, so that a later run
reads what is new alone. No slice is shown or written anywhere.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.exit_codes import NO_INPUT
from bids_app.group.datasets import Source
from bids_app.group.errors import GroupError
from bids_app.group.from_output import contrast_of
from bids_app.inputs.content import file_sha256
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.writer import write_bytes
from bids_app.reports.contents import UNREADABLE, SeriesContent, SessionContent, read_participant, subjects_of
from bids_app.steps import densenet, slice_features
from bids_app.steps.images import ImageError

#: The variant that every normalisation is compared with: the brain as the bias correction left it.
BEFORE = "preproc"
NATIVE = "native"
#: As many slices tell in which range a variant's intensities lie; the first by the hash of their names, so that they
#: hardly change when a collection grows.
_SAMPLE = 100


@dataclass(frozen=True)
class Slice:
    """The central slice of a variant of a series: where it is read from."""

    dataset: str
    participant: str
    series: str
    contrast: str
    variant: str
    image: Path
    mask: Path | None
    content: str  # hash of the image and the mask


def slices(sources: Sequence[Source], space: str | None = None) -> list[Slice]:
    """The slices of all processed series, of one space: the atlas that most have, else native.

    Outputs are read twice where the space is not given: what is in them is too much to be held.
    """
    if space is None:
        atlases = Counter(atlas for *_, series in _finished(sources) for atlas in series.atlases()[:1])
        space = atlases.most_common(1)[0][0] if atlases else NATIVE
    return [
        Slice(
            label, f"sub-{subject}", series.name,
            contrast_of(series), variant,
            output / image, output / mask if mask else None, content,
        )
        for label, output, subject, session, series in _finished(sources)
        for variant, image, mask, content in _variants(session, series, space)
    ]  # fmt: skip


def _finished(sources: Iterable[Source]) -> Iterator[tuple[str, Path, str, SessionContent, SeriesContent]]:
    """Every processed series with its dataset, output, participant and session, one participant after another."""
    for source in sources:
        for subject in subjects_of(source.output) if source.output else ():
            assert source.output is not None
            for session in read_participant(source.output, subject).sessions:
                for series in session.series:
                    if series.cell("status") == "done":
                        yield source.label, source.output, subject, session, series


def _variants(session: SessionContent, series: SeriesContent, space: str) -> Iterator[tuple[str, str, str | None, str]]:
    """Name, image, brain mask and hash of each variant of a series in a space."""
    reference = session.reference()
    masks = f"resample/{space}/masks"
    mask = series.file("mask", "_label-brain_")
    if space != NATIVE:
        mask = reference.file(masks, "_label-brain_") if reference else None
    of_mask = series if space == NATIVE else reference
    chosen: dict[str, str] = {}
    for name in series.tasks:
        step, *rest = name.split("/")
        if step == "normalize" and rest[:-1] == ([] if space == NATIVE else [space]):
            chosen.setdefault(rest[-1].removeprefix("brain"), name)
    before = "bias" if space == NATIVE else f"resample/{space}/preproc"
    if before not in series.tasks and space != NATIVE:
        before = f"resample/{space}/brain"
    for variant, task in ((BEFORE, before), *sorted(chosen.items())):
        part = "_desc-preproc_" if task == "bias" else "_desc-"
        image = series.file(task, part)
        if image is None:
            continue
        hashes = [_hash_of(series, task, image)]
        if mask is not None and of_mask is not None:
            hashes.append(_hash_of(of_mask, "mask" if space == NATIVE else masks, mask))
        yield variant, image, mask, hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:24]


def _hash_of(series: SeriesContent, task: str, path: str) -> str:
    return next((file.sha256 for file in series.tasks[task].files if file.path == path), path)


def load_slice(one: Slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A slice on the canvas of `steps.slice_features`, and its brain.

    Raises
    ------
    ImageError
        The image cannot be read, or holds no brain in the middle.
    """
    try:
        image: Any = nib.load(one.image)
        if nib.aff2axcodes(image.affine) != ("R", "A", "S"):
            image = nib.as_closest_canonical(image)
        mask = _mask(one.mask) if one.mask is not None else None
        inside = mask if mask is not None else np.asarray(image.dataobj) != 0
        if inside.shape != image.shape:
            raise ImageError("the image and the brain mask have not the same grid")
        heights = np.flatnonzero(inside.any(axis=(0, 1)))
        if not heights.size:
            raise ImageError("its brain mask is empty")
        middle = int(heights[0] + heights[-1]) // 2
        plane = np.asarray(image.dataobj[:, :, middle], dtype=np.float32)
    except UNREADABLE as error:
        raise ImageError(f"it cannot be read: {error}") from error
    x, y = (float(edge) for edge in image.header.get_zooms()[:2])
    return slice_features.on_canvas(plane, inside[:, :, middle], (x, y))


@lru_cache(maxsize=8)
def _mask(path: Path) -> NDArray[np.bool_]:
    """A brain mask in RAS+ orientation; all series of a session share one."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj) > 0


class Extractor:
    """Features of slices by one descriptor, of which the known ones are not computed again.

    Attributes
    ----------
    name
        `plain` (no weights) or `densenet121`.
    failures
        Why a slice has no features, by its image.
    """

    def __init__(self, cache: Path, weights: Path | None = None) -> None:
        self.name = "densenet121" if weights is not None else "plain"
        self.failures: dict[str, str] = {}
        self._network: Any = None
        self._version = f"plain {slice_features.VERSION}"
        if weights is not None:
            if not weights.is_file():
                raise GroupError(f"--densenet-weights {weights}: no such file", NO_INPUT)
            try:
                self._network = densenet.load_network(weights)
            except densenet.WeightsError as error:
                raise GroupError(f"--densenet-weights {weights}: {error}") from error
            self._version = f"densenet121 {densenet.VERSION} {file_sha256(weights)}"
        self._path = cache / f"features-{self.name}.npz"
        self._known, self._used = _read(self._path), set[str]()
        self._changed = False

    def features(self, wanted: Sequence[Slice]) -> list[NDArray[np.float64] | None]:
        """Features of the slices of one variant and contrast, whose intensities are brought to one range together."""
        scale = self._scale(wanted)
        return [self._of(one, scale) for one in wanted]

    def save(self) -> None:
        """Keep the features that this run used.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        if self._changed or len(self._used) != len(self._known):
            kept = sorted(self._used)
            stream = io.BytesIO()
            table = np.array([self._known[key] for key in kept], dtype=np.float32)
            np.savez(stream, keys=np.array(kept, dtype="S24"), features=table)
            write_bytes(self._path, stream.getvalue())

    def _of(self, one: Slice, scale: tuple[float, float]) -> NDArray[np.float64] | None:
        said = f"{self._version} {slice_features.VERSION} {one.content} {scale[0]:g} {scale[1]:g}"
        key = hashlib.sha256(said.encode()).hexdigest()[:24]
        if key not in self._known:
            try:
                plane, inside = load_slice(one)
            except ImageError as error:
                # It is told on a page, which others may get.
                folders = {path.parent: "the output" for path in (one.image, one.mask) if path is not None}
                self.failures[one.image.name] = safe_text(str(error), folders)
                return None
            plane = np.where(inside, (plane - scale[0]) / (scale[1] - scale[0]), 0).astype(np.float32)
            if self._network is None:
                self._known[key] = slice_features.describe(plane, inside).astype(np.float32)
            else:
                self._known[key] = densenet.features_of(self._network, [plane])[0]
            self._changed = True
        self._used.add(key)
        return self._known[key].astype(np.float64)

    def _scale(self, wanted: Sequence[Slice]) -> tuple[float, float]:
        """The range that is mapped to 0 … 1: medians of the 1st and the 99th percentile, to two digits."""
        sample = sorted(wanted, key=lambda one: hashlib.sha256(one.series.encode()).digest())[:_SAMPLE]
        found = []
        for one in sample:
            try:
                plane, inside = load_slice(one)
            except ImageError:
                continue
            found.append(np.percentile(plane[inside], (1, 99)))
        if not found:
            return 0.0, 1.0
        low, high = (float(f"{value:.2g}") for value in np.median(np.array(found), axis=0))
        return (low, high) if high > low else (low, low + 1.0)


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    """The features of an earlier run."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return dict(zip((key.decode() for key in content["keys"]), content["features"], strict=True))
    except (*UNREADABLE, KeyError):
        return {}
