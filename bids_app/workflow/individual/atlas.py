"""The template's way to an atlas: one registration serves all sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bids_app.outputs.manifest import TaskRecord, damaged_files, individual_manifest, read_manifest, task_key
from bids_app.outputs.publish import Piece, publish
from bids_app.outputs.tree import Target, output_uri, target
from bids_app.workflow.context import INDIVIDUAL, AtlasSpace, RunContext
from bids_app.workflow.individual.members import Member, as_template, of_template, template_task
from bids_app.workflow.interfaces.base import conformed, conformed_mask, stored, titled
from bids_app.workflow.interfaces.registration import registration_facts
from bids_app.workflow.profile import Stopwatch

if TYPE_CHECKING:
    from bids_app.steps import registration


def atlas_files(
    subject: str,
    members: Sequence[Member],
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
    series, uri = as_template(members[0].series), output_uri(of_template("template", members).path)
    made = {"to_atlas": target("template_to_atlas", series, atlas.output, extension=".h5" if kind == "syn" else ".mat")}
    if kind == "syn":
        made["from_atlas"] = target("atlas_to_template", series, atlas.output)
    paths = {role: one.path for role, one in made.items()}
    name = f"atlas/sub-{subject}_{INDIVIDUAL}/{atlas.label}"
    parents = {template_task(subject): template.key}
    key = atlas_key(subject, template, atlas, context)
    known = read_manifest(where).tasks.get(name)
    current = known is not None and known.key == key and not damaged_files(output, known.files)
    if current or "atlas" not in settings.steps:
        return paths if current else None
    with Stopwatch(times, name) as watch:
        brain, brain_mask = load_space(atlas.finest)
        mask = conformed_mask(str(output / of_template("template_mask", members).path))
        moving = conformed(str(output / of_template("template", members).path))
        moving = images.like(images.array_of(moving) * images.mask_of(mask), moving)
        drawn = str(of_template("template_lesion", members).path)
        lesion = stored(str(output / drawn)) if drawn in {file.path for file in template.files} else None
        found = registration.register(
            brain, moving, kind=kind, fixed_mask=brain_mask, moving_mask=mask, moving_lesion=lesion,
            seed=settings.random_seed,
        )  # fmt: skip
        watch.computed()
        pieces, facts = _made(found, made, uri, atlas, kind, lesion is not None)
        publish(output, where, name, key, parents, pieces, facts)
    return paths


def atlas_key(subject: str, template: TaskRecord, atlas: AtlasSpace, context: RunContext) -> str:
    from bids_app.steps import registration

    settings = context.settings
    parameters = {"kind": settings.atlas_registration, "content": atlas.content, "seed": settings.random_seed}
    return task_key("atlas", registration.VERSION, parameters, {template_task(subject): template.key})


def _made(
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
