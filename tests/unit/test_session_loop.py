"""The event loop itself: its clock, its timers, its order, nodes that are held, executors, being a guest."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from nodes.session.loop import StackEventLoop, first_instant
from nodes.session.session import CURRENT
from nodes.units import MILLISECOND, SECOND
from tests.unit.session_world import PairWorld


@pytest.fixture
def world() -> Iterator[PairWorld]:
    world = PairWorld()
    yield world
    world.close()


# ------------------------------------------------------------------------------------------------------------- time


def test_time_is_the_worlds(world: PairWorld) -> None:
    async def main() -> float:
        await asyncio.sleep(5)
        return asyncio.get_running_loop().time()

    assert world.run(main()) == 5.0
    assert world.pair.now == 5 * SECOND


def test_time_in_a_node_is_its_steady_clock(world: PairWorld) -> None:
    world.a.clock.set(0, offset=-3600 * SECOND, drift_ppb=100_000_000)  # 10 % fast, and set back by an hour

    async def main() -> float:
        await asyncio.sleep(11)
        return asyncio.get_running_loop().time()

    assert world.outcome(world.a, main()) == pytest.approx(11.0)
    assert world.pair.now == 10 * SECOND


@pytest.mark.parametrize("when", [0.0, 0.1, 0.30000000000000004, 1e-10, 1.1, 12345.678901234567, 1e9 + 0.1, 2.0**40])
def test_a_timer_is_never_early(when: float) -> None:
    instant = first_instant(when)
    assert instant / SECOND >= when
    assert instant == 0 or (instant - 1) / SECOND < when or instant > 1 << 53


def test_a_time_must_be_a_number(world: PairWorld) -> None:
    with pytest.raises(ValueError, match="not a number"):
        world.loop.call_at(math.nan, print)
    with pytest.raises(TypeError):
        world.loop.call_at(None, print)  # type: ignore[arg-type]
    assert world.loop.deadline() is None


def test_a_timer_that_never_comes(world: PairWorld) -> None:
    """asyncio.sleep(inf) is a way to wait for ever, and no reason for time to go on."""
    task = world.start(world.a, asyncio.sleep(math.inf))
    world.loop.turn()
    assert world.loop.deadline() is None
    assert not task.done()


def test_timers_of_one_instant_run_in_the_order_they_were_set(world: PairWorld) -> None:
    ran: list[int] = []
    for number in range(20):
        world.loop.call_at(1.0, ran.append, number)
    world.settle(2 * SECOND)
    assert ran == list(range(20))


def test_timers_of_nodes_with_other_clocks_run_by_the_true_time(world: PairWorld) -> None:
    world.a.clock.set(0, drift_ppb=500_000_000)  # its second comes after two thirds of one
    ran: list[str] = []

    async def sleep(name: str, duration: float) -> None:
        await asyncio.sleep(duration)
        ran.append(name)

    world.start(world.b, sleep("b", 0.9))
    world.start(world.a, sleep("a", 1.2))
    world.settle(2 * SECOND)
    assert ran == ["a", "b"]


def test_cancelled_timers_are_forgotten(world: PairWorld) -> None:
    handles = [world.loop.call_later(1 + number, print) for number in range(1000)]
    kept = world.loop.call_later(5000, print)
    for handle in handles:
        handle.cancel()
    assert world.loop.timers() == [kept]
    assert world.loop.deadline() == 5000 * SECOND
    assert world.loop._timers_cancelled == 0


def test_cancelled_in_the_same_turn(world: PairWorld) -> None:
    ran: list[Any] = []
    world.loop.set_exception_handler(lambda loop, context: ran.append(context))
    second = world.loop.call_soon(ran.append, "second")
    world.loop._ready.appendleft(asyncio.Handle(second.cancel, (), world.loop))
    world.loop.turn()
    assert not ran


# ------------------------------------------------------------------------------------------------------------ tasks


def test_tasks_are_named_and_listed_by_node(world: PairWorld) -> None:
    first = world.start(world.a, asyncio.sleep(1))
    second = world.start(world.b, asyncio.sleep(1))
    third = world.start(world.a, asyncio.sleep(1), name="third")
    fourth = world.start(world.a, asyncio.sleep(1))
    assert [task.get_name() for task in (first, second, third, fourth)] == ["Task-1", "Task-1", "third", "Task-2"]
    assert world.loop.tasks_of(world.a) == [first, third, fourth]
    assert world.loop.tasks_of(world.b) == [second]
    assert world.loop.tasks_of(None) == []
    world.settle(2 * SECOND)
    assert world.loop.tasks_of(world.a) == []


def test_sets_of_tasks_are_in_order_of_creation(world: PairWorld) -> None:
    tasks = [world.start(world.a, asyncio.sleep(1)) for _ in range(5)]
    assert list(set(tasks)) == tasks
    assert list(asyncio.all_tasks(world.loop)) == tasks


def test_a_task_group_cancels_in_order(world: PairWorld) -> None:
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(number)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(wait(number))
            await asyncio.sleep(1)
            raise RuntimeError("enough")

    with pytest.raises(ExceptionGroup):
        world.outcome(world.a, main())
    assert ended == list(range(6))


def test_a_task_factory_is_used(world: PairWorld) -> None:
    made: list[Any] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        options.pop("name", None)
        return asyncio.Task(coro, loop=loop, **options)

    world.loop.set_task_factory(factory)
    assert world.outcome(world.a, asyncio.sleep(1, "slept")) == "slept"
    assert len(made) == 1


# ------------------------------------------------------------------------------------------------- held, watched, guest


def test_a_held_node_waits(world: PairWorld) -> None:
    ran: list[tuple[str, int]] = []

    async def tick(name: str) -> None:
        while True:
            await asyncio.sleep(1)
            ran.append((name, world.pair.now // SECOND))

    world.start(world.a, tick("a"))
    world.start(world.b, tick("b"))
    world.settle(1500 * MILLISECOND)
    world.a.held = True
    world.settle(2 * SECOND)
    world.a.held = False
    world.loop.release(world.a)
    world.settle(SECOND)
    assert ran == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("a", 3), ("b", 4), ("a", 4)]


def test_each_callback_is_told_before(world: PairWorld) -> None:
    told: list[Any] = []
    world.loop.on_handle = told.append
    handle = world.loop.call_soon(lambda: told.append("ran"))
    world.loop.turn()
    assert told == [handle, "ran"]


def test_a_turn_inside_another_loop(world: PairWorld) -> None:
    inner = world.start(world.a, asyncio.sleep(0, "done"))

    async def outer() -> tuple[Any, Any]:
        before = asyncio.get_running_loop()
        while not inner.done():
            world.loop.turn()
        return before, asyncio.get_running_loop()

    before, after = asyncio.run(outer())
    assert before is after
    assert before is not world.loop
    assert inner.result() == "done"


def test_turn_is_not_nested(world: PairWorld) -> None:
    failed: list[str] = []

    def again() -> None:
        with pytest.raises(RuntimeError) as caught:
            world.loop.turn()
        failed.append(str(caught.value))

    world.loop.call_soon(again)
    world.loop.turn()
    assert failed == ["This event loop is already running"]


def test_deadline(world: PairWorld) -> None:
    assert world.loop.deadline() is None
    world.loop.call_later(2, int)
    assert world.loop.deadline() == 2 * SECOND
    world.loop.call_soon(int)
    assert world.loop.deadline() == world.pair.now


def test_a_closed_loop(world: PairWorld) -> None:
    world.loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        world.loop.turn()
    with pytest.raises(RuntimeError, match="closed"):
        world.loop.call_at(1.0, print)
    assert not world.loop.awaits_kernel


def test_what_the_world_raises_leaves_the_loop(world: PairWorld) -> None:
    async def for_ever() -> None:
        await world.loop.create_future()

    with pytest.raises(TimeoutError, match="nothing happens"):
        world.run(world.start(world.a, for_ever()))
    assert not world.loop.is_running()


def test_the_runner_of_asyncio() -> None:
    world = PairWorld()

    async def main() -> float:
        await asyncio.sleep(3)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=lambda: world.loop) as runner:
        assert runner.run(main()) == 3.0
    assert world.loop.is_closed()


def test_asynchronous_generators_are_closed(world: PairWorld) -> None:
    ended: list[str] = []

    async def generate() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            ended.append("ended")

    async def main() -> None:
        async for _ in generate():
            break

    world.outcome(world.a, main())
    world.settle(2 * SECOND)
    assert ended == ["ended"]


# --------------------------------------------------------------------------------------------------- kernel and threads


def test_without_threads_a_function_runs_in_a_turn(world: PairWorld) -> None:
    async def main() -> Any:
        return await asyncio.to_thread(lambda: (threading.current_thread(), CURRENT.get()))

    thread, session = world.outcome(world.a, main())
    assert thread is threading.current_thread()
    assert session is world.a


def test_without_threads_an_error_is_raised_where_somebody_waits(world: PairWorld) -> None:
    async def main(error: BaseException) -> Any:
        def fail() -> None:
            raise error

        await asyncio.get_running_loop().run_in_executor(None, fail)

    with pytest.raises(ValueError, match="no"):
        world.outcome(world.a, main(ValueError("no")))
    with pytest.raises(RuntimeError, match="StopIteration"):
        world.outcome(world.a, main(StopIteration()))


def test_with_threads() -> None:
    world = PairWorld(threads=True)

    async def main() -> Any:
        return await asyncio.to_thread(threading.current_thread)

    assert world.outcome(world.a, main()) is not threading.current_thread()
    world.run(world.loop.shutdown_default_executor())
    world.close()


def test_a_call_from_a_thread(world: PairWorld) -> None:
    async def main() -> str:
        future: asyncio.Future[str] = world.loop.create_future()
        thread = threading.Thread(target=world.loop.call_soon_threadsafe, args=(future.set_result, "called"))
        thread.start()
        thread.join()
        assert world.loop.awaits_kernel
        return await future

    assert world.run(main()) == "called"


def test_sockets_of_the_kernel_outside_of_nodes(world: PairWorld) -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            theirs.send(b"from outside")
            assert await world.loop.sock_recv(ours, 100) == b"from outside"
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.send(b"again")
            data = await reader.readexactly(5)
            assert world.loop.awaits_kernel
            writer.close()
            await writer.wait_closed()
        return data

    assert world.run(main()) == b"again"
    assert not world.loop.awaits_kernel


def test_a_socket_pair_in_a_node_is_the_kernels(world: PairWorld) -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            theirs.send(b"from outside")
            return await world.loop.sock_recv(ours, 100)

    assert world.outcome(world.a, main()) == b"from outside"


def test_the_loops_descriptor(world: PairWorld) -> None:
    assert world.loop.fileno() >= 0


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.create_unix_connection(asyncio.Protocol, "/nowhere"),
        lambda loop: loop.create_unix_server(asyncio.Protocol, "/nowhere"),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.subprocess_shell(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.connect_read_pipe(asyncio.Protocol, None),
        lambda loop: loop.connect_write_pipe(asyncio.Protocol, None),
    ],
)
def test_what_a_node_does_not_have(world: PairWorld, call: Any) -> None:
    with pytest.raises(NotImplementedError, match="the node a has no"):
        world.outcome(world.a, call(world.loop))


def test_a_node_has_no_signals(world: PairWorld) -> None:
    context = copy_context()
    context.run(CURRENT.set, world.a)
    with pytest.raises(NotImplementedError, match="the node a has no signals"):
        context.run(world.loop.add_signal_handler, 10, print)
    assert context.run(world.loop.remove_signal_handler, 10) is False


def test_names(world: PairWorld) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo("Web", 80, type=socket.SOCK_STREAM)
        return infos, await loop.getnameinfo(("10.0.0.2", 80))

    infos, name = world.outcome(world.a, main())
    assert [info[4] for info in infos] == [("10.0.0.2", 80)]
    assert name[0] in ("b", "Web")


def test_debug_mode_watches_slow_callbacks(caplog: pytest.LogCaptureFixture) -> None:
    world = PairWorld()
    world.loop.set_debug(True)
    world.loop.slow_callback_duration = -1.0
    with caplog.at_level("WARNING", logger="asyncio"):
        world.outcome(world.a, asyncio.sleep(0))
    assert any("took" in record.message for record in caplog.records)
    world.close()


def test_a_loop_is_asyncios(world: PairWorld) -> None:
    assert isinstance(world.loop, StackEventLoop)
    assert isinstance(world.loop, asyncio.SelectorEventLoop)
