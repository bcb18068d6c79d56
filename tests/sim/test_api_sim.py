"""The API of labs, in virtual time."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.errors import EnvironmentLackError, NodeError, UserInputError
from nodes.errors import DeadlockError
from tests.sim import api_tour

PAIR = """\
name: pair
nodes: {a: host, b: host, c: host, s: {kind: switch, impl: stack}}
links:
  - {ends: [a, s], name: wan, impair: {delay: 10ms}}
  - b -- s
  - c -- s
"""


async def echo() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", 7)
    await server.serve_forever()


async def ask(host: str, text: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection(host, 7)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def run(main: Any, tmp_path: Path, topology: str = PAIR, **options: Any) -> Any:
    return Lab.run(main, topology, driver="sim", runs=tmp_path, **options)


def test_a_program_in_a_node(tmp_path: Path) -> None:
    async def main(lab: Lab) -> bytes:
        lab.node("b").start(echo)
        await lab.sleep(0.1)
        return await lab.node("a").run(ask, "b")

    assert run(main, tmp_path) == b"hello"


def test_the_tour(tmp_path: Path) -> None:
    """The same script as in tests/system/test_api_netns.py, with the same outcome."""
    assert run(api_tour.main, tmp_path, api_tour.TOPOLOGY) == api_tour.EXPECTED


def test_the_tour_of_a_guest(tmp_path: Path) -> None:
    async def main() -> Any:
        async with Lab.open(api_tour.TOPOLOGY, driver="sim", runs=tmp_path) as lab:
            return await api_tour.main(lab)

    assert asyncio.run(main()) == api_tour.EXPECTED


def test_the_same_script_in_a_loop_of_its_own(tmp_path: Path) -> None:
    """Under plain asyncio.run: virtual time goes on while the script waits for the lab."""

    async def main() -> tuple[bytes, float, float]:
        async with Lab.open(PAIR, driver="sim", runs=tmp_path) as lab:
            lab.node("b").start(echo)
            await lab.sleep("1h")
            before = lab.now
            await asyncio.sleep(0.02)
            return await lab.node("a").run(ask, "b"), before, lab.now

    answer, before, after = asyncio.run(main())
    assert answer == b"hello"
    assert before == 3600
    assert 3600.04 <= after <= 3600.2


def test_a_connection_for_the_script(tmp_path: Path) -> None:
    async def talk(lab: Lab) -> bytes:
        lab.node("b").start(echo)
        await lab.sleep(0.1)
        reader, writer = await lab.node("a").connect(lab.node("b"), 7)
        writer.write(b"from outside")
        await writer.drain()
        answer = await reader.readexactly(12)
        writer.close()
        await writer.wait_closed()
        return answer

    async def guest() -> bytes:
        async with Lab.open(PAIR, driver="sim", runs=tmp_path) as lab:
            return await talk(lab)

    assert run(talk, tmp_path) == b"from outside"
    assert asyncio.run(guest()) == b"from outside"


def test_time_is_virtual(tmp_path: Path) -> None:
    async def main(lab: Lab) -> float:
        await asyncio.sleep(3600)
        return lab.now

    begun = time.monotonic()
    assert run(main, tmp_path) == 3600
    assert time.monotonic() - begun < 60


def test_at_and_events(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []

    async def main(lab: Lab) -> list[dict[str, Any]]:
        async def later(word: str) -> None:
            await asyncio.sleep(1)
            seen.append((word, lab.now))

        lab.at("2s", lambda: seen.append(("function", lab.now)))
        lab.at("3s", later, "coroutine")
        lab.at("4s", lab.link("s-a").down)
        lab.at(5, seen.append, ("never", 0.0)).cancel()
        event = await lab.wait_until("link:carrier_updated", timeout=20, new="down")
        assert 4 <= lab.now < 4.1
        await lab.sleep(2)
        return [event, *lab.events(name="link:carrier_updated")]

    events = run(main, tmp_path)
    assert seen == [("function", 2.0), ("coroutine", 4.0)]
    assert events[0] == events[1]
    assert (events[0]["time"], events[0]["node"], events[0]["data"]["new"]) == (4000, "wan", "down")


def test_what_an_action_raises_is_told_at_the_end(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        lab.at(1, lambda: 1 // 0)
        await lab.sleep(2)

    with pytest.raises(ZeroDivisionError):
        run(main, tmp_path)


def test_a_program_that_fails_unheard_is_told_at_the_end(tmp_path: Path) -> None:
    async def fails() -> None:
        raise RuntimeError("unheard")

    async def main(lab: Lab, fault: str = "") -> None:
        lab.node("a").start(fails)
        heard = lab.node("b").start(fails)
        with pytest.raises(RuntimeError):
            await heard.wait()
        await lab.sleep(1)
        if fault:
            raise ValueError(fault)

    with pytest.raises(RuntimeError, match="unheard") as caught:
        run(main, tmp_path)
    assert caught.value.__notes__ == ["The program fails in a, for which nobody waited."]
    with pytest.raises(ValueError, match="of the script") as noted:
        run(partial(main, fault="of the script"), tmp_path)
    assert noted.value.__notes__ == ["Besides: RuntimeError: unheard"]
    reasons = {json.loads(path.read_text())["reason"] for path in tmp_path.glob("*/run.json")}
    assert reasons == {"RuntimeError: unheard", "ValueError: of the script"}


def test_it_waits_long_at_little_cost(tmp_path: Path) -> None:
    """Nine hours at 20 looks a second would be 650,000."""
    looks = []

    async def main(lab: Lab) -> float:
        lab.at("9h", lab.link("wan").down)
        await lab.wait_until("link:carrier_updated", timeout="10h", new="down")
        late = lab.now - 9 * 3600
        with pytest.raises(TimeoutError, match=r"look did not come true within 0\.2"):
            await lab.wait_until(look, timeout=0.2)
        return late

    def look() -> bool:
        looks.append(None)
        return False

    assert 0 <= run(main, tmp_path) <= 1
    assert len(looks) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sedd": 3}, "there is no option 'sedd'"),
        ({"speed": 0}, "a speed of 0"),
        ({"patience": -1}, "a patience of -1"),
        ({"idle": "soon"}, "'soon' is no time"),
        ({"driver": "vagrant"}, "there is no driver 'vagrant'"),
        ({"name": "no name"}, "no name"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    async def main(lab: Lab) -> None:
        raise AssertionError("never")

    async def guest() -> None:
        async with Lab.open(PAIR, **{"driver": "sim", "runs": tmp_path, **options}):
            raise AssertionError("never")

    with pytest.raises(UserInputError, match=message):
        Lab.run(main, PAIR, **{"driver": "sim", "runs": tmp_path, **options})
    with pytest.raises(UserInputError, match=message):
        asyncio.run(guest())
    assert not list(tmp_path.iterdir())


def test_lab_run_inside_a_loop_is_refused(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        raise AssertionError("never")

    async def guest() -> None:
        run(main, tmp_path)

    with pytest.raises(UserInputError, match="one runs already"):
        asyncio.run(guest())


def test_crash_and_restart(tmp_path: Path) -> None:
    async def main(lab: Lab) -> tuple[str, bytes, str]:
        server = lab.node("b").start(echo, restart=True)
        waiting = asyncio.create_task(lab.node("b").run(asyncio.sleep, 100))
        await lab.sleep(1)
        await lab.node("b").kill()
        state = server.state
        with pytest.raises(NodeError, match="crashed"):
            await waiting
        await lab.node("b").restart()
        await lab.sleep(1)
        return state, await lab.node("a").run(ask, "b"), server.state

    assert run(main, tmp_path) == ("crashed", b"hello", "running")


def test_partition_and_heal(tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[bool]:
        for name in ("b", "c"):
            lab.node(name).start(echo)
        await lab.sleep(0.1)

        async def works(a: str, b: str) -> bool:
            try:
                async with asyncio.timeout(5):
                    return await lab.node(a).run(ask, b) == b"hello"
            except TimeoutError:
                return False

        await lab.partition(["a"], ["b"])
        found = [await works("a", "b"), await works("a", "c"), await works("c", "b")]
        await lab.heal()
        return [*found, await works("a", "b")]

    assert run(main, tmp_path) == [False, True, True, True]


def test_links_are_impaired_and_measured(tmp_path: Path) -> None:
    async def main(lab: Lab) -> tuple[float, dict[str, Any]]:
        link = lab.link("b-s")
        assert (await link.state())["executor"] is None
        await link.impair(delay="50ms", from_="b")
        await link.impair(loss="0%", rate="1mbit")
        answer = await lab.node("c").ping("b", count=3)
        return answer["rtt_min"] / 1e6, await link.state()

    rtt, state = run(main, tmp_path)
    assert 50 < rtt < 53
    assert state["directions"][0]["asked"] == {"delay": 50_000_000, "rate": 1_000_000}
    assert state["directions"][0]["measured"]["out_frames"] >= 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lab: lab.node("nobody"), "no node 'nobody'"),
        (lambda lab: lab.link("a-b"), "no link 'a-b'"),
        (lambda lab: lab.at("soon", print), "'soon' is no time"),
        (lambda lab: lab.at(-1, print), "-1 s is no time"),
        (lambda lab: lab.link("wan").impair(delay="banana"), "delay"),
        (lambda lab: lab.link("wan").impair(loss="150%"), "loss"),
        (lambda lab: lab.link("wan").impair(delay="1ms", from_="c"), "not an end"),
        (lambda lab: lab.link("wan").flap(down="5s", every="1s"), "flap"),
        (
            lambda lab: lab.node("a").exec("ls"),
            "the driver sim cannot run Linux commands in nodes .*: there is no kernel",
        ),
        (lambda lab: lab.node("s").run(ask, "b"), "no programs run in it"),
        (lambda lab: lab.node("a").set_clock(drift_ppm=-1_000_000), "stops the clock"),
        (lambda lab: lab.partition(["a"], ["a", "b"]), "in two groups"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, call: Any, message: str) -> None:
    async def main(lab: Lab) -> None:
        result = call(lab)
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises((UserInputError, NodeError, EnvironmentLackError), match=message):
        run(main, tmp_path)


def test_a_kernel_is_refused(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        raise AssertionError("never")

    with pytest.raises(EnvironmentLackError, match=r"k: the driver sim cannot run hosts .* with the kernel's stack"):
        run(main, tmp_path, "name: x\nnodes: {a: host, k: {kind: host, stack: kernel}}\nlinks: [a -- k]\n")
    assert not list(tmp_path.iterdir())


def test_who_waits_for_ever_is_told(tmp_path: Path) -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main(lab: Lab) -> None:
        await lab.node("a").run(forever)

    with pytest.raises(DeadlockError, match=r"forever[\s\S]*test_api_sim\.py"):
        run(main, tmp_path)


def test_the_run_is_a_folder(tmp_path: Path) -> None:
    async def left() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(1000), name="forgotten")

    async def main(lab: Lab) -> Path:
        await lab.node("c").run(left)
        await lab.node("a").ping("b", count=2)
        return lab.run_folder

    folder = run(main, tmp_path, seed=5)
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["driver"], facts["seed"], facts["outcome"]) == ("sim", 5, "down")
    assert 1 < facts["virtual_seconds"] < 20
    assert "forgotten" in facts["left_behind"][0]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"topology.yml", "plan.json", "nodes/a/trace.sqlog", "nodes/s/state.json", "links/measured.json"} <= names
    measured = json.loads((folder / "links/measured.json").read_text())
    assert measured["verdict"] == {"trustworthy": True, "reasons": []}
    assert measured["links"]["wan"]["directions"][0]["measured"]["delay"]["p50"] == 10_000_000


def test_a_script_that_fails_leaves_a_failed_run(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        run(main, tmp_path)
    assert json.loads(next(tmp_path.glob("*/run.json")).read_text())["outcome"] == "failed"


def test_the_outcome_of_a_guest(tmp_path: Path) -> None:
    async def main(fails: bool) -> None:
        async with Lab.open(PAIR, driver="sim", runs=tmp_path / str(fails)) as lab:
            await lab.sleep(1)
            if fails:
                raise RuntimeError("no")

    asyncio.run(main(False))
    with pytest.raises(RuntimeError):
        asyncio.run(main(True))
    outcomes = [
        json.loads(next((tmp_path / each).glob("*/run.json")).read_text())["outcome"] for each in ("False", "True")
    ]
    assert outcomes == ["down", "failed"]
