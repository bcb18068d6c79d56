"""The learning switch, frame by frame."""

from __future__ import annotations

from random import Random

import pytest

from nodes.datalink import switch as switch_module
from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch import LearningSwitch
from nodes.errors import MisuseError
from nodes.trace.events import (
    ForwardingTableUpdated,
    FrameDropped,
    FrameReceived,
    FrameSent,
    ListTracer,
)
from nodes.units import SECOND
from nodes.wire import bpdu
from nodes.wire.addresses import BROADCAST_MAC, Mac, parse_mac

SWITCH = parse_mac("02:5a:00:00:00:ff")
A, B, C = (parse_mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
GROUP = parse_mac("01:00:5e:00:00:01")
AGEING = 300 * SECOND


@pytest.fixture
def tracer() -> ListTracer:
    return ListTracer(packets=False)


@pytest.fixture
def switch(tracer: ListTracer) -> LearningSwitch:
    return build(tracer)


def build(tracer: ListTracer, settings: SpanningTreeSettings | None = None) -> LearningSwitch:
    result = LearningSwitch(["p0", "p1", "p2"], SWITCH, Random(0), tracer, ageing_time=AGEING, spanning_tree=settings)
    for port in range(3):
        result.set_port(port, True, 0)
    return result


def frame(destination: bytes, source: bytes, fill: int = 0) -> bytes:
    return destination + source + b"\x08\x00" + bytes([fill]) * 46


def exchange(switch: LearningSwitch, port: int, data: bytes | memoryview, now: int = 0) -> list[int]:
    """The ports on which `data` leaves."""
    switch.receive(port, data, now)
    out = switch.transmit()
    assert all(sent == data for _, sent in out)
    return [to for to, _ in out]


def table(switch: LearningSwitch, now: int = 0) -> dict[str, str]:
    rows: list[dict[str, str]] = switch.snapshot(now)["table"]  # type: ignore[assignment]
    return {row["mac"]: row["port"] for row in rows}


def port(switch: LearningSwitch, index: int) -> dict[str, object]:
    return switch.snapshot(0)["ports"][index]  # type: ignore[index,no-any-return]


def test_floods_learns_and_forwards(switch: LearningSwitch, tracer: ListTracer) -> None:
    assert exchange(switch, 0, frame(B, A)) == [1, 2]
    assert exchange(switch, 1, frame(A, B)) == [0]
    assert exchange(switch, 0, frame(B, A)) == [1]
    assert exchange(switch, 0, memoryview(frame(B, A))) == [1]
    assert tracer.of(ForwardingTableUpdated) == [
        ForwardingTableUpdated(A, None, "p0", "learned"),
        ForwardingTableUpdated(B, None, "p1", "learned"),
    ]
    assert table(switch) == {"02:00:00:00:00:01": "p0", "02:00:00:00:00:02": "p1"}


@pytest.mark.parametrize("group", [BROADCAST_MAC, GROUP])
def test_groups_are_flooded(switch: LearningSwitch, group: Mac) -> None:
    for _ in range(2):
        assert exchange(switch, 2, frame(group, A)) == [0, 1]


def test_filters_what_the_destination_has_heard(switch: LearningSwitch) -> None:
    exchange(switch, 0, frame(BROADCAST_MAC, A))
    exchange(switch, 0, frame(BROADCAST_MAC, B))
    assert exchange(switch, 0, frame(B, A)) == []
    assert exchange(switch, 0, frame(B, C)) == []  # C is new: the slow path
    assert port(switch, 0)["filtered"] == 2


def test_a_station_moves(switch: LearningSwitch, tracer: ListTracer) -> None:
    exchange(switch, 0, frame(BROADCAST_MAC, A))
    exchange(switch, 1, frame(BROADCAST_MAC, A))
    assert exchange(switch, 2, frame(A, B)) == [1]
    assert tracer.of(ForwardingTableUpdated)[1] == ForwardingTableUpdated(A, "p0", "p1", "moved")
    assert switch.snapshot(0)["moves"] == 1


def test_a_station_moves_while_it_talks(switch: LearningSwitch) -> None:
    """Its first frame from the new place goes to a known station."""
    exchange(switch, 0, frame(BROADCAST_MAC, A))
    exchange(switch, 1, frame(BROADCAST_MAC, B))
    assert exchange(switch, 2, frame(B, A)) == [1]
    assert exchange(switch, 1, frame(A, B)) == [2]


@pytest.mark.parametrize("swept", [False, True])
def test_ageing(switch: LearningSwitch, tracer: ListTracer, swept: bool) -> None:
    """Forgotten after the ageing time without a frame, whether a look-up or the sweep notices first."""
    exchange(switch, 0, frame(BROADCAST_MAC, A), 0)
    exchange(switch, 0, frame(B, A), 10)
    assert exchange(switch, 1, frame(A, B), 10 + AGEING) == [0]
    late = 11 + AGEING
    assert table(switch, late) == {"02:00:00:00:00:02": "p1"}
    if swept:
        switch.timeout(late)
    assert exchange(switch, 1, frame(A, B), late) == [0, 2]
    assert tracer.of(ForwardingTableUpdated)[-1] == ForwardingTableUpdated(A, "p0", None, "aged")


def test_a_frame_from_the_station_keeps_it(switch: LearningSwitch) -> None:
    exchange(switch, 1, frame(BROADCAST_MAC, B), 0)
    for step in range(1, 5):
        exchange(switch, 0, frame(B, A), step * AGEING // 2)
        exchange(switch, 1, frame(A, B), step * AGEING // 2)
    assert exchange(switch, 2, frame(A, C), 2 * AGEING) == [0]


def test_the_sweep_is_coarse_and_stops(switch: LearningSwitch) -> None:
    """A deadline only while there is something to age, always in the future, a few per ageing time."""
    assert switch.deadline() is None
    exchange(switch, 0, frame(BROADCAST_MAC, A), 0)
    sweeps = 0
    while (now := switch.deadline()) is not None:
        switch.timeout(now)
        assert (switch.deadline() or now + 1) > now
        sweeps += 1
    assert sweeps == 5
    assert table(switch) == {}


@pytest.mark.parametrize("last", range(16))
def test_reserved_addresses_end_here(switch: LearningSwitch, last: int) -> None:
    """802.1D-2004 table 7-10: with or without a spanning tree, never forwarded; and nothing is learned from them."""
    reserved = b"\x01\x80\xc2\x00\x00" + bytes([last])
    assert exchange(switch, 0, frame(reserved, A)) == []
    assert table(switch) == {}
    assert port(switch, 0)["reserved"] == 1


def test_the_next_address_is_ordinary(switch: LearningSwitch) -> None:
    assert exchange(switch, 0, frame(b"\x01\x80\xc2\x00\x00\x10", A)) == [1, 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(B, GROUP), "source is a group address"),
        (frame(B, BROADCAST_MAC), "source is a group address"),
        (frame(B, bytes(6)), "source is all zero"),
        (frame(B, A)[:13], "ethernet header: 13 octets, at least 14 expected"),
        (b"", "ethernet header: 0 octets, at least 14 expected"),
    ],
)
def test_impossible_frames_are_dropped(switch: LearningSwitch, tracer: ListTracer, data: bytes, reason: str) -> None:
    exchange(switch, 0, frame(BROADCAST_MAC, A))
    exchange(switch, 1, frame(BROADCAST_MAC, B))
    assert exchange(switch, 0, data) == []
    assert tracer.of(FrameDropped) == [FrameDropped("p0", reason, len(data))]
    assert port(switch, 0)["in_discards"] == 1
    assert len(table(switch)) == 2


def test_frames_for_the_switch_itself_go_nowhere(switch: LearningSwitch) -> None:
    assert exchange(switch, 0, frame(SWITCH, A)) == []
    assert exchange(switch, 1, frame(B, SWITCH)) == [0, 2]
    assert list(table(switch)) == ["02:00:00:00:00:01"]


def test_a_port_goes_down(switch: LearningSwitch, tracer: ListTracer) -> None:
    exchange(switch, 0, frame(BROADCAST_MAC, A))
    exchange(switch, 1, frame(BROADCAST_MAC, B))
    switch.set_port(0, False, 5)
    assert tracer.of(ForwardingTableUpdated)[-1] == ForwardingTableUpdated(A, "p0", None, "port_down")
    assert exchange(switch, 1, frame(A, B), 6) == [2]
    assert exchange(switch, 0, frame(B, A), 6) == []
    assert tracer.of(FrameDropped) == [FrameDropped("p0", "port is down", 60)]
    switch.set_port(0, True, 7)
    assert exchange(switch, 0, frame(B, A), 8) == [1]


def test_the_table_is_bounded(switch: LearningSwitch, tracer: ListTracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full table learns nobody, says so once, still reaches everybody, and learns again when there is room."""
    monkeypatch.setattr(switch_module, "MAXIMUM_STATIONS", 2)
    for station in (A, B, C, C):
        exchange(switch, 0, frame(BROADCAST_MAC, station))
    assert exchange(switch, 1, frame(C, B)) == [0, 2]
    full = [event for event in tracer.of(ForwardingTableUpdated) if event.trigger == "table_full"]
    assert full == [ForwardingTableUpdated(C, None, None, "table_full")]
    assert switch.snapshot(0)["not_learned"] == 2
    switch.set_port(0, False, 1)
    assert exchange(switch, 2, frame(BROADCAST_MAC, C), 1) == [1]
    assert table(switch)["02:00:00:00:00:03"] == "p2"


def test_the_queue_is_bounded(switch: LearningSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "QUEUE_LIMIT", 3)
    switch.receive(0, frame(B, A), 0)
    switch.receive(0, frame(B, A), 0)
    assert len(switch.transmit()) == 3
    assert port(switch, 2)["out_discards"] == 1


def test_a_buffer_may_be_reused(switch: LearningSwitch) -> None:
    original = frame(B, A)
    buffer = bytearray(original)
    switch.receive(0, memoryview(buffer), 0)
    buffer[:] = bytes(60)
    assert switch.transmit() == [(1, original), (2, original)]
    assert table(switch) == {"02:00:00:00:00:01": "p0"}


def test_frames_are_traced_only_on_request() -> None:
    for packets, expected in ((False, 0), (True, 3)):
        tracer = ListTracer(packets=packets)
        exchange(build(tracer), 0, frame(B, A))
        assert len(tracer.of(FrameReceived)) + len(tracer.of(FrameSent)) == expected


def test_counters(switch: LearningSwitch) -> None:
    exchange(switch, 0, frame(B, A))
    exchange(switch, 1, frame(A, B))
    first = port(switch, 0)
    assert (first["in_frames"], first["in_octets"], first["flooded"], first["out_frames"]) == (1, 60, 1, 1)


def test_with_a_spanning_tree_nothing_passes_before_it_allows(tracer: ListTracer) -> None:
    """Discarding: neither learned nor forwarded. Edge ports open after three seconds, at once both."""
    switch = build(tracer, SpanningTreeSettings())
    switch.transmit()
    switch.receive(0, frame(B, A), SECOND)
    assert switch.transmit() == []
    assert table(switch) == {}
    assert port(switch, 0)["blocked"] == 1
    while (now := switch.deadline()) is not None and now <= 3 * SECOND:
        switch.timeout(now)
    switch.transmit()
    assert exchange(switch, 0, frame(B, A), 3 * SECOND) == [1, 2]


def run_timers(switch: LearningSwitch, until: int) -> None:
    while (now := switch.deadline()) is not None and now <= until:
        switch.timeout(now)
    switch.transmit()


WORSE_STP = bpdu.Bpdu(bpdu.CONFIGURATION, 0, 2**64 - 1, 0, 2**64 - 1, 0x8001, 0, 5120, 512, 3840)


def test_a_learned_station_behind_a_closed_port_gets_nothing(tracer: ListTracer) -> None:
    """Beside an STP bridge a port learns for 15 s before it forwards."""
    switch = build(tracer, SpanningTreeSettings())
    for second in range(21):
        run_timers(switch, second * SECOND)
        switch.receive(1, bpdu.build(WORSE_STP, C), second * SECOND)
    now = 20 * SECOND
    switch.transmit()
    assert port(switch, 1)["state"] == "learning"
    assert exchange(switch, 1, frame(BROADCAST_MAC, A), now) == []
    assert exchange(switch, 0, frame(A, B), now) == []
    assert exchange(switch, 2, frame(B, C), now) == [0]
    assert exchange(switch, 0, frame(A, B), now) == []
    assert port(switch, 0)["blocked"] == 2


def test_a_topology_change_forgets_stations(tracer: ListTracer) -> None:
    """What was learned on other ports of the tree goes; what is behind an edge stays."""
    switch = build(tracer, SpanningTreeSettings())
    run_timers(switch, 3 * SECOND)
    agreed = bpdu.ROLE_ROOT << 2 | bpdu.FLAG_AGREEMENT
    for index in (0, 1):
        switch.receive(index, bpdu.build(WORSE_STP._replace(type=bpdu.RAPID, flags=agreed), C), 3 * SECOND)
    switch.transmit()
    for index, station in enumerate((A, B, C)):
        exchange(switch, index, frame(BROADCAST_MAC, station), 3 * SECOND)
    changed = WORSE_STP._replace(type=bpdu.RAPID, flags=agreed | bpdu.FLAG_TOPOLOGY_CHANGE)
    switch.receive(0, bpdu.build(changed, C), 3 * SECOND)
    assert list(table(switch).values()) == ["p0", "p2"]
    assert tracer.of(ForwardingTableUpdated)[-1] == ForwardingTableUpdated(B, "p1", None, "topology_change")


def test_misuse() -> None:
    with pytest.raises(MisuseError, match="ageing time 0 s"):
        LearningSwitch(["p0"], SWITCH, Random(0), ListTracer(), ageing_time=0, spanning_tree=None)
