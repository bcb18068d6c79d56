"""RFC 5227 as scripts: probe, announce, notice, defend, give up."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from nodes.datalink.address_conflict import INTERFACE_ADDRESSES
from nodes.datalink.arp import ArpSettings
from nodes.datalink.interface import EthernetInterface
from nodes.errors import LimitError, MisuseError
from nodes.trace.events import AddressConflict, AddressUpdated, ListTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import arp, ethernet
from nodes.wire.addresses import ANY, BROADCAST_MAC, ZERO_MAC, Ip4, Mac, Prefix, parse_ip4, parse_mac

ME, THIEF = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:66")
ADDRESS = Prefix.parse("10.0.0.1/24")
MY_IP, PEER_IP = ADDRESS.address, parse_ip4("10.0.0.2")


def interface(settings: ArpSettings = ArpSettings(), seed: int = 1) -> tuple[EthernetInterface, ListTracer]:  # noqa: B008
    tracer = ListTracer()
    return EthernetInterface(0, "eth0", ME, 1500, Random(seed), tracer, settings), tracer


def request(sender_mac: Mac, sender: Ip4, target: Ip4) -> bytes:
    packet = arp.ArpPacket(arp.REQUEST, sender_mac, sender, ZERO_MAC, target)
    return ethernet.build(BROADCAST_MAC, sender_mac, ethernet.ETHERTYPE_ARP, arp.build(packet))


ANNOUNCEMENT = request(ME, MY_IP, MY_IP)
PROBE = request(ME, ANY, MY_IP)
CLAIM = request(THIEF, MY_IP, MY_IP)
THEIR_PROBE = request(THIEF, ANY, MY_IP)
THEIR_REPLY = ethernet.build(
    ME, THIEF, ethernet.ETHERTYPE_ARP, arp.build(arp.ArpPacket(arp.REPLY, THIEF, MY_IP, ME, ANY))
)


def states(tracer: ListTracer) -> list[str]:
    return [event.new for event in tracer.of(AddressUpdated)]


def run_until(device: EthernetInterface, end: int) -> list[tuple[int, bytes]]:
    sent = []
    while (when := device.deadline()) is not None and when <= end:
        device.timeout(when)
        sent += [(when, frame) for frame in device.transmit()]
        after = device.deadline()
        assert after is None or after > when
    return sent


def settled(settings: ArpSettings = ArpSettings()) -> tuple[EthernetInterface, ListTracer]:  # noqa: B008
    """An interface whose address has been announced."""
    device, tracer = interface(settings)
    device.add_address(ADDRESS, 0)
    device.transmit()
    run_until(device, 5 * SECOND)
    assert states(tracer) == ["announced", "assigned"]
    tracer.events.clear()
    return device, tracer


def test_an_address_is_usable_at_once_and_announced_twice() -> None:
    """5227-1: two announcements, 2 s apart; no wait before the first packet."""
    device, tracer = interface()
    device.add_address(ADDRESS, 7)
    assert device.addresses == [ADDRESS]
    assert device.transmit() == [ANNOUNCEMENT]
    device.receive(request(THIEF, PEER_IP, MY_IP), 8)
    assert len(device.transmit()) == 1
    assert run_until(device, 10 * SECOND) == [(2 * SECOND + 7, ANNOUNCEMENT)]
    assert states(tracer) == ["announced", "assigned"]


@pytest.mark.parametrize("seed", range(20))
def test_probes_come_before_use(seed: int) -> None:
    """5227-1: within 1 s the first of three probes, 1 to 2 s apart; 2 s after the last the address is ours."""
    device, tracer = interface(seed=seed)
    device.add_address(ADDRESS, 0, probe=True)
    assert device.addresses == []
    sent = run_until(device, 20 * SECOND)
    assert [frame for _, frame in sent] == [PROBE] * 3 + [ANNOUNCEMENT] * 2
    times = [when for when, _ in sent]
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] <= SECOND
    assert all(SECOND <= gap <= 2 * SECOND for gap in gaps[:2])
    assert gaps[2:] == [2 * SECOND, 2 * SECOND]
    assert device.addresses == [ADDRESS]
    assert states(tracer) == ["probing", "announced", "assigned"]


def test_a_tentative_address_is_not_answered_for() -> None:
    device, _ = interface()
    device.add_address(ADDRESS, 0, probe=True)
    device.receive(request(THIEF, PEER_IP, MY_IP), 1)
    assert device.transmit() == []
    assert device.addresses == []


@pytest.mark.parametrize("frame", [CLAIM, THEIR_REPLY, THEIR_PROBE], ids=["announcement", "reply", "probe"])
def test_a_conflict_while_probing_takes_the_address_away(frame: bytes) -> None:
    """5227-1, section 2.1.1: any packet from the address, or another's probe for it."""
    device, tracer = interface()
    device.add_address(ADDRESS, 0, probe=True)
    device.receive(frame, SECOND)
    assert run_until(device, 100 * SECOND) == []
    assert device.addresses == []
    assert device.transmit() == []
    assert states(tracer) == ["probing", "conflict"]
    assert [event.mac for event in tracer.of(AddressConflict)] == [THIEF]


def test_a_conflict_after_the_last_probe_still_counts() -> None:
    """Section 2.1.1: until ANNOUNCE_WAIT after the last probe."""
    device, tracer = interface()
    device.add_address(ADDRESS, 0, probe=True)
    probes, now = 0, 0
    while probes < 3:
        now = device.deadline() or now
        device.timeout(now)
        probes += len(device.transmit())
    device.receive(THEIR_REPLY, now + 1900 * MILLISECOND)
    assert run_until(device, 100 * SECOND) == []
    assert states(tracer)[-1] == "conflict"


def test_our_own_probe_looped_back_is_no_conflict() -> None:
    device, tracer = interface()
    device.add_address(ADDRESS, 0, probe=True)
    device.receive(PROBE, 1)
    assert states(tracer) == ["probing"]


def test_a_conflict_is_defended_once_in_ten_seconds_then_given_up() -> None:
    """5227-1, section 2.4 (b)."""
    device, tracer = settled()
    device.receive(CLAIM, 20 * SECOND)
    assert device.transmit() == [ANNOUNCEMENT]
    assert device.addresses == [ADDRESS]
    device.receive(CLAIM, 29 * SECOND)
    assert device.transmit() == []
    assert device.addresses == []
    assert states(tracer) == ["defended", "conflict"]
    assert len(tracer.of(AddressConflict)) == 2
    assert device.deadline() is None
    device.receive(request(THIEF, PEER_IP, MY_IP), 30 * SECOND)
    assert device.transmit() == []


def test_rare_conflicts_are_defended_each() -> None:
    device, tracer = settled()
    for now in (20 * SECOND, 31 * SECOND, 42 * SECOND):
        run_until(device, now)
        device.receive(CLAIM, now)
        assert device.transmit() == [ANNOUNCEMENT]
    assert device.addresses == [ADDRESS]
    assert states(tracer) == ["defended", "assigned"] * 2 + ["defended"]


def test_policy_always_keeps_the_address_and_stays_quiet_for_ten_seconds() -> None:
    """5227-1, section 2.4 (c): a router's address, at most one announcement in 10 s."""
    device, tracer = settled(ArpSettings(defend="always"))
    sent = []
    for tick in range(300):  # ten conflicts a second for 30 s
        now = 20 * SECOND + tick * 100 * MILLISECOND
        device.timeout(now)
        device.receive(CLAIM, now)
        sent += [(now, frame) for frame in device.transmit()]
    assert sent == [(20 * SECOND, ANNOUNCEMENT), (30 * SECOND, ANNOUNCEMENT), (40 * SECOND, ANNOUNCEMENT)]
    assert device.addresses == [ADDRESS]
    assert "conflict" not in states(tracer)
    assert len(tracer.of(AddressConflict)) == 3


def test_nothing_is_learned_from_a_conflict() -> None:
    device, _ = settled()
    device.receive(THEIR_REPLY, 20 * SECOND)
    assert len(device.arp) == 0


def test_after_giving_up_the_other_one_is_a_neighbour() -> None:
    device, _ = settled()
    device.receive(CLAIM, 20 * SECOND)
    device.receive(CLAIM, 21 * SECOND)
    device.transmit()
    device.send(b"x", MY_IP, 22 * SECOND)
    assert device.transmit() == [request(ME, ANY, MY_IP)]


def test_two_hosts_that_defend_end_with_one_owner() -> None:
    """Section 2.4 (b) between two of us: one gives up, and the segment falls silent."""
    left, _ = settled()
    tracer = ListTracer()
    right = EthernetInterface(0, "eth0", THIEF, 1500, Random(2), tracer)
    right.add_address(ADDRESS, 20 * SECOND)
    exchanged = 0
    for now in range(20 * SECOND, 40 * SECOND, SECOND // 2):
        for device in (left, right):
            device.timeout(now)
        for _ in range(10):
            for source, destination in ((left, right), (right, left)):
                for frame in source.transmit():
                    exchanged += 1
                    destination.receive(frame, now)
    assert len(left.addresses) + len(right.addresses) == 1
    assert exchanged <= 4


def test_link_up_announces_again() -> None:
    device, tracer = settled()
    device.set_up(False, 20 * SECOND)
    assert device.deadline() is None
    assert device.addresses == [ADDRESS]
    device.set_up(True, 30 * SECOND)
    assert device.transmit() == [ANNOUNCEMENT]
    assert run_until(device, 60 * SECOND) == [(32 * SECOND, ANNOUNCEMENT)]
    assert states(tracer) == ["none", "announced", "assigned"]


def test_link_up_probes_again_what_was_probed() -> None:
    """Section 2.1: an interface that becomes active probes."""
    device, _ = interface()
    device.add_address(ADDRESS, 0, probe=True)
    run_until(device, 20 * SECOND)
    device.set_up(False, 20 * SECOND)
    device.set_up(True, 30 * SECOND)
    assert device.addresses == []
    assert [frame for _, frame in run_until(device, 60 * SECOND)] == [PROBE] * 3 + [ANNOUNCEMENT] * 2
    assert device.addresses == [ADDRESS]


def test_an_address_added_while_down_is_announced_when_up() -> None:
    device, _ = interface()
    device.set_up(False, 0)
    device.add_address(ADDRESS, 1)
    assert device.transmit() == []
    assert device.addresses == [ADDRESS]
    device.set_up(True, 2)
    assert device.transmit() == [ANNOUNCEMENT]


def test_after_ten_conflicts_probing_is_rate_limited() -> None:
    """Section 2.1.1: MAX_CONFLICTS, then one attempt per minute."""
    device, _ = interface()
    for attempt in range(10):
        now = attempt * SECOND
        device.add_address(ADDRESS, now, probe=True)
        device.receive(CLAIM, now)
        device.remove_address(ADDRESS, now)
    device.transmit()
    device.add_address(ADDRESS, 10 * SECOND, probe=True)
    sent = run_until(device, 200 * SECOND)
    assert sent[0][0] >= 9 * SECOND + 60 * SECOND


def test_a_removed_address_is_silent() -> None:
    device, tracer = settled()
    device.remove_address(ADDRESS, 20 * SECOND)
    assert device.addresses == []
    device.receive(request(THIEF, PEER_IP, MY_IP), 21 * SECOND)
    device.receive(CLAIM, 21 * SECOND)
    assert device.transmit() == []
    assert states(tracer) == ["none"]


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0/8", "0.1.2.3/8", "127.0.0.1/8", "224.0.0.1/24", "240.0.0.1/24", "255.255.255.255/32", "10.0.0.0/24",
     "10.0.0.255/24"],
)  # fmt: skip
def test_addresses_that_no_interface_can_have(text: str) -> None:
    device, _ = interface()
    with pytest.raises(MisuseError):
        device.add_address(Prefix.parse(text), 0)
    assert device.addresses == []


@pytest.mark.parametrize("text", ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32", "10.0.0.255/16"])
def test_short_prefixes_have_no_network_address(text: str) -> None:
    device, _ = interface()
    device.add_address(Prefix.parse(text), 0)
    assert device.addresses == [Prefix.parse(text)]


def test_misuse_of_the_list() -> None:
    device, _ = interface()
    device.add_address(ADDRESS, 0)
    with pytest.raises(MisuseError):
        device.add_address(Prefix(MY_IP, 16), 0)
    with pytest.raises(MisuseError):
        device.remove_address(Prefix(MY_IP, 16), 0)
    for number in range(1, INTERFACE_ADDRESSES):
        device.add_address(Prefix(Ip4(parse_ip4("10.1.0.1") + number), 16), 0)
    with pytest.raises(LimitError):
        device.add_address(Prefix.parse("10.2.0.1/16"), 0)
