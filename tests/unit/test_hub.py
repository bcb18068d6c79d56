"""The repeater."""

from __future__ import annotations

import pytest

from nodes.physical import hub as hub_module
from nodes.physical.hub import Hub
from nodes.trace.events import FrameDropped, FrameReceived, FrameSent, InterfaceUpdated, ListTracer

FRAME = bytes.fromhex("0180c2000000 025a00000001 0007") + bytes(46)


@pytest.fixture
def tracer() -> ListTracer:
    return ListTracer()


@pytest.fixture
def hub(tracer: ListTracer) -> Hub:
    result = Hub(["h-1", "h-2", "h-3"], tracer)
    for port in range(3):
        result.set_port(port, True, 0)
    return result


def test_repeats_to_all_others(hub: Hub) -> None:
    """Any frame, even one that no bridge forwards, and of any length."""
    for frame in (FRAME, b"\x01", bytes(9000)):
        hub.receive(1, memoryview(frame), 5)
        assert hub.transmit() == [(0, frame), (2, frame)]
    assert hub.transmit() == []


def test_down_ports_take_no_part(hub: Hub, tracer: ListTracer) -> None:
    hub.set_port(2, False, 1)
    hub.receive(0, FRAME, 2)
    hub.receive(2, FRAME, 3)
    assert hub.transmit() == [(1, FRAME)]
    assert tracer.of(FrameDropped) == [FrameDropped("h-3", "port is down", 60)]
    assert tracer.of(InterfaceUpdated)[-1] == InterfaceUpdated("h-3", "up", "down", "carrier")


def test_a_buffer_may_be_reused(hub: Hub) -> None:
    buffer = bytearray(FRAME)
    hub.receive(0, memoryview(buffer), 0)
    buffer[:] = bytes(60)
    assert hub.transmit() == [(1, FRAME), (2, FRAME)]


def test_counters_and_events(hub: Hub, tracer: ListTracer) -> None:
    hub.receive(0, FRAME, 0)
    hub.receive(0, b"", 0)
    assert [len(tracer.of(FrameReceived)), len(tracer.of(FrameSent)), len(tracer.of(FrameDropped))] == [1, 2, 1]
    ports: list[dict[str, object]] = hub.snapshot(0)["ports"]  # type: ignore[assignment]
    first, second, _ = ports
    assert (first["in_frames"], first["in_octets"], first["in_discards"], first["out_frames"]) == (1, 60, 1, 0)
    assert (second["out_frames"], second["out_octets"]) == (1, 60)


def test_the_queue_is_bounded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "QUEUE_LIMIT", 3)
    hub.receive(0, FRAME, 0)
    hub.receive(0, FRAME, 0)
    assert len(hub.transmit()) == 3
    assert hub.snapshot(0)["ports"][2]["out_discards"] == 1  # type: ignore[index]


def test_no_timers(hub: Hub) -> None:
    hub.timeout(10**12)
    assert hub.deadline() is None
    assert hub.transmit() == []
