"""The within-subject template of a participant (`--reference subject`): made once all sessions are done natively.

Its manifest is `logs/sub-01/individual/manifest.json`, with one task for the template (its image, mask and every
session's transform to it) and one for each atlas. Sessions see it as an `IndividualSpace` in their context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bids_app.inputs.series import Session
from bids_app.outputs.manifest import forget_all, individual_key, individual_manifest, read_manifest
from bids_app.outputs.tree import target
from bids_app.steps.registration import RegistrationError
from bids_app.workflow.context import INDIVIDUAL, IndividualSpace, RunContext
from bids_app.workflow.failures import Failure
from bids_app.workflow.individual.atlas import atlas_files, atlas_key
from bids_app.workflow.individual.members import as_template, members_of, of_template, template_task, way_of
from bids_app.workflow.individual.template import template_key, template_record
from bids_app.workflow.plan import SessionPlan

__all__ = ["NATIVE_STEPS", "expected_individual", "is_current", "looking", "make_individual"]

#: What is done in each session before there can be a template.
NATIVE_STEPS = ("mask", "deface", "lesion", "denoise", "bias", "coregister")


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
    members = members_of(sessions, context)
    if len(members) < 2:
        forget_all(output, where)
        return None, []
    try:
        record = template_record(subject, members, context, times)
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
    ways = {one.label: way_of(one.series).path for one in members if one.label not in problems}
    atlases: dict[str, Mapping[str, PurePosixPath]] = {}
    for atlas in context.spaces:
        try:
            found = atlas_files(subject, members, record, atlas, context, times)
            if found is not None:
                atlases[atlas.label] = found
        except RegistrationError as error:
            failures.append(Failure(f"sub-{subject}", f"sub-{subject}_{INDIVIDUAL}", "atlas", str(error)))
    key = individual_key(read_manifest(where))
    return IndividualSpace(key, of_template("template", members).path, ways, atlases, problems), failures


def is_current(subject: str, sessions: Sequence[Session], context: RunContext) -> bool:
    """Whether the template, and with it its way to every atlas, is what the sessions as they are now would give."""
    settings = context.settings
    members = members_of(sessions, context)
    tasks = read_manifest(individual_manifest(settings.output_dir, subject)).tasks
    if len(members) < 2:
        return not tasks
    template = tasks.get(template_task(subject))
    if template is None or ("template" in settings.steps and template.key != template_key(members, context)):
        return False
    names = [f"atlas/sub-{subject}_{INDIVIDUAL}/{atlas.label}" for atlas in context.spaces]
    return "atlas" not in settings.steps or all(
        name in tasks and tasks[name].key == atlas_key(subject, template, atlas, context)
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
    first = as_template(next(plan.reference.series for plan in plans if plan.reference is not None))
    roles = {"to_atlas": "template_to_atlas"} | ({"from_atlas": "atlas_to_template"} if kind == "syn" else {})
    atlases = {
        atlas.label: {role: target(product, first, atlas.output).path for role, product in roles.items()}
        for atlas in context.spaces
    }
    ways = {plan.session.label: way_of(plan.reference.series).path for plan in placed if plan.reference is not None}
    return IndividualSpace("", target("template", first).path, ways, atlases, {}), +todo


def looking(context: RunContext) -> RunContext:
    """The context in which a template is read and not made."""
    steps = tuple(step for step in context.settings.steps if step not in ("template", "atlas"))
    return replace(context, settings=replace(context.settings, steps=steps))
