"""Programs in simulated nodes: coroutine functions of users, each a task that lives in its node.

    start ──▶ running ──▶ done        it returned; `result`
       ▲         ├──────▶ failed      it raised; `exception`
       │         ├──────▶ cancelled   somebody asked
       │         └──────▶ crashed     its node did
       └───────────────────────┘      the node is switched on again, and the program was started with `restart`

A program knows its node by the context variable CURRENT, which all tasks and callbacks that it makes inherit, as they
inherit PROGRAM, which says whose they are. Its context is otherwise empty: in a real node it is in another process.

When a node crashes its programs are cancelled. What they still do on their way out reaches nobody, as the session is
not alive any more; a program that will not end is cancelled again, and left to itself after STUBBORN attempts, when
nothing of it runs ever again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar
from typing import Any, Literal

from nodes.errors import MisuseError, NodeCrashedError
from nodes.session.session import CURRENT, Session

State = Literal["running", "done", "failed", "cancelled", "crashed"]

Function = Callable[..., Coroutine[Any, Any, Any]]

STUBBORN = 20
"""How often what runs in a node that crashed is cancelled: each time may be taken for that of one `await`."""


class Outcome(asyncio.Future[Any]):
    """What somebody waits for who waits for a program."""

    program: Program | None = None

    @property
    def awaited_name(self) -> str:
        """In a report of who waits for what."""
        return "something" if self.program is None else f"the program {self.program.name} of {self.program.node}"


class Program:
    """One run of a coroutine function in a node, or several where it is started again after crashes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        node: str,
        function: Function,
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
        *,
        restart: bool = False,
        name: str = "",
    ) -> None:
        self.node = node
        self.name = name or getattr(function, "__name__", "program")
        self.restart = restart
        self.state: State = "running"
        self.exception: BaseException | None = None
        """Why it failed or crashed."""
        self.session: Session | None = None
        """Of the life of the node in which it runs, or ran."""
        self.last_ran = 0
        """When a task or a callback of it ran last (ns)."""
        self._loop = loop
        self._function = function
        self._arguments = arguments
        self._keywords = dict(keywords or {})
        self._result: Any = None
        self._task: asyncio.Task[Any] | None = None
        self._waiters: list[Outcome] = []

    @property
    def done(self) -> bool:
        """It has ended, and will not be started again by itself."""
        return self.state != "running" and not (self.state == "crashed" and self.restart)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for its end."""
        return bool(self._waiters)

    @property
    def result(self) -> Any:
        """What it returned. Raises what it raised, NodeCrashedError, CancelledError, or MisuseError while it runs."""
        if not self.done:
            raise MisuseError(f"{self.name} of {self.node} has not ended yet")
        if self.state == "cancelled":
            raise asyncio.CancelledError
        if self.exception is not None:
            raise self.exception
        return self._result

    def outcome(self) -> Outcome:
        """A future of the simulation's loop: the result, or what `result` would raise. One for each who asks:
        cancelling it is no matter of the program's."""
        outcome = Outcome(loop=self._loop)
        outcome.program = self
        if self.done:
            self._tell(outcome)
        else:
            self._waiters.append(outcome)
            outcome.add_done_callback(self._forget, context=Context())
        return outcome

    def begin(self, session: Session) -> None:
        """Start it, or start it again, in that life of its node. Raises TypeError for a function that gives no
        coroutine."""
        context = Context()
        context.run(CURRENT.set, session)
        context.run(PROGRAM.set, self)
        coroutine = context.run(self._function, *self._arguments, **self._keywords)
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"{self.name} is no coroutine function: `async def` was expected")
        self.session, self.state, self.exception = session, "running", None
        self.last_ran = session.now()
        task = context.run(self._loop.create_task, coroutine, name=self.name)
        self._task = task
        task.add_done_callback(self._ended, context=Context())

    def cancel(self) -> None:
        """Ask it to end, as `Task.cancel` does. One whose node is off will not be started again."""
        if self.state == "crashed":
            self.restart = False
            self._tell_all()
        elif self._task is not None and self.state == "running":
            self._task.cancel()

    def crash(self) -> None:
        """Its node did."""
        if self.state != "running":
            return
        self.state = "crashed"
        self._task = None
        self.exception = NodeCrashedError(
            f"node {self.node} crashed, and with it the program {self.name}",
            hint="start it with restart=True to have it run again when the node does",
        )
        if self.done:
            self._tell_all()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            state: State = "cancelled"
            error = None
        else:
            error = task.exception()  # seen, so that nobody is told that nobody saw it
            state = "done" if error is None else "failed"
        if task is not self._task:
            return  # it crashed before
        self._task = None
        self.state, self.exception = state, error
        if state == "done":
            self._result = task.result()
        self._tell_all()

    def _tell_all(self) -> None:
        for outcome in list(self._waiters):
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        if outcome.done():
            return
        if self.state == "cancelled":
            outcome.cancel(f"the program {self.name} of {self.node} was cancelled")
        elif self.exception is None:
            outcome.set_result(self._result)
        elif isinstance(self.exception, StopIteration):  # which no future can hold
            outcome.set_exception(RuntimeError(f"{self.name} raised StopIteration"))
        else:
            outcome.set_exception(self.exception)

    def _forget(self, outcome: asyncio.Future[Any]) -> None:
        self._waiters = [other for other in self._waiters if other is not outcome]

    def __repr__(self) -> str:
        return f"<Program {self.name} of {self.node} {self.state}>"


PROGRAM: ContextVar[Program | None] = ContextVar("layerlab_program", default=None)
"""The program that a task or callback belongs to; None outside of all nodes."""
