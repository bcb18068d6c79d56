"""The watchdog over callbacks that never end, and the pace of virtual time. Real time passes here, but what is
expected does not depend on how much."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from random import Random
from typing import Any

import pytest

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import StuckError
from nodes.session.session import CURRENT, Session
from nodes.simulation.pace import Pace
from nodes.simulation.watch import Watch
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.units import SECOND

PATIENCE = 0.1
SOON = 30.0
"""Seconds after which a callback that was not interrupted ends by itself, and its test fails."""


def session() -> Session:
    interface = InterfaceConfig("eth0", "02:00:00:00:00:01", ("10.0.0.1/24",))
    stack = Stack.from_config(NodeConfig("lab", "a", interfaces=(interface,)), Random(1), NullTracer(), 0)
    return Session("a", stack, lambda: 0, lambda: None)


class Bench:
    """Runs callbacks as an event loop does, under a watch."""

    def __init__(self, patience: float | None = PATIENCE) -> None:
        self.told: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.errors: list[BaseException] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context["exception"]))
        self.watch = Watch(lambda: 2_500_000_000, patience, self.told.append)

    def run(self, callback: Callable[[], Any], *, node: bool = True) -> None:
        context = Context()
        if node:
            context.run(CURRENT.set, session())
        handle = asyncio.Handle(callback, (), self.loop, context)
        self.watch.on_handle(handle)
        handle._run()
        self.watch.rest()


@contextmanager
def bench(patience: float | None = PATIENCE) -> Iterator[Bench]:
    made = Bench(patience)
    made.watch.start()
    try:
        yield made
    finally:
        made.watch.stop()
        made.loop.close()


def compute() -> None:
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        pass


def test_a_callback_that_never_ends_is_interrupted() -> None:
    with bench() as made:
        made.run(compute)
    (error,) = made.errors
    assert isinstance(error, StuckError)
    assert "node a: a callback has not let others run for 0.1 s" in error.message
    assert "in compute" in error.message
    assert "2.5 s of virtual time" in error.message
    (told,) = made.told
    assert told.startswith(error.message)
    assert "in compute" in told
    assert "in run" not in told  # only the program's part of the stack


def test_one_that_goes_on_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.simulation.watch.AGAIN", 0.05)
    interruptions = []

    def stubborn() -> None:
        end = time.monotonic() + SOON
        while time.monotonic() < end and len(interruptions) < 3:
            try:
                compute()
            except StuckError as error:
                interruptions.append(error)

    with bench() as made:
        made.run(stubborn)
    assert len(interruptions) == 3
    assert len(made.told) == 1


def test_a_call_that_blocks_is_woken() -> None:
    lock = threading.Lock()
    lock.acquire()
    before = signal.getsignal(signal.SIGURG)
    with bench() as made:
        made.run(lambda: lock.acquire(timeout=SOON))
        made.run(lambda: time.sleep(SOON))
    assert [type(error).__mro__[1] for error in made.errors] == [StuckError, StuckError]
    assert signal.getsignal(signal.SIGURG) == before


def test_the_script_may_take_its_time() -> None:
    with bench() as made:
        end = time.monotonic() + 4 * PATIENCE
        made.run(lambda: [None for _ in iter(lambda: time.monotonic() < end, False)], node=False)
    assert not made.errors
    assert not made.told


def test_many_short_callbacks_are_no_long_one() -> None:
    with bench() as made:
        end = time.monotonic() + 4 * PATIENCE
        while time.monotonic() < end:
            made.run(lambda: None)
    assert not made.errors


def test_without_patience_there_is_no_thread() -> None:
    before = threading.active_count()
    with bench(None) as made:
        assert threading.active_count() == before
        made.run(lambda: None)
    assert made.watch.handles == 1


def test_a_watch_knows_when_tasks_ran() -> None:
    made = Bench(None)

    async def main() -> asyncio.Task[Any]:
        task = asyncio.ensure_future(asyncio.sleep(0))
        for handle in list(made.loop._ready):  # type: ignore[attr-defined]
            made.watch.on_handle(handle)
        await task
        return task

    task = made.loop.run_until_complete(main())
    assert made.watch.tasks[task] == (2_500_000_000, None)
    made.loop.close()


def test_the_pace_of_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100 * SECOND]
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock[0])
    virtual = [7 * SECOND]
    pace = Pace(lambda: virtual[0], 0.5)
    assert pace.until(7 * SECOND) == 0
    assert pace.until(8 * SECOND) == 2.0
    clock[0] += SECOND
    assert pace.allowed() == 7 * SECOND + SECOND // 2
    assert pace.until(8 * SECOND) == 1.0
    clock[0] += 1000 * SECOND
    pace.begin()
    assert pace.allowed() == 7 * SECOND
    pace.speed = None
    assert pace.allowed() is None
    assert pace.until(10**20) == 0
    for speed in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            pace.speed = speed
