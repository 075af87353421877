"""The tasks of a session while they are put down: what each stands on, and the key that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import InputRecord, Manifest, task_key
from bids_app.outputs.tree import NATIVE, OutputSpace, Target, output_uri, product_uri
from bids_app.steps import diffusion
from bids_app.workflow.context import INDIVIDUAL, RunContext
from bids_app.workflow.plan.tasks import FileInput, Task, task_name


class Ledger:
    """The tasks so far, and what a new one needs to know of its session."""

    def __init__(
        self,
        context: RunContext,
        inputs: Mapping[str, InputRecord],
        manifest: Manifest,
        reference: Series,
        session: Session,
        failed: frozenset[str] = frozenset(),
    ) -> None:
        self.context = context
        self.settings = context.settings
        self.inputs = inputs
        self.manifest = manifest
        self.reference = reference
        self.failed = failed
        self.by_name = {series.name: series for series in session.series}
        self.lesions = session.lesions
        #: Series that a lesion was drawn on, the one that stands for the others' space first: diffusion before others.
        drawn_on = {lesion.series for lesion in session.lesions}
        self.with_lesion = sorted(drawn_on, key=lambda name: (self.by_name[name].datatype != "dwi", name))
        uri = product_uri("preproc", reference)
        self.reference_space = OutputSpace("reference", reference.suffix, None, uri)
        #: The within-subject template, where this session is part of it, and its transform to that.
        self.individual = context.individual
        self.to_template = context.individual.transforms.get(session.label) if context.individual else None
        if self.individual is not None:
            self.reference_space = OutputSpace("reference", INDIVIDUAL, None, output_uri(self.individual.image))
        self.tasks: dict[str, Task] = {}
        self.blocked: dict[str, str] = {}
        self.computing = {"seed": self.settings.random_seed, "threads": self.settings.omp_nthreads}

    def add(
        self,
        step: str,
        series: Series,
        targets: Mapping[str, Target],
        parameters: Mapping[str, Any],
        files: Mapping[str, FileInput] | None = None,
        space: OutputSpace = NATIVE,
        raw: bool = False,
        variant: str = "",
        contents: Mapping[str, str] | None = None,
    ) -> None:
        """Add a task; its key stands on the keys of the tasks whose files it reads."""
        files = files or {}
        name = task_name(step, series, space, variant)
        parents = dict(contents or {})
        for file in files.values():
            if file.task in self.tasks:
                parents[file.task] = self.tasks[file.task].key
                if file.task in self.blocked:
                    self.blocked[name] = self.blocked[file.task]
            elif file.task == INDIVIDUAL and self.individual is not None:
                parents[INDIVIDUAL] = self.individual.key
            else:
                self.blocked[name] = file.task
        if space.is_shared or step in ("coregister", "measure"):
            parents["reference"] = self.reference.name
        if raw:
            parents |= {f"raw:{file}": self.inputs[file].sha256 for file in series.files}
        said = {**parameters, "files": {str(made.path): made.sidecar for made in targets.values()}}
        said.pop("masks", None)  # paths of this machine; what is in them is among the parents
        if raw and series.diffusion is not None:
            part = series.diffusion
            made_of = [[one.volumes, one.weights, one.b_value] for each in part.made_of if (one := each.diffusion)]
            said["diffusion"] = [diffusion.VERSION, part.role, part.b_value, part.volumes, part.weights, made_of]
        key = task_key(step, self.context.versions[step], said, parents)
        if step not in self.settings.steps:  # an earlier run's, or nothing
            record = self.manifest.tasks.get(name)
            if record is None or not {str(made.path) for made in targets.values()} <= {f.path for f in record.files}:
                return
            key = record.key
        self.tasks[name] = Task(name, step, series, space, key, parents, parameters, files, targets)

    def file(self, step: str, series: Series, role: str, space: OutputSpace = NATIVE, variant: str = "") -> FileInput:
        """A file of a task, whether that task is part of this run or was finished by an earlier one."""
        name = task_name(step, series, space, variant)
        path = self.tasks[name].targets[role].path if name in self.tasks else PurePosixPath()
        return FileInput(name, role, path)

    def moving(self, series: Series) -> dict[str, FileInput]:
        """What of a series is registered: its bias-corrected image and its brain mask."""
        return {"image": self.file("bias", series, "preproc"), "brain_mask": self.file("mask", series, "brain_mask")}

    def fixed(self, series: Series) -> dict[str, FileInput]:
        """The same of what another series is registered to."""
        return {f"reference_{field}": file for field, file in self.moving(series).items()}

    def chain(self, series: Series, space: OutputSpace) -> dict[str, FileInput]:
        """Everything between a series' voxels and a space: its image and mask, the reference's, and the transforms."""
        files = self.moving(series)
        lead = self.lead(series)
        if space.is_shared and series is not self.reference:
            files.update(self.fixed(self.reference))
            if lead is not self.reference:
                files["to_reference"] = self.file("coregister", lead, "to_reference")
        if space.kind != "native" and self.settings.deface:
            files["face_mask"] = self.file("deface", series, "face_mask")
        if space.kind == "reference":
            files.update(self.template())
        if space.kind == "atlas":
            files["to_atlas"] = self.file("atlas", self.reference, "to_atlas", space)
        return files

    def template(self) -> dict[str, FileInput]:
        """The within-subject template and the reference's way to it; nothing where the session is part of none."""
        if self.individual is None or self.to_template is None:
            return {}
        return {
            "template": FileInput(INDIVIDUAL, "image", self.individual.image),
            "to_template": FileInput(INDIVIDUAL, "to_template", self.to_template),
        }

    def lead(self, series: Series) -> Series:
        """The series whose transforms hold for this one: the leader of its diffusion group, else itself."""
        return self.by_name[series.diffusion.leader] if series.follows and series.diffusion else series

    def lesion(self, series: Series, at_once: bool = False) -> dict[str, FileInput]:
        """The lesion that a series shows, and the transforms between the two; nothing where there is none.

        `at_once`: only what needs no transform, a lesion of its own or of its diffusion group.
        """
        lead = self.lead(series)
        own = [name for name in self.with_lesion if self.lead(self.by_name[name]) is lead]
        own.sort(key=lambda name: name != series.name)
        names = own or ([] if at_once else self.with_lesion)
        if not names:
            return {}
        drawn_on = self.by_name[names[0]]
        files = {"lesion": self.file("lesion", drawn_on, "lesion_mask")}
        if not own:
            for field, one in (("lesion_from_series", lead), ("lesion_to_drawn_on", self.lead(drawn_on))):
                if one is not self.reference:
                    if task_name("coregister", one, NATIVE) not in self.tasks:
                        return {}
                    files[field] = self.file("coregister", one, "to_reference")
        return files if files["lesion"].task in self.tasks else {}

    def usable(self, name: str) -> bool:
        """Whether a task is planned, has not failed in this run, and stands on nothing that is missing."""
        return name in self.tasks and name not in self.blocked and name not in self.failed

    def interpolation(self, space: OutputSpace) -> dict[str, Any]:
        """What the voxels of an output in a space depend on, besides the files."""
        parameters: dict[str, Any] = {} if space.kind == "native" else {"interpolation": self.settings.interpolation}
        if space.kind == "isotropic":
            parameters["isotropic_mm"] = self.settings.isotropic_mm
        if space.kind == "atlas":
            parameters["atlas"] = next(atlas.spec for atlas in self.context.spaces if atlas.output == space)
        return parameters

    def standard(self, series: Series, normalizer: str | None) -> dict[str, Any]:
        """The landmarks of the group that a normalisation takes: a change of them is another result."""
        return {"standard": self.context.standard_for(series)} if normalizer == "nyul" else {}

    def uri(self, series: Series) -> str:
        """The BIDS URI of a series' bias-corrected image."""
        return product_uri("preproc", series)


def is_map(series: Series) -> bool:
    """Whether it is a map whose numbers have a unit: never bias-corrected nor normalised."""
    return series.diffusion is not None and series.diffusion.role == "adc"
