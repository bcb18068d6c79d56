"""A simulation in a program that has an event loop of its own: plain asyncio, pytest-asyncio, a notebook.

    their loop ──call_soon──▶ a slice of virtual time ──call_soon──▶ a slice ─▶ ... until nobody waits any more

Virtual time goes on only while somebody of their loop waits for something in the simulation. A slice ends when anything
that is waited for has happened: before the next begins, whoever waited for it has had his turn, and everybody whom
that concerns, until their loop has nothing ready. So what their script does at an instant of virtual time, it does
before time goes on, in every run alike, however long the slices are.

The clock of their loop, its timers and sockets are real; what depends on them is as it happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from typing import Any, Protocol, TypeVar

from nodes.errors import MisuseError
from nodes.session.loop import StackEventLoop
from nodes.simulation.pace import NAP, Pace
from nodes.simulation.world import VirtualWorld

TURNS_PER_SLICE = 200
"""Turns of the simulation's loop, or looks of its network, until their loop has a turn: some milliseconds."""

ROUNDS = 100
"""Turns of their loop that are waited for at most until it has nothing ready: somebody may be busy for ever."""

UNSEEN_ROUNDS = 16
"""The same for a loop that does not show what it has ready."""

Result = TypeVar("Result")


class Host(Protocol):
    """What a guest asks of its simulation."""

    loop: StackEventLoop
    world: VirtualWorld
    pace: Pace

    def begin(self) -> None:
        """Virtual time is about to go on."""
        ...


class Guest:
    """One for each simulation. Their loop must be the same all the time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._theirs: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[asyncio.Future[Any], asyncio.Future[Any]]] = []
        self._pumping = False
        self._rounds = 0
        self._left = 0
        self._happened = False

    async def wait_for(self, awaitable: Awaitable[Result]) -> Result:
        """Wait in their loop for a coroutine or future of the simulation's. Cancelling that cancels it, and waits for
        it to end, which takes virtual time. Raises what it raises, and what ends the simulation."""
        theirs = asyncio.get_running_loop()
        try:
            self._enter(theirs)
        except MisuseError:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()  # nobody will await it
            raise
        inner = self._inner(awaitable)
        outer: asyncio.Future[Result] = theirs.create_future()
        inner.add_done_callback(self._note, context=Context())
        pair = (inner, outer)
        self._waiting.append(pair)
        self._pump_soon()
        try:
            return await outer
        except asyncio.CancelledError:
            if inner.done():
                raise
            await self._cancel(inner)
            raise
        finally:
            if pair in self._waiting:
                self._waiting.remove(pair)

    def _enter(self, theirs: asyncio.AbstractEventLoop) -> None:
        if self._theirs is not None and self._theirs is not theirs and not self._theirs.is_closed():
            raise MisuseError("a simulation is the guest of one event loop, and this is another")
        self._theirs = theirs
        self._host.begin()

    def _inner(self, awaitable: Awaitable[Result]) -> asyncio.Future[Result]:
        loop = self._host.loop
        if isinstance(awaitable, asyncio.Future):
            if awaitable.get_loop() is not loop:
                raise MisuseError("this future is of another event loop than the simulation's")
            return awaitable
        if not asyncio.iscoroutine(awaitable):
            raise TypeError(f"a coroutine or a future was expected, got {awaitable!r}")
        return Context().run(loop.create_task, awaitable)

    async def _cancel(self, inner: asyncio.Future[Any]) -> None:
        """Whoever cancels twice does not wait for it."""
        inner.cancel()
        assert self._theirs is not None
        ended: asyncio.Future[Any] = self._theirs.create_future()
        pair = (inner, ended)
        self._waiting.append(pair)
        self._pump_soon()
        try:
            await asyncio.wait([ended])
            ended.cancelled() or ended.exception()
        finally:
            if pair in self._waiting:
                self._waiting.remove(pair)

    # ----------------------------------------------------------------------------------------------------------- slices

    def _note(self, _: asyncio.Future[Any]) -> None:
        self._happened = True

    def _pump_soon(self, delay: float = 0.0) -> None:
        if self._pumping or self._theirs is None:
            return
        self._pumping = True
        self._rounds = 0
        self._again(delay)

    def _again(self, delay: float = 0.0) -> None:
        assert self._theirs is not None
        if delay:
            self._theirs.call_later(delay, self._pump, context=Context())
        else:
            self._theirs.call_soon(self._pump, context=Context())

    def _pump(self) -> None:
        if not self._waiting or self._theirs is None or self._theirs.is_closed():
            self._pumping = False
            return
        self._rounds += 1
        if self._rounds <= self._patience():
            self._again()
            return
        self._rounds = 0
        delay = 0.0
        try:
            delay = self._slice()
        except Exception as error:  # noqa: BLE001 (it is raised where somebody waits)
            self._fail(error)
        except BaseException:
            self._pumping = False
            raise
        self._deliver()
        self._again(delay)

    def _patience(self) -> int:
        """Turns that their loop shall have before the next slice: as many as it needs."""
        ready = getattr(self._theirs, "_ready", None)
        if ready is None:
            return UNSEEN_ROUNDS
        return ROUNDS if ready else 0

    def _slice(self) -> float:
        """Let virtual time go on until something happened that somebody waits for. Returns real seconds until the
        next slice is wanted."""
        host = self._host
        self._left = TURNS_PER_SLICE
        self._happened = any(inner.done() for inner, _ in self._waiting)
        world, loop = host.world, host.loop
        world.budget, world.naps = self._spent, False
        try:
            while not self._spent():
                loop.turn()
                if self._happened:
                    break
                deadline = loop.deadline()
                world.wait(deadline, self._ready)
                if not self._ready():
                    wanted = world.next_wanted(deadline)
                    pause = NAP if wanted is None else min(host.pace.until(wanted), NAP)
                    if pause:
                        return pause
        finally:
            world.budget, world.naps = None, True
        return 0.0

    def _ready(self) -> bool:
        deadline = self._host.loop.deadline()
        return deadline is not None and deadline <= self._host.world.now()

    def _spent(self) -> bool:
        self._left -= 1
        return self._happened or self._left < 0

    def _deliver(self) -> None:
        """Tell who waits for what has happened, in the order in which they came."""
        for inner, outer in list(self._waiting):
            if not inner.done():
                continue
            self._waiting.remove((inner, outer))
            if outer.done():
                continue
            if inner.cancelled():
                outer.cancel()
            elif (error := inner.exception()) is not None:
                outer.set_exception(error)
            else:
                outer.set_result(inner.result())

    def _fail(self, error: Exception) -> None:
        """The simulation cannot go on: everybody who waits is told."""
        for inner, outer in self._waiting:
            if not outer.done() and not inner.done():
                outer.set_exception(error)
        self._waiting = [(inner, outer) for inner, outer in self._waiting if inner.done()]
