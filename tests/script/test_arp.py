"""ARP as scripts: this frame in, exactly these frames out (RFC 826, RFC 1122 sections 2.3.2.1 and 2.3.2.2)."""

from __future__ import annotations

from random import Random

import pytest

from nodes.datalink.arp import HELD_OCTETS, PACKET_OVERHEAD, ArpSettings
from nodes.datalink.interface import EthernetInterface
from nodes.errors import MisuseError
from nodes.trace.events import ArpUpdated, FrameDropped, ListTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import arp, ethernet
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, Ip4, Mac, Prefix, parse_ip4, parse_mac

ME, PEER, OTHER = (parse_mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
MY_IP, PEER_IP, OTHER_IP = (parse_ip4(f"10.0.0.{n}") for n in (1, 2, 3))
SILENT = ArpSettings(announcements=0)


def interface(settings: ArpSettings = SILENT) -> tuple[EthernetInterface, ListTracer]:
    tracer = ListTracer()
    device = EthernetInterface(0, "eth0", ME, 1500, Random(1), tracer, settings)
    device.add_address(Prefix(MY_IP, 24), 0)
    tracer.events.clear()
    return device, tracer


def arp_frame(destination: Mac, packet: arp.ArpPacket) -> bytes:
    return ethernet.build(destination, packet.sender_mac, ethernet.ETHERTYPE_ARP, arp.build(packet))


def request_frame(target: Ip4, sender: Ip4 = PEER_IP, mac: Mac = PEER, destination: Mac = BROADCAST_MAC) -> bytes:
    return arp_frame(destination, arp.ArpPacket(arp.REQUEST, mac, sender, ZERO_MAC, target))


def reply_frame(mac: Mac = PEER, sender: Ip4 = PEER_IP, target: Ip4 = MY_IP) -> bytes:
    return arp_frame(ME, arp.ArpPacket(arp.REPLY, mac, sender, ME, target))


def ip_frame(packet: bytes, mac: Mac = PEER) -> bytes:
    return ethernet.build(mac, ME, ethernet.ETHERTYPE_IPV4, packet)


def question(target: Ip4 = PEER_IP, destination: Mac = BROADCAST_MAC) -> bytes:
    return request_frame(target, MY_IP, ME, destination)


def changes(tracer: ListTracer) -> list[str]:
    return [f"{event.old}>{event.new}" for event in tracer.of(ArpUpdated)]


def drops(tracer: ListTracer) -> list[str]:
    return [event.reason for event in tracer.of(FrameDropped)]


def run_until(device: EthernetInterface, end: int) -> list[tuple[int, bytes]]:
    """Every timeout up to `end`, and the frames of each."""
    sent = []
    while (when := device.deadline()) is not None and when <= end:
        device.timeout(when)
        sent += [(when, frame) for frame in device.transmit()]
        after = device.deadline()
        assert after is None or after > when
    return sent


def resolved() -> tuple[EthernetInterface, ListTracer]:
    """An interface that has sent one packet to PEER and got the answer, at time 0."""
    device, tracer = interface()
    device.send(b"first", PEER_IP, 0)
    assert device.receive(reply_frame(), 0) is None
    assert device.transmit() == [question(), ip_frame(b"first")]
    return device, tracer


def test_answers_a_request_for_its_own_address() -> None:
    """826-1: exactly one unicast reply, and the sender is learned."""
    device, tracer = interface()
    device.receive(request_frame(MY_IP), 0)
    expected = arp_frame(PEER, arp.ArpPacket(arp.REPLY, ME, MY_IP, PEER, PEER_IP))
    assert device.transmit() == [expected]
    device.send(b"x", PEER_IP, 1)
    assert device.transmit() == [ip_frame(b"x")]
    assert changes(tracer) == ["none>reachable"]


def test_padding_behind_a_request_is_ignored() -> None:
    device, _ = interface()
    device.receive(request_frame(MY_IP).ljust(ethernet.MINIMUM_FRAME, b"\x55"), 0)
    assert len(device.transmit()) == 1


def test_is_quiet_about_requests_for_others_and_learns_nothing() -> None:
    """826-1: no reply, no entry."""
    device, tracer = interface()
    device.receive(request_frame(OTHER_IP), 0)
    assert device.transmit() == []
    assert len(device.arp) == 0
    assert tracer.of(ArpUpdated) == []


def test_merges_the_sender_of_any_packet_into_an_entry_it_has() -> None:
    """826-1: a request for somebody else still updates the entry of its sender."""
    device, _ = resolved()
    device.receive(request_frame(OTHER_IP, PEER_IP, OTHER), SECOND)
    device.send(b"x", PEER_IP, SECOND)
    assert ip_frame(b"x", OTHER) in device.transmit()


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 2), (2, 0x86DD), (4, 0x0804), (4, 0x0606), (6, 0), (6, 3), (6, 4), (6, 5)],
    ids=["hardware", "protocol", "hardware-length", "protocol-length", "op-0", "op-rarp", "op-rarp-reply", "op-5"],
)
def test_ignores_other_formats_and_operations(offset: int, value: int) -> None:
    """826-2: nothing is answered, nothing is learned, the drop has a reason."""
    device, tracer = interface()
    frame = bytearray(request_frame(MY_IP))
    frame[14 + offset : 16 + offset] = value.to_bytes(2, "big")
    device.receive(bytes(frame), 0)
    assert device.transmit() == []
    assert len(device.arp) == 0
    assert len(drops(tracer)) == 1
    assert device.counters.in_errors == 1


@pytest.mark.parametrize("length", range(14, 42))
def test_ignores_short_packets(length: int) -> None:
    """826-2"""
    device, tracer = interface()
    device.receive(request_frame(MY_IP)[:length], 0)
    assert device.transmit() == []
    assert len(drops(tracer)) == 1


@pytest.mark.parametrize(
    ("sender", "mac"),
    [
        ("10.0.0.2", "01:00:00:00:00:02"),
        ("10.0.0.2", "ff:ff:ff:ff:ff:ff"),
        ("10.0.0.2", "00:00:00:00:00:00"),
        ("10.0.0.2", "02:00:00:00:00:01"),
        ("10.0.0.255", "02:00:00:00:00:02"),
        ("255.255.255.255", "02:00:00:00:00:02"),
        ("224.0.0.1", "02:00:00:00:00:02"),
        ("240.0.0.1", "02:00:00:00:00:02"),
        ("127.0.0.1", "02:00:00:00:00:02"),
    ],
)
def test_never_learns_what_no_neighbour_can_be(sender: str, mac: str) -> None:
    device, tracer = interface()
    packet = arp.ArpPacket(arp.REQUEST, parse_mac(mac), parse_ip4(sender), ZERO_MAC, MY_IP)
    device.receive(ethernet.build(BROADCAST_MAC, PEER, ethernet.ETHERTYPE_ARP, arp.build(packet)), 0)
    assert len(device.arp) == 0
    assert device.transmit() == []
    assert len(drops(tracer)) == 1


def test_answers_probes_and_learns_nothing_from_them() -> None:
    """5227-1: a probe (sender 0.0.0.0) for our address is answered, 0.0.0.0 is never learned."""
    device, _ = interface()
    device.receive(request_frame(MY_IP, Ip4(0)), 0)
    assert device.transmit() == [arp_frame(PEER, arp.ArpPacket(arp.REPLY, ME, MY_IP, PEER, Ip4(0)))]
    assert len(device.arp) == 0


def test_packets_wait_for_the_answer_and_leave_in_order() -> None:
    """1122-2.3.2.2: the first datagram is not lost, and the answer releases all in order."""
    device, tracer = interface()
    for number in range(5):
        device.send(bytes([number]), PEER_IP, number)
    assert device.transmit() == [question()]
    device.receive(reply_frame(), 900 * MILLISECOND)
    device.send(b"later", PEER_IP, 900 * MILLISECOND)
    assert device.transmit() == [ip_frame(bytes([number])) for number in range(5)] + [ip_frame(b"later")]
    assert changes(tracer) == ["none>incomplete", "incomplete>reachable"]
    assert run_until(device, 30 * SECOND) == []


def test_a_full_queue_drops_the_oldest() -> None:
    """1122-2.3.2.2: the latest packet is the one to save."""
    device, tracer = interface(ArpSettings(announcements=0, pending_packets=2))
    for number in range(4):
        device.send(bytes([number]), PEER_IP, 0)
    device.transmit()
    device.receive(reply_frame(), 1)
    assert device.transmit() == [ip_frame(b"\x02"), ip_frame(b"\x03")]
    assert drops(tracer) == ["ARP queue full"] * 2
    assert device.arp.counters.packets_dropped == 2


def test_queues_of_many_neighbours_share_one_limit() -> None:
    device, tracer = interface()
    packet = bytes(1500)
    fits = HELD_OCTETS // (len(packet) + PACKET_OVERHEAD)
    for number in range(fits + 10):
        device.send(packet, Ip4(PEER_IP + number // 60), 0)
    assert len(drops(tracer)) == 10
    assert set(drops(tracer)) <= {"ARP queue full", "too many octets wait for ARP"}
    run_until(device, 10 * SECOND)
    assert len(device.failed()) == fits
    device.send(packet, parse_ip4("10.0.0.200"), 20 * SECOND)
    assert len(drops(tracer)) == 10


def test_a_dead_neighbour_is_asked_three_times_a_second_apart() -> None:
    """1122-2.3.2.1b: at most one request per second and destination, whatever is sent; then the packets come back."""
    device, tracer = interface()
    asked = []
    for tick in range(40):  # a packet every 100 ms for 4 s
        now = tick * 100 * MILLISECOND
        device.timeout(now)
        device.send(bytes([tick]), PEER_IP, now)
        asked += [now for frame in device.transmit() if frame == question()]
    assert asked == [0, SECOND, 2 * SECOND]
    assert device.failed() == [bytes([tick]) for tick in range(40)]
    assert device.failed() == []
    assert changes(tracer) == ["none>incomplete", "incomplete>failed"]
    assert device.arp.counters.resolutions_failed == 1


def test_hold_down_answers_at_once_and_then_asks_again() -> None:
    device, tracer = interface()
    device.send(b"1", PEER_IP, 0)
    device.transmit()
    run_until(device, 3 * SECOND)
    assert device.failed() == [b"1"]
    device.send(b"2", PEER_IP, 4 * SECOND)
    assert device.failed() == [b"2"]
    assert device.transmit() == []
    run_until(device, 6 * SECOND)
    assert changes(tracer)[-1] == "failed>none"
    device.send(b"3", PEER_IP, 6 * SECOND)
    assert device.transmit() == [question()]
    assert device.failed() == []


def test_a_failed_neighbour_that_speaks_is_back_at_once() -> None:
    device, _ = interface()
    device.send(b"1", PEER_IP, 0)
    run_until(device, 3 * SECOND)
    device.transmit()
    device.receive(request_frame(MY_IP), 3 * SECOND + 1)
    device.transmit()
    device.send(b"2", PEER_IP, 3 * SECOND + 1)
    assert device.transmit() == [ip_frame(b"2")]


def test_an_old_entry_is_polled_by_unicast_while_it_is_used() -> None:
    """1122-2.3.2.1: unicast poll; a living neighbour causes neither a gap nor a broadcast."""
    device, tracer = resolved()
    assert run_until(device, 60 * SECOND) == []
    assert changes(tracer)[-1] == "reachable>stale"
    device.send(b"x", PEER_IP, 61 * SECOND)
    device.send(b"y", PEER_IP, 61 * SECOND)
    assert device.transmit() == [question(destination=PEER), ip_frame(b"x"), ip_frame(b"y")]
    device.receive(reply_frame(), 61 * SECOND + 1)
    assert changes(tracer)[-2:] == ["stale>probe", "probe>reachable"]
    assert run_until(device, 120 * SECOND) == []


def test_a_neighbour_with_a_new_mac_is_found_again() -> None:
    """1122-2.3.2.1: two polls of the old MAC without an answer, then a broadcast finds the new one."""
    device, tracer = resolved()
    run_until(device, 60 * SECOND)
    device.send(b"lost", PEER_IP, 61 * SECOND)
    device.transmit()
    sent = run_until(device, 63 * SECOND)
    assert sent == [(62 * SECOND, question(destination=PEER)), (63 * SECOND, question())]
    device.send(b"found", PEER_IP, 63 * SECOND)
    device.receive(reply_frame(OTHER), 63 * SECOND + 1)
    assert device.transmit() == [ip_frame(b"found", OTHER)]
    assert changes(tracer)[-3:] == ["stale>probe", "probe>incomplete", "incomplete>reachable"]


def test_a_neighbour_that_died_fails_in_the_end() -> None:
    device, tracer = resolved()
    run_until(device, 60 * SECOND)
    device.send(b"1", PEER_IP, 61 * SECOND)
    device.transmit()
    sent = run_until(device, 63 * SECOND)
    device.send(b"2", PEER_IP, 63 * SECOND)
    sent += run_until(device, 66 * SECOND)
    assert [when // SECOND for when, _ in sent] == [62, 63, 64, 65]
    assert device.failed() == [b"2"]
    assert changes(tracer)[-3:] == ["stale>probe", "probe>incomplete", "incomplete>failed"]


def test_an_unused_entry_is_flushed_without_a_question() -> None:
    """1122-2.3.2.1: out-of-date entries go."""
    device, tracer = resolved()
    assert run_until(device, 700 * SECOND) == []
    assert len(device.arp) == 0
    assert changes(tracer)[-2:] == ["reachable>stale", "stale>none"]
    assert device.deadline() is None


def test_a_gratuitous_arp_moves_an_entry_and_is_verified_on_use() -> None:
    device, tracer = resolved()
    device.receive(request_frame(PEER_IP, PEER_IP, OTHER), 5 * SECOND)
    assert device.transmit() == []
    device.send(b"x", PEER_IP, 5 * SECOND)
    assert device.transmit() == [question(destination=OTHER), ip_frame(b"x", OTHER)]
    assert changes(tracer)[-2:] == ["reachable>stale", "stale>probe"]


def test_a_gratuitous_arp_makes_no_entry() -> None:
    device, _ = interface()
    device.receive(request_frame(PEER_IP, PEER_IP), 0)
    assert len(device.arp) == 0


def test_state_changes_never_ask_twice_within_a_second() -> None:
    """1122-2.3.2.1b: asked at 0, moved by a gratuitous ARP at 0.2 s and used: the poll waits until 1 s."""
    device, _ = resolved()
    device.receive(request_frame(PEER_IP, PEER_IP, OTHER), 200 * MILLISECOND)
    device.send(b"x", PEER_IP, 200 * MILLISECOND)
    assert device.transmit() == [ip_frame(b"x", OTHER)]
    assert run_until(device, SECOND) == [(SECOND, question(destination=OTHER))]


def test_a_flood_of_senders_turns_over_a_bounded_cache() -> None:
    device, _ = interface(ArpSettings(announcements=0, cache_entries=8))
    for number in range(1000):
        sender = Ip4(parse_ip4("10.0.1.0") + number)
        device.receive(request_frame(MY_IP, sender), number)
        assert len(device.transmit()) == 1
    assert len(device.arp) == 8
    assert device.arp.counters.entries_evicted == 992


def test_eviction_takes_the_oldest_and_never_one_with_packets() -> None:
    device, tracer = interface(ArpSettings(announcements=0, cache_entries=3))
    device.send(b"waits", PEER_IP, 0)
    device.receive(request_frame(MY_IP, parse_ip4("10.0.0.11")), 1)
    device.receive(request_frame(MY_IP, parse_ip4("10.0.0.12")), 2)
    device.receive(request_frame(MY_IP, parse_ip4("10.0.0.11")), 3)  # confirmed again: now the youngest
    device.receive(request_frame(MY_IP, parse_ip4("10.0.0.13")), 4)
    rows = device.snapshot(4)["arp"]
    assert isinstance(rows, dict)
    assert [row["address"] for row in rows["entries"]] == ["10.0.0.2", "10.0.0.11", "10.0.0.13"]
    assert changes(tracer)[-2:] == ["reachable>none", "none>reachable"]


def test_eviction_spares_packets_whose_next_question_is_late() -> None:
    device, _ = interface(ArpSettings(announcements=0, cache_entries=1))
    device.send(b"waits", PEER_IP, 0)
    device.receive(request_frame(MY_IP, OTHER_IP, OTHER), 5 * SECOND)  # no timeout has run since
    device.transmit()
    device.receive(reply_frame(), 5 * SECOND)
    assert device.transmit() == [ip_frame(b"waits")]


def test_eviction_is_no_way_around_the_rate_limit() -> None:
    """1122-2.3.2.1b: an entry asked for within the last second stays, or it would be asked for again."""
    settings = ArpSettings(announcements=0, cache_entries=1)
    device, _ = interface(settings)
    device.send(b"1", PEER_IP, 0)
    device.receive(reply_frame(), 1)
    device.receive(request_frame(MY_IP, OTHER_IP, OTHER), 2)
    device.transmit()
    device.send(b"2", PEER_IP, 3)
    assert device.transmit() == [ip_frame(b"2")]
    device.receive(request_frame(MY_IP, OTHER_IP, OTHER), SECOND)
    device.transmit()
    device.send(b"3", PEER_IP, SECOND)
    assert device.transmit() == [question()]


def test_a_cache_full_of_pending_entries_refuses() -> None:
    device, tracer = interface(ArpSettings(announcements=0, cache_entries=2))
    for number in range(3):
        device.send(b"x", Ip4(PEER_IP + number), 0)
    assert drops(tracer) == ["ARP cache full of pending entries"]
    device.receive(request_frame(MY_IP, parse_ip4("10.0.0.99")), 1)
    assert device.arp.counters.entries_refused == 1
    assert len(device.arp) == 2


def test_broadcast_and_multicast_need_no_question() -> None:
    device, _ = interface()
    for target, mac in [
        ("255.255.255.255", "ff:ff:ff:ff:ff:ff"),
        ("10.0.0.255", "ff:ff:ff:ff:ff:ff"),
        ("224.0.0.251", "01:00:5e:00:00:fb"),
        ("239.129.2.3", "01:00:5e:01:02:03"),
    ]:
        device.send(b"x", parse_ip4(target), 0)
        assert device.transmit() == [ip_frame(b"x", parse_mac(mac))]


@pytest.mark.parametrize("address", ["10.0.0.1", "0.0.0.0"])
def test_a_route_to_ourselves_fails_without_a_question(address: str) -> None:
    device, _ = interface()
    device.send(b"x", parse_ip4(address), 0)
    assert device.failed() == [b"x"]
    assert device.transmit() == []


def test_the_request_names_the_address_of_the_targets_subnet() -> None:
    device, _ = interface()
    second = parse_ip4("192.168.7.1")
    device.add_address(Prefix(second, 24), 0)
    target = parse_ip4("192.168.7.9")
    device.send(b"x", target, 0)
    assert device.transmit() == [request_frame(target, second, ME)]


def test_down_flushes_the_cache_and_the_queues() -> None:
    device, tracer = resolved()
    device.send(b"waits", OTHER_IP, 1)
    device.set_up(False, 2)
    assert len(device.arp) == 0
    assert device.deadline() is None
    assert device.transmit() == []
    assert drops(tracer) == ["interface is down", "interface is down"]  # the packet and its question
    device.send(b"x", PEER_IP, 3)
    assert device.receive(request_frame(MY_IP), 3) is None
    assert device.transmit() == []
    device.set_up(True, 5 * SECOND)
    device.send(b"x", PEER_IP, 5 * SECOND)
    assert device.transmit() == [question()]


def test_an_address_that_becomes_our_own_leaves_the_cache() -> None:
    device, _ = resolved()
    device.add_address(Prefix(PEER_IP, 24), 1)
    assert len(device.arp) == 0
    device.send(b"x", PEER_IP, 1)
    assert device.failed() == [b"x"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_interval": SECOND - 1},
        {"reachable_time": 0},
        {"hold_down": -1},
        {"broadcast_requests": 0},
        {"cache_entries": 0},
        {"announcements": -1},
    ],
)
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(MisuseError):
        ArpSettings(**wrong)  # type: ignore[arg-type]
