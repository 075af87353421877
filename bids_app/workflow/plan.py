"""The plan of a session: which tasks there are, what each reads and makes, and which are already finished.

A *task* is one step of one series, in one space where there are several. Its key (see `outputs.manifest`) holds
everything that its result depends on, so a plan needs headers and hashes only, and comparing keys with the manifest
tells what is left to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from bids_app.inputs.diffusion import settled
from bids_app.inputs.reference import Reference, choose_reference
from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import InputRecord, Manifest, files_present, task_key
from bids_app.outputs.tree import NATIVE, OutputSpace, Target, product_uri, raw_uris, target
from bids_app.workflow.context import AtlasSpace, RunContext

#: Longest by shortest edge of a voxel from which an image counts as highly anisotropic (the class of a review of 54
#: public datasets of brain MRI).
ANISOTROPIC = 2.0


@dataclass(frozen=True)
class FileInput:
    """A file that a task reads: the task that makes it, under which role, and its path below the output's root."""

    task: str
    role: str
    path: PurePosixPath


@dataclass(frozen=True)
class Task:
    """One step of one series.

    Attributes
    ----------
    name
        `step/series`, and where there are several, `/space` and `/variant`; unique in the session.
    parents
        Keys of the tasks that it stands on, by name, and the name of the reference where that matters.
    parameters
        What the step is called with; they are part of the key.
    files
        Files of other tasks that it reads, by the field of the interface that takes them.
    targets
        What it writes, by role.
    """

    name: str
    step: str
    series: Series
    space: OutputSpace
    key: str
    parents: Mapping[str, str]
    parameters: Mapping[str, Any]
    files: Mapping[str, FileInput]
    targets: Mapping[str, Target]

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        """Itself: Nipype copies the inputs of a node many times, and nothing changes a task."""
        return self


@dataclass(frozen=True)
class SessionPlan:
    """All tasks of a session in an order in which they can run, and what is left of them.

    Attributes
    ----------
    todo
        Names of the tasks that are not finished.
    blocked
        Tasks that cannot run because a step that was not chosen has never been done, with the name of what is missing.
    """

    session: Session
    reference: Reference | None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    todo: frozenset[str] = frozenset()
    blocked: Mapping[str, str] = field(default_factory=dict)


def plan_session(
    session: Session,
    inputs: Mapping[str, InputRecord],
    manifest: Manifest,
    context: RunContext,
    not_reference: frozenset[str] = frozenset(),
    failed: frozenset[str] = frozenset(),
) -> SessionPlan:
    """Plan a session.

    Parameters
    ----------
    inputs
        What is known of each accepted series' file, by its path in the dataset.
    not_reference
        Names of series that cannot serve as the reference (their mask failed, say).
    failed
        Tasks that failed in this run: what is measured is measured without them.

    Raises
    ------
    InputError
        The reference that was asked for is not among the series.
    """
    session = _without_unusable(session, inputs)
    candidates = [series for series in session.series if series.name not in not_reference and not series.follows]
    if not candidates:
        return SessionPlan(session, None)
    reference = choose_reference(candidates, context.settings.reference)
    planner = _Planner(context, inputs, manifest, reference.series, session, failed)
    for series in session.series:
        planner.lesion(series)
    for series in sorted(session.series, key=lambda one: one.follows):
        planner.native(series)
        planner.segment(series)
    for series in session.series:
        planner.coregister(series)
    for atlas in context.spaces:
        planner.atlas(atlas)
    for series in session.series:
        for space in planner.spaces(series):
            planner.resample(series, space)
            planner.resample_lesion(series, space)
            planner.normalize(series, space)
    for series in session.series:
        planner.measure(series)
    chosen = {name: task for name, task in planner.tasks.items() if task.step in context.settings.steps}
    todo = frozenset(name for name, task in chosen.items() if not _finished(task, manifest, context))
    return SessionPlan(session, reference, chosen, todo, {k: v for k, v in planner.blocked.items() if k in todo})


def _finished(task: Task, manifest: Manifest, context: RunContext) -> bool:
    record = manifest.tasks.get(task.name)
    return record is not None and record.key == task.key and files_present(context.settings.output_dir, record)


def _without_unusable(session: Session, inputs: Mapping[str, InputRecord]) -> Session:
    """Move the series whose content cannot be used to the rejected ones, and leave out such lesion masks."""
    judged = settled([replace(series, rejection=inputs[series.relative].problem) for series in session.series])
    usable = tuple(series for series in judged if series.accepted)
    unusable = tuple(series for series in judged if not series.accepted)
    names = {series.name for series in usable}
    lesions = tuple(
        lesion
        for lesion in session.lesions
        if lesion.series in names and lesion.relative in inputs and inputs[lesion.relative].problem is None
    )
    return replace(session, series=usable, rejected=(*session.rejected, *unusable), lesions=lesions)


class _Planner:
    """Adds the tasks of a session one after another; each public method is a row of the table of steps."""

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
        self.tasks: dict[str, Task] = {}
        self.blocked: dict[str, str] = {}
        self._computing = {"seed": self.settings.random_seed, "threads": self.settings.omp_nthreads}

    def native(self, series: Series) -> None:
        """Mask, deface and bias field: in native space, each series alone."""
        if series.follows:
            self._follow(series)
            return
        extraction = self.context.extraction_for(series)
        parameters = {**extraction.parameters(), **self._computing}
        made = {"brain_mask": target("brain_mask", series)}
        self._add("mask", series, made, {**parameters, "mask": extraction.content}, raw=True)

        mask = {"brain_mask": self._file("mask", series, "brain_mask")}
        if self.settings.deface:
            made = {"face_mask": target("face_mask", series), "defaced": target("defaced", series)}
            # Only where it is given, so that what passes the face check is the same with and without it.
            allowed = {"allow_face": True} if self.settings.allow_face else {}
            self._add("deface", series, made, allowed, mask, raw=True)

        image = {"image": self._file("deface", series, "defaced")} if self.settings.deface else {}
        preproc = target("preproc", series)
        if not self.settings.deface:
            biasfield = product_uri("biasfield", series)
            preproc = replace(preproc, sidecar={**preproc.sidecar, "Sources": [*raw_uris(series), biasfield]})
        made = {"biasfield": target("biasfield", series), "preproc": preproc}
        parameters = {"contrast": series.contrast, "contrast_agent": series.contrast_agent, **self._computing}
        self._add("bias", series, made, parameters, {**mask, **image, **self._lesion(series, at_once=True)}, raw=True)

    def _follow(self, series: Series) -> None:
        """The same for an image that takes mask, face and, but for an ADC, bias field from its diffusion group."""
        lead, role = self._lead(series), series.diffusion.role if series.diffusion else ""
        leader_mask = {"leader_mask": self._file("mask", lead, "brain_mask")}
        parameters = self.context.extraction_for(series).parameters()
        self._add("mask", series, {"brain_mask": target("brain_mask", series)}, parameters, leader_mask, raw=True)
        files = {"brain_mask": self._file("mask", series, "brain_mask")}
        preproc, field = target("preproc", series), product_uri("biasfield", lead)
        image = {}
        if self.settings.deface:
            made = {"face_mask": target("face_mask", series), "defaced": target("defaced", series)}
            allowed = {"allow_face": True} if self.settings.allow_face else {}
            face = {**files, "leader_face": self._file("deface", lead, "face_mask")}
            self._add("deface", series, made, allowed, face, raw=True)
            image = {"image": self._file("deface", series, "defaced")}
            sources = [product_uri("defaced", series)]
        else:
            sources = raw_uris(series)
        if role != "adc":
            files["leader_field"] = self._file("bias", lead, "biasfield")
            sources.append(field)
        preproc = replace(preproc, sidecar={**preproc.sidecar, "Sources": sources})
        self._add("bias", series, {"preproc": preproc}, {"role": role}, {**files, **image}, raw=True)

    def lesion(self, series: Series) -> None:
        """The lesion masks that were drawn on a series, as one on its grid."""
        drawn = [lesion for lesion in self.lesions if lesion.series == series.name]
        if not drawn:
            return
        made = target("lesion_mask", series)
        sources = [f"bids:raw:{lesion.relative}" for lesion in drawn if not lesion.relative.startswith("lesions:")]
        made = replace(made, sidecar={**made.sidecar, "Sources": [*made.sidecar["Sources"], *sources]})
        contents = {f"raw:{lesion.relative}": self.inputs[lesion.relative].sha256 for lesion in drawn}
        given = {"masks": tuple(str(lesion.path) for lesion in drawn)}
        self._add("lesion", series, {"lesion_mask": made}, given, raw=True, contents=contents)

    def segment(self, series: Series) -> None:
        """Tissue classes and intracranial mask, from the raw image of any contrast; only when chosen or done."""
        if "segment" not in self.settings.steps and _task_name("segment", series, NATIVE) not in self.manifest.tasks:
            return
        roles = ("segmentation", "segmentation_table", "intracranial_mask")
        made = {role: target(role, series) for role in roles}
        if not series.follows:
            self._add("segment", series, made, self._computing, raw=True)

    def coregister(self, series: Series) -> None:
        """The rigid transform of a series to the reference."""
        if series is self.reference or series.follows:
            return
        made = target("to_reference", series, self.reference_space, reference=self.reference)
        made = _between(made, self._uri(series), self._uri(self.reference))
        files = {**self._moving(series), **self._fixed(self.reference), **self._lesion(series, at_once=True)}
        files |= {f"reference_{name}": file for name, file in self._lesion(self.reference, at_once=True).items()}
        parameters = {"kind": "rigid", **self._computing}
        self._add("coregister", series, {"to_reference": made}, parameters, files)

    def atlas(self, atlas: AtlasSpace) -> None:
        """The reference's transform to an atlas."""
        kind = self.settings.atlas_registration
        made = target("to_atlas", self.reference, atlas.output, extension=".h5" if kind == "syn" else ".mat")
        targets = {"to_atlas": _between(made, self._uri(self.reference), atlas.uri)}
        if kind == "syn":
            back = target("from_atlas", self.reference, atlas.output)
            targets["from_atlas"] = _between(back, atlas.uri, self._uri(self.reference))
        parameters = {"kind": kind, "atlas": atlas.label, "content": atlas.content, **self._computing}
        files = {**self._moving(self.reference), **self._lesion(self.reference)}
        self._add("atlas", self.reference, targets, parameters, files, atlas.output)

    def resample(self, series: Series, space: OutputSpace) -> None:
        """The variants that are no normalisation, and the reference's masks."""
        parameters = self._interpolation(space)
        files = self._chain(series, space)
        through = _transforms(files)
        wanted = set(self.settings.wanted_variants())
        if _is_map(series) and any(variant.startswith("brain") for variant in wanted):
            wanted.add("brain")  # in place of a normalisation: its numbers have a unit
        for variant in ("preproc", "brain"):
            if variant not in wanted or (space.kind, variant) == ("native", "preproc"):
                continue
            product = f"native_{variant}" if space.kind == "native" else f"space_{variant}"
            mask = self.reference if variant == "brain" and space.is_shared else None
            made = {str(variant): target(product, series, space, transforms=through, masked_by=mask)}
            self._add("resample", series, made, parameters, files, space, variant=variant)
        if space.kind == "isotropic" or (series is self.reference and space.is_shared):
            made = {"brain_mask": target("space_brain_mask", series, space, transforms=through)}
            if self.settings.deface:
                made["face_mask"] = target("space_face_mask", series, space, transforms=through)
            self._add("resample", series, made, {}, files, space, variant="masks")
        if "segment" in self.settings.steps and series is self.reference and space.is_shared:
            made = {"segmentation": target("space_segmentation", series, space, transforms=through)}
            files = {**files, "segmentation": self._file("segment", series, "segmentation")}
            self._add("resample", series, made, {}, files, space, variant="segmentation")

    def resample_lesion(self, series: Series, space: OutputSpace) -> None:
        """A lesion mask in a space, by nearest neighbour."""
        if series.name in self.with_lesion and space.kind != "native":
            files = self._chain(series, space)
            files["lesion"] = self._file("lesion", series, "lesion_mask")
            made = target("space_lesion_mask", series, space, transforms=_transforms(files))
            self._add("resample", series, {"lesion_mask": made}, {}, files, space, variant="lesion")

    def normalize(self, series: Series, space: OutputSpace) -> None:
        """The normalised variants; every space is given the intensities that were fitted in native space."""
        if _is_map(series):
            return
        files = {**self._chain(series, space), **self._lesion(series)}
        product = "native_variant" if space.kind == "native" else "space_variant"
        parameters = {**self._interpolation(space), "contrast": series.contrast}
        for variant in self.settings.wanted_variants():
            if variant not in ("preproc", "brain"):
                mask = self.reference if variant.startswith("brain") and space.is_shared else None
                made = target(
                    product, series, space, variant=variant, transforms=_transforms(files), masked_by=mask
                )  # fmt: skip
                said = {**parameters, **self._standard(series, variant.removeprefix("brain"))}
                self._add("normalize", series, {variant: made}, said, files, space, variant=variant)

    def measure(self, series: Series) -> None:
        """Quality numbers of a series, from what there is of its files; only the brain mask has to be."""
        files = {"brain_mask": self._file("mask", series, "brain_mask")}
        first = self.context.spaces[0] if self.context.spaces else None
        wanted = [("biasfield", "bias", series, NATIVE), ("segmentation", "segment", series, NATIVE)]
        lead = self._lead(series)
        if lead is not self.reference:
            wanted.append(("to_reference", "coregister", lead, NATIVE))
        if first is not None:
            wanted += [(role, "atlas", self.reference, first.output) for role in ("to_atlas", "from_atlas")]
        for role, step, of, space in wanted:
            name = _task_name(step, of, space)
            if name in self.tasks and role in self.tasks[name].targets and not {name} & {*self.blocked, *self.failed}:
                files[role] = self._file(step, of, role, space)
        if "to_reference" in files:
            files.update(self._fixed(self.reference))
        elif lead is not self.reference:  # there is no way to the atlas
            files = {field: file for field, file in files.items() if not field.endswith("atlas")}
        normalizer = next(iter(self.settings.wanted_normalizers()), None)
        parameters = {
            "reference": series is self.reference,
            "atlas": first.label if first else None,
            "normalize": normalizer,
            "contrast": series.contrast,
            **self._standard(series, normalizer),
        }
        files |= self._lesion(series)
        if _is_map(series):
            files = {"brain_mask": files["brain_mask"], **self._maps(series)}
        self._add("measure", series, {}, parameters, files, raw=True)

    def _maps(self, series: Series) -> dict[str, FileInput]:
        """An ADC map in mm^2/s, and for a computed one the scanner's own of the same group, if there is one."""
        files = {}
        group = [one for one in self.by_name.values() if _is_map(one) and self._lead(one) is self._lead(series)]
        others = [one for one in group if one.diffusion and not one.diffusion.made_of]
        if series.diffusion and series.diffusion.made_of and others:
            files["scanner_map"] = min(others, key=lambda one: one.name)
        files["map"] = series
        named = {field: _task_name("bias", one, NATIVE) for field, one in files.items()}
        usable = {field for field, name in named.items() if name in self.tasks and name not in self.failed}
        return {field: self._file("bias", one, "preproc") for field, one in files.items() if field in usable}

    def spaces(self, series: Series) -> list[OutputSpace]:
        """Where images are written: a space is left out when its step was not chosen and never done."""
        done = {name.split("/")[0] for name in self.manifest.tasks} | set(self.settings.steps)
        result = [NATIVE]
        if _wants_cubes(series, self.settings.isotropic):
            result.append(_isotropic(series, self.settings.isotropic_mm))
        if "coregister" in done:
            result.append(self.reference_space)
        if "atlas" in done:
            result += [atlas.output for atlas in self.context.spaces]
        return result

    def _add(
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
        name = _task_name(step, series, space, variant)
        parents = dict(contents or {})
        for file in files.values():
            if file.task in self.tasks:
                parents[file.task] = self.tasks[file.task].key
                if file.task in self.blocked:
                    self.blocked[name] = self.blocked[file.task]
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
            said["diffusion"] = [part.role, part.b_value, part.volumes, part.weights, _made_of(part.made_of)]
        key = task_key(step, self.context.versions[step], said, parents)
        if step not in self.settings.steps:  # an earlier run's, or nothing
            record = self.manifest.tasks.get(name)
            if record is None or not {str(made.path) for made in targets.values()} <= {f.path for f in record.files}:
                return
            key = record.key
        self.tasks[name] = Task(name, step, series, space, key, parents, parameters, files, targets)

    def _file(self, step: str, series: Series, role: str, space: OutputSpace = NATIVE) -> FileInput:
        """A file of a task, whether that task is part of this run or was finished by an earlier one."""
        name = _task_name(step, series, space)
        path = self.tasks[name].targets[role].path if name in self.tasks else PurePosixPath()
        return FileInput(name, role, path)

    def _moving(self, series: Series) -> dict[str, FileInput]:
        return {"image": self._file("bias", series, "preproc"), "brain_mask": self._file("mask", series, "brain_mask")}

    def _fixed(self, series: Series) -> dict[str, FileInput]:
        return {f"reference_{field}": file for field, file in self._moving(series).items()}

    def _chain(self, series: Series, space: OutputSpace) -> dict[str, FileInput]:
        """Everything between a series' voxels and a space: its image and mask, the reference's, and the transforms."""
        files = self._moving(series)
        lead = self._lead(series)
        if space.is_shared and series is not self.reference:
            files.update(self._fixed(self.reference))
            if lead is not self.reference:
                files["to_reference"] = self._file("coregister", lead, "to_reference")
        if space.kind != "native" and self.settings.deface:
            files["face_mask"] = self._file("deface", series, "face_mask")
        if space.kind == "atlas":
            files["to_atlas"] = self._file("atlas", self.reference, "to_atlas", space)
        return files

    def _lead(self, series: Series) -> Series:
        """The series whose transforms hold for this one: the leader of its diffusion group, else itself."""
        return self.by_name[series.diffusion.leader] if series.follows and series.diffusion else series

    def _lesion(self, series: Series, at_once: bool = False) -> dict[str, FileInput]:
        """The lesion that a series shows, and the transforms between the two; nothing where there is none.

        `at_once`: only what needs no transform, a lesion of its own or of its diffusion group.
        """
        lead = self._lead(series)
        own = [name for name in self.with_lesion if self._lead(self.by_name[name]) is lead]
        own.sort(key=lambda name: name != series.name)
        names = own or ([] if at_once else self.with_lesion)
        if not names:
            return {}
        drawn_on = self.by_name[names[0]]
        files = {"lesion": self._file("lesion", drawn_on, "lesion_mask")}
        if not own:
            for field, one in (("lesion_from_series", lead), ("lesion_to_drawn_on", self._lead(drawn_on))):
                if one is not self.reference:
                    if _task_name("coregister", one, NATIVE) not in self.tasks:
                        return {}
                    files[field] = self._file("coregister", one, "to_reference")
        return files if files["lesion"].task in self.tasks else {}

    def _interpolation(self, space: OutputSpace) -> dict[str, Any]:
        parameters: dict[str, Any] = {} if space.kind == "native" else {"interpolation": self.settings.interpolation}
        if space.kind == "isotropic":
            parameters["isotropic_mm"] = self.settings.isotropic_mm
        if space.kind == "atlas":
            parameters["atlas"] = next(atlas.spec for atlas in self.context.spaces if atlas.output == space)
        return parameters

    def _standard(self, series: Series, normalizer: str | None) -> dict[str, Any]:
        """The landmarks of the group that a normalisation takes: a change of them is another result."""
        return {"standard": self.context.standard_for(series)} if normalizer == "nyul" else {}

    def _uri(self, series: Series) -> str:
        return product_uri("preproc", series)


def _task_name(step: str, series: Series, space: OutputSpace, variant: str = "") -> str:
    name = f"{step}/{series.name}"
    if space.kind != "native":
        name += f"/{space.label if space.kind == 'atlas' else space.kind}"
        if space.kind == "atlas" and space.resolution and step != "atlas":  # one transform serves all resolutions
            name += f"_res-{space.resolution}"
    return f"{name}/{variant}" if variant else name


def _is_map(series: Series) -> bool:
    """Whether it is a map whose numbers have a unit: never bias-corrected nor normalised."""
    return series.diffusion is not None and series.diffusion.role == "adc"


def _made_of(parts: tuple[Series, ...]) -> list[Any]:
    return [[one.diffusion.volumes, one.diffusion.weights] for one in parts if one.diffusion]


def _wants_cubes(series: Series, rule: str) -> bool:
    """Whether a series is also written with cubic voxels."""
    if rule == "anisotropic":
        edges = series.header.spacing_mm if series.header else (1.0,)
        return max(edges) >= ANISOTROPIC * min(edges)
    return rule == "always"


def _isotropic(series: Series, edge_mm: float) -> OutputSpace:
    """A series' own space with cubic voxels."""
    before = " x ".join(f"{edge:.3g}" for edge in series.header.spacing_mm) if series.header else "unknown"
    text = f"{edge_mm:g} mm isotropic, interpolated from voxels of {before} mm"
    return OutputSpace("isotropic", "", re.sub(r"\D", "", f"{edge_mm:g}"), "orig", text)


def _between(made: Target, moving: str, fixed: str) -> Target:
    """A transform's sidecar names both of its images."""
    return replace(made, sidecar={**made.sidecar, "Sources": [moving, fixed], "From": moving, "To": fixed})


def _transforms(files: Mapping[str, FileInput]) -> tuple[PurePosixPath, ...]:
    """The transforms from an output space back to a series, in the order in which a point goes through them."""
    return tuple(files[role].path for role in ("to_atlas", "to_reference") if role in files)
