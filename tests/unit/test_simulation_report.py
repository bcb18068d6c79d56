"""Who waits for what, in words: on a plain asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nodes.simulation.report import Waiting, at, situation, waiting

HERE = Path(__file__).name


async def described(coroutine: Coroutine[Any, Any, Any]) -> Waiting:
    """A task's description, once it waits."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    found = waiting(task, "a", 1_500_000_000)
    task.cancel()
    await asyncio.wait([task])
    return found


def line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line and "line_of" not in line)


async def take(lock: asyncio.Lock) -> None:
    async with lock:  # the lock
        pass


async def outermost(lock: asyncio.Lock) -> None:
    await take(lock)


async def a_held_lock() -> Waiting:
    lock = asyncio.Lock()
    await lock.acquire()
    return await described(outermost(lock))


def test_the_place_is_the_innermost_of_the_program() -> None:
    found = asyncio.run(a_held_lock())
    assert found.place is not None
    assert (found.place.function, Path(found.place.file).name) == ("take", HERE)
    assert found.place.line == line_of("# the lock")
    assert found.coroutine == "outermost"
    assert found.waits_for.startswith("the lock <asyncio.locks.Lock")
    assert "0x" not in str(found)
    assert str(found).endswith("since 1.5 s")


async def a_generator() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()  # in the generator


async def iterate() -> None:
    async for _ in a_generator():
        pass


def test_an_asynchronous_generator_is_looked_into() -> None:
    found = asyncio.run(described(iterate()))
    assert found.place is not None
    assert (found.place.function, found.place.line) == ("a_generator", line_of("# in the generator"))
    assert found.waits_for.startswith("the event")


class Custom:
    """Awaitable by a generator, as older libraries are."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(60).__await__()


async def await_custom() -> None:
    await Custom()


async def full_queue() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    await queue.put(1)
    await queue.put(2)


async def bare_future() -> None:
    await asyncio.get_running_loop().create_future()


async def gathered() -> None:
    first = asyncio.create_task(asyncio.sleep(60), name="first")
    second = asyncio.create_task(asyncio.sleep(60), name="second")
    await asyncio.gather(first, second)


async def a_task() -> None:
    await asyncio.create_task(asyncio.sleep(60), name="inner")


async def a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))


async def a_condition() -> None:
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


async def a_reader() -> None:
    await asyncio.StreamReader().readline()


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda: asyncio.sleep(60), "time to pass"),
        (await_custom, "time to pass"),
        (lambda: asyncio.Queue().get(), "an item from a Queue"),
        (lambda: asyncio.PriorityQueue().get(), "an item from a PriorityQueue"),
        (full_queue, "room in a Queue of 1"),
        (lambda: asyncio.Semaphore(0).acquire(), "a free place in <asyncio.locks.Semaphore [locked, waiters:1]>"),
        (a_condition, "a notification of <asyncio.locks.Condition [unlocked, waiters:1]>"),
        (bare_future, "a future"),
        (a_task, "the task inner"),
        (gathered, "all of: the task first, the task second"),
        (a_group, "the other tasks of its group"),
        (a_reader, "data of a stream"),
    ],
)
def test_the_kind_of_waiting(function: Callable[[], Coroutine[Any, Any, Any]], text: str) -> None:
    assert asyncio.run(described(function())).waits_for == text


def test_a_task_that_has_not_begun() -> None:
    async def main() -> None:
        task = asyncio.create_task(a_task(), name="fresh")
        found = waiting(task, "-", None)
        assert found.waits_for == "its turn"
        assert "fresh" in str(found)
        assert "since" not in str(found)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_a_situation_tells_of_all_and_until_when() -> None:
    async def main() -> str:
        loop: Any = asyncio.get_running_loop()
        own = asyncio.current_task()
        tasks = [asyncio.create_task(asyncio.sleep(60), name=f"t{number}") for number in range(70)]
        limited = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 60), name="limited")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        text = situation(
            [("script", [own] if own else []), ("a", [limited, *tasks])], {limited: (7, None)}, loop._scheduled
        )
        for task in (limited, *tasks):
            task.cancel()
        await asyncio.wait([limited, *tasks])
        return text

    lines = asyncio.run(main()).splitlines()
    assert len(lines) == 61
    assert lines[-1] == "  and 12 more tasks"
    assert lines[1].startswith("  a: limited, ")
    assert all(", until " in line for line in lines[1:-1])


def test_instants() -> None:
    assert [at(instant) for instant in (0, 1, 1_500_000_000, 60 * 10**9)] == ["0 s", "0.000000001 s", "1.5 s", "60 s"]
