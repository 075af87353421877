"""Nipype interfaces: each reads a task's files, calls a step and publishes what comes out. No science, no names.

Images are read from the dataset and from finished products only, and nothing but products is ever written: the work
folder never holds a voxel of a face.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, DynamicTraitedSpec, File, traits

from bids_app.outputs.manifest import TaskRecord, manifest_path, record_task
from bids_app.outputs.publish import Piece, publish
from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import Task

if TYPE_CHECKING:
    from bids_app.steps.face_check import FaceCheck


class StepInputSpec(BaseInterfaceInputSpec):
    """What every interface takes: its task, and what all sessions share. Further fields are the task's files."""

    task = traits.Any(mandatory=True)
    context = traits.Any(mandatory=True)
    failures = traits.Str(mandatory=True, desc="folder for the message of a failed task")


class StepInterface(BaseInterface):
    """Run one task. A subclass says in `compute` what the step makes of the files."""

    input_spec = StepInputSpec
    output_spec = DynamicTraitedSpec

    def compute(self) -> tuple[dict[str, tuple[Any, dict[str, Any]]], dict[str, Any]]:
        """Each target's content and sidecar fields by role, and the facts for tables and reports."""
        raise NotImplementedError

    @property
    def task(self) -> Task:
        return self.inputs.task

    @property
    def context(self) -> RunContext:
        return self.inputs.context

    def _run_interface(self, runtime: Any) -> Any:
        with _failure_told(Path(self.inputs.failures), self.task):
            made, facts = self.compute()
            pieces = [Piece(self.task.targets[role], *content) for role, content in made.items()]
            output = self.context.settings.output_dir
            series = self.task.series
            manifest = manifest_path(output, series.entity("sub") or "", series.entity("ses"))
            publish(output, manifest, self.task.name, self.task.key, self.task.parents, pieces, facts)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        output = self.context.settings.output_dir
        return {role: str(output / target.path) for role, target in self.task.targets.items()}

    def _outputs(self) -> Any:
        outputs = self.output_spec()
        for role in self.inputs.task.targets if self.inputs.task else ():
            outputs.add_trait(role, traits.Str())
        return outputs

    # what the subclasses share

    def raw(self) -> Any:
        """The series' image as the scanner wrote it."""
        return nib.load(self.task.series.path)

    def computing(self) -> dict[str, Any]:
        """Seed and threads of a step."""
        return {"seed": self.context.settings.random_seed, "threads": self.context.settings.omp_nthreads}

    def said(self, method: str, **facts: Any) -> dict[str, Any]:
        """The sidecar's account of how a file was made."""
        hidden = ("seed", "threads", "contrast", "contrast_agent", "method", "version", "mask", "content")
        parameters = {key: value for key, value in self.task.parameters.items() if key not in hidden}
        version = self.context.versions[self.task.step]
        return {"Method": {"Name": method, "Step": self.task.step, "Version": version, **_titled(parameters), **facts}}


class MaskInputSpec(StepInputSpec):
    """The mask reads the raw image alone."""


class Mask(StepInterface):
    """Brain mask of a series, in its native space."""

    input_spec = MaskInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raw = self.raw()
        extraction = self.context.extraction_for(self.task.series)
        mask = _extract(raw, extraction, self.context.settings)
        volume = round(float(images.mask_of(mask).sum()) * images.voxel_ml(mask), 2)
        if volume == 0:
            raise images.ImageError(f"{extraction.method} found no brain in it")
        said = self.said(extraction.method, Reason=extraction.reason, VolumeMilliliters=volume)
        facts = {"mask_method": extraction.method, "mask_volume_ml": volume}
        return {"brain_mask": (images.on_raw_grid(mask, raw), said)}, facts


class DefaceInputSpec(StepInputSpec):
    brain_mask = File(exists=True, mandatory=True)


class Deface(StepInterface):
    """Face mask, and the raw image with the face set to 0; every other voxel keeps its bits."""

    input_spec = DefaceInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps import deface
        from bids_app.steps.face_check import check_face

        raw, brain = self.raw(), _mask(self.inputs.brain_mask)
        before = images.conform(raw)
        for deep in (False, True):  # a face that is left is looked for deeper, once
            face = deface.face_mask(brain, deep=deep)
            defaced = deface.deface(raw, face)
            after = images.conform(type(defaced).from_bytes(defaced.to_bytes()))  # as it would be read again
            check = check_face(before, brain, after)
            if check.passed:
                break
        facts = self._judged(check, before, after)
        share = round(float(images.mask_of(face).mean()), 4)
        said = self.said("Quickshear, in millimetres", FaceShareOfImage=share, OrbitsToTheirEnds=deep)
        result = {"SkinBefore": check.before.skin, "SkinLeft": check.after.skin, "EyesLeft": check.after.eyes}
        judged = {**said, "FaceCheck": {**result, "Passed": check.passed, "Reason": check.reason}}
        made = {"face_mask": (images.on_raw_grid(face, raw), said), "defaced": (defaced, judged)}
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


class BiasInputSpec(StepInputSpec):
    image = File(exists=True, desc="the defaced image; the raw one is taken when there is none")
    brain_mask = File(exists=True, mandatory=True)


class Bias(StepInterface):
    """N4 bias field inside the brain mask, and the image divided by it."""

    input_spec = BiasInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps import bias_field

        path = self.inputs.image if isinstance(self.inputs.image, str) else self.task.series.path
        stored = nib.load(path)
        image, mask = images.conform(stored), _mask(self.inputs.brain_mask)
        settings = bias_field.n4_settings(self.task.series.contrast, self.task.series.contrast_agent)
        field = bias_field.bias_field(image, mask, settings, threads=self.context.settings.omp_nthreads)
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


class CoregisterInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    reference_image = File(exists=True, mandatory=True)
    reference_brain_mask = File(exists=True, mandatory=True)


class Coregister(StepInterface):
    """Rigid transform of a series to the session's reference."""

    input_spec = CoregisterInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.registration import register

        result = register(
            _image(self.inputs.reference_image), _image(self.inputs.image), kind="rigid",
            fixed_mask=_mask(self.inputs.reference_brain_mask), moving_mask=_mask(self.inputs.brain_mask),
            **self.computing(),
        )  # fmt: skip
        facts = _registration_facts(result)
        said = self.said("ANTs, Mattes mutual information", Settings=dict(result.settings), **_titled(facts))
        return {"to_reference": (result.transform, said)}, facts


class AtlasInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)


class Atlas(StepInterface):
    """Transform of the reference to an atlas, found between the two brains."""

    input_spec = AtlasInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.assets import load_space
        from bids_app.steps.registration import register

        atlas = next(each for each in self.context.spaces if each.label == self.task.space.label)
        brain, brain_mask = load_space(atlas.finest)
        mask = _mask(self.inputs.brain_mask)
        moving = _image(self.inputs.image)
        moving = images.like(np.where(images.mask_of(mask), images.array_of(moving), 0), moving)
        result = register(
            brain, moving, kind=self.context.settings.atlas_registration, fixed_mask=brain_mask, moving_mask=mask,
            **self.computing(),
        )  # fmt: skip
        facts = _registration_facts(result)
        said = self.said("ANTs, Mattes mutual information", Settings=dict(result.settings), **_titled(facts))
        made: dict[str, Any] = {"to_atlas": (result.transform, said)}
        if "from_atlas" in self.task.targets:
            made["from_atlas"] = (result.inverse, said)
        return made, facts


class ResampleInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    face_mask = File(exists=True)
    reference_image = File(exists=True)
    reference_brain_mask = File(exists=True)
    to_reference = File(exists=True)
    to_atlas = File(exists=True)


class _ToSpace(StepInterface):
    """What resampling and normalising share: the one way from native voxels to an output space."""

    input_spec = ResampleInputSpec

    def in_space(self) -> tuple[Image, Image]:
        """The image and the brain mask in the task's space, after at most one interpolation."""
        from bids_app.steps.resampling import resample, resample_mask

        image, mask = _stored(self.inputs.image), _stored(self.inputs.brain_mask)
        if self.task.space.kind == "native":
            return image, mask
        reference_mask = _stored(self._given("reference_brain_mask") or self.inputs.brain_mask)
        grid, to_atlas, to_reference = self._way()
        interpolation = self.context.settings.interpolation
        threads = self.context.settings.omp_nthreads
        chain = to_atlas + to_reference
        moved = resample(image, grid, chain, interpolation=interpolation, threads=threads)
        if face := self._given("face_mask"):  # the voxels at its rim would be interpolated from both sides
            removed = images.mask_of(resample_mask(_stored(face), grid, chain))
            moved = images.like(np.where(removed, np.float32(0), images.array_of(moved)), moved)
        return moved, resample_mask(reference_mask, grid, to_atlas)

    def _way(self) -> tuple[Any, list[Any], list[Any]]:
        """The output grid, and the transforms from it to the reference and on to the series."""
        from bids_app.assets import space_grid
        from bids_app.steps.registration import read_transform
        from bids_app.steps.resampling import Grid

        to_reference = self._given("to_reference")
        chain = [read_transform(Path(to_reference))] if to_reference else []
        if self.task.space.kind == "reference":
            return Grid.of(_stored(self._given("reference_image") or self.inputs.image)), [], chain
        if self.task.space.kind == "isotropic":
            return Grid.isotropic(_stored(self.inputs.image), self.context.settings.isotropic_mm), [], []
        atlas = next(each for each in self.context.spaces if each.output == self.task.space)
        return Grid(*space_grid(atlas.space)), [read_transform(Path(self.inputs.to_atlas))], chain

    def _given(self, name: str) -> str | None:
        value = getattr(self.inputs, name)
        return value if isinstance(value, str) else None


class Resample(_ToSpace):
    """The image in a space, with skull and without; the reference also carries its masks there."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.resampling import resample_mask

        targets = self.task.targets
        image, mask = self.in_space()
        said = self.said("one interpolation") if self.task.space.kind != "native" else {}
        made: dict[str, Any] = {}
        if "preproc" in targets:
            copied = self.task.space.kind == "reference" and not self._given("to_reference")
            made["preproc"] = (Path(self.inputs.image).read_bytes(), {}) if copied else (image, said)
        if "brain" in targets:
            made["brain"] = (images.like(_inside(image, mask), image), said)
        if "brain_mask" in targets:
            made["brain_mask"] = (mask, {})
        if "face_mask" in targets:
            grid, to_atlas, _ = self._way()
            made["face_mask"] = (resample_mask(_stored(self.inputs.face_mask), grid, to_atlas), {})
        return made, {}


class Normalize(_ToSpace):
    """The normalised variants in a space; intensities are always fitted to the native voxels of the brain."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.intensity import fit

        native, native_mask = _image(self.inputs.image), _mask(self.inputs.brain_mask)
        image, mask = self.in_space()
        made: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        for variant in self.task.targets:
            method = variant.removeprefix("brain")
            normalization = fit(method, native, native_mask, contrast=self.task.series.contrast)
            mapped = normalization.apply(images.array_of(image))
            said = self.said(method, Parameters=dict(normalization.parameters))
            facts[method] = dict(normalization.parameters)
            inside = images.mask_of(mask) if variant.startswith("brain") else images.array_of(image) != 0
            made[variant] = (images.like(np.where(inside, mapped, np.float32(0)), image), said)
        return made, facts


class SegmentInputSpec(StepInputSpec):
    """The segmentation reads the raw image alone."""


class Segment(StepInterface):
    """Tissue classes and intracranial mask of a series, in its native space."""

    input_spec = SegmentInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.brain_mask.synth import classes_table, synth_segmentation

        raw = self.raw()
        found = synth_segmentation(images.conform(raw), threads=self.context.settings.omp_nthreads)
        counts = np.bincount(images.array_of(found.labels).astype(int).ravel(), minlength=len(classes_table()))
        volume = {
            name.replace(" ", "_"): round(float(counts[index]) * images.voxel_ml(found.labels), 2)
            for index, name in classes_table()[1:]
        }
        inside = round(float(images.mask_of(found.intracranial).sum()) * images.voxel_ml(found.intracranial), 2)
        rows = ["index\tname", *(f"{index}\t{name}" for index, name in classes_table())]
        said = self.said("synth")
        made = {
            "segmentation": (images.on_raw_grid(found.labels, raw), said),
            "segmentation_table": (("\n".join(rows) + "\n").encode(), {}),
            "intracranial_mask": (images.on_raw_grid(found.intracranial, raw), {**said, "VolumeMilliliters": inside}),
        }
        return made, {"intracranial_ml": inside, "tissue_ml": volume}


#: The interface of each step.
INTERFACES: dict[str, type[StepInterface]] = {
    "mask": Mask,
    "deface": Deface,
    "bias": Bias,
    "coregister": Coregister,
    "atlas": Atlas,
    "resample": Resample,
    "normalize": Normalize,
    "segment": Segment,
}


def _stored(path: str) -> Image:
    """A product as it is on disk: on its own grid, not reoriented."""
    image: Any = nib.load(path)
    return images.new_image(np.asanyarray(image.dataobj), images.grid_affine(image))


def _image(path: str) -> Image:
    return images.conform(nib.load(path))


def _mask(path: str) -> Image:
    conformed = images.conform(nib.load(path))
    return images.like(images.mask_of(conformed).astype(np.uint8), conformed)


def _write_face_picture(path: Path, shown: tuple[Image, ...], check: Any) -> None:
    """The head's surface before and after defacing, side by side, for the user alone (folder 0700, file 0600)."""
    from PIL import Image as Picture

    from bids_app.steps.face_check import face_picture

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    Picture.fromarray(np.hstack([face_picture(image, check) for image in shown])).save(path)
    path.chmod(0o600)


def _inside(image: Any, mask: Any) -> Any:
    return np.where(images.mask_of(mask), images.array_of(image), np.float32(0))


def _extract(raw: Any, extraction: Any, settings: Any) -> Image:
    """The brain mask of a raw image by the chosen method, conformed."""
    image = images.conform(raw)
    if extraction.method == "precomputed":
        given = images.conform(nib.load(extraction.mask))
        if not images.same_grid(given, image, tolerance_mm=0.01):
            raise images.ImageError(f"the given mask {extraction.mask.name} is on another grid")
        return images.like(images.mask_of(given).astype(np.uint8), image)
    if extraction.method == "hd-bet":
        from bids_app.steps.brain_mask.hd_bet import is_left_handed, load

        model = load(
            extraction.weights, device=extraction.device, mirroring=extraction.mirroring, threads=settings.omp_nthreads
        )
        return model.mask(image, left_handed=is_left_handed(raw))
    if extraction.method == "synth":
        from bids_app.steps.brain_mask.synth import synth_mask

        return synth_mask(image, threads=settings.omp_nthreads).brain
    from bids_app.steps.brain_mask.template import template_mask

    return template_mask(image, seed=settings.random_seed, threads=settings.omp_nthreads)


def _registration_facts(result: Any) -> dict[str, Any]:
    return {
        "mutual_information": round(result.similarity, 4),
        "mutual_information_before": round(result.similarity_before, 4),
        "rotation_deg": round(result.rotation_deg, 2),
        "translation_mm": round(result.translation_mm, 2),
        "attempts": result.attempts,
    }


def _titled(facts: dict[str, Any]) -> dict[str, Any]:
    return {"".join(word.capitalize() for word in key.split("_")): value for key, value in facts.items()}


@contextmanager
def _failure_told(folder: Path, task: Task) -> Iterator[None]:
    """Leave the message and traceback of a failed task where the session finds them, whatever process it ran in."""
    import json
    import traceback

    try:
        yield
    except Exception as error:
        message = str(error) or type(error).__name__
        if not isinstance(error, images.ImageError | OSError) and type(error).__module__.split(".")[0] != "bids_app":
            message = f"{type(error).__name__}: {message}"
        content = {"task": task.name, "message": message, "traceback": traceback.format_exc()}
        name = task.name.replace("/", "--") + ".json"
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
        raise
