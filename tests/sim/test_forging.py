"""Frames that a script has made: they arrive as they are, from every kind of node of ours, and pass what other frames
have to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.errors import NodeError, UserInputError
from lab.experiments.forging import forged_segment
from lab.experiments.programs import echo
from lab.experiments.trial import captured

TOPOLOGY = """\
name: forging
defaults: {trace: packets, address_check: none}
nodes: {a: host, b: host, c: host, s: {kind: switch, impl: stack}}
links:
  - {ends: [a, s], name: wan, impair: {delay: 10ms}}
  - b -- s
  - c -- s
"""


def run(main: Any, tmp_path: Path, topology: str = TOPOLOGY) -> Any:
    return Lab.run(main, topology, driver="sim", runs=tmp_path)


def received(lab: Lab, node: str) -> list[dict[str, Any]]:
    return [event["data"] for event in lab.events(node, "transport:segment_received")]


def test_a_segment_that_claims_to_be_from_somebody_else(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        a, b, c = (lab.node(name) for name in "abc")
        sent, heard = await a.start_capture(), await b.start_capture()
        frame = forged_segment(a, (c.address, 7), b, 80, "SYN,PSH", 2**32 + 5, data=b"x")
        assert frame[:12] == bytes.fromhex((b.mac + a.mac).replace(":", ""))
        await a.send_frame(memoryview(frame))
        await lab.sleep(1)
        await a.stop_capture()
        await b.stop_capture()
        assert frame in captured(sent)
        assert frame in captured(heard)
        (segment,) = received(lab, "b")
        assert segment["flags"] == "SYN,PSH"
        assert (segment["source"], segment["source_port"], segment["destination_port"]) == (c.address, 7, 80)
        assert (segment["sequence"], segment["length"]) == (5, 1)
        (refusal,) = received(lab, "c")
        assert refusal["flags"] == "RST,ACK", "b answers who seems to have sent it"

    run(main, tmp_path)


def test_a_flag_that_does_not_exist(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        a = lab.node("a")
        with pytest.raises(ValueError, match="not in tuple"):
            forged_segment(a, (a.address, 1), a, 2, "SYN,ASK", 0)

    run(main, tmp_path)


def test_by_an_interface_of_a_switch(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        s, b, c = lab.node("s"), lab.node("b"), lab.node("c")
        frame = forged_segment(c, (c.address, 7), b, 80, "ACK", 5)
        with pytest.raises(UserInputError, match="a frame of s, by which interface") as caught:
            await s.send_frame(frame)
        assert caught.value.hint == "it has p1, p2, p3"
        with pytest.raises(UserInputError, match="s has no interface 'pp2'") as caught:
            await s.send_frame(frame, "pp2")
        assert caught.value.hint == "did you mean 'p2'?"
        await s.send_frame(frame, "p3")
        await lab.sleep(0.1)
        assert not received(lab, "b"), "the other one is c's"
        await s.send_frame(frame, "p2")
        await lab.sleep(0.1)
        assert len(received(lab, "b")) == 1

    run(main, tmp_path)


def test_what_a_link_does_not_take(tmp_path: Path) -> None:
    """One with an impairment and one without; a tag of a VLAN may be beside the MTU."""

    async def main(lab: Lab) -> None:
        for name, link in (("a", "wan"), ("b", "s-b")):
            node = lab.node(name)
            with pytest.raises(UserInputError, match="a frame of 13 octets on eth0, at least 14 expected"):
                await node.send_frame(bytes(13))
            with pytest.raises(NodeError, match=f"{name}: eth0 does not take the frame: it is longer than the MTU"):
                await node.send_frame(bytes(1515))
            await node.send_frame(bytes(1514))
            await node.send_frame(bytes(12) + b"\x81\x00" + bytes(1504))
            await lab.link(link).down()
            with pytest.raises(NodeError, match=f"{name}: eth0 does not take the frame: it is down"):
                await node.send_frame(bytes(60))
            await lab.link(link).up()
            await node.pause()
            with pytest.raises(UserInputError, match=f"{name} stands still"):
                await node.send_frame(bytes(60))
            await node.resume()
            await node.kill()
            with pytest.raises(NodeError, match=f"{name} is off"):
                await node.send_frame(bytes(60))

    run(main, tmp_path)


def test_a_partition_cuts_it(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        a, b, c = (lab.node(name) for name in "abc")
        await lab.partition(["a"], ["b", "c"])
        await a.send_frame(forged_segment(a, (a.address, 7), b, 80, "ACK", 5))
        await lab.sleep(0.1)
        assert not received(lab, "b")
        await lab.heal()
        await a.send_frame(forged_segment(a, (c.address, 7), b, 80, "ACK", 5))
        await lab.sleep(0.1)
        assert len(received(lab, "b")) == 1

    run(main, tmp_path)


def test_windows_are_octets_at_both_ends(tmp_path: Path) -> None:
    """Of a segment that is received as of one that is sent, whatever the scale."""

    async def main(lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        b.start(echo, 7)
        await lab.sleep(0.1)
        reader, writer = await a.connect(b, 7)
        writer.write(bytes(200_000))
        await reader.readexactly(200_000)
        sent = [(e["data"]["acknowledgment"], e["data"]["window"]) for e in lab.events("b", "transport:segment_sent")]
        windows = [(segment["acknowledgment"], segment["window"]) for segment in received(lab, "a")]
        assert windows == sent[: len(windows)]
        assert max(window for _, window in windows) > 65_535, "scaled"
        writer.close()

    run(main, tmp_path)
