"""Threads of programs: what they do takes no virtual time, and is the same every time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from nodes.errors import DeadlockError
from nodes.simulation import threads
from nodes.simulation.simulation import Simulation
from nodes.simulation.surroundings import EPOCH
from nodes.units import SECOND
from tests.sim.simulated_lab import Simulated

PAIR = "nodes: {a: host, b: host}\nlinks: [a -- b]"

Script = Callable[[Simulation], Coroutine[Any, Any, Any]]


def run(function: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """A program in a node, while another beats."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.5)

    async def script(made: Simulation) -> Any:
        made.start("b", beat)
        return await made.wait(made.start("a", function))

    with Simulation(Simulated(PAIR).network, **options) as made:
        return made.run(script(made))


def work(seconds: float) -> int:
    """Real work, for a real time."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return threading.get_ident()


async def in_own_thread(function: Callable[[], Any]) -> Any:
    """As libraries do that have threads of their own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def target() -> None:
        result = function()
        loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=target, daemon=True).start()
    return await done


def test_a_thread_takes_no_virtual_time() -> None:
    async def program() -> tuple[bool, float]:
        ident = await in_own_thread(lambda: work(0.05))
        return ident != threading.get_ident(), time.time() - EPOCH / SECOND

    assert run(program) == (True, 0.0)


def test_a_pool_of_threads_is_waited_for_while_it_works_only() -> None:
    async def program() -> list[float]:
        seen = []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for _ in range(3):
                await asyncio.gather(*(asyncio.wrap_future(pool.submit(work, 0.01)) for _ in range(4)))
                seen.append(time.monotonic())
                await asyncio.sleep(1)  # the threads are idle
        return seen

    assert run(program) == [0.0, 1.0, 2.0]


def test_a_thread_that_waits_for_a_queue_is_idle() -> None:
    async def program() -> list[Any]:
        loop = asyncio.get_running_loop()
        jobs: queue.Queue[float | None] = queue.Queue()
        results: asyncio.Queue[float] = asyncio.Queue()

        def worker() -> None:
            while (job := jobs.get()) is not None:
                work(0.005)
                loop.call_soon_threadsafe(results.put_nowait, job)

        threading.Thread(target=worker, daemon=True).start()
        found = []
        for number in range(5):
            jobs.put(number)
            found.append((await results.get(), time.monotonic()))
            await asyncio.sleep(1)
        jobs.put(None)
        return found

    assert run(program) == [(number, float(number)) for number in range(5)]


def test_a_thread_sleeps_in_virtual_time() -> None:
    async def program() -> tuple[float, float]:
        context = copy_context()

        def sleep() -> float:
            time.sleep(3600)
            return time.monotonic()

        seen = await in_own_thread(lambda: context.run(sleep))
        return seen, time.monotonic()

    before = time.monotonic()
    assert run(program) == (3600.0, 3600.0)
    assert time.monotonic() - before < 60


def test_a_thread_may_wait_for_the_loop() -> None:
    async def program() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        context = copy_context()

        async def slowly() -> str:
            await asyncio.sleep(5)
            return "done"

        def ask() -> str:
            return context.run(asyncio.run_coroutine_threadsafe, slowly(), loop).result()

        return await in_own_thread(ask), time.monotonic()

    assert run(program) == ("done", 5.0)


def test_a_thread_that_never_ends_is_not_waited_for_for_ever() -> None:
    stop = threading.Event()

    async def program() -> float:
        ended = threading.Event()

        def spin() -> None:
            while not stop.is_set():
                work(0.01)
            ended.set()

        threading.Thread(target=spin, daemon=True).start()
        await asyncio.sleep(5)
        stop.set()
        return time.monotonic()

    assert run(program, patience=0.2) == 5.0


def test_a_thread_that_waits_is_no_hope() -> None:
    release = threading.Event()

    async def program() -> None:
        threading.Thread(target=release.wait, daemon=True).start()
        await asyncio.Event().wait()

    async def script(made: Simulation) -> None:
        await made.wait(made.start("a", program))

    with Simulation(Simulated(PAIR).network) as made, pytest.raises(DeadlockError):
        made.run(script(made))
    release.set()


def test_a_thread_that_sleeps_at_the_end_is_woken() -> None:
    slept: list[str] = []

    def sleep() -> None:
        try:
            time.sleep(10**6)
        except RuntimeError as error:
            slept.append(str(error))

    async def program() -> threading.Thread:
        context = copy_context()
        thread = threading.Thread(target=lambda: context.run(sleep), daemon=True)
        thread.start()
        await asyncio.sleep(1)
        return thread

    run(program).join(20)
    assert slept == ["the simulation ended while this thread slept in it"]


def test_what_is_busy() -> None:
    lock, event = threading.Lock(), threading.Event()
    jobs: queue.Queue[None] = queue.Queue()
    begun = threading.Barrier(4)

    def start(function: Callable[[], Any]) -> threading.Thread:
        def target() -> None:
            begun.wait()
            function()

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    waiting = [start(event.wait), start(jobs.get)]
    computing = start(lambda: work(0.5))
    begun.wait()
    with lock:
        end = time.monotonic() + 20
        while any(threads.waits_for(thread) is None for thread in waiting):
            assert time.monotonic() < end
    assert threads.waits_for(computing) is None or not computing.is_alive()
    event.set()
    jobs.put(None)
    for thread in (*waiting, computing):
        thread.join(20)
        assert not thread.is_alive()
