"""A program that deadlocks, never yields, or leaves things behind gets a report, and not a hang."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nodes.errors import DeadlockError, LivelockError, StuckError
from nodes.simulation.remains import Remnant
from nodes.simulation.simulation import Simulation
from nodes.units import SECOND
from tests.sim.simulated_lab import Simulated

PAIR = "nodes: {a: host, b: host}\nlinks: [a -- b]"
SWITCHED = "nodes: {a: host, b: host, s: switch}\nlinks: [a -- s, b -- s]"

Script = Callable[[Simulation], Coroutine[Any, Any, Any]]


def run(script: Script, text: str = PAIR, **options: Any) -> list[str]:
    """What was left behind."""
    with Simulation(Simulated(text).network, **options) as made:
        made.run(script(made))
        assert made.remnants is not None
        return [str(remnant) for remnant in made.remnants]


async def beat() -> None:
    while True:
        await asyncio.sleep(10)


async def silent_server() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        writer.close()

    async with await asyncio.start_server(hold, "0.0.0.0", 7000) as server:
        await server.serve_forever()


async def question(to: str) -> bytes:
    reader, writer = await asyncio.open_connection(to, 7000)
    writer.write(b"hello?\n")
    return await reader.readline()


# ------------------------------------------------------------------------------------------------------------ deadlocks


def test_two_who_wait_for_each_other() -> None:
    async def script(made: Simulation) -> None:
        made.start("b", silent_server)
        await asyncio.sleep(1.5)
        await made.wait(made.start("a", question, ("b",)))

    with pytest.raises(DeadlockError) as caught:
        run(script)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("nothing will ever happen any more, since ")
    assert lines[1].startswith("  script: script, ")
    assert lines[1].endswith("waits for the program question of a, since 1.5 s")
    (client,) = [line for line in lines if line.startswith("  a: ")]
    assert ": question, question at test_simulation_reports.py:" in client
    assert "waits for data of tcp of a local=10.0.0.1:" in client
    assert "remote=10.0.0.2:7000" in client
    assert "established" in client
    (server,) = [line for line in lines if "hold" in line]
    assert "waits for data of tcp of b local=10.0.0.2:7000" in server
    (listening,) = [line for line in lines if line.startswith("  b: silent_server, ")]
    assert "waits for connections, for ever" in listening


def test_the_report_is_the_same_in_every_run() -> None:
    async def script(made: Simulation) -> None:
        made.start("b", silent_server)
        await asyncio.sleep(1.5)
        await made.wait(made.start("a", question, ("b",)))

    texts = []
    for _ in range(2):
        with pytest.raises(DeadlockError) as caught:
            run(script)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "0x" not in texts[0]


def test_a_network_that_never_sleeps_is_no_life() -> None:
    """Spanning tree goes on for ever: nobody has run for the limit."""
    text = "nodes: {a: host, s: {kind: switch, stp: true}, t: {kind: switch, stp: true}}\nlinks: [a -- s, s -- t]"

    async def script(made: Simulation) -> None:
        await made.wait(made.start("a", asyncio.Event().wait))

    with pytest.raises(DeadlockError, match="no program has run for 600 s of virtual time"):
        run(script, text, idle=600 * SECOND)


def test_others_who_go_on_do_not_hide_it() -> None:
    async def script(made: Simulation) -> None:
        made.start("b", beat)
        await made.wait(made.start("a", asyncio.Event().wait, name="stuck"))

    with pytest.raises(DeadlockError, match="for the programs stuck of a, which do not get on"):
        run(script)


def test_long_waits_are_no_deadlock() -> None:
    async def long() -> None:
        await asyncio.sleep(100 * 3600)

    async def busy() -> None:
        for _ in range(10_000):
            await asyncio.sleep(10)

    async def script(made: Simulation) -> None:
        made.start("b", beat)
        await asyncio.sleep(50 * 3600)
        await made.wait(made.start("a", long))
        await made.wait(made.start("a", busy))
        assert made.network.now >= 250_000 * SECOND

    assert run(script) == []


def test_a_script_may_clean_up_after_a_deadlock() -> None:
    trail = []

    async def script(made: Simulation) -> None:
        program = made.start("a", asyncio.Event().wait)
        try:
            await made.wait(program)
        finally:
            await asyncio.sleep(5)
            trail.append(made.network.now >= 5 * SECOND)

    with pytest.raises(DeadlockError):
        run(script)
    assert trail == [True]


def test_a_script_that_never_cleans_up_ends_too() -> None:
    async def script(_: Simulation) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="nothing will ever happen"):
        run(script)


def test_a_deadlock_of_a_guest_is_raised_where_it_waits() -> None:
    async def theirs() -> None:
        with Simulation(Simulated(PAIR).network) as made:
            program = made.start("a", asyncio.Event().wait, name="stuck")
            with pytest.raises(DeadlockError, match=r"a: stuck, Event\.wait"):
                await made.wait(program)
            await made.wait_for(asyncio.sleep(1))

    asyncio.run(theirs())


def test_who_waits_for_the_kernel_is_no_deadlock() -> None:
    async def script(made: Simulation) -> None:
        left, right = socket.socketpair()
        with left, right:
            reader, writer = await asyncio.open_connection(sock=left)
            asyncio.get_running_loop().call_later(5, right.send, b"hello\n")
            assert await reader.readline() == b"hello\n"
            worker = asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)
            await worker
            writer.close()
            await writer.wait_closed()
        assert made.network.now >= 5 * SECOND

    assert run(script) == []


# ------------------------------------------------------------------------------------------------------- never yielding


def test_time_that_stands_still() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def script(made: Simulation) -> None:
        made.start("b", beat)
        await asyncio.sleep(2.5)
        await made.wait(made.start("a", spin))

    with pytest.raises(LivelockError) as caught:
        run(script, turns=1000)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("virtual time stands still at 2.5 s: 1000 turns of the event loop")
    assert lines[1].startswith("  a: spin, ")
    assert lines[1].endswith(" times")


def test_callbacks_that_make_each_other() -> None:
    async def ping_pong() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.Event().wait()

    async def script(made: Simulation) -> None:
        await made.wait(made.start("a", ping_pong))

    with pytest.raises(LivelockError, match=r"a: test_callbacks_that_make_each_other.*again, \d+ times"):
        run(script, turns=1000)


def test_many_turns_while_time_goes_on_are_fine() -> None:
    async def script(made: Simulation) -> None:
        for _ in range(20):
            for _ in range(90):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    run(script, turns=200)


def test_a_program_that_never_yields_fails_and_others_go_on() -> None:
    told: list[str] = []

    async def hog() -> None:
        await asyncio.sleep(1)
        end = time.perf_counter_ns() + 10**12  # virtual, so never
        while time.perf_counter_ns() < end:
            sum(range(1000))

    async def answer() -> int:
        await asyncio.sleep(5)
        return 42

    async def script(made: Simulation) -> None:
        bad, good = made.start("a", hog), made.start("b", answer)
        with pytest.raises(
            StuckError, match=r"node a: the task hog of the program hog has not let others run for 0.2 s"
        ):
            await made.wait(bad)
        assert await made.wait(good) == 42

    run(script, patience=0.2, tell=told.append)
    (text,) = told
    assert "at 1 s of virtual time" in text
    assert "in hog" in text


def test_sleeping_for_real_is_refused() -> None:
    async def sleepy() -> None:
        time.sleep(1)

    async def script(made: Simulation) -> None:
        with pytest.raises(RuntimeError, match=r"use `await asyncio\.sleep"):
            await made.wait(made.start("a", sleepy))

    run(script)


# ---------------------------------------------------------------------------------------------------------- left behind


def test_a_tidy_program_leaves_nothing() -> None:
    async def client(to: str) -> bytes:
        reader, writer = await asyncio.open_connection(to, 7001)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def server() -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"here")
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "0.0.0.0", 7001) as made:
            await made.serve_forever()

    async def script(made: Simulation) -> None:
        made.start("b", server)
        await asyncio.sleep(0.1)
        assert await made.wait(made.start("a", client, ("b",))) == b"here"

    assert run(script) == []


def test_what_was_forgotten_is_told() -> None:
    kept: list[Any] = []

    async def careless() -> None:
        loop = asyncio.get_running_loop()
        kept.append(asyncio.create_task(asyncio.sleep(10**6), name="forgotten"))
        kept.append(await asyncio.start_server(lambda *_: None, "0.0.0.0", 7002))
        kept.append(await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("0.0.0.0", 7003)))

    async def connect(to: str) -> None:
        kept.append(await asyncio.open_connection(to, 7000))

    async def script(made: Simulation) -> None:
        made.start("b", silent_server)
        await asyncio.sleep(1)
        await made.wait(made.start("a", careless))
        await made.wait(made.start("a", connect, ("b",)))
        await asyncio.sleep(1)

    left = run(script)
    assert [line.split(":")[0] + line.split(":")[1] for line in left] == [
        "a a task of the program careless",
        "a a server of the program careless",
        "a a connection of the program connect",
        "a a socket of the program careless",
    ]
    assert "forgotten, sleep" in left[0]
    assert "since 1 s" in left[0]
    assert left[1].endswith("tcp 0.0.0.0:7002")
    assert "to 10.0.0.2:7000, established" in left[2]
    assert left[3].endswith("udp 0.0.0.0:7003")


def test_left_behind_can_be_asked_at_any_time() -> None:
    async def script(made: Simulation) -> None:
        async def forget() -> asyncio.Task[None]:
            return asyncio.create_task(beat(), name="beat")

        task = await made.wait(made.start("a", forget))
        await asyncio.sleep(1)
        (found,) = made.left_behind()
        assert isinstance(found, Remnant)
        assert (found.kind, found.node, found.program) == ("task", "a", "forget")
        task.cancel()
        await asyncio.sleep(1)
        assert made.left_behind() == []

    assert run(script) == []
