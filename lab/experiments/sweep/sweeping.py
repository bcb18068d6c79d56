"""A sweep from its beginning, or from where it was, to its tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from lab.api.opening import check_driver
from lab.engine import registry
from lab.engine.launch import bring_down
from lab.errors import LabError
from lab.experiments.sweep.folder import LOG, LOST, Folder, Outcome
from lab.experiments.sweep.grid import Run
from lab.experiments.sweep.load import Sweep
from lab.experiments.sweep.pool import Pool
from lab.experiments.sweep.tables import Tables, make_tables
from lab.experiments.sweep.worker import Answer, Task
from lab.model.names import MAX_NODE_NAME
from nodes.units import SECOND

Progress = Callable[[int, int], None]
"""Told how many runs are done, of how many."""


@dataclass(frozen=True, slots=True)
class Swept:
    """`now` runs were done by this call, `lost` of all have no result."""

    tables: Tables
    runs: int
    now: int
    outcomes: Counter[str]


def run_sweep(
    sweep: Sweep, folder: Folder, *, jobs: int | None = None, keep: bool = False, progress: Progress = lambda *_: None
) -> Swept:
    """Do what is not done yet, and write the tables. Raises LabError. A KeyboardInterrupt ends all processes; what had
    ended is in the folder."""
    check_driver(sweep.driver)
    runs = sweep.runs
    missing = folder.remaining(runs)
    tasks = [_task(sweep, folder, run, keep) for run in missing]
    log = folder.path / LOG
    pool = Pool(jobs or default_jobs(sweep.driver), sweep.timeout / SECOND, log, gentle=sweep.driver != "sim")
    done = len(runs) - len(missing)
    progress(done, len(runs))
    try:
        with closing(pool.answers(tasks)) as answers:
            for number, answer in answers:
                if answer.outcome == LOST:
                    _clear(tasks[number])
                folder.add(_outcome(missing[number], answer))
                done += 1
                progress(done, len(runs))
    finally:
        if log.exists() and not log.stat().st_size:
            log.unlink()
    tables = make_tables(sweep, folder.done)
    for name, text in tables.texts.items():
        folder.write(name, text)
    return Swept(tables, len(runs), len(missing), Counter(folder.done[run.key].outcome for run in runs))


def default_jobs(driver: str) -> int:
    """One for each processor; in real time one alone, for labs side by side change each other's times."""
    if driver != "sim":
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _task(sweep: Sweep, folder: Folder, run: Run, keep: bool) -> Task:
    name = None
    if sweep.driver != "sim":
        end = f"-{run.seed:014x}"
        name = sweep.experiment.name[: MAX_NODE_NAME - len(end)] + end
    return Task(
        sweep.reference,
        sweep.content,
        sweep.parameters(run.point),
        sweep.settings(run.point),
        run.seed,
        sweep.driver,
        str(folder.run_folder(run)),
        keep,
        name,
    )


def _outcome(run: Run, answer: Answer) -> Outcome:
    seen, failed = list(answer.seen), list(answer.failed)
    return Outcome(
        run.point, run.repeat, run.seed, answer.outcome, answer.reason, seen, failed, answer.seconds, answer.run
    )


def _clear(task: Task) -> None:
    """The lab of a process that could not take it down."""
    if task.name is not None and task.name in registry.running():
        with suppress(LabError):  # it went down by itself meanwhile
            bring_down(task.name)
