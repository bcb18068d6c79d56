"""Any frames at any times: an interface never raises, spins, grows or asks more than once a second."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.datalink.arp import HELD_OCTETS, PACKET_OVERHEAD, ArpSettings
from nodes.datalink.interface import EthernetInterface
from nodes.datalink.rarp import RarpServer
from nodes.trace.events import NullTracer
from nodes.units import SECOND
from nodes.wire import arp, ethernet
from nodes.wire.addresses import ANY, BROADCAST_MAC, LIMITED_BROADCAST, ZERO_MAC, Ip4, Mac, Prefix, parse_ip4, parse_mac

ME = parse_mac("02:00:00:00:00:01")
MACS = [ME, *(parse_mac(f"02:00:00:00:00:0{n}") for n in (2, 3)), BROADCAST_MAC, ZERO_MAC, Mac(b"\x01\x00\x5e\0\0\1")]
OWN = [parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")]
NEIGHBOURS = [Ip4(OWN[0] + number) for number in range(2, 8)]
ADDRESSES = [
    *OWN,
    *NEIGHBOURS,
    parse_ip4("10.0.0.255"),
    ANY,
    LIMITED_BROADCAST,
    parse_ip4("224.0.0.1"),
    parse_ip4("127.0.0.1"),
]
ENTRIES, PENDING = 4, 3

mac = st.sampled_from(MACS)
address = st.sampled_from(ADDRESSES)
arp_packet = st.builds(
    arp.ArpPacket, st.integers(0, 5), st.one_of(mac, st.binary(min_size=6, max_size=6).map(Mac)), address, mac, address
)
ethertype = st.sampled_from([0x0800, 0x0806, 0x8035, 0x86DD, 38])
truthful = st.builds(  # what a living neighbour sends us
    lambda operation, sender, address: ethernet.build(
        ME, sender, 0x0806, arp.build(arp.ArpPacket(operation, sender, address, ME, OWN[0]))
    ),
    st.sampled_from([1, 2]),
    st.sampled_from(MACS[1:3]),
    st.sampled_from(NEIGHBOURS),
)
plausible = st.builds(
    ethernet.build, mac, mac, st.sampled_from([0x0806, 0x0806, 0x0806, 0x8035]), arp_packet.map(arp.build)
)
damaged = st.builds(
    lambda frame, at, octet: frame[: at % len(frame)] + bytes([octet]) + frame[at % len(frame) + 1 :],
    plausible,
    st.integers(0, 41),
    st.integers(0, 255),
)
anything = st.one_of(st.binary(max_size=80), st.builds(ethernet.build, mac, mac, ethertype, st.binary(max_size=50)))
step = st.one_of(
    st.tuples(st.just("receive"), st.one_of(truthful, plausible, damaged, anything)),
    st.tuples(st.just("send"), st.one_of(st.sampled_from(NEIGHBOURS), address)),
    st.tuples(st.just("up"), st.booleans()),
    st.tuples(st.just("deadline"), st.none()),
    st.tuples(st.just("failed"), st.none()),
)
pause = st.one_of(st.just(0), st.integers(0, SECOND), st.integers(0, 100 * SECOND))


def build(seed: int, defend: str) -> EthernetInterface:
    settings_ = ArpSettings(cache_entries=ENTRIES, pending_packets=PENDING, defend="always" if defend else "once")
    device = EthernetInterface(0, "eth0", ME, 1500, Random(seed), NullTracer(), settings_)
    device.add_address(Prefix(OWN[0], 24), 0)
    device.add_address(Prefix(OWN[1], 24), 0, probe=True)
    device.request_address(24, 0)
    device.rarp_server = RarpServer({MACS[1]: OWN[0]})
    return device


def apply(device: EthernetInterface, kind: str, value: object, now: int) -> int:
    """Do one step, and give the time after it."""
    match kind, value:
        case "receive", bytes(frame):
            device.receive(frame, now)
        case "send", int(target):
            device.send(bytes(100), Ip4(target), now)
        case "up", bool(up):
            device.set_up(up, now)
        case "deadline", _:
            now = max(now, device.deadline() or 0)
        case "failed", _:
            device.failed()
    device.timeout(now)
    after = device.deadline()
    assert after is None or after > now
    return now


def check_bounds(device: EthernetInterface) -> None:
    cache = device.arp
    waiting = [packet for entry in cache._entries.values() for packet, _ in entry.pending] + cache._failed
    assert len(cache) <= ENTRIES
    assert all(len(entry.pending) <= PENDING for entry in cache._entries.values())
    assert cache._held == sum(len(packet) + PACKET_OVERHEAD for packet in waiting) <= HELD_OCTETS
    assert set(cache._deadlines._times) == set(cache._entries)
    assert len(cache._deadlines._heap) <= 2 * ENTRIES + 32
    assert not cache._entries.keys() & (device._own.owned | device._own.broadcasts | {ANY, LIMITED_BROADCAST})
    for entry in cache._entries.values():
        assert entry.state in ("incomplete", "reachable", "stale", "probe", "failed")
        assert (entry.mac is not None) == (entry.state in ("reachable", "stale", "probe"))
        assert not entry.pending or entry.state == "incomplete"
        assert entry.mac is None or not (entry.mac[0] & 1 or entry.mac == ME)


def questions(frames: list[bytes]) -> list[Ip4]:
    """The targets of the ARP requests among `frames` that ask for a neighbour."""
    found = []
    for frame in frames:
        header, payload = ethernet.parse(frame)
        if header.ethertype == ethernet.ETHERTYPE_ARP:
            packet = arp.parse(payload)
            if packet.operation == arp.REQUEST and packet.target_ip not in (*OWN, packet.sender_ip):
                found.append(packet.target_ip)
    return found


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(pause, step), min_size=15, max_size=60), st.integers(0, 9), st.booleans())
def test_any_frames_at_any_times(steps: list[tuple[int, tuple[str, object]]], seed: int, always: bool) -> None:
    """J-7 for the link layer; 1122-2.3.2.1b for every history in which the link stays up."""
    device = build(seed, "always" if always else "")
    now, asked = 0, dict[Ip4, int]()
    for wait, (kind, value) in steps:
        now = apply(device, kind, value, now + wait)
        check_bounds(device)
        if kind == "up":  # a flushed cache begins anew
            asked.clear()
        for target in questions(device.transmit()):
            assert now - asked.get(target, now - SECOND) >= SECOND
            asked[target] = now
    device.snapshot(now)


def test_a_flood_from_the_wire_fills_no_more_than_the_limits() -> None:
    random = Random(5)
    device = build(1, "always")
    for number in range(20_000):
        packet = arp.ArpPacket(
            random.choice((1, 2)), Mac(b"\x02" + random.randbytes(5)), Ip4(random.getrandbits(32)), ZERO_MAC, OWN[0]
        )
        device.receive(ethernet.build(BROADCAST_MAC, MACS[1], ethernet.ETHERTYPE_ARP, arp.build(packet)), number * 1000)
        device.transmit()
        if number % 1000 == 0:
            check_bounds(device)
    check_bounds(device)
