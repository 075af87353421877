"""The template itself: its image, mask and lesion, and every session's transform to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.outputs.manifest import TaskRecord, damaged_files, individual_manifest, read_manifest, task_key
from bids_app.outputs.publish import Piece, publish
from bids_app.outputs.tree import output_uri, product_uri
from bids_app.workflow.context import RunContext
from bids_app.workflow.individual.members import Member, of_template, parents_of, template_task, way_of
from bids_app.workflow.interfaces.base import carried_lesion, conformed, conformed_mask, titled
from bids_app.workflow.profile import Stopwatch

if TYPE_CHECKING:
    from bids_app.steps.template import Template, Visit


def template_record(
    subject: str, members: Sequence[Member], context: RunContext, times: Path | None
) -> TaskRecord | None:
    """The record of the template's task; None where its step was not chosen and it was never done."""
    from bids_app.steps.template import build_template

    settings = context.settings
    output, where = settings.output_dir, individual_manifest(settings.output_dir, subject)
    name = template_task(subject)
    parents, key = parents_of(members), template_key(members, context)
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


def template_key(members: Sequence[Member], context: RunContext) -> str:
    from bids_app.steps import registration, resampling, template

    settings, versions = context.settings, (template.VERSION, registration.VERSION, resampling.VERSION)
    parameters = {"seed": settings.random_seed, "threads": settings.omp_nthreads}
    return task_key("template", "/".join(versions), parameters, parents_of(members))


def _visit(one: Member, output: Path) -> Visit:
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


def _made(found: Template, members: Sequence[Member]) -> tuple[list[Piece], dict[str, Any]]:
    """The files of a template, and the facts about it."""
    from bids_app.steps.template import VERSION

    image, mask = of_template("template", members), of_template("template_mask", members)
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
        pieces.append(Piece(of_template("template_lesion", members), found.lesion, {"Sources": drawn_on, **said}))
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
        pieces.append(Piece(way_of(one.series), visit.transform, told))
    return pieces, facts
