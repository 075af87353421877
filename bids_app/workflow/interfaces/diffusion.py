"""Interfaces of the images that follow another one of their diffusion group, and of lesion masks."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File

from bids_app.inputs.series import Diffusion
from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.steps.resampling import Grid, resample, resample_mask
from bids_app.workflow.interfaces.base import StepInputSpec, StepInterface, conformed, conformed_mask, stored
from bids_app.workflow.interfaces.native import Deface


class _OfGroup(StepInterface):
    """What the steps of an image of a diffusion group share."""

    @property
    def part(self) -> Diffusion:
        """What the image is in its group."""
        part = self.task.series.diffusion
        assert part is not None
        return part


class SharedMaskInputSpec(StepInputSpec):
    leader_mask = File(exists=True, mandatory=True)


class SharedMask(_OfGroup):
    """The brain mask of the group's leader, by the headers on this image's grid (the same one, as a rule)."""

    input_spec = SharedMaskInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raw = self.raw()
        image = images.conform(raw)
        mask = resample_mask(stored(self.inputs.leader_mask), Grid.of(image))
        volume = round(float(images.mask_of(mask).sum()) * images.voxel_ml(mask), 2)
        if volume == 0:
            raise images.ImageError(f"it does not overlap with the brain of {self.part.leader}")
        said = self.said("shared", Leader=self.part.leader, VolumeMilliliters=volume)
        facts = {"mask_method": "shared", "mask_volume_ml": volume}
        return {"brain_mask": (images.on_raw_grid(mask, raw), said)}, facts


class SharedDefaceInputSpec(StepInputSpec):
    brain_mask = File(exists=True, mandatory=True)
    leader_face = File(exists=True, mandatory=True)


class SharedDeface(_OfGroup, Deface):
    """The face of the group's leader removed from this image, and the result looked at like every other."""

    input_spec = SharedDefaceInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.deface import deface
        from bids_app.steps.face_check import check_face

        raw = self.raw()
        before = images.conform(raw)
        face = resample_mask(stored(self.inputs.leader_face), Grid.of(before))
        defaced = deface(raw, face)
        after = images.conform(type(defaced).from_bytes(defaced.to_bytes()))
        check = check_face(before, conformed_mask(self.inputs.brain_mask), after)
        facts = self._judged(check, before, after)
        share = round(float(images.mask_of(face).mean()), 4)
        said = self.said("the face of the group", Leader=self.part.leader, FaceShareOfImage=share)
        result = {"SkinBefore": check.before.skin, "SkinLeft": check.after.skin, "EyesLeft": check.after.eyes}
        judged = {**said, "FaceCheck": {**result, "Passed": check.passed, "Reason": check.reason}}
        made = {"face_mask": (images.on_raw_grid(face, raw), said), "defaced": (defaced, judged)}
        return made, {"face_share": share, **facts}


class SharedBiasInputSpec(StepInputSpec):
    image = File(exists=True, desc="the defaced image; the raw one is taken when there is none")
    brain_mask = File(exists=True, mandatory=True)
    leader_field = File(exists=True, desc="none for a map, whose numbers have a unit")


class SharedBias(_OfGroup):
    """A trace divided by the field of its b0 image: both were received by the same coils. A map in mm^2/s."""

    input_spec = SharedBiasInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raw: Any = nib.load(self.inputs.image) if isinstance(self.inputs.image, str) else self.raw()
        image = images.conform(raw)
        if self.part.role == "adc":
            made, said, facts = self._in_unit(image)
        else:
            made, said, facts = self._corrected(image)
        return {"preproc": (images.on_raw_grid(made, raw), said)}, facts

    def _corrected(self, image: Image) -> tuple[Image, dict[str, Any], dict[str, Any]]:
        from bids_app.steps import bias_field

        field = conformed(self.inputs.leader_field)
        if not images.same_grid(field, image, tolerance_mm=0.01):
            moved = images.array_of(resample(field, Grid.of(image)))
            field = images.like(np.where(moved > 0, moved, np.float32(1)), image)
        said = self.said("the bias field of the group", Leader=self.part.leader)
        return bias_field.correct(image, field), said, {}

    def _in_unit(self, image: Image) -> tuple[Image, dict[str, Any], dict[str, Any]]:
        from bids_app.steps.diffusion import adc_unit

        array = images.array_of(image)
        computed = bool(self.part.made_of)
        unit = 1.0 if computed else adc_unit(array[images.mask_of(conformed_mask(self.inputs.brain_mask))])
        method = "two-point fit of b0 and trace" if computed else "the scanner's map in mm^2/s"
        said = self.said(method, UnitOfSource=unit)
        return images.like(array * np.float32(unit), image), said, {"adc_unit": unit}


class LesionInputSpec(StepInputSpec):
    """The lesion masks are files of the dataset, or of the folder of `--lesions`."""


class LesionMask(StepInterface):
    """The lesion masks that were drawn on a series, as one on its grid, by the headers."""

    input_spec = LesionInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.lesions import on_grid, read_mask

        raw = self.raw()
        x, y, z = (int(size) for size in raw.shape[:3])
        grid = Grid((x, y, z), images.grid_affine(raw))
        masks = [read_mask(nib.load(path)) for path in self.task.parameters["masks"]]
        moved = [not images.same_grid(mask, grid, tolerance_mm=0.01) for mask in masks]
        together = np.any([images.mask_of(on_grid(mask, grid)) for mask in masks], axis=0)
        lesion = images.new_image(together.astype(np.uint8), grid.affine)
        said, facts = lesion_told(lesion)
        said |= self.said("as drawn", ResampledByHeader=any(moved))
        return {"lesion_mask": (lesion, said)}, facts


def lesion_told(lesion: Image) -> tuple[dict[str, Any], dict[str, Any]]:
    """Volume and centre of a lesion mask, for its sidecar and for the tables."""
    from bids_app.steps.lesions import describe

    found = describe(lesion)
    centre = list(found.centre_mm) if found.centre_mm else None
    said = {"VolumeMilliliters": found.volume_ml, "CentreMillimeters": centre, "Parts": found.parts}
    facts: dict[str, Any] = {"lesion_ml": found.volume_ml, "lesion_parts": found.parts}
    facts |= {f"lesion_{axis}_mm": value for axis, value in zip("xyz", centre or (), strict=False)}
    return said, facts


class MeasureMapInputSpec(StepInputSpec):
    brain_mask = File(exists=True, mandatory=True)
    map = File(exists=True)
    scanner_map = File(exists=True)


class MeasureMap(StepInterface):
    """Numbers of an ADC map: those of its shape, its level in the brain, its agreement with the scanner's own."""

    input_spec = MeasureMapInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps import quality
        from bids_app.steps.diffusion import agreement

        mask = conformed_mask(self.inputs.brain_mask)
        measured = quality.Measured()
        quality.measure_shape(measured, quality.Head(images.conform(self.raw()), mask, None, dict))
        facts: dict[str, Any] = dict(measured.numbers)
        inside = images.mask_of(mask)
        if isinstance(self.inputs.map, str):
            own = images.array_of(conformed(self.inputs.map))[inside]
            positive = own[own > 0]
            facts["adc_median"] = float(f"{np.median(positive):.5g}") if positive.size else None
            if isinstance(self.inputs.scanner_map, str):
                other = conformed(self.inputs.scanner_map)
                if not images.same_grid(other, mask, tolerance_mm=0.01):
                    other = resample(other, Grid.of(mask))
                found = agreement(own, images.array_of(other)[inside])
                facts["adc_scanner_ratio"] = round(found.median_ratio, 5)
                facts["adc_scanner_correlation"] = round(found.correlation, 5)
        return {}, {**facts, "not_measured": measured.reasons} if measured.reasons else facts
