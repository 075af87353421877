"""What did not come to its end in a session, why, and how that is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_app.inputs.series import Session
from bids_app.outputs.manifest import InputRecord
from bids_app.outputs.writer import write_bytes
from bids_app.settings import Settings
from bids_app.workflow.plan import SessionPlan


@dataclass(frozen=True)
class Failure:
    """Something that did not come to its end: which series, at which step, and why, in words for a user."""

    session: str
    series: str
    step: str
    message: str


def failures_of(plan: SessionPlan, folder: Path) -> dict[str, Failure]:
    """Why each unfinished task was not done: its own error, or that of what it stands on."""
    told = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        told[content["task"]] = content["message"]
    killed = (folder / "killed").exists()
    result: dict[str, Failure] = {}
    for name in (name for name in plan.tasks if name in plan.todo):
        task = plan.tasks[name]
        if name in told:
            message = told[name]
        elif name in plan.blocked:
            step = plan.blocked[name].split("/")[0]
            message = f"it needs {plan.blocked[name]}, which no run has made or which is damaged; add {step} to --steps"
        elif any(file.task in plan.todo for file in task.files.values()):
            continue  # what it stands on is named already
        elif killed:
            message = "its process was killed, most likely for memory; give --mem-gb or a smaller --nprocs"
        else:
            message = "it was not run: the session was stopped before"
        result[name] = Failure(plan.session.label, task.series.name, task.step, message)
    return result


def unusable_series(session: Session, inputs: Mapping[str, InputRecord]) -> list[Failure]:
    """Series whose header was good and whose content was not: an error of the dataset, told at the end of the run."""
    return [
        Failure(session.label, series.name, "read", inputs[series.relative].problem or "")
        for series in session.series
        if inputs[series.relative].problem
    ]


def messages_by_series(failures: Mapping[str, Failure]) -> dict[str, str]:
    """The failures of each series in one line."""
    result: dict[str, str] = {}
    for failure in failures.values():
        text = f"{failure.step}: {failure.message}"
        result[failure.series] = f"{result[failure.series]}; {text}" if failure.series in result else text
    return result


def write_errors(where: Path, failures: Mapping[str, Failure], folder: Path, settings: Settings, work: Path) -> None:
    """Write the tracebacks of failed tasks, with the folders of this machine taken out; no file where none failed."""
    if not failures:
        where.unlink(missing_ok=True)
        return
    texts = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        texts.append(f"{content['task']}: {content['message']}\n\n{content['traceback']}")
    texts += [f"{name}: {failure.message}" for name, failure in failures.items()]
    text = "\n\n".join(texts)
    places = {
        settings.bids_dir: "BIDS_DIR",
        settings.output_dir: "OUTPUT_DIR",
        work: "WORK",
        settings.masks: "MASKS",
        settings.hd_bet_weights: "WEIGHTS",
        settings.app_home: "APP_HOME",
        settings.templateflow_home: "TEMPLATEFLOW_HOME",
        Path(__file__).parents[2]: "PACKAGE",
        Path(sys.prefix): "PYTHON",
        Path(sys.base_prefix): "PYTHON",
        Path.home(): "HOME",
    }
    names = {str(form): name for path, name in places.items() if path for form in (path, path.resolve())}
    for place in sorted(names, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, names[place])
    write_bytes(where, text.encode())
