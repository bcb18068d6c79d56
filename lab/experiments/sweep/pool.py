"""Processes that do tasks, a few at a time, and an answer for each task, come what may.

`concurrent.futures` has a pool that is broken for good when one of its processes dies, and cannot end a task that takes
too long. Here a process that dies or is overdue costs its own task, which is answered `lost` with the reason, and
another takes its place. Where one after the other dies, something is wrong with all of them: then the pool gives up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from lab.errors import EnvironmentLackError
from lab.experiments.sweep.worker import GRACE, Answer, Task, main

DEATHS = 5
"""Processes that may die in a row, each with its task."""
TASKS = 200
"""That a process does before another takes its place: what a long row of runs leaves in memory goes with it."""


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: tuple[int, Task] | None = None
    deadline: float = 0.0
    done: int = 0


class Pool:
    """`limit` is the time of a task in seconds; `gentle` processes are asked to end and given time for it."""

    def __init__(self, jobs: int, limit: float, log: Path, *, gentle: bool = False) -> None:
        self._jobs = jobs
        self._limit = limit
        self._log = log
        self._gentle = gentle
        self._workers: list[_Worker] = []
        self._deaths = 0

    def answers(self, tasks: Sequence[Task]) -> Generator[tuple[int, Answer], None, None]:
        """Of each task, by its number, in the order of ending. Raises EnvironmentLackError where processes keep dying.
        When it is closed or interrupted, all processes end."""
        waiting = deque(enumerate(tasks))
        try:
            while waiting or any(worker.task for worker in self._workers):
                self._hand_out(waiting)
                for worker in self._ready():
                    found = self._answer(worker)
                    if found is not None:
                        yield found
        finally:
            for worker in self._workers:
                self._ask(worker)
            for worker in self._workers:
                self._end(worker)
            self._workers.clear()

    def _hand_out(self, waiting: deque[tuple[int, Task]]) -> None:
        while waiting and len(busy := [worker for worker in self._workers if worker.task]) < self._jobs:
            idle = [worker for worker in self._workers if worker not in busy]
            worker = idle[0] if idle else self._started()
            task = waiting.popleft()
            worker.task, worker.deadline = task, time.monotonic() + self._limit
            try:
                worker.connection.send(task[1])
            except OSError:  # it died while it had nothing to do; `_answer` tells
                continue

    def _started(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with _quietly(), theirs:
            process = context.Process(target=main, args=(theirs, str(self._log), self._gentle), daemon=not self._gentle)
            process.start()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _ready(self) -> list[_Worker]:
        """Those that have answered, died, or are overdue."""
        busy = [worker for worker in self._workers if worker.task]
        first = min(worker.deadline for worker in busy)
        heard = wait(
            [end for worker in busy for end in (worker.connection, worker.process.sentinel)],
            max(first - time.monotonic(), 0),
        )
        now = time.monotonic()
        return [
            worker
            for worker in busy
            if worker.connection in heard or worker.process.sentinel in heard or worker.deadline <= now
        ]

    def _answer(self, worker: _Worker) -> tuple[int, Answer] | None:
        number, _ = worker.task or (0, None)
        if worker.connection.poll():
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                answer = None
            if answer is not None:
                worker.task, self._deaths = None, 0
                worker.done += 1
                if worker.done >= TASKS:
                    self._dismiss(worker)
                return number, answer
        overdue = worker.process.is_alive() and worker.deadline <= time.monotonic()
        if not overdue:
            worker.process.join(GRACE)  # the pipe closes a moment before the process has ended
        code = worker.process.exitcode
        self._dismiss(worker)
        if overdue:
            return number, Answer("lost", f"longer than {self._limit:g} s", seconds=self._limit)
        self._deaths += 1
        if self._deaths >= DEATHS:
            message = f"{self._deaths} processes died one after the other: {_cause(code)}"
            raise EnvironmentLackError(message, hint=f"{self._log} may say why; --jobs 1 needs less memory")
        return number, Answer("lost", f"its process died: {_cause(code)}")

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._ask(worker)
        self._end(worker)

    def _ask(self, worker: _Worker) -> None:
        """To end: at once, or as soon as its lab is down. A process that does nothing sees its connection close."""
        worker.connection.close()
        if worker.task is not None:
            (worker.process.terminate if self._gentle else worker.process.kill)()

    def _end(self, worker: _Worker) -> None:
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


@contextmanager
def _quietly() -> Iterator[None]:
    """For the time in which a process starts, so that it begins deaf to Ctrl-C, and all have the same order of sets.
    The first of a program also starts multiprocessing's tracker, which afterwards unblocks the signal, whatever it was
    before: so the tracker comes first."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        resource_tracker.ensure_running()
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    mask: Callable[..., Any] = getattr(signal, "pthread_sigmask", lambda *_: None)
    blocked = mask(getattr(signal, "SIG_BLOCK", 0), {signal.SIGINT})
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
        mask(getattr(signal, "SIG_SETMASK", 0), blocked)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
