"""Steps that cost nothing, in the place of the real ones: what is left of a run is the app's own work.

Everything else is real: the walk, the locks, the workers, the plan, Nipype's graph, the atomic writing of each file
with its sidecar, the manifests and the tables.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bids_app.workflow import run

#: What every step makes: a few bytes, which no later step reads.
CONTENT = b"made by no step"
#: Tasks that fail instead, separated by spaces: an environment variable, which workers inherit.
FAILING = "TRIVIAL_STEPS_FAIL"


def nothing(step: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if step.task.name in os.environ.get(FAILING, "").split():
        raise RuntimeError("it was told to fail")
    return {role: (CONTENT, {}) for role in step.task.targets}, {}


def prepare_worker(threads: int, work: Path) -> None:
    """In a worker: as `run.prepare_worker`, and the steps are trivial."""
    run_prepare_worker(threads, work)
    from bids_app.workflow.interfaces import INTERFACES

    for interface in INTERFACES.values():
        interface.compute = nothing  # type: ignore[method-assign]


run_prepare_worker = run.prepare_worker


def take_over() -> None:
    """Let the runs of this process give trivial steps to their workers."""
    run.prepare_worker = prepare_worker


def finish(bids_dir: Path, output: Path, *words: str) -> int:
    """Leave an output as a run with trivial steps does, without running: files, manifests; how many sessions."""
    import hashlib

    from bids_app.cli.parser import build_parser
    from bids_app.cli.settings import command_from
    from bids_app.inputs.content import file_sha256
    from bids_app.inputs.dataset import Selection, open_dataset, walk
    from bids_app.outputs.manifest import FileRecord, InputRecord, Manifest, TaskRecord, manifest_path, stamp_of
    from bids_app.outputs.manifest import _as_lines as as_lines
    from bids_app.outputs.manifest import _content as content_of
    from bids_app.outputs.names import sidecar_of
    from bids_app.workflow.plan import plan_session
    from bids_app.workflow.prepare import prepare

    arguments = build_parser().parse_args([str(bids_dir), str(output), "participant", *words])
    settings = command_from(arguments, dict(os.environ)).settings
    context = prepare(settings)
    digest, count = hashlib.sha256(CONTENT).hexdigest(), 0
    for session in walk(open_dataset(bids_dir), Selection(shard=settings.shard)):
        hashes = {one.relative: file_sha256(one.path) for one in session.series}
        inputs = {
            one.relative: InputRecord(stamp_of(one.path, hashes[one.relative]), hashes[one.relative])
            for one in session.series
        }
        tasks = {}
        for name, task in plan_session(session, inputs, Manifest(), context).tasks.items():
            files = []
            for made in task.targets.values():
                for path in {made.path, sidecar_of(made.path)}:
                    (output / path).parent.mkdir(parents=True, exist_ok=True)
                    (output / path).write_bytes(CONTENT)
                    files.append(FileRecord(path.as_posix(), digest, len(CONTENT)))
            tasks[name] = TaskRecord(task.key, task.parents, tuple(files))
        where = manifest_path(output, session.subject, session.session)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(as_lines(content_of(Manifest(inputs, tasks))))
        count += 1
    (output / "logs" / "manifest.json").write_bytes(as_lines(content_of(Manifest())))  # it is ours
    return count
