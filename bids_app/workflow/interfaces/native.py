"""Interfaces of what is done to a series in its native space, each series alone."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File

from bids_app.outputs.manifest import TaskRecord, manifest_path, record_task
from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.context import RunContext
from bids_app.workflow.interfaces.base import LesionInputSpec, StepInputSpec, StepInterface, conformed_mask, stored

if TYPE_CHECKING:
    from bids_app.steps.face_check import FaceCheck


class MaskInputSpec(StepInputSpec):
    """The mask reads the raw image alone."""


class Mask(StepInterface):
    """Brain mask of a series, in its native space."""

    input_spec = MaskInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raw = self.raw()
        extraction = self.context.extraction_for(self.task.series)
        mask, inside = _extract(raw, extraction, self.context)
        volume = _volume_ml(mask)
        if volume == 0:
            raise images.ImageError(f"{extraction.method} found no brain in it")
        said = self.said(extraction.method, Reason=extraction.reason, VolumeMilliliters=volume)
        facts = {"mask_method": extraction.method, "mask_volume_ml": volume}
        made: dict[str, Any] = {"brain_mask": (images.on_raw_grid(mask, raw), said)}
        if inside is not None:
            facts["intracranial_ml"] = _volume_ml(inside)
            said = self.said(extraction.method, VolumeMilliliters=facts["intracranial_ml"])
            made["intracranial_mask"] = (images.on_raw_grid(inside, raw), said)
        return made, facts


class DefaceInputSpec(StepInputSpec):
    brain_mask = File(exists=True, mandatory=True)
    intracranial_mask = File(exists=True, desc="the space inside the skull, where the brain mask came with it")


class Deface(StepInterface):
    """Face mask, and the raw image with the face set to 0; every other voxel keeps its bits."""

    input_spec = DefaceInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.face_removal import remove_face

        raw = self.raw()
        skull = self.inputs.intracranial_mask
        inside = conformed_mask(skull) if isinstance(skull, str) else None
        doubtful = self.context.extraction_for(self.task.series).method == "template"
        found = remove_face(raw, conformed_mask(self.inputs.brain_mask), inside, doubtful=doubtful)
        check = found.check
        facts = self._judged(check, found.before, found.after)
        share = round(float(images.mask_of(found.face).mean()), 4)
        said = self.said("Quickshear, in millimetres", FaceShareOfImage=share, OrbitsToTheirEnds=found.deep)
        result = {"SkinBefore": check.before.skin, "SkinLeft": check.after.skin, "EyesLeft": check.after.eyes}
        judged = {**said, "FaceCheck": {**result, "Passed": check.passed, "Reason": check.reason}}
        made = {"face_mask": (images.on_raw_grid(found.face, raw), said), "defaced": (found.defaced, judged)}
        return made, {"face_share": share, **facts}

    def _judged(self, check: FaceCheck, before: Image, after: Image) -> dict[str, Any]:
        """The face check's numbers for the tables; a face that is left ends the series."""
        facts = {
            "face_skin_before": check.before.skin,
            "face_skin_left": check.after.skin,
            "face_eyes_left": check.after.eyes,
            "face_check": "passed" if check.passed else "allowed",
        }
        if check.passed:
            return facts
        series, settings = self.task.series, self.context.settings
        if settings.allow_face:
            logging.getLogger("bids_app").warning("%s: %s; written, as --allow-face says", series.name, check.reason)
            return facts
        self._withdraw({**facts, "face_check": "failed"})
        if settings.work_dir is not None:  # a folder of the user's own: a picture of a face goes nowhere else
            _write_face_picture(settings.work_dir / "face_check" / f"{series.name}.png", (before, after), check)
            seen = "look at its picture under face_check in the work folder"
        else:
            seen = "look at it (a run with -w DIR leaves a picture in DIR/face_check)"
        raise images.ImageError(
            f"the face check of {series.name} failed after defacing: {check.reason}. Nothing of it is written: {seen}, "
            "give a better brain mask with --masks, or write it nevertheless with --allow-face"
        )

    def _withdraw(self, facts: dict[str, Any]) -> None:
        """Take back what an earlier run wrote, and leave the numbers for the table; what stands on it goes with it."""
        output, series = self.context.settings.output_dir, self.task.series
        manifest = manifest_path(output, series.entity("sub") or "", series.entity("ses"))
        record_task(output, manifest, self.task.name, TaskRecord("a face is left", self.task.parents, (), facts))


class DenoiseInputSpec(StepInputSpec):
    image = File(exists=True, desc="the defaced image; the raw one is taken when there is none")
    brain_mask = File(exists=True, mandatory=True)


class Denoise(StepInterface):
    """The defaced image without noise; what was taken away is the difference of the two."""

    input_spec = DenoiseInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.denoise import denoise

        stored: Any = nib.load(self.inputs.image) if isinstance(self.inputs.image, str) else self.raw()
        found = denoise(images.conform(stored), conformed_mask(self.inputs.brain_mask), self.task.series.contrast)
        noise = float(f"{found.noise_sd:.4g}")
        said = self.said(
            "adaptive non-local means", NoiseModel=found.noise_model, NoiseSD=noise,
            PatchRadius=list(found.patch_radius), SearchRadius=list(found.search_radius),
        )  # fmt: skip
        return {"denoised": (images.on_raw_grid(found.image, stored), said)}, {"noise_sd": noise}


class BiasInputSpec(LesionInputSpec):
    image = File(exists=True, desc="the defaced or denoised image; the raw one is taken when there is none")
    brain_mask = File(exists=True, mandatory=True)


class Bias(StepInterface):
    """N4 bias field inside the brain mask, and the image divided by it."""

    input_spec = BiasInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps import bias_field

        stored: Any = nib.load(self.inputs.image) if isinstance(self.inputs.image, str) else self.raw()
        image, mask = images.conform(stored), self.without_lesion(conformed_mask(self.inputs.brain_mask))
        settings = bias_field.n4_settings(self.task.series.contrast, self.task.series.contrast_agent)
        field = bias_field.bias_field(image, mask, settings)
        corrected = bias_field.correct(image, field)
        inside = images.mask_of(mask)
        low, high = np.percentile(images.array_of(field)[inside], (1, 99))
        facts = {"bias_p01": round(float(low), 4), "bias_p99": round(float(high), 4)}
        said = self.said("N4", Settings=vars(settings), FieldRangeInBrain=[facts["bias_p01"], facts["bias_p99"]])
        made = {
            "biasfield": (images.on_raw_grid(field, stored), said),
            "preproc": (images.on_raw_grid(corrected, stored), said),
        }
        return made, facts


class SegmentInputSpec(StepInputSpec):
    """The segmentation reads the raw image alone, but where the sessions of a participant have a template."""

    image = File(exists=True, desc="bias-corrected; with the template alone")
    template = File(exists=True)
    to_template = File(exists=True)


class Segment(StepInterface):
    """Tissue classes and intracranial mask of a series, in its native space.

    With a within-subject template the image is looked at without its bias field in the template's pose, on its grid,
    and volumes are counted there: in another pose or field another volume of the same head would be found.
    """

    input_spec = SegmentInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.brain_mask.synth import classes_table, synth_segmentation
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid, resample, resample_labels, resample_mask

        threads = self.context.settings.omp_nthreads
        raw = stored(self.inputs.image) if isinstance(self.inputs.image, str) else self.raw()
        image = images.conform(raw)
        native, way = Grid.of(image), None
        if isinstance(self.inputs.template, str):
            way = read_transform(Path(self.inputs.to_template))
            image = resample(image, Grid.of(stored(self.inputs.template)), [way], threads=threads)
        found = synth_segmentation(image, threads=threads)
        counts = np.bincount(images.array_of(found.labels).astype(int).ravel(), minlength=len(classes_table()))
        volume = {
            name.replace(" ", "_"): round(float(counts[index]) * images.voxel_ml(found.labels), 2)
            for index, name in classes_table()[1:]
        }
        inside = _volume_ml(found.intracranial)
        rows = ["index\tname", *(f"{index}\t{name}" for index, name in classes_table())]
        said = self.said("synth")
        labels, skull = found.labels, found.intracranial
        if way is not None:
            back = [way.GetInverse()]
            labels, skull = resample_labels(labels, native, back), resample_mask(skull, native, back)
        made = {
            "segmentation": (images.on_raw_grid(labels, raw), said),
            "segmentation_table": (("\n".join(rows) + "\n").encode(), {}),
        }
        if "intracranial_mask" in self.task.targets:
            told = {**said, "VolumeMilliliters": inside}
            made["intracranial_mask"] = (images.on_raw_grid(skull, raw), told)
        return made, {"intracranial_ml": inside, "tissue_ml": volume}


def _write_face_picture(path: Path, shown: tuple[Image, ...], check: Any) -> None:
    """The head's surface before and after defacing, side by side, for the user alone (folder 0700, file 0600)."""
    from PIL import Image as Picture

    from bids_app.steps.face_check import face_picture

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    Picture.fromarray(np.hstack([face_picture(image, check) for image in shown])).save(path)
    path.chmod(0o600)


def _volume_ml(mask: Image) -> float:
    return round(float(images.mask_of(mask).sum()) * images.voxel_ml(mask), 2)


def _extract(raw: Any, extraction: Any, context: RunContext) -> tuple[Image, Image | None]:
    """The brain mask of a raw image by the chosen method, and the intracranial one where it sees it; conformed."""
    settings = context.settings
    image = images.conform(raw)
    if extraction.method == "precomputed":
        from bids_app.steps.brain_mask import given_brain

        given = images.conform(nib.load(extraction.mask), may_be_constant=True)
        if not images.same_grid(given, image, tolerance_mm=0.01):
            raise images.ImageError(f"the given mask {extraction.mask.name} is on another grid")
        return images.like(given_brain(images.array_of(given)).astype(np.uint8), image), None
    if extraction.method == "hd-bet":
        from bids_app.steps.brain_mask.hd_bet import is_left_handed, load
        from bids_app.workflow.gpu import predict_on_gpu

        model = load(
            extraction.weights,
            device=extraction.device,
            engine=extraction.engine,
            mirroring=extraction.mirroring,
            threads=settings.omp_nthreads,
            scores=partial(predict_on_gpu, context.gpu) if context.gpu else None,
        )
        return model.mask(image, left_handed=is_left_handed(raw)), None
    if extraction.method == "synth":
        from bids_app.steps.brain_mask.synth import synth_mask

        seen = synth_mask(image, threads=settings.omp_nthreads)
        return seen.brain, seen.intracranial
    from bids_app.steps.brain_mask.template import template_mask

    return template_mask(image, seed=settings.random_seed, threads=settings.omp_nthreads), None
