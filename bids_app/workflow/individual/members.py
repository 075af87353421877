"""What a within-subject template is made from, and how its files are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import manifest_path, read_manifest
from bids_app.outputs.tree import OutputSpace, Target, output_uri, target
from bids_app.workflow.context import INDIVIDUAL, RunContext
from bids_app.workflow.plan import plan_session


@dataclass(frozen=True)
class Member:
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


def members_of(sessions: Sequence[Session], context: RunContext) -> list[Member]:
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
        result.append(Member(session.label, series, keys, image, mask, face, lesion))
    return result


def parents_of(members: Sequence[Member]) -> dict[str, str]:
    """What the template stands on. Of the sessions' labels nothing but the names of their series goes into it."""
    return {task: key for one in members for task, key in one.keys.items()}


def template_task(subject: str) -> str:
    """The name of the template's task in its manifest."""
    return f"template/sub-{subject}_{INDIVIDUAL}"


def as_template(first: Series) -> Series:
    """The template in the place of a series: the participant's, of no session, named after the first reference."""
    subject = first.entity("sub") or ""
    return Series(
        first.path, "", (("sub", subject),), first.suffix, "anat", ".nii.gz", title=f"sub-{subject}_{INDIVIDUAL}"
    )


def of_template(product: str, members: Sequence[Member]) -> Target:
    """A file of the template, named after the contrast of the first session's reference, in the template's space."""
    series = as_template(members[0].series)
    image = output_uri(target("template", series).path)
    return target(product, series, OutputSpace("native", "", None, image))


def way_of(series: Series) -> Target:
    """The transform of a session's reference to the template."""
    return target("to_template", series, OutputSpace("reference", INDIVIDUAL))
