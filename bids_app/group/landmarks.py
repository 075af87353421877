"""Learning the landmarks of Nyul's normalisation from all processed series of a group, contrast by contrast.

Each series' own landmarks are kept in `logs/group/nyul.json` by the hashes of its image and mask, so that a later run
reads the new ones alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app.group.datasets import Source
from bids_app.group.from_output import contrast_of
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.landmarks import Standard
from bids_app.outputs.writer import json_bytes, write_if_changed
from bids_app.reports.contents import UNREADABLE, SeriesContent, read_participant, subjects_of
from bids_app.steps import images
from bids_app.steps.intensity import VERSION, nyul_landmarks, nyul_standard


@dataclass(frozen=True)
class Learnt:
    """The standard scale of each contrast, and why a series has no part in it."""

    standards: Mapping[str, Standard]
    failures: Mapping[str, str]


def learn(sources: Iterable[Source], cache: Path) -> Learnt:
    """Learn from every series whose steps are done and whose bias field was removed.

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    known, kept = _read(cache / "nyul.json"), dict[str, list[float]]()
    found: dict[str, list[list[float]]] = {}
    failures: dict[str, str] = {}
    for source in sources:
        for subject in subjects_of(source.output) if source.output else ():
            assert source.output is not None
            for session in read_participant(source.output, subject).sessions:
                for series in session.series:
                    paths = _files(series)
                    if series.cell("status") != "done" or paths is None:
                        continue
                    image, mask, key = paths
                    try:
                        kept[key] = known[key] if key in known else _of(source.output, image, mask)
                    except (images.ImageError, *UNREADABLE) as error:
                        # It is told on a page, which others may get.
                        failures[series.name] = safe_text(str(error), {source.output: "the output"})
                        continue
                    contrast = contrast_of(series)
                    found.setdefault(contrast, []).append(kept[key])
    write_if_changed(cache / "nyul.json", json_bytes(kept))
    standards = {
        contrast: Standard(tuple(nyul_standard(landmarks)), len(landmarks))
        for contrast, landmarks in sorted(found.items())
    }
    return Learnt(standards, failures)


def _files(series: SeriesContent) -> tuple[str, str, str] | None:
    """The bias-corrected image, its brain mask, and the hash of both."""
    image, mask = series.file("bias", "_desc-preproc_"), series.file("mask", "_label-brain_")
    if image is None or mask is None:
        return None
    files = (*series.tasks["bias"].files, *series.tasks["mask"].files)
    hashes = [file.sha256 for file in files if file.path in (image, mask)]
    return image, mask, hashlib.sha256(" ".join((VERSION, *hashes)).encode()).hexdigest()[:24]


def _of(output: Path, image: str, mask: str) -> list[float]:
    """The landmarks of one series.

    Raises
    ------
    ImageError
        They do not rise: nearly all of its brain has one value.
    """
    brain = images.conform(nib.load(output / mask), may_be_constant=True)
    landmarks = nyul_landmarks(images.conform(nib.load(output / image)), brain)
    if not landmarks[-1] > landmarks[0]:
        raise images.ImageError("nearly all voxels of its brain have one value")
    return landmarks


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
