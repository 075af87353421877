"""Interface of the quality numbers of a series. It makes no file: its numbers are facts in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File, traits
from numpy.typing import NDArray

from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.context import AtlasSpace
from bids_app.workflow.interfaces.base import LesionInputSpec, StepInterface, conformed, conformed_mask


class MeasureInputSpec(LesionInputSpec):
    brain_mask = File(exists=True, mandatory=True)
    biasfield = File(exists=True)
    segmentation = File(exists=True)
    probseg_gm = traits.Str(desc="of the reference; the gate of its segmentation can leave the maps unmade")
    probseg_wm = traits.Str()
    probseg_csf = traits.Str()
    to_reference = File(exists=True)
    reference_image = File(exists=True)
    reference_brain_mask = File(exists=True)
    to_atlas = File(exists=True)
    from_atlas = File(exists=True, desc="where the transform to the atlas is not linear")


class Measure(StepInterface):
    """Quality numbers of a series, from the raw image and from what there is of its outputs."""

    input_spec = MeasureInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps import quality

        field = self._given("biasfield")
        head = quality.Head(
            images.conform(self.raw()),
            conformed_mask(self.inputs.brain_mask),
            conformed(field) if field else None,
            self._priors,
        )
        measured = quality.Measured()
        quality.measure_shape(measured, head)
        quality.measure_image(measured, head)
        quality.measure_bias(measured, head)
        if self.task.parameters["reference"]:
            quality.measure_atlas(measured, head, self._atlas())
        else:
            quality.measure_reference(measured, head, self._reference())
        part = self.task.series.diffusion
        if part is not None and part.role == "b0":
            quality.measure_template_fit(measured, head, self._template())
            scaled = self.context.settings.atlas_registration != "rigid"
            measured.numbers["template_scaled"] = float(scaled) if self._given("to_atlas") else None
        quality.measure_intensities(measured, head, self._normalizer())
        facts: dict[str, Any] = dict(measured.numbers)
        return {}, {**facts, "not_measured": measured.reasons} if measured.reasons else facts

    def _priors(self) -> Mapping[str, NDArray[Any]]:
        """Maps of the tissues at the voxels of the brain: the reference's, else of the labels, else of the atlas."""
        from bids_app.assets.tissue_maps import tissue_maps
        from bids_app.steps import quality

        if maps_of := self._tissue_maps():
            return maps_of
        if path := self._given("segmentation"):
            return _tissues_of(nib.load(path), conformed_mask(self.inputs.brain_mask))
        atlas = self._first_atlas()
        if atlas is None or not self._given("to_atlas"):
            raise quality.CannotMeasureError("no segmentation and no registration to an atlas tell its tissues")
        maps = tissue_maps(atlas.space)
        if maps is None:
            raise quality.CannotMeasureError(f"no tissue maps are known for the atlas {atlas.label}")
        mask = conformed_mask(self.inputs.brain_mask)
        return quality.carried_priors((maps.priors, self._way_to_atlas()), mask)

    def _tissue_maps(self) -> dict[str, NDArray[Any]]:
        """The reference's maps of tissue at the voxels of the brain; none where there are none."""
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid, resample

        paths = {tissue: getattr(self.inputs, f"probseg_{tissue}") for tissue in ("csf", "gm", "wm")}
        if not all(isinstance(path, str) and Path(path).is_file() for path in paths.values()):
            return {}
        mask = conformed_mask(self.inputs.brain_mask)
        inside, to_reference = images.mask_of(mask), self._given("to_reference")
        way = [read_transform(Path(to_reference)).GetInverse()] if to_reference else []
        return {
            tissue: images.array_of(resample(conformed(path), Grid.of(mask), way))[inside]
            for tissue, path in paths.items()
        }

    def _way_to_atlas(self) -> list[Any]:
        """Transforms that a point of the series goes through to the atlas."""
        from bids_app.steps.registration import read_transform

        to_reference = self._given("to_reference")
        way = [read_transform(Path(to_reference)).GetInverse()] if to_reference else []
        if back := self._given("from_atlas"):
            return [*way, read_transform(Path(back))]
        return [*way, read_transform(Path(self.inputs.to_atlas)).GetInverse()]

    def _reference(self) -> Any:
        from bids_app.steps import quality
        from bids_app.steps.registration import read_transform

        transform = self._given("to_reference")
        if not transform:
            return "it is not aligned with the reference"
        image, mask = conformed(self.inputs.reference_image), conformed_mask(self.inputs.reference_brain_mask)
        return quality.Fixed(image, mask, read_transform(Path(transform)))

    def _atlas(self) -> Any:
        from bids_app.assets import load_space
        from bids_app.assets.tissue_maps import tissue_maps
        from bids_app.steps import quality
        from bids_app.steps.registration import read_transform

        atlas, transform = self._first_atlas(), self._given("to_atlas")
        if atlas is None or not transform:
            return "it is not aligned with an atlas"
        maps = tissue_maps(atlas.space)
        ventricles = maps.ventricles if maps else None
        return quality.Fixed(*load_space(atlas.finest), read_transform(Path(transform)), ventricles)

    def _template(self) -> Any:
        """The atlas that a b0 image is held against, whether it is the reference or goes through it."""
        from bids_app.assets import load_space
        from bids_app.assets.tissue_maps import tissue_maps
        from bids_app.steps import quality
        from bids_app.steps.registration import read_transform

        atlas, to_atlas, to_reference = self._first_atlas(), self._given("to_atlas"), self._given("to_reference")
        if atlas is None or not to_atlas:
            return "it is not aligned with an atlas"
        maps = tissue_maps(atlas.space)
        way = [read_transform(Path(path)) for path in (to_atlas, to_reference) if path]
        return quality.Template(load_space(atlas.finest)[1], maps.ventricles if maps else None, way)

    def _normalizer(self) -> Callable[[Image, Image], Callable[[NDArray[Any]], NDArray[Any]]] | None:
        """What fits the first normalisation that was asked for."""
        from bids_app.steps.intensity import fit

        method = self.task.parameters["normalize"]
        standard = self.task.parameters.get("standard")
        if method is None or (method == "nyul" and standard is None):
            return None
        contrast = self.task.series.contrast

        def normalized(image: Image, mask: Image) -> Any:
            return fit(method, image, self.without_lesion(mask), contrast=contrast, standard=standard).apply

        return normalized

    def _first_atlas(self) -> AtlasSpace | None:
        return self.context.spaces[0] if self.context.spaces else None

    def _given(self, name: str) -> str | None:
        value = getattr(self.inputs, name)
        return value if isinstance(value, str) else None


def _tissues_of(segmentation: Any, brain_mask: Image) -> dict[str, NDArray[np.bool_]]:
    """The segmentation's classes as maps of three tissues, at the voxels of the brain.

    Deep grey matter, cerebellum and brain stem, which mix both matters, are none of them.
    """
    from bids_app.steps.brain_mask.synth import classes_table

    labels = np.rint(images.array_of(images.conform(segmentation))[images.mask_of(brain_mask)]).astype(np.int16)
    words = {"csf": ("ventricle", "fluid"), "gm": ("cortex",), "wm": ("white matter",)}
    chosen = {
        tissue: [index for index, name in classes_table() if any(word in name for word in named)]
        for tissue, named in words.items()
    }
    return {tissue: np.isin(labels, indices) for tissue, indices in chosen.items()}
