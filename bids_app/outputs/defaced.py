"""Which images were made from a defaced one: told by what each task stands on, never by what else there is.

A series whose face was removed in a later run than its bias correction has both a defaced image and others that still
show the face. Masks, labels and transforms show none, whatever they were found in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_app.outputs.manifest import TaskRecord

#: Steps whose image is made from the raw one where none is defaced; all further images stand on that of `bias`.
_FROM_RAW = ("denoise", "bias")


def made_from_defaced(name: str, tasks: Mapping[str, TaskRecord]) -> bool:
    """Whether the image of a task was made from the defaced one that its series has now.

    Parameters
    ----------
    name
        Of the task, such as `resample/sub-01_T1w/reference/preproc`.
    tasks
        Those of its session's manifest that stand.
    """
    step, series, *_ = name.split("/")
    before = {"deface": (), "bias": ("deface", "denoise"), "denoise": ("deface",)}.get(step, ("bias",))
    if not before:
        return name in tasks
    found = [f"{one}/{series}" for one in before if f"{one}/{series}" in tasks]
    parents = tasks[name].parents if name in tasks else {}
    return any(parents.get(one) == tasks[one].key and made_from_defaced(one, tasks) for one in found)


def still_with_face(tasks: Mapping[str, TaskRecord], defacing: frozenset[str] = frozenset()) -> list[str]:
    """The tasks that read the raw image of a series that has been defaced since, or that a run is told to deface.

    Parameters
    ----------
    defacing
        Names of those series: where defacing fails in the end, what shows the face does not stay either.
    """
    found = []
    for name in tasks:
        step, series, *_ = name.split("/")
        if step in _FROM_RAW and (series in defacing or f"deface/{series}" in tasks):
            found.append(name)
    return [name for name in found if not made_from_defaced(name, tasks)]
