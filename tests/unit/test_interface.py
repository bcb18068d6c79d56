"""The interfaces: filter, dispatch, framing, limits; and the timers under them."""

from __future__ import annotations

import errno
import json
from random import Random

import pytest

from nodes.datalink.deadlines import Deadlines
from nodes.datalink.interface import INTERFACE_GROUPS, EthernetInterface, PointToPointInterface
from nodes.datalink.port import TRANSMIT_FRAMES
from nodes.errors import LimitError, MisuseError
from nodes.trace.events import FrameDropped, FrameReceived, FrameSent, InterfaceUpdated, ListTracer
from nodes.wire import ethernet
from nodes.wire.addresses import BROADCAST_MAC, LIMITED_BROADCAST, ZERO_MAC, Ip4, Mac, Prefix, parse_ip4, parse_mac

ME, PEER = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")
GROUP = parse_mac("01:00:5e:00:00:fb")
ADDRESS = Prefix.parse("10.0.0.1/24")


def interface(*, packets: bool = True) -> tuple[EthernetInterface, ListTracer]:
    tracer = ListTracer(packets)
    device = EthernetInterface(3, "eth0", ME, 1500, Random(1), tracer)
    device.add_address(ADDRESS, 0)
    device.transmit()
    tracer.events.clear()
    return device, tracer


def frame(destination: Mac, ethertype: int = ethernet.ETHERTYPE_IPV4, source: Mac = PEER, data: bytes = b"ip") -> bytes:
    return ethernet.build(destination, source, ethertype, data)


def drops(tracer: ListTracer) -> list[str]:
    return [event.reason for event in tracer.of(FrameDropped)]


def test_a_packet_for_us_goes_up() -> None:
    device, tracer = interface()
    taken = device.receive(frame(ME), 5)
    assert taken is not None
    assert bytes(taken[0]) == b"ip"
    assert taken[1] is False
    assert tracer.events == [(5, FrameReceived("eth0", PEER, ME, 0x0800, 16))]
    assert device.counters.in_frames == 1
    assert device.counters.in_octets == 16


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: type) -> None:
    device, _ = interface()
    taken = device.receive(kind(frame(ME)), 0)
    assert taken is not None
    assert bytes(taken[0]) == b"ip"


def test_broadcasts_and_joined_groups_go_up_as_such() -> None:
    device, _ = interface()
    assert device.receive(frame(GROUP), 0) is None
    device.join(GROUP)
    for destination in (BROADCAST_MAC, GROUP):
        taken = device.receive(frame(destination), 0)
        assert taken is not None
        assert taken[1] is True
    assert device.counters.in_group_frames == 2


def test_frames_for_others_are_counted_without_a_word() -> None:
    """1122-3.2.1.3: nothing for other hosts comes in."""
    device, tracer = interface()
    assert device.receive(frame(PEER, source=parse_mac("02:00:00:00:00:03")), 0) is None
    assert device.receive(frame(GROUP), 0) is None
    assert device.counters.in_filtered == 2
    assert tracer.events == []


def test_groups_are_counted() -> None:
    device, _ = interface()
    device.join(GROUP)
    device.join(GROUP)
    device.leave(GROUP)
    assert device.receive(frame(GROUP), 0) is not None
    device.leave(GROUP)
    assert device.receive(frame(GROUP), 0) is None
    with pytest.raises(MisuseError):
        device.leave(GROUP)
    with pytest.raises(MisuseError):
        device.join(PEER)


def test_groups_are_bounded() -> None:
    device, _ = interface()
    for number in range(INTERFACE_GROUPS):
        device.join(Mac(b"\x01\x00\x5e" + number.to_bytes(3, "big")))
    with pytest.raises(LimitError):
        device.join(Mac(b"\x01\x00\x5e\x7f\xff\xff"))
    device.join(Mac(b"\x01\x00\x5e" + bytes(3)))


@pytest.mark.parametrize(
    ("data", "reason", "counter"),
    [
        (b"", "0 octets, no Ethernet header", "in_errors"),
        (frame(ME)[:13], "13 octets, no Ethernet header", "in_errors"),
        (frame(ME, source=GROUP), "source is a group address", "in_errors"),
        (frame(BROADCAST_MAC, source=ME), "source is our own MAC address", "in_errors"),
        (frame(ME, 0x86DD), "unknown EtherType 0x86dd", "in_unknown_protocols"),
        (frame(ME, 0x8100), "unknown EtherType 0x8100", "in_unknown_protocols"),
        (frame(ME, 0x0600), "unknown EtherType 0x0600", "in_unknown_protocols"),
        (frame(ME, 0x05FF), "IEEE 802.2 frame of length 0x05ff", "in_unknown_protocols"),
        (frame(ME, 38), "IEEE 802.2 frame of length 0x0026", "in_unknown_protocols"),
        (frame(ME, 0x0806), "arp packet at byte 2", "in_errors"),
    ],
)
def test_drops_have_a_reason_and_a_counter(data: bytes, reason: str, counter: str) -> None:
    device, tracer = interface()
    assert device.receive(data, 0) is None
    assert len(drops(tracer)) == 1
    assert drops(tracer)[0].startswith(reason)
    assert getattr(device.counters, counter) == 1


def test_frames_go_out_unpadded() -> None:
    device, tracer = interface()
    device.send(b"x", LIMITED_BROADCAST, 9)
    assert device.transmit() == [ethernet.build(BROADCAST_MAC, ME, 0x0800, b"x")]
    assert tracer.events == [(9, FrameSent("eth0", ME, BROADCAST_MAC, 0x0800, 15))]
    assert device.transmit() == []


def test_no_event_per_frame_unless_wanted() -> None:
    device, tracer = interface(packets=False)
    device.send(b"x", LIMITED_BROADCAST, 0)
    device.receive(frame(ME), 0)
    assert tracer.events == []


def test_the_mtu_is_the_callers_limit() -> None:
    device, _ = interface()
    device.send(bytes(1500), LIMITED_BROADCAST, 0)
    with pytest.raises(MisuseError) as caught:
        device.send(bytes(1501), LIMITED_BROADCAST, 0)
    assert caught.value.errno == errno.EMSGSIZE
    with pytest.raises(MisuseError):
        device.send(bytes(1501), parse_ip4("10.0.0.9"), 0)


def test_a_driver_that_never_drains_costs_bounded_memory() -> None:
    device, tracer = interface(packets=False)
    for _ in range(TRANSMIT_FRAMES + 5):
        device.send(b"x", LIMITED_BROADCAST, 0)
    assert drops(tracer) == ["transmit queue full"] * 5
    assert len(device.transmit()) == TRANSMIT_FRAMES


def test_down_and_up_are_told_once() -> None:
    device, tracer = interface()
    device.set_up(True, 0)
    device.set_up(False, 1)
    device.set_up(False, 2)
    device.set_up(True, 3)
    assert tracer.of(InterfaceUpdated) == [
        InterfaceUpdated("eth0", "up", "down", "carrier"),
        InterfaceUpdated("eth0", "down", "up", "carrier"),
    ]


def test_down_receives_and_sends_nothing() -> None:
    device, tracer = interface()
    device.set_up(False, 0)
    assert device.receive(frame(ME), 1) is None
    device.send(b"x", LIMITED_BROADCAST, 1)
    assert device.transmit() == []
    assert drops(tracer) == ["interface is down"] * 2
    assert (device.counters.in_discards, device.counters.out_discards) == (1, 1)


@pytest.mark.parametrize("mac", [ZERO_MAC, BROADCAST_MAC, GROUP, Mac(b"\x02")])
def test_a_station_needs_a_station_address(mac: Mac) -> None:
    with pytest.raises(MisuseError):
        EthernetInterface(0, "eth0", mac, 1500, Random(1), ListTracer())


def test_the_snapshot_is_json() -> None:
    device, _ = interface()
    device.join(GROUP)
    device.send(b"x", parse_ip4("10.0.0.9"), 0)
    device.request_address(24, 0)
    state = json.loads(json.dumps(device.snapshot(0)))
    assert state["addresses"] == ["10.0.0.1/24"]
    assert state["groups"] == {"01:00:5e:00:00:fb": 1}
    assert state["arp"]["entries"] == [
        {"address": "10.0.0.9", "mac": None, "state": "incomplete", "pending": 1, "expires_in": 1.0}
    ]
    assert state["address_states"]["addresses"] == [{"address": "10.0.0.1/24", "state": "announced", "in_use": True}]


def test_point_to_point_carries_bare_packets() -> None:
    tracer = ListTracer()
    device = PointToPointInterface(1, "ppp0", 1500, tracer)
    device.add_address(Prefix.parse("10.9.0.1/31"), 0)
    device.send(b"out", parse_ip4("10.9.0.0"), 0)
    assert device.transmit() == [b"out"]
    taken = device.receive(b"in", 0)
    assert taken is not None
    assert (bytes(taken[0]), taken[1]) == (b"in", False)
    with pytest.raises(MisuseError):
        device.send(bytes(1501), parse_ip4("10.9.0.0"), 0)
    with pytest.raises(MisuseError):
        device.add_address(Prefix.parse("10.9.0.1/30"), 0)
    with pytest.raises(MisuseError):
        device.request_address(24, 0)
    device.join(GROUP)
    device.leave(GROUP)
    device.set_up(False, 1)
    device.send(b"lost", parse_ip4("10.9.0.0"), 1)
    assert device.receive(b"lost", 1) is None
    assert device.transmit() == []
    assert device.failed() == []
    assert device.deadline() is None
    device.remove_address(Prefix.parse("10.9.0.1/31"), 2)
    with pytest.raises(MisuseError):
        device.remove_address(Prefix.parse("10.9.0.1/31"), 2)
    assert json.loads(json.dumps(device.snapshot(0)))["up"] is False


def test_deadlines_come_in_order_and_once() -> None:
    timers = Deadlines()
    for key, when in [(1, 30), (2, 10), (3, 20), (2, 40)]:
        timers.set(Ip4(key), when)
    timers.cancel(Ip4(3))
    timers.cancel(Ip4(99))
    assert timers.earliest() == 30
    assert timers.due(29) == []
    assert timers.due(40) == [1, 2]
    assert timers.earliest() is None
    assert len(timers) == 0


def test_deadlines_that_move_for_ever_cost_no_memory() -> None:
    timers = Deadlines()
    for when in range(10_000):
        timers.set(Ip4(1), when)
    assert len(timers._heap) < 50
    assert timers.due(10_000) == [1]
