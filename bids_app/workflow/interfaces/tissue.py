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
    intracranial_mask = File(exists=True, mandatory=True)
    segmentation = File(exists=True, mandatory=True, desc="by synth")
    to_atlas = File(exists=True)
    from_atlas = File(exists=True, desc="where the transform to the atlas is not linear")


class SegmentTissue(StepInterface):
    """Probabilities and labels of grey matter, white matter and fluid of the reference, in its native space."""

    input_spec = SegmentTissueInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.tissue import TissueGateError

        try:
            return self._segmented()
        except TissueGateError as error:
            log = logging.getLogger("bids_app")
            log.warning("%s: no tissue segmentation: %s", self.task.series.name, error)
            return {}, {GATE: str(error)}

    def _segmented(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.brain_mask.synth import classes_table
        from bids_app.steps.tissue import VENTRICLES, check_contrast, check_grid, segment_tissue

        mask = conformed_mask(self.inputs.brain_mask)
        check_grid(mask)
        atlas, coverage = self._atlas(mask)
        inside, regions = conformed_mask(self.inputs.intracranial_mask), conformed(self.inputs.segmentation)
        names = [name for _, name in classes_table()]
        found = segment_tissue(conformed(self.inputs.image), mask, inside, regions, names, atlas)
        contrast = check_contrast(found.mixture)
        volumes = [_row(name, "both", _millilitres(part)) for name, part in found.probabilities.items()]
        for name, volume in found.ventricle_ml.items():
            side, _, rest = name.partition(" ")
            sided = side in ("left", "right")
            volumes.append(_row(rest if sided else name, side if sided else "both", volume))
        facts = {
            **{f"{row['structure'].lower()}_ml": row["volume_ml"] for row in volumes[: len(TISSUES)]},
            "volumes": volumes, "tissue_coverage": round(coverage, 4),
            "tissue_contrast_gm_wm": round(contrast[0], 3), "tissue_contrast_csf_gm": round(contrast[1], 3),
        }  # fmt: skip
        told = {"CoverageOfAtlas": facts["tissue_coverage"], "ContrastGMWM": facts["tissue_contrast_gm_wm"]}
        mixture = {"Means": _rounded(found.mixture.means), "StandardDeviations": _rounded(found.mixture.sds)}
        said = self.said("mixture with partial volume; priors by synth and the atlas", **told, Intensities=mixture)
        grid = stored(self.inputs.image)
        made: dict[str, Any] = {
            f"probseg_{name.lower()}": (images.on_raw_grid(part, grid), said)
            for name, part in found.probabilities.items()
        }
        made["probseg"] = (stacked([made[f"probseg_{name.lower()}"][0] for name in TISSUES]), said)
        made["tissue_dseg"] = (images.on_raw_grid(found.labels, grid), said)
        made["tissue_table"] = (tissue_table(), {})
        made["ventricles"] = (images.on_raw_grid(found.ventricles, grid), said)
        rows = ["index\tname", "0\tbackground", *(f"{n}\t{name}" for n, name in enumerate(VENTRICLES, 1))]
        made["ventricles_table"] = (("\n".join(rows) + "\n").encode(), {})
        return made, facts

    def _atlas(self, mask: Image) -> tuple[dict[str, Image], float]:
        """The maps of the first atlas at the voxels of the series, and the share of its brain that is in view."""
        from bids_app.assets import load_space
        from bids_app.assets.tissue_maps import tissue_priors
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid, resample
        from bids_app.steps.tissue import TissueGateError, check_coverage

        atlas = self.context.spaces[0] if self.context.spaces else None
        if atlas is None or not isinstance(self.inputs.to_atlas, str):
            raise TissueGateError("it is not aligned with an atlas")
        maps = tissue_priors(atlas.space, blurred=self.context.settings.atlas_registration != "syn")
        if maps is None:
            raise TissueGateError(f"no tissue maps are known for the atlas {atlas.label}")
        there = read_transform(Path(self.inputs.to_atlas))
        back = self.inputs.from_atlas
        way = [read_transform(Path(back)) if isinstance(back, str) else there.GetInverse()]
        coverage = check_coverage(mask, load_space(atlas.finest)[1], [there])
        threads = self.context.settings.omp_nthreads
        return {name: resample(one, Grid.of(mask), way, threads=threads) for name, one in maps.items()}, coverage


class TissueInSpaceInputSpec(StepInputSpec):
    """The maps need not exist: the gate of the segmentation may be closed."""

    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    to_atlas = File(exists=True)
    template = File(exists=True)
    to_template = File(exists=True)
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
            return {}, {}
        threads = self.context.settings.omp_nthreads
        grid, way = Grid.of(stored(self.inputs.image)), []
        if self.task.space.kind == "atlas":
            atlas = next(each for each in self.context.spaces if each.output == self.task.space)
            grid, way = Grid(*space_grid(atlas.space)), [read_transform(Path(self.inputs.to_atlas))]
        if isinstance(self.inputs.template, str):
            grid, way = Grid.of(stored(self.inputs.template)), [read_transform(Path(self.inputs.to_template))]
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


def _row(structure: str, hemisphere: str, volume: float) -> dict[str, Any]:
    return {"method": "tissue", "structure": structure, "hemisphere": hemisphere, "volume_ml": round(volume, 3)}


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


def _millilitres(part: Image) -> float:
    """Volume of a tissue, partial volume counted."""
    return float(images.array_of(part).sum(dtype=np.float64)) * images.voxel_ml(part)
