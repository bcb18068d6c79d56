"""Ladder diagrams: captures of several nodes become crossings, and crossings lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine.ladder import Crossing, crossings, draw
from lab.engine.runs import Run
from lab.errors import UserInputError
from lab.model.load import loads
from lab.plan.planner import make_plan
from nodes.trace.pcapng import PcapngWriter
from nodes.wire import arp, ethernet, icmp, ipv4
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, Mac, parse_ip4, parse_mac

TOPOLOGY = """
name: t
nodes: {a: host, s: switch, b: host, k: {kind: host, stack: kernel}}
links: [a -- s, b -- s, k -- s]
"""


class Recorded:
    """A run with captures made by hand: `frame(node, time, octets, inbound)`."""

    def __init__(self, folder: Path) -> None:
        plan = make_plan(loads(TOPOLOGY))
        self.run = Run.create(plan, driver="netns", parent=folder)
        self.mac = {node.name: parse_mac(node.interfaces[0].mac) for node in plan.nodes}
        self._writers: dict[str, PcapngWriter] = {}

    def frame(self, node: str, time: int, frame: bytes, *, inbound: bool) -> None:
        if node not in self._writers:
            self._writers[node] = PcapngWriter(self.run.node_folder(node) / "capture.pcapng")
            self._writers[node].add_interface("eth0")
        self._writers[node].packet(0, time, frame, inbound)

    def crossings(self) -> list[Crossing]:
        for writer in self._writers.values():
            writer.close()
        return crossings(self.run)


def echo(source: Mac, destination: Mac, sequence: int) -> bytes:
    message = icmp.echo(icmp.ECHO_REQUEST, 1, sequence, b"")
    packet = ipv4.build(parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), 1, message)
    return ethernet.build(destination, source, ethernet.ETHERTYPE_IPV4, packet)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_a_frame_goes_from_its_sender_to_its_receiver(recorded: Recorded) -> None:
    frame = echo(recorded.mac["a"], recorded.mac["b"], 1)
    recorded.frame("a", 1000, frame, inbound=False)
    recorded.frame("b", 2000, frame, inbound=True)
    assert recorded.crossings() == [Crossing(1000, "a", frame, ["b"])]


def test_equal_frames_are_matched_in_order(recorded: Recorded) -> None:
    frame = echo(recorded.mac["a"], recorded.mac["b"], 1)
    for time in (1000, 3000):
        recorded.frame("a", time, frame, inbound=False)
        recorded.frame("b", time + 500, frame, inbound=True)
    found = recorded.crossings()
    assert [(crossing.time, crossing.targets, crossing.lost) for crossing in found] == [
        (1000, ["b"], False),
        (3000, ["b"], False),
    ]


def test_what_does_not_arrive_is_lost(recorded: Recorded) -> None:
    lost, other = (echo(recorded.mac["a"], recorded.mac["b"], number) for number in (1, 2))
    recorded.frame("a", 1000, lost, inbound=False)
    recorded.frame("a", 2000, other, inbound=False)
    recorded.frame("b", 2500, other, inbound=True)
    assert [crossing.lost for crossing in recorded.crossings()] == [True, False]


def test_the_end_of_a_capture_is_no_loss(recorded: Recorded) -> None:
    first, second = (echo(recorded.mac["a"], recorded.mac["b"], number) for number in (1, 2))
    recorded.frame("a", 1000, first, inbound=False)
    recorded.frame("b", 1500, first, inbound=True)
    recorded.frame("a", 2000, second, inbound=False)
    assert [crossing.lost for crossing in recorded.crossings()] == [False, False]


def test_a_node_without_a_capture_is_known_by_its_mac(recorded: Recorded) -> None:
    request, reply = echo(recorded.mac["a"], recorded.mac["k"], 1), echo(recorded.mac["k"], recorded.mac["a"], 2)
    recorded.frame("a", 1000, request, inbound=False)
    recorded.frame("a", 2000, reply, inbound=True)
    found = recorded.crossings()
    assert [(crossing.source, crossing.targets, crossing.lost) for crossing in found] == [
        ("a", ["k"], False),
        ("k", ["a"], False),
    ]


def test_a_broadcast_has_many_targets(recorded: Recorded) -> None:
    mac = recorded.mac["b"]
    request = arp.build(arp.ArpPacket(arp.REQUEST, mac, parse_ip4("10.0.0.2"), ZERO_MAC, parse_ip4("10.0.0.1")))
    frame = ethernet.build(BROADCAST_MAC, mac, ethernet.ETHERTYPE_ARP, request)
    recorded.frame("b", 1000, frame, inbound=False)
    recorded.frame("a", 1500, frame, inbound=True)
    recorded.frame("k", 1600, frame, inbound=True)
    assert recorded.crossings() == [Crossing(1000, "b", frame, ["a", "k"])]


def test_a_run_without_captures(recorded: Recorded) -> None:
    with pytest.raises(UserInputError, match="has no captures"):
        recorded.crossings()


def test_the_lines() -> None:
    frame = echo(parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02"), 1)
    found = [
        Crossing(1_000_000, "a", frame, ["c"]),
        Crossing(1_500_000, "c", frame, ["b"]),
        Crossing(2_000_000, "b", frame, ["a", "c"]),
        Crossing(3_000_000, "a", frame, ["b"], lost=True),
        Crossing(3_500_000, "b", frame, []),
        Crossing(4_000_000, "a", frame, ["b", "c"]),
    ]
    lines = [line[:36] for line in draw(found, ["a", "b", "c"], 80)]
    assert lines == [
        "  TIME ms  a       b       c        ",
        "    0.000  ├───────┼──────▶│        ",
        "    0.500  │       │◀──────┤        ",
        "    1.000  │◀──────┼──────▶│        ",
        "    2.000  ├──────x│       │        ",
        "    2.500  │       ●       │        ",
        "    3.000  ├──────▶┼──────▶│        ",
    ]


def test_no_line_is_wider_than_asked() -> None:
    frame = echo(parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02"), 1)
    lines = list(draw([Crossing(0, "a", frame, ["b"])], ["a", "b", "a-very-long-name"], 60))
    assert max(map(len, lines)) <= 60
    assert "a-very-" in lines[0]
    assert lines[1].endswith("…")
