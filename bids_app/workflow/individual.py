"""The within-subject template of a participant (`--reference subject`): made once all sessions are done natively.

Its manifest is `logs/sub-01/individual/manifest.json`, with one task for the template (its image, mask and every
session's transform to it) and one for each atlas. Sessions see it as an `IndividualSpace` in their context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import (
    TaskRecord,
    damaged_files,
    forget_all,
    individual_key,
    individual_manifest,
    manifest_path,
    read_manifest,
    task_key,
)
from bids_app.outputs.publish import Piece, publish
from bids_app.outputs.tree import OutputSpace, Target, output_uri, product_uri, target
from bids_app.steps.registration import RegistrationError
from bids_app.workflow.context import INDIVIDUAL, AtlasSpace, IndividualSpace, RunContext
from bids_app.workflow.failures import Failure
from bids_app.workflow.interfaces.base import carried_lesion, conformed, conformed_mask, stored, titled
from bids_app.workflow.interfaces.registration import registration_facts
from bids_app.workflow.plan import SessionPlan, plan_session
from bids_app.workflow.profile import Stopwatch

if TYPE_CHECKING:
    from bids_app.steps import registration
    from bids_app.steps.template import Template, Visit

#: What is done in each session before there can be a template.
NATIVE_STEPS = ("mask", "deface", "lesion", "denoise", "bias", "coregister")


@dataclass(frozen=True)
class _Member:
    """A session that is part of the template: its reference, and the keys and files of what is read of it.

    `lesion` are the files that say where the reference shows one (`interfaces.base.carried_lesion`).
    """

    label: str
    series: Series
    keys: Mapping[str, str]
    image: PurePosixPath
    brain_mask: PurePosixPath
    face_mask: PurePosixPath | None
    lesion: Mapping[str, PurePosixPath]


def make_individual(
    subject: str, sessions: Sequence[Session], context: RunContext, times: Path | None = None
) -> tuple[IndividualSpace | None, list[Failure]]:
    """The template of a participant, made anew where what it stands on has changed; None with fewer than two sessions.

    A session that cannot be aligned is named in `problems` and in the failures; the others do not need it.

    Parameters
    ----------
    times
        Folder for what was made in which time (`workflow.profile`).
    """
    output = context.settings.output_dir
    where = individual_manifest(output, subject)
    members = _members(sessions, context)
    if len(members) < 2:
        forget_all(output, where)
        return None, []
    try:
        record = _template(subject, members, context, times)
    except RegistrationError as error:
        forget_all(output, where)
        told = [Failure(one.label, one.series.name, "template", str(error)) for one in members]
        return IndividualSpace("", PurePosixPath(), {}, {}, {one.label: str(error) for one in members}), told
    if record is None:
        message = "no run has made the within-subject template; add template to --steps"
        told = [Failure(one.label, one.series.name, "template", message) for one in members]
        return IndividualSpace("", PurePosixPath(), {}, {}, {one.label: message for one in members}), told
    problems: Mapping[str, str] = record.facts["problems"]
    failures = [Failure(one.label, one.series.name, "template", problems[one.label]) for one in members
                if one.label in problems]  # fmt: skip
    ways = {one.label: _way(one.series).path for one in members if one.label not in problems}
    atlases: dict[str, Mapping[str, PurePosixPath]] = {}
    for atlas in context.spaces:
        try:
            found = _atlas(subject, members, record, atlas, context, times)
            if found is not None:
                atlases[atlas.label] = found
        except RegistrationError as error:
            failures.append(Failure(f"sub-{subject}", f"sub-{subject}_{INDIVIDUAL}", "atlas", str(error)))
    key = individual_key(read_manifest(where))
    return IndividualSpace(key, _image(members).path, ways, atlases, problems), failures


def is_current(subject: str, sessions: Sequence[Session], context: RunContext) -> bool:
    """Whether the template, and with it its way to every atlas, is what the sessions as they are now would give."""
    settings = context.settings
    members = _members(sessions, context)
    tasks = read_manifest(individual_manifest(settings.output_dir, subject)).tasks
    if len(members) < 2:
        return not tasks
    template = tasks.get(f"template/sub-{subject}_{INDIVIDUAL}")
    if template is None or ("template" in settings.steps and template.key != _key(members, context)):
        return False
    names = [f"atlas/sub-{subject}_{INDIVIDUAL}/{atlas.label}" for atlas in context.spaces]
    return "atlas" not in settings.steps or all(
        name in tasks and tasks[name].key == _atlas_key(subject, template, atlas, context)
        for name, atlas in zip(names, context.spaces, strict=True)
    )


def expected_individual(
    subject: str, plans: Sequence[SessionPlan], context: RunContext
) -> tuple[IndividualSpace | None, Counter[str]]:
    """The template as it will be once the sessions are done natively, and what is left to do of it, by step."""
    sessions = [plan.session for plan in plans]
    native = {plan.tasks[name].step for plan in plans for name in plan.todo} & set(NATIVE_STEPS)
    if not native and is_current(subject, sessions, context):
        return make_individual(subject, sessions, looking(context))[0], Counter()
    placed = [plan for plan in plans if plan.reference is not None]
    if len(placed) < 2:
        return None, Counter()
    steps, kind = context.settings.steps, context.settings.atlas_registration
    todo = Counter({"template": int("template" in steps), "atlas": len(context.spaces) * ("atlas" in steps)})
    first = _as_series(next(plan.reference.series for plan in plans if plan.reference is not None))
    roles = {"to_atlas": "template_to_atlas"} | ({"from_atlas": "atlas_to_template"} if kind == "syn" else {})
    atlases = {
        atlas.label: {role: target(product, first, atlas.output).path for role, product in roles.items()}
        for atlas in context.spaces
    }
    ways = {plan.session.label: _way(plan.reference.series).path for plan in placed if plan.reference is not None}
    return IndividualSpace("", target("template", first).path, ways, atlases, {}), +todo


def looking(context: RunContext) -> RunContext:
    """The context in which a template is read and not made."""
    steps = tuple(step for step in context.settings.steps if step not in ("template", "atlas"))
    return replace(context, settings=replace(context.settings, steps=steps))


def _key(members: Sequence[_Member], context: RunContext) -> str:
    from bids_app.steps.template import VERSION

    settings = context.settings
    return task_key(
        "template", VERSION, {"seed": settings.random_seed, "threads": settings.omp_nthreads}, _parents(members)
    )


def _parents(members: Sequence[_Member]) -> dict[str, str]:
    """What the template stands on. Of the sessions' labels nothing but the names of their series goes into it."""
    return {task: key for one in members for task, key in one.keys.items()}


def _atlas_key(subject: str, template: TaskRecord, atlas: AtlasSpace, context: RunContext) -> str:
    from bids_app.steps import registration

    settings = context.settings
    parameters = {"kind": settings.atlas_registration, "content": atlas.content, "seed": settings.random_seed}
    return task_key("atlas", registration.VERSION, parameters, {f"template/sub-{subject}_{INDIVIDUAL}": template.key})


def _members(sessions: Sequence[Session], context: RunContext) -> list[_Member]:
    """The sessions whose reference has its bias-corrected image and its mask."""
    result = []
    for session in sessions:
        manifest = read_manifest(manifest_path(context.settings.output_dir, session.subject, session.session))
        try:
            plan = plan_session(session, manifest.inputs, manifest, context)
        except (InputError, KeyError):
            continue
        if plan.reference is None:
            continue
        series = plan.reference.series
        names = [f"{step}/{series.name}" for step in ("mask", "deface", "bias")]
        names = [name for name in names if name in manifest.tasks and name not in plan.todo]
        keys = {name: manifest.tasks[name].key for name in names}
        if not {f"mask/{series.name}", f"bias/{series.name}"} <= set(names):
            continue
        face = target("face_mask", series).path if context.settings.deface and len(names) == 3 else None
        image, mask = target("preproc", series).path, target("brain_mask", series).path
        drawn = {file.task for file in plan.lesion.values()}
        shows = drawn <= set(manifest.tasks) - plan.todo
        lesion = {field: file.path for field, file in plan.lesion.items()} if shows else {}
        keys |= {name: manifest.tasks[name].key for name in sorted(drawn)} if shows else {}
        result.append(_Member(session.label, series, keys, image, mask, face, lesion))
    return result


def _image(members: Sequence[_Member]) -> Any:
    """The template's image: named after the contrast of the first session's reference."""
    series = _series(members)
    path = target("template", series).path
    return target("template", series, OutputSpace("native", "", None, output_uri(path)))


def _series(members: Sequence[_Member]) -> Series:
    return _as_series(members[0].series)


def _as_series(first: Series) -> Series:
    """The template in the place of a series: the participant's, of no session, named after the first reference."""
    subject = first.entity("sub") or ""
    return Series(
        first.path, "", (("sub", subject),), first.suffix, "anat", ".nii.gz", title=f"sub-{subject}_{INDIVIDUAL}"
    )


def _mask(members: Sequence[_Member]) -> Any:
    return target(
        "template_mask", _series(members), OutputSpace("native", "", None, output_uri(_image(members).path))
    )  # fmt: skip


def _lesion(members: Sequence[_Member]) -> Any:
    space = OutputSpace("native", "", None, output_uri(_image(members).path))
    return target("template_lesion", _series(members), space)


def _way(series: Series) -> Any:
    return target("to_template", series, OutputSpace("reference", INDIVIDUAL))


def _template(subject: str, members: Sequence[_Member], context: RunContext, times: Path | None) -> TaskRecord | None:
    """The record of the template's task; None where its step was not chosen and it was never done."""
    from bids_app.steps.template import build_template

    settings = context.settings
    output, where = settings.output_dir, individual_manifest(settings.output_dir, subject)
    name = f"template/sub-{subject}_{INDIVIDUAL}"
    parents, key = _parents(members), _key(members, context)
    known = read_manifest(where).tasks.get(name)
    if known is not None and "template" not in settings.steps:
        return known
    if known is not None and known.key == key and not damaged_files(output, known.files):
        return known
    if "template" not in settings.steps:
        return None
    with Stopwatch(times, name) as watch:
        visits = {one.label: _visit(one, output) for one in members}
        found = build_template(visits, seed=settings.random_seed, threads=settings.omp_nthreads)
        watch.computed()
        pieces, facts = _made(found, members)
        publish(output, where, name, key, parents, pieces, facts)
    return read_manifest(where).tasks[name]


def _visit(one: _Member, output: Path) -> Visit:
    """What the template is made from, read."""
    from bids_app.steps.template import Visit

    image, drawn = conformed(str(output / one.image)), {role: output / path for role, path in one.lesion.items()}
    return Visit(
        image,
        conformed_mask(str(output / one.brain_mask)),
        one.series.contrast,
        conformed_mask(str(output / one.face_mask)) if one.face_mask else None,
        carried_lesion(drawn, image) if drawn else None,
    )


def _made(found: Template, members: Sequence[_Member]) -> tuple[list[Piece], dict[str, Any]]:
    """The files of a template, and the facts about it."""
    from bids_app.steps.template import VERSION

    image, mask = _image(members), _mask(members)
    method = {"Name": "rigid, half-way between the sessions", "Step": "template", "Version": VERSION}
    said = {"Method": {**method, "Rounds": found.rounds, "MovedInTheLastMillimeters": round(found.moved_mm, 3)}}
    placed = [one for one in members if one.label in found.visits]
    sources = [product_uri("preproc", one.series) for one in placed]
    averaged = [product_uri("preproc", one.series) for one in placed if one.label in found.averaged]
    masks = [product_uri("brain_mask", one.series) for one in placed]
    pieces = [
        Piece(image, found.image, {"Sources": averaged, **said, "AlignedToIt": sources}),
        Piece(mask, found.brain_mask, {"Sources": masks, **said}),
    ]
    if found.lesion is not None:
        drawn_on = [output_uri(one.lesion["lesion"]) for one in placed if one.lesion]
        pieces.append(Piece(_lesion(members), found.lesion, {"Sources": drawn_on, **said}))
    facts: dict[str, Any] = {"problems": dict(found.problems), "visits": {}}
    for one in placed:
        visit, uri = found.visits[one.label], product_uri("preproc", one.series)
        numbers = {
            "mutual_information": round(visit.mutual_information, 4),
            "rotation_deg": round(visit.rotation_deg, 2),
            "translation_mm": round(visit.translation_mm, 2),
        }
        facts["visits"][one.label] = numbers
        to = output_uri(image.path)
        told = {"Sources": [uri, to], "From": uri, "To": to, "Method": {**said["Method"], **titled(numbers)}}
        pieces.append(Piece(_way(one.series), visit.transform, told))
    return pieces, facts


def _atlas(
    subject: str,
    members: Sequence[_Member],
    template: TaskRecord,
    atlas: AtlasSpace,
    context: RunContext,
    times: Path | None,
) -> Mapping[str, PurePosixPath] | None:
    """The files of the template's registration to an atlas, by role; one registration serves all sessions."""
    from bids_app.assets import load_space
    from bids_app.steps import images, registration

    settings = context.settings
    output, kind = settings.output_dir, settings.atlas_registration
    where = individual_manifest(output, subject)
    series, uri = _series(members), output_uri(_image(members).path)
    made = {"to_atlas": target("template_to_atlas", series, atlas.output, extension=".h5" if kind == "syn" else ".mat")}
    if kind == "syn":
        made["from_atlas"] = target("atlas_to_template", series, atlas.output)
    paths = {role: one.path for role, one in made.items()}
    name = f"atlas/sub-{subject}_{INDIVIDUAL}/{atlas.label}"
    parents = {f"template/sub-{subject}_{INDIVIDUAL}": template.key}
    key = _atlas_key(subject, template, atlas, context)
    known = read_manifest(where).tasks.get(name)
    current = known is not None and known.key == key and not damaged_files(output, known.files)
    if current or "atlas" not in settings.steps:
        return paths if current else None
    with Stopwatch(times, name) as watch:
        brain, brain_mask = load_space(atlas.finest)
        mask = conformed_mask(str(output / _mask(members).path))
        moving = conformed(str(output / _image(members).path))
        moving = images.like(images.array_of(moving) * images.mask_of(mask), moving)
        drawn = str(_lesion(members).path)
        lesion = stored(str(output / drawn)) if drawn in {file.path for file in template.files} else None
        found = registration.register(
            brain, moving, kind=kind, fixed_mask=brain_mask, moving_mask=mask, moving_lesion=lesion,
            seed=settings.random_seed,
        )  # fmt: skip
        watch.computed()
        pieces, facts = _atlas_made(found, made, uri, atlas, kind, lesion is not None)
        publish(output, where, name, key, parents, pieces, facts)
    return paths


def _atlas_made(
    found: registration.Registration, made: Mapping[str, Target], uri: str, atlas: AtlasSpace, kind: str, lesion: bool
) -> tuple[list[Piece], dict[str, Any]]:
    """The transforms between the template and an atlas, and the facts about them."""
    from bids_app.steps import registration

    facts = registration_facts(found)
    told = {"Name": "ANTs, Mattes mutual information", "Step": "atlas", "Version": registration.VERSION, "Kind": kind}
    said = {"Method": {**told, "Settings": dict(found.settings), **titled(facts)}}
    if lesion:
        said["Method"]["LesionLeftOut"] = True
    ends = {"to_atlas": (uri, atlas.uri), "from_atlas": (atlas.uri, uri)}
    pieces = []
    for role, one in made.items():
        start, end = ends[role]
        one = replace(one, sidecar={**one.sidecar, "Sources": [start, end], "From": start, "To": end})
        pieces.append(Piece(one, found.transform if role == "to_atlas" else found.inverse, said))
    return pieces, facts


__all__ = ["NATIVE_STEPS", "expected_individual", "is_current", "looking", "make_individual"]
