"""Interfaces of what is written in each output space: the one interpolation, and normalised intensities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File
from numpy.typing import NDArray

from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.interfaces.base import LesionInputSpec, StepInterface, conformed, conformed_mask, stored
from bids_app.workflow.interfaces.diffusion import lesion_told


class ResampleInputSpec(LesionInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    face_mask = File(exists=True)
    reference_image = File(exists=True)
    reference_brain_mask = File(exists=True)
    to_reference = File(exists=True)
    to_atlas = File(exists=True)
    template = File(exists=True, desc="the within-subject template: its grid is that of the space")
    to_template = File(exists=True)
    segmentation = File(exists=True)


class _ToSpace(StepInterface):
    """What resampling and normalising share: the one way from native voxels to an output space."""

    input_spec = ResampleInputSpec

    def image_in_space(self) -> Image:
        """The image in the task's space, after at most one interpolation."""
        from bids_app.steps.resampling import resample, resample_mask

        image = stored(self.inputs.image)
        if self.task.space.kind == "native":
            return image
        grid, to_atlas, to_reference = self._way()
        interpolation = self.context.settings.interpolation
        threads = self.context.settings.omp_nthreads
        chain = to_atlas + to_reference
        moved = resample(image, grid, chain, interpolation=interpolation, threads=threads)
        if face := self._given("face_mask"):  # the voxels at its rim would be interpolated from both sides
            removed = images.mask_of(resample_mask(stored(face), grid, chain))
            moved = images.like(np.where(removed, np.float32(0), images.array_of(moved)), moved)
        return moved

    def brain_in_space(self) -> Image:
        """The brain mask in the task's space: the reference's, but in native space."""
        from bids_app.steps.resampling import resample_mask

        if self.task.space.kind == "native":
            return stored(self.inputs.brain_mask)
        grid, to_atlas, _ = self._way()
        return resample_mask(stored(self._given("reference_brain_mask") or self.inputs.brain_mask), grid, to_atlas)

    def shown_in_space(self) -> NDArray[np.bool_]:
        """Where the series shows something in the task's space: inside its field of view, and not removed as face."""
        from bids_app.steps.resampling import resample_mask

        image = stored(self.inputs.image)
        whole = images.like(np.ones(image.shape[:3], np.uint8), image)
        if face := self._given("face_mask"):
            whole = images.like((~images.mask_of(stored(face))).astype(np.uint8), image)
        if self.task.space.kind == "native":
            return images.mask_of(whole)
        grid, to_atlas, to_reference = self._way()
        return images.mask_of(resample_mask(whole, grid, to_atlas + to_reference))

    def _way(self) -> tuple[Any, list[Any], list[Any]]:
        """The output grid, and the transforms from it to the reference and on to the series."""
        from bids_app.assets import space_grid
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid

        to_reference = self._given("to_reference")
        chain = [read_transform(Path(to_reference))] if to_reference else []
        if template := self._given("template"):
            return Grid.of(stored(template)), [read_transform(Path(self.inputs.to_template))], chain
        if self.task.space.kind == "reference":
            return Grid.of(stored(self._given("reference_image") or self.inputs.image)), [], chain
        if self.task.space.kind == "isotropic":
            return Grid.isotropic(stored(self.inputs.image), self.context.settings.isotropic_mm), [], []
        atlas = next(each for each in self.context.spaces if each.output == self.task.space)
        return Grid(*space_grid(atlas.space)), [read_transform(Path(self.inputs.to_atlas))], chain

    def _given(self, name: str) -> str | None:
        value = getattr(self.inputs, name)
        return value if isinstance(value, str) else None


class Resample(_ToSpace):
    """The image in a space, with skull and without; the reference also carries its masks there."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.lesions import carried
        from bids_app.steps.resampling import resample_labels, resample_mask

        targets = self.task.targets
        if "segmentation" in targets:
            grid, to_atlas, _ = self._way()
            return {"segmentation": (resample_labels(stored(self.inputs.segmentation), grid, to_atlas), {})}, {}
        if "lesion_mask" in targets:
            grid, to_atlas, to_reference = self._way()
            lesion = carried(stored(self.inputs.lesion), grid, to_atlas + to_reference)
            said, facts = lesion_told(lesion)
            return {"lesion_mask": (lesion, said)}, facts
        made: dict[str, Any] = {}
        if "brain_mask" in targets:
            made["brain_mask"] = (self.brain_in_space(), {})
        if "face_mask" in targets:
            grid, to_atlas, _ = self._way()
            made["face_mask"] = (resample_mask(stored(self.inputs.face_mask), grid, to_atlas), {})
        if not {"preproc", "brain"} & set(targets):
            return made, {}
        image = self.image_in_space()
        said = self.said("one interpolation" if self.task.space.kind != "native" else "masked")
        if "preproc" in targets:
            copied = self.task.space.kind == "reference" and not (
                self._given("reference_image") or self._given("template")
            )
            made["preproc"] = (Path(self.inputs.image).read_bytes(), {}) if copied else (image, said)
        if "brain" in targets:
            made["brain"] = (images.like(_inside(image, self.brain_in_space()), image), said)
        return made, {}


class Normalize(_ToSpace):
    """The normalised variants in a space; intensities are always fitted to the native voxels of the brain."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.intensity import fit

        native, native_mask = conformed(self.inputs.image), conformed_mask(self.inputs.brain_mask)
        native_mask = self.without_lesion(native_mask)
        image = self.image_in_space()
        values = images.array_of(image)
        brain = any(variant.startswith("brain") for variant in self.task.targets)
        inside_brain = images.mask_of(self.brain_in_space()) if brain else values != 0
        if (values[inside_brain] == 0).any():  # the reference may see more of the brain than this series does
            inside_brain &= self.shown_in_space()
        made: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        for variant in self.task.targets:
            method = variant.removeprefix("brain")
            standard = self.task.parameters.get("standard")
            if method == "nyul" and standard is None:
                raise images.ImageError(
                    f"--nyul-landmarks has none for its contrast (only for {', '.join(sorted(self.context.nyul))}); "
                    "learn them from a group that has it"
                )
            normalization = fit(
                method, native, native_mask, contrast=self.task.series.contrast, standard=standard
            )  # fmt: skip
            said = self.said(method, Parameters=dict(normalization.parameters))
            facts[method] = dict(normalization.parameters)
            if method == "gaussianmixture":
                facts["gaussianmixture_fallback"] = normalization.parameters["fallback"]
            inside = inside_brain if variant.startswith("brain") else values != 0
            mapped = np.zeros(values.shape, np.float32)
            mapped[inside] = normalization.apply(values[inside])
            made[variant] = (images.like(mapped, image), said)
        return made, facts


def _inside(image: Any, mask: Any) -> Any:
    return np.where(images.mask_of(mask), images.array_of(image), np.float32(0))
