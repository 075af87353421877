"""What did not come to its end in a session, why, and how that is told."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_app.inputs.series import Session
from bids_app.outputs.anonymise import safe_text, safe_traceback
from bids_app.outputs.manifest import InputRecord, manifest_path
from bids_app.outputs.writer import OutputError, write_if_changed
from bids_app.settings import Settings
from bids_app.steps.images import ImageError
from bids_app.workflow.plan import SessionPlan

_KILLED = "its process was killed, most likely for memory; give --mem-gb or a smaller --nprocs"
#: What the libraries say when an allocation fails: Python, NumPy, C++, ITK and torch.
_NO_MEMORY = re.compile(r"MemoryError|Unable to allocate|bad_alloc|[Ff]ailed to allocate|can't allocate memory")


@dataclass(frozen=True)
class Failure:
    """Something that did not come to its end: which series, at which step, and why, in words for a user.

    `kind` is the type of an error that is not ours: what it says can quote the data, and is told to the user alone.
    """

    session: str
    series: str
    step: str
    message: str
    kind: str = ""

    @property
    def public(self) -> str:
        """The reason as it may be written into the output, once places and values are taken out (`safe_text`)."""
        return f"{self.kind} (the run's own messages say more)" if self.kind else self.message


def failures_of(plan: SessionPlan, folder: Path, made_otherwise: Container[str] = ()) -> dict[str, Failure]:
    """Why each unfinished task was not done: its own error, or that of what it stands on.

    Parameters
    ----------
    folder
        Where the tasks left their messages.
    made_otherwise
        Tasks of earlier runs whose files are there, and are not those that the present options need.
    """
    told = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        told[content["task"]] = _in_plain_words(content["message"], content["kind"])
    killed = (folder / "killed").exists()
    graph = (folder / "graph").read_text(encoding="utf-8") if (folder / "graph").exists() else ""
    result: dict[str, Failure] = {}
    for name in (name for name in plan.tasks if name in plan.todo):
        task, kind = plan.tasks[name], ""
        if name in told:
            message, kind = told[name]
        elif name in plan.blocked:
            message = _in_need_of(plan.blocked[name], plan.blocked[name] in made_otherwise)
        elif any(file.task in plan.todo for file in task.files.values()):
            continue  # what it stands on is named already
        elif killed:
            message = _KILLED
        else:
            message = f"it was not run: {graph}" if graph and not told else "it was not run: the session ended before"
        result[name] = Failure(plan.session.label, task.series.name, task.step, message, kind)
    return result


def _in_need_of(task: str, made_otherwise: bool) -> str:
    step = task.split("/")[0]
    if not made_otherwise:
        return f"it needs {task}, which no run has made or which is damaged; add {step} to --steps"
    hint = ", for instance --atlas-registration" if step == "atlas" else ""
    return f"it needs {task}, which was made with other options; give the same ones{hint}, or add {step} to --steps"


def unreadable_series(session: Session) -> list[Failure]:
    """Series that the walk could not read. What is not named as BIDS has it can have any name, which is not told."""
    told = "a file or folder that cannot be read; see --dry-run"
    return [
        Failure(
            session.label, *((one.name, "read", one.rejection or "") if one.entities else ("misnamed", "read", told))
        )
        for one in session.rejected
        if one.unreadable
    ]


def unusable_series(session: Session, inputs: Mapping[str, InputRecord]) -> list[Failure]:
    """Series whose header was good and whose content was not: an error of the dataset, told at the end of the run."""
    found = [(series.name, "read", series.relative) for series in session.series]
    found += [(lesion.series, "lesion", lesion.relative) for lesion in session.lesions]
    problems = {(name, step, file): inputs[file].problem for name, step, file in found if file in inputs}
    return [Failure(session.label, name, step, problem) for (name, step, _), problem in problems.items() if problem]


def messages_by_series(failures: Iterable[Failure]) -> dict[str, str]:
    """The failures of each series in one line."""
    result: dict[str, str] = {}
    for failure in failures:
        text = f"{failure.step}: {failure.public}"
        result[failure.series] = f"{result[failure.series]}; {text}" if failure.series in result else text
    return result


def plainly(message: str) -> str:
    """A message of a task, with what to do where memory ran out."""
    if _NO_MEMORY.search(message) is None:
        return message
    detail = re.search(r"[\d.]+ [KMGT]iB", message)
    wanted = f" (it asked for {detail[0]})" if detail else ""
    return f"not enough memory{wanted}; give --mem-gb or a smaller --nprocs, or a machine with more"


def _in_plain_words(message: str, kind: str) -> tuple[str, str]:
    """A message for a user, and the kind of an error that is not ours; memory that ran out is told in our words."""
    said = plainly(f"{kind}: {message}" if kind else message)
    return said, kind if said.startswith(kind) else ""


def foreign_kind(error: BaseException | None) -> str:
    """The type of an error that is neither ours nor the system's (with a number); empty for those."""
    of = type(error)
    ours = isinstance(error, ImageError) or of.__module__.split(".")[0] == "bids_app"
    if ours or (isinstance(error, OSError) and error.errno is not None and error.strerror):
        return ""
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def in_words(error: BaseException | None) -> tuple[str, str]:
    """An error for a user, and its kind where it is not ours (see `Failure`)."""
    if isinstance(error, OutputError):
        return str(error), ""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror, ""
    return _in_plain_words(str(error), foreign_kind(error))


def write_errors(
    where: Path,
    failures: Mapping[str, Failure],
    broken: Iterable[Failure],
    session: Session,
    settings: Settings,
    folder: Path | None = None,
    work: Path | None = None,
) -> None:
    """Write why tasks failed and where in the code, and what of the dataset is broken; no file where there is nothing.

    Parameters
    ----------
    broken
        Images and lesion masks that cannot be used.
    folder, work
        Where the tasks left their messages, and the work folder, whose name is taken out; None where no task was run.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    texts = [f"{one.step}/{one.series}: {one.public}" for one in broken]
    texts += [f"{name}: {failure.public}" for name, failure in failures.items()]
    if not texts:
        where.unlink(missing_ok=True)
        return
    for path in sorted(folder.glob("*.json")) if folder and failures else ():
        content = json.loads(path.read_text(encoding="utf-8"))
        texts.append(f"{content['task']}:\n{safe_traceback(content['traceback'])}")
    _write(where, texts, session, settings, work)


def write_lost_session(session: Session, failure: Failure, settings: Settings, work: Path) -> None:
    """Write that a session came to its end by its worker's; where nothing can be written, the run's end tells it."""
    where = manifest_path(settings.output_dir, session.subject, session.session).parent / "errors.txt"
    with contextlib.suppress(OSError):
        _write(where, [f"{session.label}: {failure.public}"], session, settings, work)


def _write(where: Path, texts: Iterable[str], session: Session, settings: Settings, work: Path | None) -> None:
    """Write texts without what this machine's folders and the session's sidecars say."""
    places = {
        settings.bids_dir: "BIDS_DIR",
        settings.output_dir: "OUTPUT_DIR",
        work: "WORK",
        settings.masks: "MASKS",
        settings.lesions: "LESIONS",
        settings.hd_bet_weights: "WEIGHTS",
        settings.app_home: "APP_HOME",
        settings.templateflow_home: "TEMPLATEFLOW_HOME",
        Path(__file__).parents[2]: "PACKAGE",
        Path(sys.prefix): "PYTHON",
        Path(sys.base_prefix): "PYTHON",
        Path.home(): "HOME",
    }
    values = [
        value
        for series in (*session.series, *session.rejected)
        for value in series.metadata.values()
        if isinstance(value, str)
    ]
    known = {path: name for path, name in places.items() if path}
    write_if_changed(where, ("\n\n".join(_safe(text, known, values) for text in texts) + "\n").encode())


def _safe(text: str, places: Mapping[Path, str], values: Iterable[str]) -> str:
    """Safe text; the frames of a traceback name files in quotation marks, which are kept where they are ours."""
    lines = []
    for line in text.splitlines():
        frame = re.fullmatch(r'  File "([^"]*)"(, line \d+, in \S+)', line)
        if frame:
            lines.append(f"  File {safe_text(frame[1], places, values)}{frame[2]}")
        elif line.startswith("    "):  # a line of source code
            lines.append(line)
        else:
            lines.append(safe_text(line, places, values))
    return "\n".join(lines)
