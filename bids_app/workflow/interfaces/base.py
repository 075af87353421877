"""What every interface shares: it reads a task's files, calls a step and publishes what comes out.

Images are read from the dataset and from finished products only, and nothing but products is ever written: the work
folder never holds a voxel of a face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, DynamicTraitedSpec, File, traits

from bids_app.inputs.diffusion_images import load_series
from bids_app.outputs.manifest import manifest_path
from bids_app.outputs.publish import Piece, publish
from bids_app.steps import images
from bids_app.steps.images import Image
from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import Task
from bids_app.workflow.profile import Stopwatch


class StepInputSpec(BaseInterfaceInputSpec):
    """What every interface takes: its task, and what all sessions share. Further fields are the task's files."""

    task = traits.Any(mandatory=True)
    context = traits.Any(mandatory=True)
    failures = traits.Str(mandatory=True, desc="folder for the message of a failed task")


class LesionInputSpec(StepInputSpec):
    """Of a step that leaves a lesion out: the mask, and the transforms between the series and the lesion's image."""

    lesion = File(exists=True)
    lesion_from_series = File(exists=True, desc="of the reference to the series; its inverse is taken")
    lesion_to_drawn_on = File(exists=True, desc="of the reference to the series that the lesion was drawn on")


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
        failures = Path(self.inputs.failures)
        times = failures.parent / "times" if self.context.settings.profile else None
        with _failure_told(failures, self.task), Stopwatch(times, self.task.name) as watch:
            made, facts = self.compute()
            watch.computed()
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
        """The series' image as the scanner wrote it, or as it is computed from what the scanner wrote."""
        return load_series(self.task.series)

    def computing(self) -> dict[str, Any]:
        """Seed and threads of a step."""
        return {"seed": self.context.settings.random_seed, "threads": self.context.settings.omp_nthreads}

    def lesion_on(self, grid: Any) -> Image | None:
        """The lesion on a grid in the series' own world, nearest neighbour; None where the task was given none."""
        names = ("lesion", "lesion_from_series", "lesion_to_drawn_on")
        given = {name: getattr(self.inputs, name, None) for name in names}
        files = {name: Path(path) for name, path in given.items() if isinstance(path, str)}
        return carried_lesion(files, grid) if "lesion" in files else None

    def without_lesion(self, mask: Image) -> Image:
        """A brain mask in the series' own space less the lesion."""
        from bids_app.steps.lesions import without

        lesion = self.lesion_on(mask)
        return mask if lesion is None else without(mask, images.mask_of(lesion))

    def said(self, method: str, **facts: Any) -> dict[str, Any]:
        """The sidecar's account of how a file was made."""
        hidden = {
            "seed", "threads", "contrast", "contrast_agent", "method", "version", "mask", "content", "masks",
            "standard",
        }  # fmt: skip
        parameters = {key: value for key, value in self.task.parameters.items() if key not in hidden}
        version = self.context.versions[self.task.step]
        return {"Method": {"Name": method, "Step": self.task.step, "Version": version, **titled(parameters), **facts}}


def carried_lesion(files: Mapping[str, Path], grid: Any) -> Image:
    """The lesion of `LesionInputSpec`'s files on a grid in a series' own world, nearest neighbour."""
    from bids_app.steps.registration import read_transform
    from bids_app.steps.resampling import Grid, resample_mask

    way = []
    if "lesion_from_series" in files:
        way.append(read_transform(files["lesion_from_series"]).GetInverse())
    if "lesion_to_drawn_on" in files:
        way.append(read_transform(files["lesion_to_drawn_on"]))
    return resample_mask(stored(str(files["lesion"])), Grid.of(grid), way)


def stored(path: str) -> Image:
    """A product as it is on disk: on its own grid, not reoriented."""
    image: Any = nib.load(path)
    return images.new_image(np.asanyarray(image.dataobj), images.grid_affine(image))


def conformed(path: str) -> Image:
    return images.conform(nib.load(path))


def conformed_mask(path: str) -> Image:
    conformed = images.conform(nib.load(path), may_be_constant=True)
    return images.like(images.mask_of(conformed).astype(np.uint8), conformed)


def titled(facts: dict[str, Any]) -> dict[str, Any]:
    return {"".join(word.capitalize() for word in key.split("_")): value for key, value in facts.items()}


@contextmanager
def _failure_told(folder: Path, task: Task) -> Iterator[None]:
    """Leave the message and traceback of a failed task where the session finds them, whatever process it ran in."""
    import json
    import traceback

    from bids_app.workflow.failures import foreign_kind

    try:
        yield
    except Exception as error:
        message, kind = str(error) or type(error).__name__, foreign_kind(error)
        content = {"task": task.name, "message": message, "kind": kind, "traceback": traceback.format_exc()}
        name = task.name.replace("/", "--") + ".json"
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
        raise
