"""Interfaces of the tissue segmentation. Where its gate is closed they make no file and say why in the manifest."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, traits

from bids_app.outputs.products import TISSUES
from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.interfaces.base import StepInputSpec, StepInterface, conformed, conformed_mask, stored

#: The fact of a task that says why there is no tissue segmentation.
GATE = "tissue_gate"


class SegmentTissueInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    to_atlas = File(exists=True)
    from_atlas = File(exists=True, desc="where the transform to the atlas is not linear")


class SegmentTissue(StepInterface):
    """Probabilities and labels of grey matter, white matter and fluid of the reference, in its native space."""

    input_spec = SegmentTissueInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.tissue import TissueGateError, segment_tissue

        try:
            priors = self._priors()
            image, mask = conformed(self.inputs.image), conformed_mask(self.inputs.brain_mask)
            found = segment_tissue(image, mask, priors)
        except TissueGateError as error:
            log = logging.getLogger("bids_app")
            log.warning("%s: no tissue segmentation: %s", self.task.series.name, error)
            return {}, {GATE: str(error)}
        grid = stored(self.inputs.image)
        volumes = [
            {"method": "atropos", "structure": name, "hemisphere": "both", "volume_ml": _millilitres(part)}
            for name, part in found.probabilities.items()
        ]
        said = self.said("Atropos", VolumesMilliliters={row["structure"]: row["volume_ml"] for row in volumes})
        made: dict[str, Any] = {
            f"probseg_{name.lower()}": (images.on_raw_grid(part, grid), said)
            for name, part in found.probabilities.items()
        }
        made["probseg"] = (stacked([made[f"probseg_{name.lower()}"][0] for name in TISSUES]), said)
        made["tissue_dseg"] = (images.on_raw_grid(found.labels, grid), said)
        made["tissue_table"] = (tissue_table(), {})
        return made, {"volumes": volumes}

    def _priors(self) -> Any:
        """The maps of the first atlas at the voxels of the series."""
        from bids_app.assets.tissue_maps import tissue_priors
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid, resample
        from bids_app.steps.tissue import TissueGateError

        atlas = self.context.spaces[0] if self.context.spaces else None
        if atlas is None or not isinstance(self.inputs.to_atlas, str):
            raise TissueGateError("it is not aligned with an atlas")
        maps = tissue_priors(atlas.space, blurred=self.context.settings.atlas_registration != "syn")
        if maps is None:
            raise TissueGateError(f"no tissue maps are known for the atlas {atlas.label}")
        if isinstance(self.inputs.from_atlas, str):
            way = [read_transform(Path(self.inputs.from_atlas))]
        else:
            way = [read_transform(Path(self.inputs.to_atlas)).GetInverse()]
        grid, threads = Grid.of(conformed_mask(self.inputs.brain_mask)), self.context.settings.omp_nthreads
        return {name: resample(one, grid, way, threads=threads) for name, one in maps.items()}


class TissueInSpaceInputSpec(StepInputSpec):
    """The maps need not exist: the gate of the segmentation may be closed."""

    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    to_atlas = File(exists=True)
    probseg_gm = traits.Str()
    probseg_wm = traits.Str()
    probseg_csf = traits.Str()
    tissue_dseg = traits.Str()


class TissueInSpace(StepInterface):
    """The same in a space that the session's series meet in: probabilities linear, labels as labels."""

    input_spec = TissueInSpaceInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.assets import space_grid
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid, resample, resample_labels

        if not Path(self.inputs.tissue_dseg).is_file():
            return {}, {GATE: "it has no tissue segmentation"}
        threads = self.context.settings.omp_nthreads
        grid, way = Grid.of(stored(self.inputs.image)), []
        if self.task.space.kind == "atlas":
            atlas = next(each for each in self.context.spaces if each.output == self.task.space)
            grid, way = Grid(*space_grid(atlas.space)), [read_transform(Path(self.inputs.to_atlas))]
        maps = {role: stored(getattr(self.inputs, role)) for role in (f"probseg_{name.lower()}" for name in TISSUES)}
        moved = {role: resample(image, grid, way, threads=threads) for role, image in maps.items()}
        made: dict[str, Any] = {role: (image, {}) for role, image in moved.items()}
        made["probseg"] = (stacked(list(moved.values())), {})
        made["tissue_dseg"] = (resample_labels(stored(self.inputs.tissue_dseg), grid, way), {})
        made["tissue_table"] = (tissue_table(), {})
        return made, {}


def stacked(parts: list[Image]) -> Image:
    """Images on one grid as the volumes of a 4-D one."""
    return images.new_image(np.stack([images.array_of(part) for part in parts], axis=-1), parts[0].affine)


def tissue_table() -> bytes:
    """The names of the labels, as BIDS has it."""
    words = {"GM": "grey matter", "WM": "white matter", "CSF": "cerebrospinal fluid"}
    rows = ["index\tname\tabbreviation", "0\tbackground\tBG"]
    rows += [f"{index}\t{words[tissue]}\t{tissue}" for index, tissue in enumerate(TISSUES, start=1)]
    return ("\n".join(rows) + "\n").encode()


def _millilitres(part: Image) -> float:
    """Volume of a tissue, partial volume counted."""
    return round(float(images.array_of(part).sum(dtype=np.float64)) * images.voxel_ml(part), 3)
