"""ARQ beneath whole stacks in virtual time: TCP and pings over bad links, MTUs, cables, restarts and partitions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lab.api.lab import Lab
from lab.errors import UserInputError

BAD = "{delay: 5ms, loss: 10%, corrupt: 5%}"
TOPOLOGY = """
name: arq
defaults: {capture: true}
nodes: {a: host, r: router, b: host}
links:
  - {ends: [a, r], arq: {kind: $KIND, timeout: 30ms}, impair: $BAD}
  - {ends: [r, b], mtu: $MTU}
"""
KINDS = ("stop-and-wait", "go-back-n", "selective-repeat")
OCTETS = 100_000


async def count_octets() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def upload(host: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(bytes(OCTETS))
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def text(kind: str, bad: str = BAD, mtu: int = 1500) -> str:
    return TOPOLOGY.replace("$KIND", kind).replace("$BAD", bad).replace("$MTU", str(mtu))


def arq_of(state: dict[str, Any], interface: int = 0) -> dict[str, Any]:
    return dict(state["interfaces"][interface]["arq"])


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_does_not_see_the_losses(kind: str, tmp_path: Path) -> None:
    """What the link loses it repeats: TCP has nothing to send again, and no segment is longer than what is left."""
    found: dict[str, Any] = {}

    async def main(lab: Lab) -> None:
        lab.node("b").start(count_octets)
        await lab.sleep(1)
        found["answer"] = await lab.node("a").run(upload, "b")
        found["a"], found["r"] = await lab.node("a").state(), await lab.node("r").state()
        found["dropped"] = lab.events("r", "link:arq_frame_dropped", reason="corrupt")

    Lab.run(main, text(kind), driver="sim", runs=tmp_path)
    assert found["answer"] == b"%d" % OCTETS
    interface = found["a"]["interfaces"][0]
    assert interface["mtu"] == 1486
    counters = interface["arq"]["counters"]
    assert counters["retransmitted"] > 5
    assert counters["given_up"] == counters["queue_full"] == 0
    assert len(found["dropped"]) == arq_of(found["r"])["counters"]["corrupt"] > 0
    assert interface["arq"]["kind"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_frames(kind: str, tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[dict[str, Any]]:
        await lab.node("a").ping("b", count=20, interval=0.1)
        return lab.events(None, "link:arq_*")

    first, second = (Lab.run(main, text(kind), driver="sim", runs=tmp_path, seed=7) for _ in range(2))
    assert first == second
    assert any(event["name"] == "link:arq_frame_retransmitted" for event in first)


def test_no_ping_is_lost_and_long_ones_are_cut_to_fit(tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[dict[str, Any]]:
        return [
            await lab.node("a").ping("b", count=20, interval=0.2, size=size, dont_fragment=False)
            for size in (56, 1458, 1459, 4000)
        ]

    for result in Lab.run(main, text("selective-repeat"), driver="sim", runs=tmp_path):
        assert result["received"] == result["transmitted"] == 20


def test_path_mtu_discovery_finds_the_overhead(tmp_path: Path) -> None:
    """b's own link has 1,500 octets, the one behind the router 1,486."""

    async def main(lab: Lab) -> tuple[int, list[dict[str, Any]]]:
        found = await lab.node("b").ping("a", count=3, size=1472, dont_fragment=True, interval=0.2)
        return found["received"], lab.events("b", "network:path_mtu_updated")

    received, updates = Lab.run(main, text("go-back-n", "{delay: 5ms}"), driver="sim", runs=tmp_path)
    assert received == 0
    assert [event["data"]["new"] for event in updates] == [1486]


def test_a_cable_that_is_pulled_and_a_node_that_begins_anew(tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[int]:
        link, a = lab.link("a--r"), lab.node("a")
        received = [(await a.ping("b", count=3, interval=0.2))["received"]]
        await link.down()
        await lab.sleep(1)
        await link.up()
        received.append((await a.ping("b", count=3, interval=0.2))["received"])
        await lab.node("r").kill()
        await lab.node("r").restart()
        await lab.sleep(1)
        received.append((await a.ping("b", count=3, interval=0.2))["received"])
        return received

    assert Lab.run(main, text("go-back-n", "{delay: 1ms}"), driver="sim", runs=tmp_path) == [3, 3, 3]


def test_a_link_that_loses_all_is_given_up_and_comes_back(tmp_path: Path) -> None:
    async def main(lab: Lab) -> tuple[dict[str, Any], dict[str, Any], list[Any], int]:
        link, a = lab.link("a--r"), lab.node("a")
        await a.ping("b", count=1)
        await link.impair(loss="100%")
        await a.ping("b", count=1, timeout=1)
        dead = arq_of(await a.state())
        given_up = lab.events("a", "link:arq_frame_dropped", reason="given_up")
        await link.impair(loss="none")
        after = await a.ping("b", count=2, interval=0.5)
        return dead, arq_of(await a.state()), given_up, after["received"]

    dead, alive, given_up, received = Lab.run(main, text("go-back-n", "{delay: 1ms}"), driver="sim", runs=tmp_path)
    assert dead["sender"]["state"] == "disconnected"
    assert [event["data"]["detail"] for event in given_up] == ["10 retransmissions without an answer"]
    assert alive["sender"]["state"] == "connected"
    assert received == 2


def test_the_mtu_of_a_running_link(tmp_path: Path) -> None:
    async def main(lab: Lab) -> int:
        link, a = lab.link("a--r"), lab.node("a")
        with pytest.raises(UserInputError, match="an MTU of 81 octets"):
            await link.set_mtu(81)
        await link.set_mtu(82)
        assert [(await lab.node(name).state())["interfaces"][0]["mtu"] for name in ("a", "r")] == [68, 68]
        result = await a.ping("b", count=2, size=200, dont_fragment=False)
        return int(result["received"])

    assert Lab.run(main, text("go-back-n", "{delay: 1ms}"), driver="sim", runs=tmp_path) == 2


def test_a_partition_looks_into_the_frames(tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[int]:
        a = lab.node("a")
        received = [(await a.ping("b", count=1))["received"]]
        await lab.partition(["a"], ["r", "b"])
        received.append((await a.ping("b", count=2, timeout=1))["received"])
        await lab.heal()
        await lab.sleep(2)
        received.append((await a.ping("b", count=2))["received"])
        return received

    assert Lab.run(main, text("go-back-n", "{delay: 1ms}"), driver="sim", runs=tmp_path) == [1, 0, 2]
