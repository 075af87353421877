"""What all sessions of a run share: the settings, the atlases, the way to brain masks, the versions of the steps.

Resolved once, before the first minute of work, so that what is missing is said at once; then passed to the workers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bids_app.assets import Space
from bids_app.assets.parcellations import Parcellation
from bids_app.inputs.series import Series
from bids_app.outputs.tree import OutputSpace
from bids_app.settings import Settings


@dataclass(frozen=True)
class Extraction:
    """How a series gets its brain mask.

    Attributes
    ----------
    method
        "hd-bet", "synth", "template", "precomputed" or "shared" (the one of its diffusion group).
    content
        Hash of the weights or of the given mask: part of the key of the mask.
    reason
        Why this method, in words for the log and the sidecar.
    """

    method: str
    content: str = ""
    version: str = ""
    reason: str = ""
    weights: Path | None = None
    device: str = "cpu"
    mirroring: bool = False
    engine: str = ""
    mask: Path | None = None

    def parameters(self) -> dict[str, Any]:
        """What goes into the key and the sidecar: nothing of this machine."""
        result: dict[str, Any] = {"method": self.method, "version": self.version}
        if self.method == "hd-bet":
            result |= {"mirroring": self.mirroring, "engine": self.engine}
        return result


@dataclass(frozen=True)
class AtlasSpace:
    """An atlas to register to, with the names that its outputs carry.

    Attributes
    ----------
    spec
        As it was asked for (`MNI152NLin2009aSym`, `MNI152NLin2009cAsym:res-2`, a file's name).
    finest
        The same atlas at its finest resolution: what is registered to, whatever grid is asked for.
    content
        Hash of what that consists of: part of the key of the registration.
    """

    spec: str
    space: Space
    finest: Space
    output: OutputSpace
    content: str

    @property
    def label(self) -> str:
        """Value of `space-`."""
        return self.output.label

    @property
    def uri(self) -> str:
        """What a transform's sidecar calls it."""
        return self.output.spatial_reference or self.output.label


#: The within-subject template, as a space and as what a task stands on.
INDIVIDUAL = "individual"


@dataclass(frozen=True)
class IndividualSpace:
    """The within-subject template of a participant, as the sessions see it.

    Attributes
    ----------
    key
        Of the tasks that made it: what a session's tasks in its space stand on.
    image
        The template; with the paths of the others below the output's root.
    transforms
        From a session's reference to the template, by the session's label.
    atlases
        The transforms between the template and an atlas, by the atlas' label and by role.
    problems
        Why a session is not part of it.
    """

    key: str
    image: PurePosixPath
    transforms: Mapping[str, PurePosixPath]
    atlases: Mapping[str, Mapping[str, PurePosixPath]]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class RunContext:
    """Everything that a worker needs beside the session itself.

    Attributes
    ----------
    nyul
        Standard scales for `nyul`, by contrast (`outputs.landmarks.contrast_label`).
    individual
        The within-subject template of the participant whose sessions are at work, if there is one.
    parcellation, parcellation_space, midline_mm
        The regions to be measured, the atlas that they are drawn in, and x (RAS+ mm) of its midsagittal plane.
    gpu
        Where the processes wait that predict on the GPUs (see `workflow.gpu`), if there are any.
    """

    settings: Settings
    versions: Mapping[str, str]
    default_extraction: Extraction
    other_extraction: Extraction
    given_masks: Mapping[str, Path] = field(default_factory=dict)
    spaces: tuple[AtlasSpace, ...] = ()
    nyul: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    parcellation: Parcellation | None = None
    parcellation_space: AtlasSpace | None = None
    midline_mm: float = 0.0
    gpu: Path | None = None
    individual: IndividualSpace | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> RunContext:
        """Itself: Nipype copies the inputs of a node many times, and nothing changes a context."""
        return self

    def extraction_for(self, series: Series) -> Extraction:
        """How a series gets its mask: a given mask, else the run's method, else, for a contrast that HD-BET was not
        trained on, the network that ships."""
        from bids_app.inputs.content import file_sha256
        from bids_app.steps.brain_mask.hd_bet import trained_on

        if series.follows:
            return Extraction("shared", version="1", reason="one mask serves all images of an acquisition")
        given = self.given_masks.get(series.name)
        if given is not None:
            return Extraction("precomputed", file_sha256(given), "3", "a mask was given", mask=given)
        if self.default_extraction.method == "hd-bet" and not trained_on(series.suffix):
            return self.other_extraction
        return self.default_extraction

    def standard_for(self, series: Series) -> tuple[float, ...] | None:
        """The group's standard scale for the contrast of a series; None where its landmarks have none."""
        from bids_app.outputs.landmarks import contrast_label

        return self.nyul.get(contrast_label(series.contrast, series.contrast_agent))


def step_versions() -> dict[str, str]:
    """The version of every step: a change of it makes finished work count as unfinished."""
    from bids_app.steps import (
        bias_field,
        deface,
        denoise,
        face_check,
        intensity,
        lesions,
        modulation,
        quality,
        regions,
        registration,
        resampling,
        thickness,
    )
    from bids_app.steps.brain_mask import synth

    return {
        "mask": "1",  # the methods' own versions are part of the parameters
        "deface": f"{deface.VERSION}/{face_check.VERSION}",
        "lesion": lesions.VERSION,
        "denoise": denoise.VERSION,
        "bias": bias_field.VERSION,
        "coregister": registration.VERSION,
        "atlas": registration.VERSION,
        "resample": resampling.VERSION,
        "normalize": f"{resampling.VERSION}/{intensity.VERSION}",
        "measure": quality.VERSION,
        "vbm": f"{modulation.VERSION}/{resampling.VERSION}",
        "regions": f"{regions.VERSION}/{resampling.VERSION}",
        "thickness": thickness.VERSION,
        "segment": f"{synth.VERSION}/{synth.weights_sha256()[:12]}",
    }


def atlas_space(spec: str, space: Space, finest: Space) -> AtlasSpace:
    """Name an atlas' outputs: `res-` always, `SpatialReference` where BIDS does not know the space."""
    from bids_app.assets import space_grid

    shape, affine = space_grid(space)
    spacing = " x ".join(f"{edge:g}" for edge in _edges(affine))
    text = f"{spacing} mm, {' x '.join(str(size) for size in shape)} voxels"
    label = re.sub("[^a-zA-Z0-9]", "", space.name + (f"cohort{space.cohort}" if space.cohort else ""))
    reference = None if space.standard else f"bids:{label}:{space.brain.name}"
    resolution = space.resolution or re.sub(r"\D", "", f"{_edges(affine)[0]:g}") or "1"
    digest = hashlib.sha256()
    for path in (finest.brain, finest.brain_mask):
        if path is not None and path.is_file():
            digest.update(path.read_bytes())
    output = OutputSpace("atlas", label, resolution, reference, text)
    return AtlasSpace(spec, space, finest, output, digest.hexdigest())


def _edges(affine: Any) -> tuple[float, float, float]:
    import numpy as np

    x, y, z = np.round(np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(axis=0)), 3)
    return float(x), float(y), float(z)
