"""Any frames, timers and carriers in any order: nothing is raised, nothing loops, nothing grows, nothing leaks."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch import LearningSwitch
from nodes.trace.events import ListTracer
from nodes.units import SECOND
from nodes.wire import bpdu
from nodes.wire.addresses import parse_mac
from nodes.wire.bpdu import Bpdu

PORTS = 3
MAC = parse_mac("02:5a:00:00:00:05")
OTHER = parse_mac("02:00:00:00:00:07")
IDENTIFIERS = [0, 0x8000_025A_0000_0001, 0x8000_025A_0000_0005, 0x8000_025A_0000_0009, 2**64 - 1]

times = st.sampled_from([0, 1, 256, 512, 1024, 5120, 0xFFFF]) | st.integers(0, 0xFFFF)
bpdus = st.builds(
    Bpdu,
    st.sampled_from([bpdu.CONFIGURATION, bpdu.RAPID, bpdu.NOTIFICATION]),
    st.integers(0, 255),
    st.sampled_from(IDENTIFIERS),
    st.sampled_from([0, 1, 20_000, 2**32 - 1]),
    st.sampled_from(IDENTIFIERS),
    st.sampled_from([0, 0x8001, 0x8002, 0x8003, 0xFFFF]),
    times,
    times,
    times,
    times,
).map(lambda message: bpdu.build(message, OTHER))
macs = st.sampled_from([b"\xff" * 6, bytes(6), MAC, OTHER, bpdu.BRIDGE_GROUP, b"\x01\x80\xc2\x00\x00\x0f", b"\x02" * 6])
stations = st.builds(lambda a, b, rest: a + b + rest, macs, macs, st.binary(max_size=50))
frames = st.tuples(st.just("frame"), st.integers(0, PORTS - 1), bpdus | stations | st.binary(max_size=70))
timers = st.tuples(st.just("timer"), st.integers(0, 40 * SECOND), st.just(b""))
carriers = st.tuples(st.sampled_from(["up", "down"]), st.integers(0, PORTS - 1), st.just(b""))


def build(rapid: bool, tree: bool) -> LearningSwitch:
    settings_ = SpanningTreeSettings(rapid=rapid) if tree else None
    names = [f"p{i}" for i in range(PORTS)]
    result = LearningSwitch(names, MAC, Random(0), ListTracer(), ageing_time=10 * SECOND, spanning_tree=settings_)
    for port in range(PORTS):
        result.set_port(port, True, 0)
    result.transmit()
    return result


@settings(max_examples=150, deadline=None)
@given(st.lists(frames | timers | carriers, max_size=40), st.booleans(), st.booleans())
def test_any_sequence(inputs: list[tuple[str, int, bytes]], rapid: bool, tree: bool) -> None:
    switch, now = build(rapid, tree), 0
    for what, number, data in inputs:
        now += 1
        if what == "frame":
            switch.receive(number, memoryview(data), now)
        elif what == "timer":
            now = run_timers(switch, now, now + number)
        else:
            switch.set_port(number, what == "up", now)
        check(switch, switch.transmit(), data, number if what == "frame" else None, now)


def run_timers(switch: LearningSwitch, now: int, end: int) -> int:
    """Every timeout moves the deadline on; in 40 s there cannot be many."""
    for _ in range(2000):
        due = switch.deadline()
        if due is None or due > end:
            return end
        now = max(now, due)
        switch.timeout(now)
        later = switch.deadline()
        assert later is None or later > now
    raise AssertionError("timers spin")


def check(switch: LearningSwitch, out: list[tuple[int, bytes]], data: bytes, arrival: int | None, now: int) -> None:
    """What must hold after every input."""
    state = switch.snapshot(now)
    ports = state["ports"]
    for port, frame in out:
        assert ports[port]["up"]  # type: ignore[index]
        if frame[:6] == bpdu.BRIDGE_GROUP:
            assert bpdu.parse(frame).type in (bpdu.CONFIGURATION, bpdu.RAPID, bpdu.NOTIFICATION)
        else:
            assert frame == data
            assert port != arrival
            assert ports[port]["state"] == "forwarding"  # type: ignore[index]
    for row in state["table"]:  # type: ignore[attr-defined]
        assert not int(row["mac"][:2], 16) & 1
        assert row["mac"] != "00:00:00:00:00:00"
    if (tree := state["spanning_tree"]) is not None:
        assert tree["unsettled"] == 0  # type: ignore[index]
        roles = [port["role"] for port in tree["ports"]]  # type: ignore[index]
        assert roles.count("root") <= 1


@given(st.lists(st.binary(min_size=14, max_size=60), max_size=60))
@settings(max_examples=100, deadline=None)
def test_the_table_holds_one_entry_per_source(data: list[bytes]) -> None:
    switch = build(rapid=True, tree=False)
    for frame in data:
        switch.receive(0, frame, 0)
    table: list[dict[str, object]] = switch.snapshot(0)["table"]  # type: ignore[assignment]
    assert len({row["mac"] for row in table}) == len(table) <= len({frame[6:12] for frame in data})
