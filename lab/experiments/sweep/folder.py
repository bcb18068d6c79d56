"""The folder of a sweep: what is done is in it, and survives whatever ends the program.

    sweep.json       what all runs have in common; a folder holds the runs of one sweep
    journal.jsonl    a line for each run that ended, in the order of ending
    results.csv ...  the tables (`tables`), made from the journal
    runs/            the folders of runs that did not pass
    workers.log      what the processes printed; not there where they printed nothing
    .lock            held while a sweep writes here

A line of the journal is written at once and synced to the disk before the next run begins. A line that was not finished
when the machine stopped is cut off at the next start: that run is done again, and no other.

Runs of which the outcome is `lost` (the process died or took too long) say nothing about the network, and are done
again at the next start, too. Where a run stands twice in the journal, the later line holds.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import IO, Any

from lab import __version__
from lab.errors import EnvironmentLackError, StateError, UserInputError
from lab.experiments.experiment import Parameter
from lab.experiments.sweep.grid import Run, key_of
from lab.experiments.sweep.load import Sweep

with suppress(ImportError):  # on Windows, where two sweeps into one folder are not noticed
    import fcntl

SWEEP, JOURNAL, LOCK, RUNS, LOG = "sweep.json", "journal.jsonl", ".lock", "runs", "workers.log"
TABLES = ("results.csv", "summary.csv", "times.csv", "columns.json")
ELSEWHERE = "`--again` forgets what is there, `--out FOLDER` goes elsewhere"
LOST = "lost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended: `passed`, `failed`, `error` (the script did not come to its end) or `lost`. `seen` are the
    numbers of its verdicts, each with its claim and unit, `failed` the claims that did not hold."""

    point: Mapping[str, Parameter]
    repeat: int
    seed: int
    outcome: str
    reason: str = ""
    seen: list[tuple[str, float, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    run: str = ""

    @property
    def key(self) -> str:
        return key_of(self.point, self.repeat)


class Folder:
    """Opened by `opened`, which holds the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Outcome] = {}
        self._journal: FileIO | None = None

    @classmethod
    @contextmanager
    def opened(cls, path: Path, sweep: Sweep, *, again: bool = False) -> Iterator[Folder]:
        """Raises UserInputError where something else is there, or another sweep was; StateError where one writes now;
        EnvironmentLackError where the disk refuses."""
        folder = cls(path)
        with _written(path):
            if path.exists() and not path.is_dir():
                raise UserInputError(f"{path}: not a folder", hint="`--out FOLDER` names another")
            if path.is_dir() and any(path.iterdir()) and not (path / LOCK).exists():
                raise UserInputError(f"{path}: there is something else in it", hint="`--out FOLDER` names another")
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / LOCK).open("ab")
        with lock:
            _hold(lock, path)
            if again:
                folder._forget()
            folder.done = read_journal(path / JOURNAL)
            folder._check(sweep)
            try:
                with _written(path):
                    folder._begin(sweep)
                yield folder
            finally:
                if folder._journal is not None:
                    folder._journal.close()

    def add(self, outcome: Outcome) -> None:
        """On the disk when this returns."""
        line = json.dumps(asdict(outcome), ensure_ascii=False).encode() + b"\n"
        journal = self._journal
        if journal is None:
            raise StateError(f"{self.path}: the journal is closed")
        with _written(self.path / JOURNAL):
            if journal.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(journal.fileno())
        self.done[outcome.key] = outcome

    def write(self, name: str, text: str) -> None:
        """A whole file, or the one that was there."""
        path = self.path / name
        with _written(path):
            beside = path.with_name(name + ".new")
            beside.write_text(text, encoding="utf-8", newline="")
            beside.replace(path)

    def remaining(self, runs: Iterable[Run]) -> list[Run]:
        return [run for run in runs if run.key not in self.done or self.done[run.key].outcome == LOST]

    def run_folder(self, run: Run) -> Path:
        """Of one run; its seed is its name, as no two have the same."""
        return self.path / RUNS / f"{run.seed:014x}"

    def _begin(self, sweep: Sweep) -> None:
        self.write(SWEEP, json.dumps(common(sweep), indent=1, ensure_ascii=False) + "\n")
        path = self.path / JOURNAL
        self._journal = FileIO(path, "r+" if path.exists() else "w+")  # no buffer: a line is written at once, or not
        self._journal.seek(0)
        self._journal.truncate(whole_lines(self._journal.read()))
        self._journal.seek(0, os.SEEK_END)

    def _check(self, sweep: Sweep) -> None:
        """Whether what is there belongs to the sweep: it may have got more points and repetitions, nothing else."""
        if not self.done:
            return
        try:
            before = json.loads((self.path / SWEEP).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserInputError(f"{self.path / SWEEP}: {error}", hint=ELSEWHERE) from None
        for name, value in common(sweep).items():
            if before.get(name) != value:
                message = f"{self.path} has runs with another {name}{_difference(before.get(name), value)}"
                raise UserInputError(message, hint=ELSEWHERE)
        seeds = {run.key: run.seed for run in sweep.runs}
        strangers = [each for key, each in self.done.items() if key not in seeds]
        if strangers:
            first = ", ".join(f"{name} {value}" for name, value in strangers[0].point.items())
            message = (
                f"{self.path} has {len(strangers)} runs that are not in the grid: {first}, repeat {strangers[0].repeat}"
            )
            raise UserInputError(message, hint=f"a grid may grow, not shrink; {ELSEWHERE}")

    def _forget(self) -> None:
        with _written(self.path):
            for name in (JOURNAL, SWEEP, LOG, *TABLES):
                (self.path / name).unlink(missing_ok=True)
            if (self.path / RUNS).exists():
                shutil.rmtree(self.path / RUNS)


def common(sweep: Sweep) -> dict[str, Any]:
    """What all runs of a folder have in common."""
    return {
        "experiment": sweep.experiment.name,
        "content of the experiment": sweep.content,
        "set": dict(sweep.fixed),
        "paths": {name: list(paths) for name, paths in sweep.paths.items()},
        "seed": sweep.seed,
        "driver": sweep.driver,
        "layerlab": __version__,
    }


def whole_lines(octets: bytes) -> int:
    """How much of a journal is finished lines."""
    return octets.rfind(b"\n") + 1


def read_journal(path: Path) -> dict[str, Outcome]:
    """By the keys of the runs. Raises UserInputError for a line, other than an unfinished last one, that is none."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvironmentLackError(f"{path}: {error.strerror}") from None
    found: dict[str, Outcome] = {}
    for number, line in enumerate(octets[: whole_lines(octets)].splitlines(), 1):
        try:
            values = json.loads(line)
            values["seen"] = [(claim, seen, unit) for claim, seen, unit in values["seen"]]
            outcome = Outcome(**values)
            found[outcome.key] = outcome
        except (ValueError, TypeError, KeyError, AttributeError):
            hint = f"delete line {number}, and its run is done again; {ELSEWHERE}"
            raise UserInputError(f"{path}:{number}: no line of a journal", hint=hint) from None
    return found


def _difference(before: object, now: object) -> str:
    if isinstance(before, str | int) and isinstance(now, str | int):
        return f": {before}, and not {now}"
    return ""


def _hold(lock: IO[bytes], path: Path) -> None:
    try:
        if os.name == "posix":
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StateError(f"another sweep writes to {path}", hint="wait for it, or `--out FOLDER`") from None


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "what was finished is kept; `--out FOLDER` names another"
        raise EnvironmentLackError(f"cannot write {path}: {error.strerror}", hint=hint) from None
