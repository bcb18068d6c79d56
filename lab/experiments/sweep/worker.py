"""A process that does runs for a sweep, one after the other, and tells how each ended.

It is started by spawn, with nothing of its parent's but a pipe. Ctrl-C is the parent's to hear. When the parent is
gone, however that happened, a thread notices by a pipe that the parent holds, and the process ends: a lab in virtual
time goes with it, one of processes is taken down first.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lab.api.opening import Driver
from lab.errors import DriverError, EnvironmentLackError, LabError, StateError
from lab.experiments.experiment import Experiment, Parameter, as_yaml
from lab.experiments.runner import Asked, Result, run_experiment
from lab.experiments.sweep.load import content_of, open_experiment
from lab.experiments.sweep.paths import with_settings
from nodes.errors import StackError

GRACE = 20.0
"""Seconds in which a lab of processes can be taken down."""
_TRANSIENT = (EnvironmentLackError, DriverError, StateError)
"""The machine's, and not of the run: it is worth another try."""


@dataclass(frozen=True, slots=True)
class Task:
    """`name` of the lab; None for the topology's own. `folder` gets the run, and keeps it where it did not pass."""

    reference: str
    content: str
    parameters: Mapping[str, Parameter]
    settings: Mapping[str, Parameter]
    seed: int
    driver: Driver
    folder: str
    keep: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: str
    reason: str = ""
    seen: tuple[tuple[str, float, str], ...] = ()
    failed: tuple[str, ...] = ()
    seconds: float = 0.0
    run: str = ""


def main(connection: Connection, log: str, gentle: bool) -> None:
    """Until the parent closes the connection. `gentle` for labs that would outlive this process."""
    _prepare(log, gentle)
    found: dict[str, Experiment] = {}
    try:
        while True:
            task = connection.recv()
            connection.send(perform(task, found))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def perform(task: Task, found: dict[str, Experiment]) -> Answer:
    """One run. What it raises is in the answer."""
    begun = time.monotonic()
    folder = Path(task.folder)
    shutil.rmtree(folder, ignore_errors=True)  # of the same run, begun before and not finished
    try:
        result = _result(task, found)
    except (LabError, StackError) as error:
        outcome = "lost" if isinstance(error, _TRANSIENT) else "error"
        return Answer(outcome, error.message, seconds=time.monotonic() - begun)
    except Exception as error:  # noqa: BLE001 (whatever a script raises)
        return Answer("error", f"{type(error).__name__}: {error}", seconds=time.monotonic() - begun)
    seen = tuple((each.claim, each.seen, each.unit) for each in result.verdicts if each.seen is not None)
    failed = tuple(each.claim for each in result.verdicts if not each.passed)
    outcome = "error" if result.error else "passed" if result.passed else "failed"
    if outcome == "passed" and not task.keep:
        shutil.rmtree(folder, ignore_errors=True)
        result = replace(result, run=None)
    reason = result.error or ("" if result.verdicts else "it said nothing of any claim")
    return Answer(outcome, reason, seen, failed, result.seconds, str(result.run or ""))


def _result(task: Task, found: dict[str, Experiment]) -> Result:
    experiment = found.get(task.reference)
    if experiment is None:
        experiment = open_experiment(task.reference)
        if content_of(task.reference, experiment) != task.content:
            raise StateError(f"{task.reference} has changed since the sweep began")
        found[task.reference] = experiment
    text = with_settings(experiment.topology_with(task.parameters), task.settings)
    changed = replace(experiment, topology=text.replace("$", "$$"))
    changes = {name: as_yaml(value) for name, value in task.parameters.items()}
    asked = Asked(task.driver, task.seed, None, changes, Path(task.folder), task.name)
    return run_experiment(changed, asked)


def _prepare(log: str, gentle: bool) -> None:
    with Path(log).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    signal.signal(signal.SIGINT, _not_for_us)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if gentle:
        signal.signal(signal.SIGTERM, _interrupted)
    threading.Thread(target=_follow_parent, args=(gentle,), daemon=True).start()


def _not_for_us(*_: Any) -> None:
    """A handler, and not SIG_IGN: what a run starts would inherit that."""


def _interrupted(*_: Any) -> None:
    """Once: what takes the lab down is not to be interrupted, too."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


def _follow_parent(gentle: bool) -> None:
    parent = parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    if gentle:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(GRACE)
    sys.stderr.flush()
    os._exit(1)
