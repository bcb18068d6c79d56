"""Two nodes in virtual time as the World of a StackEventLoop: what its tests run on."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from nodes.session.loop import StackEventLoop
from nodes.session.session import CURRENT, Session
from nodes.units import SECOND
from tests.unit.session_pair import DELAY, Pair

HORIZON = 1000 * SECOND
"""A wait without end that gets nowhere until then is a test that hangs."""


class PairWorld:
    """`a` (10.0.0.1) and `b` (10.0.0.2), and the loop of their programs. `settings` are TCP's."""

    def __init__(self, *, threads: bool = False, **settings: object) -> None:
        self.pair = Pair(**settings)
        self.a, self.b = self.pair.a, self.pair.b
        self.loop = StackEventLoop(self, threads=threads)
        self.complaints: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.complaints.append(context))

    # ------------------------------------------------------------------------------------------------------- the World

    def now(self) -> int:
        return self.pair.now

    def session(self) -> Session | None:
        return CURRENT.get()

    def wait(self, until: int | None, ready: Callable[[], bool]) -> None:
        pair = self.pair
        limit = pair.now + HORIZON if until is None else until
        while True:
            pair.run(0)
            if ready() or pair.now >= limit:
                break
            times = [time for time, _, _ in pair._flying]
            times += [due for stack in pair.stacks if (due := stack.deadline()) is not None]
            following = max(min(times, default=limit), pair.now)
            pair.run(min(following, limit) - pair.now)
        if until is None and not ready():
            if not self.loop.awaits_kernel:
                raise TimeoutError("nothing happens any more")
            select.select([self.loop.fileno()], [], [], 10)

    # --------------------------------------------------------------------------------------------------- for the tests

    def start(self, session: Session | None, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        """A task in a node."""
        context = copy_context()
        context.run(CURRENT.set, session)
        return self.loop.create_task(coroutine, context=context, **options)

    def run(self, main: Any) -> Any:
        """To its end: a task, or a coroutine outside of all nodes."""
        return self.loop.run_until_complete(main)

    def outcome(self, session: Session | None, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a program of a node comes to."""
        return self.run(self.start(session, coroutine))

    def settle(self, duration: int = 0) -> None:
        """Let everything happen that happens until then (ns)."""
        until = self.pair.now + duration
        self.run(self.loop.create_task(_sleep_until(self, until)))
        while self.loop._ready:
            self.loop.turn()

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        for _ in range(20):
            if self.loop._ready:
                self.loop.turn()
        self.loop.close()
        assert not self.complaints, "exceptions that nobody caught: see the exception handler of the loop"


async def _sleep_until(world: PairWorld, instant: int) -> None:
    await asyncio.sleep((instant - world.pair.now) / SECOND)


__all__ = ["DELAY", "PairWorld"]
