"""Programs in simulated nodes: their lives, their clocks, what happens to them when their node crashes, and who drives
them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nodes.errors import MisuseError, NodeCrashedError
from nodes.session.session import CURRENT
from nodes.simulation.programs import PROGRAM
from nodes.simulation.simulation import Simulation
from nodes.simulation.surroundings import EPOCH
from nodes.units import SECOND
from tests.sim.simulated_lab import Simulated

PAIR = "nodes: {a: host, b: host}\nlinks: [a -- b]"
HOUR = 3600.0

Script = Callable[[Simulation], Coroutine[Any, Any, Any]]


@contextmanager
def simulation(text: str = PAIR, seed: int = 1, **options: Any) -> Iterator[Simulation]:
    with Simulation(Simulated(text, seed).network, **options) as made:
        yield made


def run(script: Script, text: str = PAIR, **options: Any) -> Any:
    with simulation(text, **options) as made:
        return made.run(script(made))


async def sleeper(seconds: float = HOUR) -> float:
    await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


# ---------------------------------------------------------------------------------------------------------------- lives


def test_a_program_runs_in_its_node_and_takes_virtual_time() -> None:
    async def inside(word: str, *, times: int) -> tuple[str, str | None, float]:
        session = CURRENT.get()
        await asyncio.sleep(HOUR)
        return word * times, session and session.name, asyncio.get_running_loop().time()

    async def script(made: Simulation) -> None:
        program = made.start("b", inside, ("x",), {"times": 3})
        assert program.state == "running"
        with pytest.raises(MisuseError, match="not ended yet"):
            _ = program.result
        assert await made.wait(program) == ("xxx", "b", HOUR)
        assert program.result == ("xxx", "b", HOUR)
        assert (program.state, program.done) == ("done", True)
        assert await made.wait(program) == program.result
        assert CURRENT.get() is None
        assert made.network.now == 3600 * SECOND

    run(script)


def test_a_program_that_fails() -> None:
    async def failing() -> None:
        raise KeyError("lost")

    async def script(made: Simulation) -> None:
        program = made.start("a", failing)
        with pytest.raises(KeyError, match="lost"):
            await made.wait(program)
        assert program.state == "failed"
        assert isinstance(program.exception, KeyError)

    run(script)


def test_a_program_that_is_cancelled() -> None:
    async def script(made: Simulation) -> None:
        program = made.start("a", sleeper)
        await asyncio.sleep(1)
        program.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made.wait(program)
        assert program.state == "cancelled"
        with pytest.raises(asyncio.CancelledError):
            _ = program.result

    run(script)


def test_who_waits_may_give_up_without_harm() -> None:
    async def script(made: Simulation) -> float:
        program = made.start("a", sleeper)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.wait(program), 10)
        assert not program.awaited
        assert program.state == "running"
        first, second = await asyncio.gather(made.wait(program), made.wait(program))
        assert first == second == HOUR
        return asyncio.get_running_loop().time()

    assert run(script) == HOUR


def test_what_a_script_raises_leaves_run() -> None:
    async def script(_: Simulation) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        run(script)


def test_what_makes_no_sense() -> None:
    async def script(made: Simulation) -> None:
        with pytest.raises(MisuseError, match="no node 'x'"):
            made.start("x", sleeper)
        with pytest.raises(MisuseError, match="s is a switch"):
            made.start("s", sleeper)
        with pytest.raises(TypeError, match="no coroutine function"):
            made.start("a", len, ("abc",))  # type: ignore[arg-type]
        made.crash("a")
        with pytest.raises(MisuseError, match="a is off"):
            made.start("a", sleeper)
        with pytest.raises(MisuseError, match="off already"):
            made.crash("a")

    run(script, "nodes: {a: host, b: host, s: switch}\nlinks: [a -- s, b -- s]")
    with simulation() as made, pytest.raises(TypeError, match="coroutine was expected"):
        made.run(sleeper)  # type: ignore[arg-type]


def test_tasks_and_callbacks_belong_to_their_program() -> None:
    async def child() -> list[Any]:
        found: list[Any] = []
        asyncio.get_running_loop().call_later(1, lambda: found.append(PROGRAM.get()))
        await asyncio.sleep(2)
        return [*found, PROGRAM.get()]

    async def parent() -> list[Any]:
        return await asyncio.create_task(child())

    async def script(made: Simulation) -> None:
        program = made.start("a", parent)
        assert await made.wait(program) == [program, program]

    run(script)


# ----------------------------------------------------------------------------------------------------------- crash & co


def test_a_crash_ends_programs_and_what_they_made() -> None:
    trail: list[str] = []

    async def tidy() -> None:
        asyncio.get_running_loop().call_later(5, trail.append, "a timer of a dead node")
        inner = asyncio.create_task(sleeper(), name="inner")
        try:
            await inner
        finally:
            trail.append("finally")
            await asyncio.sleep(5)
            trail.append("later")

    async def script(made: Simulation) -> None:
        program = made.start("a", tidy)
        waiter = asyncio.ensure_future(made.wait(program))
        await asyncio.sleep(1)
        made.crash("a")
        with pytest.raises(NodeCrashedError, match="node a crashed, and with it the program tidy"):
            await waiter
        with pytest.raises(NodeCrashedError):
            await made.wait(program)
        assert program.state == "crashed"
        await asyncio.sleep(HOUR)
        assert trail == ["finally"]

    run(script)


def test_a_program_that_does_not_want_to_die() -> None:
    beats: list[float] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
                beats.append(asyncio.get_running_loop().time())
            except asyncio.CancelledError:
                continue

    async def script(made: Simulation) -> None:
        made.start("a", stubborn)
        await asyncio.sleep(2.5)
        made.crash("a")
        await asyncio.sleep(60)
        assert beats == [1.0, 2.0]

    run(script)


def test_a_restart_starts_what_wants_it() -> None:
    lives: list[float] = []

    async def service() -> float:
        lives.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    async def script(made: Simulation) -> None:
        once = made.start("a", service)
        again = made.start("a", service, restart=True)
        waiter = asyncio.ensure_future(made.wait(again))
        await asyncio.sleep(1)
        made.crash("a")
        await asyncio.sleep(1)
        assert (once.state, again.state, once.done, again.done) == ("crashed", "crashed", True, False)
        assert not waiter.done()
        made.restart("a")
        assert await waiter == 12.0
        assert once.state == "crashed"
        assert lives == [0.0, 0.0, 2.0]
        assert made.start("a", sleeper).state == "running"

    run(script)


def test_a_restart_that_is_not_wanted_any_more() -> None:
    async def script(made: Simulation) -> None:
        program = made.start("a", sleeper, restart=True)
        await asyncio.sleep(1)
        made.crash("a")
        waiter = asyncio.ensure_future(made.wait(program))
        await asyncio.sleep(1)
        program.cancel()
        with pytest.raises(NodeCrashedError):
            await waiter
        made.restart("a")
        assert program.state == "crashed"

    run(script)


def test_each_life_draws_other_numbers_and_keeps_the_clock() -> None:
    async def draw() -> tuple[float, float]:
        return random.random(), time.monotonic()

    async def script(made: Simulation) -> list[Any]:
        made.set_clock("a", drift_ppb=1_000_000)
        found = [await made.wait(made.start("a", draw))]
        await asyncio.sleep(100)
        made.crash("a")
        made.restart("a")
        return [*found, await made.wait(made.start("a", draw))]

    first, second = run(script)
    assert first[0] != second[0]
    assert second[1] == pytest.approx(100.1, abs=1e-6)
    assert run(script) == [first, second]


def test_a_paused_node_stands_still_and_catches_up() -> None:
    async def ticking() -> list[float]:
        loop, start = asyncio.get_running_loop(), time.monotonic()
        seen = []
        for _ in range(4):
            await asyncio.sleep(1)
            seen.append(loop.time() - start)
        return seen

    async def script(made: Simulation) -> None:
        program = made.start("a", ticking)
        other = made.start("b", ticking)
        await asyncio.sleep(1.5)
        made.pause("a")
        await asyncio.sleep(10)
        assert program.state == "running"
        assert await made.wait(other) == [1.0, 2.0, 3.0, 4.0]
        made.resume("a")
        assert await made.wait(program) == [1.0, 11.5, 12.5, 13.5]
        made.resume("a")

    run(script)


def test_a_crash_while_paused_and_a_pause_of_what_waits() -> None:
    async def script(made: Simulation) -> None:
        program = made.start("a", sleeper)
        made.pause("a")
        await asyncio.sleep(1)
        made.crash("a")
        with pytest.raises(NodeCrashedError):
            await made.wait(program)
        made.restart("a")
        assert await made.wait(made.start("a", sleeper, (1.0,))) == 2.0

    run(script)


def test_a_clock_that_is_wrong() -> None:
    async def clocks() -> tuple[float, float]:
        await asyncio.sleep(1000)
        return time.time() - EPOCH / SECOND, asyncio.get_running_loop().time()

    async def script(made: Simulation) -> float:
        made.set_clock("a", offset=-60 * SECOND, drift_ppb=1_000_000)
        wall, loop = await made.wait(made.start("a", clocks))
        assert loop == pytest.approx(1000, abs=1e-6)
        assert wall == pytest.approx(940, abs=1e-3)
        with pytest.raises(ValueError, match="stops the clock"):
            made.set_clock("a", drift_ppb=-(10**9))
        return asyncio.get_running_loop().time()

    assert run(script) == pytest.approx(1000 / 1.001, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------- drivers


def test_in_another_event_loop_time_goes_on_while_somebody_waits() -> None:
    async def script(made: Simulation) -> None:
        first = made.start("a", sleeper)
        assert made.network.now == 0
        await asyncio.sleep(0)
        assert made.network.now == 0
        assert await made.wait(first) == HOUR
        assert made.network.now == 3600 * SECOND
        await asyncio.sleep(0.01)
        assert made.network.now == 3600 * SECOND
        await made.wait_for(asyncio.sleep(5))
        assert made.network.now == 3605 * SECOND
        assert await made.finish() == []

    async def theirs() -> None:
        with simulation() as made:
            await script(made)

    asyncio.run(theirs())


def test_what_a_guest_does_it_does_before_time_goes_on() -> None:
    async def theirs() -> list[Any]:
        trail: list[Any] = []
        with simulation() as made:

            async def each(name: str, seconds: float) -> None:
                for _ in range(3):
                    await made.wait_for(asyncio.sleep(seconds))
                    for _ in range(7):
                        await asyncio.sleep(0)  # of their loop
                    trail.append((name, made.network.now // SECOND))

            await asyncio.gather(each("x", 1), each("y", 2), made.wait(made.start("a", sleeper)))
        return trail

    expected = [("x", 1), ("y", 2), ("x", 2), ("x", 3), ("y", 4), ("y", 6)]
    for _ in range(2):
        assert sorted(asyncio.run(theirs()), key=lambda item: item[1]) == sorted(expected, key=lambda item: item[1])


def test_a_guest_that_gives_up_cancels_what_it_waits_for() -> None:
    async def theirs() -> None:
        with simulation() as made:
            ended: list[float] = []

            async def slowly() -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(3)
                    ended.append(made.network.now / SECOND)

            async def beat() -> None:
                while True:
                    await asyncio.sleep(1)

            made.start("a", beat)
            await made.wait_for(asyncio.sleep(1))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(made.wait_for(slowly()), 0.1)
            assert len(ended) == 1
            with pytest.raises(ZeroDivisionError):
                await made.wait_for(divide())

    async def divide() -> float:
        return 1 / 0

    asyncio.run(theirs())


def test_ctrl_c_cancels_the_script() -> None:
    trail: list[float] = []

    async def script(made: Simulation) -> None:
        made.start("a", sleeper)
        made.network.call_at(5 * SECOND, lambda: signal.raise_signal(signal.SIGINT))
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(2)
            trail.append(made.network.now / SECOND)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(script)
    assert len(trail) == 1
    assert 7 <= trail[0] < 60
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_ends_all() -> None:
    async def script(made: Simulation) -> None:
        for at in (5, 6):
            made.network.call_at(at * SECOND, lambda: signal.raise_signal(signal.SIGINT))
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    with pytest.raises(KeyboardInterrupt):
        run(script)


def test_what_is_planned_may_fail() -> None:
    async def script(made: Simulation) -> None:
        made.network.call_at(5 * SECOND, lambda: made.crash("x"))
        await asyncio.sleep(60)

    with pytest.raises(MisuseError, match="no node 'x'"):
        run(script)


def test_programs_end_once() -> None:
    async def script(made: Simulation) -> None:
        program = made.start("a", sleeper)
        await asyncio.sleep(1)
        assert await made.finish() == []
        assert program.state == "cancelled"
        assert await made.finish() == []
        with pytest.raises(MisuseError, match="were ended"):
            made.start("a", sleeper)

    run(script)


def test_programs_may_say_goodbye_at_the_end() -> None:
    trail: list[float] = []

    async def polite(seconds: float) -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            await asyncio.sleep(seconds)
            trail.append(seconds)

    async def script(made: Simulation) -> None:
        made.start("a", polite, (3.0,))
        made.start("b", polite, (30.0,))
        await asyncio.sleep(1)

    run(script)
    assert trail == [3.0]


def test_a_guest_has_one_host() -> None:
    with simulation() as made:

        async def theirs() -> None:
            await made.wait_for(asyncio.sleep(1))

        asyncio.run(theirs())
        asyncio.run(theirs())  # the first is closed by now
        assert made.network.now == 2 * SECOND
    with pytest.raises(MisuseError, match="closed"):
        asyncio.run(theirs())


def test_a_speed_takes_real_time() -> None:
    async def script(made: Simulation) -> None:
        await made.wait(made.start("a", sleeper, (1.0,)))

    before = time.monotonic()
    run(script, speed=10)
    assert 0.1 <= time.monotonic() - before < 5

    async def theirs() -> None:
        with simulation(speed=10) as made:
            await asyncio.gather(made.wait(made.start("a", sleeper, (1.0,))), asyncio.sleep(0.01))

    before = time.monotonic()
    asyncio.run(theirs())
    assert 0.1 <= time.monotonic() - before < 5


# --------------------------------------------------------------------------------------------------------- the network


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve() -> None:
    server = await asyncio.start_server(echo, "0.0.0.0", 7000)
    async with server:
        await server.serve_forever()


async def talk(to: str, octets: int) -> tuple[bool, float]:
    data = os.urandom(octets)
    reader, writer = await asyncio.open_connection(to, 7000)
    start = time.monotonic()

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    answer = await reader.read(-1)
    await sending
    writer.close()
    await writer.wait_closed()
    return answer == data, time.monotonic() - start


def test_programs_talk_over_their_network() -> None:
    text = "nodes: {a: host, r: router, b: host}\nlinks: [{ends: [a, r], impair: {delay: 20ms, loss: 1%}}, r -- b]"

    async def script(made: Simulation) -> tuple[bool, float]:
        made.start("b", serve)
        await asyncio.sleep(0.1)
        result: tuple[bool, float] = await made.wait(made.start("a", talk, ("b", 1_000_000)))
        return result

    first = run(script, text)
    assert first[0]
    assert first[1] > 0.08
    assert run(script, text) == first
    assert run(script, text, seed=2) != first


def test_the_peer_of_a_crash_hears_of_it_once_it_is_back() -> None:
    async def hold(to: str) -> float:
        reader, writer = await asyncio.open_connection(to, 7000)
        writer.write(b"x")
        await reader.readexactly(1)
        await asyncio.sleep(10)
        writer.write(b"y")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        return asyncio.get_running_loop().time()

    async def script(made: Simulation) -> None:
        made.start("b", serve, restart=True)
        await asyncio.sleep(0.1)
        program = made.start("a", hold, ("b",))
        await asyncio.sleep(5)
        made.crash("b")
        await asyncio.sleep(1)
        made.restart("b")
        assert 10 < await made.wait(program) < 12
        assert (await made.wait(made.start("a", talk, ("b", 1000))))[0]

    run(script)


def test_what_a_dead_program_sends_reaches_nobody() -> None:
    async def last_words(to: str) -> None:
        _, writer = await asyncio.open_connection(to, 7000)
        try:
            await asyncio.sleep(HOUR)
        finally:
            writer.write(b"farewell")
            writer.close()

    async def listen() -> tuple[bytes, str]:
        heard: asyncio.Future[tuple[bytes, str]] = asyncio.get_running_loop().create_future()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                heard.set_result((await asyncio.wait_for(reader.read(), 60), "end"))
            except TimeoutError:
                heard.set_result((b"", "silence"))
            writer.close()

        async with await asyncio.start_server(take, "0.0.0.0", 7000):
            return await heard

    async def script(made: Simulation) -> None:
        listener = made.start("b", listen)
        await asyncio.sleep(0.1)
        made.start("a", last_words, ("b",))
        await asyncio.sleep(1)
        made.crash("a")
        assert await made.wait(listener) == (b"", "silence")

    run(script)
