"""What a plan is made of: tasks, the files that they read, and the whole of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bids_app.inputs.reference import Reference
from bids_app.inputs.series import Series, Session
from bids_app.outputs.tree import OutputSpace, Target


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

    @property
    def variant(self) -> str:
        """What follows step, series and space in its name, empty where nothing does."""
        plain = task_name(self.step, self.series, self.space)
        return self.name.removeprefix(plain).removeprefix("/")

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
    lesion
        The lesion that the reference shows, and the transforms between the two, by the fields of `LesionInputSpec`;
        empty where there is none.
    """

    session: Session
    reference: Reference | None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    todo: frozenset[str] = frozenset()
    blocked: Mapping[str, str] = field(default_factory=dict)
    lesion: Mapping[str, FileInput] = field(default_factory=dict)


def task_name(step: str, series: Series, space: OutputSpace, variant: str = "") -> str:
    """`step/series`, and where there are several, `/space` and `/variant`."""
    name = f"{step}/{series.name}"
    if space.kind != "native":
        name += f"/{space.label if space.kind == 'atlas' else space.kind}"
        if space.kind == "atlas" and space.resolution and step != "atlas":  # one transform serves all resolutions
            name += f"_res-{space.resolution}"
    return f"{name}/{variant}" if variant else name
