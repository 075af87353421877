"""Where a run's seconds go: what `--profile` writes, `logs/profile.tsv`, a row for each task, session and page.

Of a task, `compute_s` is its step with the reading of its files and `write_s` the compressing and writing of what it
made; `peak_gb` is the most memory of its process meanwhile. A session's row says how long it took from first to last
(`wall_s`), and what of that was no task: starting, planning, Nipype, tables (`other_s`; less than nothing where tasks
ran side by side).
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from rich.console import Console

from bids_app.outputs.writer import write_bytes

_COLUMNS = ("session", "task", "wall_s", "compute_s", "write_s", "cpu_s", "other_s", "peak_gb")


@dataclass(frozen=True)
class TaskTime:
    """Seconds of a task; `cpu_s` is its process's, on all threads; `peak_gb` the most memory it had, 0 if unknown."""

    task: str
    compute_s: float
    write_s: float
    cpu_s: float
    peak_gb: float = 0.0

    @property
    def wall_s(self) -> float:
        return self.compute_s + self.write_s


@dataclass
class Stopwatch:
    """Times a task in whatever process it runs, and leaves the seconds in a folder; without one it does nothing."""

    folder: Path | None
    task: str
    _began: tuple[float, float] = (0.0, 0.0)
    _computed: float = 0.0

    def __enter__(self) -> Stopwatch:
        if self.folder is not None:
            _forget_peak()
        self._began = time.monotonic(), time.process_time()
        return self

    def computed(self) -> None:
        """What follows is writing."""
        self._computed = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.folder is None or kind is not None:
            return
        wall, cpu = self._began
        seconds = self._computed - wall, time.monotonic() - self._computed, time.process_time() - cpu
        self.folder.mkdir(exist_ok=True)
        content = asdict(TaskTime(self.task, *seconds, _peak_gb()))
        (self.folder / f"{self.task.replace('/', '--')}.json").write_text(json.dumps(content), encoding="utf-8")


def _forget_peak() -> None:
    """Let the kernel count the most memory of this process anew (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_gb() -> float:
    """The most memory that this process had since then; 0 where the kernel does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    return 0.0


def times_in(folder: Path) -> tuple[TaskTime, ...]:
    """What the stopwatches left, in the order in which the tasks ended."""
    paths = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return tuple(TaskTime(**json.loads(path.read_text(encoding="utf-8"))) for path in paths)


@dataclass
class Profile:
    """The table of a run; written whole after each session, so that a run that is ended leaves what it knows."""

    path: Path
    _lines: list[str] = field(default_factory=lambda: ["\t".join(_COLUMNS)])
    _by_step: dict[str, TaskTime] = field(default_factory=dict)
    _other_s: float = 0.0

    @classmethod
    def of_shard(cls, output: Path, shard: tuple[int, int]) -> Profile:
        """The runs of an array write beside each other."""
        number, count = shard
        return cls(output / "logs" / (f"profile_shard-{number}of{count}.tsv" if count > 1 else "profile.tsv"))

    def add(self, session: str, wall_s: float, times: tuple[TaskTime, ...]) -> None:
        """Count a session in."""
        for one in times:
            self._count(session, one)
        other = wall_s - sum(one.wall_s for one in times)
        self._other_s += other
        self._line(session, "", wall_s, None, None, None, other, None)
        self._write()

    def add_page(self, participant: str, time: TaskTime) -> None:
        """Count a participant's page in."""
        self._count(participant, time)
        self._write()

    def _count(self, label: str, one: TaskTime) -> None:
        self._line(label, one.task, one.wall_s, one.compute_s, one.write_s, one.cpu_s, None, one.peak_gb)
        step = one.task.split("/")[0]
        sofar = self._by_step.get(step, TaskTime(step, 0.0, 0.0, 0.0))
        self._by_step[step] = TaskTime(
            step, sofar.compute_s + one.compute_s, sofar.write_s + one.write_s, sofar.cpu_s + one.cpu_s
        )

    def _write(self) -> None:
        write_bytes(self.path, ("\n".join(self._lines) + "\n").encode())

    def _line(self, session: str, task: str, *seconds: float | None) -> None:
        cells = ("n/a" if value is None else f"{value:.3f}" for value in seconds)
        self._lines.append("\t".join((session, task or "n/a", *cells)))

    def tell(self, console: Console) -> None:
        """The sums by step."""
        for one in self._by_step.values():
            text = f"{one.task:12s} {one.wall_s:9.1f} s: {one.compute_s:.1f} computing, {one.write_s:.1f} writing"
            console.print(text, highlight=False, soft_wrap=True)
        console.print(f"{'no task':12s} {self._other_s:9.1f} s; all in {self.path}", highlight=False, soft_wrap=True)
