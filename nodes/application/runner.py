"""Runs the applications of a node: starts them, rings them, keeps their results.

    start ──▶ running ──▶ done      it came to its end
                 ├──────▶ stopped   somebody asked
                 └──────▶ failed    a StackError left it; the message is in its result

A driver calls `poll` after every input of the stack, `timeout` when `deadline` comes, as it does with the stack. What
is finished is kept until enough newer ones have finished, so that its result can be read.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nodes.application import catalogue
from nodes.application.base import Application, Node, Part
from nodes.errors import LimitError, MisuseError, StackError
from nodes.trace.events import ApplicationUpdated, Tracer
from nodes.transport.endpoint import Endpoint
from nodes.units import earliest

RUNNING_LIMIT = 64
"""Applications at a time: each may send a burst in every wake-up."""

FINISHED_LIMIT = 64
"""Finished applications whose results are kept; the one that finished first is forgotten."""


class RunnerNode(Node, Protocol):
    """A node whose sockets ring."""

    def drain_ready(self) -> list[Endpoint]: ...


@dataclass(slots=True)
class _Entry:
    number: int
    kind: str
    options: Mapping[str, object]
    application: Application
    state: str = "running"
    failure: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind}#{self.number}"


class ApplicationRunner:
    """`other` is told of ready endpoints that belong to no application: those of a control connection."""

    def __init__(self, stack: RunnerNode, tracer: Tracer, other: Callable[[Endpoint, int], None] | None = None) -> None:
        self._other = other
        self._stack = stack
        self._trace = tracer
        self._last = 0
        self._running: dict[int, _Entry] = {}
        self._finished: dict[int, _Entry] = {}
        self._owners: dict[int, _Entry] = {}  # by id() of the application, which lives as long as its entry

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the applications that run, oldest first."""
        return tuple(self._running)

    def start(self, kind: str, options: Mapping[str, object], now: int) -> int:
        """Start an application and return its number. Raises MisuseError for an unknown kind, wrong options or a name
        of nobody, LimitError when too many run. What fails after that is the application's result."""
        definition = catalogue.find(kind)
        checked = definition.check(options)
        if len(self._running) >= RUNNING_LIMIT:
            raise LimitError(f"{RUNNING_LIMIT} applications run, the most allowed", hint="stop one")
        application = definition.create(self._stack, checked)
        self._last += 1
        entry = _Entry(self._last, kind, checked, application)
        self._running[entry.number] = entry
        self._owners[id(application)] = entry
        self._trace(now, ApplicationUpdated(entry.name, "none", "running", "start"))
        self._run(entry, application.start, now)
        return entry.number

    def stop(self, number: int, now: int) -> None:
        """End an application; harmless where it has ended. Raises MisuseError for an unknown number."""
        entry = self._entry(number)
        if entry.state == "running":
            entry.application.stop(now)
            self._finish(entry, "stopped", "stop", now)

    def stop_all(self, now: int) -> None:
        for number in self.running:
            self.stop(number, now)

    def poll(self, now: int) -> bool:
        """Ring the owners of all ready endpoints, each once; True where there was one."""
        ready = self._stack.drain_ready()
        rung: dict[int, _Entry] = {}
        for endpoint in ready:
            owner = endpoint.owner
            part = owner if isinstance(owner, Part) else None
            entry = self._owners.get(id(owner if part is None else part.application))
            if entry is not None:
                rung[entry.number] = entry
                if part is not None:
                    part.application.rang(part)
            elif self._other is not None:
                self._other(endpoint, now)
        for entry in rung.values():
            self._run(entry, entry.application.ready, now)
        return bool(ready)

    def timeout(self, now: int) -> None:
        for entry in list(self._running.values()):
            deadline = entry.application.deadline()
            if deadline is not None and deadline <= now:
                self._run(entry, entry.application.timeout, now)

    def deadline(self) -> int | None:
        return earliest(*(entry.application.deadline() for entry in self._running.values()))

    def application(self, number: int) -> Application:
        """Raises MisuseError for an unknown number."""
        return self._entry(number).application

    def failure(self, number: int) -> str | None:
        """Why an application failed; None where it did not. Raises MisuseError for an unknown number."""
        error = self._entry(number).failure.get("error")
        return None if error is None else str(error)

    def forget(self, number: int) -> None:
        """Drop a finished application. Raises MisuseError for one that runs or is unknown."""
        if self._entry(number).state == "running":
            raise MisuseError(f"application {number} still runs", errno=errno.EBUSY, hint="stop it first")
        del self._finished[number]

    def state(self, number: int) -> str:
        """running, done, stopped or failed. Raises MisuseError for an unknown number."""
        return self._entry(number).state

    def outputs(self, number: int) -> list[dict[str, object]]:
        """The reports of an application since the last call. Raises MisuseError for an unknown number."""
        return self._entry(number).application.outputs()

    def result(self, number: int) -> dict[str, object]:
        """What an application has found so far; of a failed one also `error`, `errno` and `hint`. Raises MisuseError
        for an unknown number."""
        entry = self._entry(number)
        return entry.application.result() | entry.failure

    def snapshot(self) -> list[dict[str, object]]:
        """All applications that are known, as values of JSON."""
        return [
            {
                "id": entry.number,
                "kind": entry.kind,
                "state": entry.state,
                "options": dict(entry.options),
                "result": entry.application.result() | entry.failure,
            }
            for entries in (self._finished, self._running)
            for entry in entries.values()
        ]

    def _run(self, entry: _Entry, call: Callable[[int], None], now: int) -> None:
        if entry.state != "running":
            return
        try:
            call(now)
        except StackError as error:
            entry.failure = {
                "error": error.message,
                "errno": errno.errorcode.get(error.errno, str(error.errno)),
                "hint": error.hint,
            }
            entry.application.stop(now)
            self._finish(entry, "failed", error.message, now)
            return
        if entry.application.done:
            self._finish(entry, "done", "end", now)

    def _finish(self, entry: _Entry, state: str, trigger: str, now: int) -> None:
        entry.state = state
        del self._running[entry.number]
        del self._owners[id(entry.application)]
        self._finished[entry.number] = entry
        if len(self._finished) > FINISHED_LIMIT:
            del self._finished[next(iter(self._finished))]
        self._trace(now, ApplicationUpdated(entry.name, "running", state, trigger))

    def _entry(self, number: int) -> _Entry:
        entry = self._running.get(number) or self._finished.get(number)
        if entry is None:
            raise MisuseError(f"there is no application with number {number}", errno=errno.ESRCH)
        return entry
