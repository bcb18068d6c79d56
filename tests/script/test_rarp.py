"""Reverse ARP as scripts (RFC 903)."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from nodes.datalink.arp import ArpSettings
from nodes.datalink.interface import EthernetInterface
from nodes.datalink.rarp import RarpServer
from nodes.errors import MisuseError
from nodes.trace.events import AddressUpdated, FrameDropped, ListTracer
from nodes.units import SECOND
from nodes.wire import arp, ethernet
from nodes.wire.addresses import ANY, BROADCAST_MAC, Mac, Prefix, parse_ip4, parse_mac

CLIENT, SERVER, OTHER = (parse_mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
SERVER_IP, OFFERED = parse_ip4("10.0.0.2"), parse_ip4("10.0.0.77")


def client(seed: int = 1) -> tuple[EthernetInterface, ListTracer]:
    tracer = ListTracer()
    return EthernetInterface(0, "eth0", CLIENT, 1500, Random(seed), tracer, ArpSettings(announcements=0)), tracer


def server() -> EthernetInterface:
    device = EthernetInterface(0, "eth0", SERVER, 1500, Random(2), ListTracer(), ArpSettings(announcements=0))
    device.add_address(Prefix(SERVER_IP, 24), 0)
    device.rarp_server = RarpServer({CLIENT: OFFERED})
    return device


def frame(destination: Mac, packet: arp.ArpPacket) -> bytes:
    return ethernet.build(destination, packet.sender_mac, ethernet.ETHERTYPE_RARP, arp.build(packet))


REQUEST = frame(BROADCAST_MAC, arp.ArpPacket(arp.REVERSE_REQUEST, CLIENT, ANY, CLIENT, ANY))
REPLY = frame(CLIENT, arp.ArpPacket(arp.REVERSE_REPLY, SERVER, SERVER_IP, CLIENT, OFFERED))


def test_the_client_asks_and_takes_the_answer() -> None:
    device, tracer = client()
    device.request_address(24, 0)
    assert device.transmit() == [REQUEST]
    device.receive(REPLY, 1)
    assert device.addresses == [Prefix(OFFERED, 24)]
    assert device.deadline() is None
    assert [event.new for event in tracer.of(AddressUpdated)] == [
        "requesting",
        "announced",
        "assigned",
    ]
    assert len(device.arp) == 0


def test_a_second_answer_changes_nothing() -> None:
    device, _ = client()
    device.request_address(24, 0)
    device.receive(REPLY, 1)
    second = frame(CLIENT, arp.ArpPacket(arp.REVERSE_REPLY, OTHER, SERVER_IP, CLIENT, parse_ip4("10.0.0.78")))
    device.receive(second, 2)
    assert device.addresses == [Prefix(OFFERED, 24)]


@pytest.mark.parametrize("seed", range(5))
def test_the_client_repeats_with_back_off_and_never_gives_up(seed: int) -> None:
    device, _ = client(seed)
    device.request_address(24, 0)
    assert device.transmit() == [REQUEST]
    times = [0]
    for _ in range(12):
        when = device.deadline()
        assert when is not None
        assert when > times[-1]
        device.timeout(when - 1)
        assert device.transmit() == []
        device.timeout(when)
        assert device.transmit() == [REQUEST]
        times.append(when)
    gaps = [after - before for before, after in pairwise(times)]
    for number, gap in enumerate(gaps):
        interval = min(2**number, 64) * SECOND
        assert 0.75 * interval <= gap <= 1.25 * interval


def test_the_server_answers_from_its_table_to_the_sender() -> None:
    device = server()
    device.receive(REQUEST, 0)
    assert device.transmit() == [REPLY]
    assert len(device.arp) == 0


def test_the_server_looks_up_the_target_and_answers_the_sender() -> None:
    """RFC 903: a host may ask for another one's address."""
    device = server()
    device.receive(frame(SERVER, arp.ArpPacket(arp.REVERSE_REQUEST, OTHER, ANY, CLIENT, ANY)), 0)
    expected = arp.ArpPacket(arp.REVERSE_REPLY, SERVER, SERVER_IP, CLIENT, OFFERED)
    assert device.transmit() == [frame(OTHER, expected)]


def test_the_server_is_silent_about_the_unknown() -> None:
    device = server()
    device.receive(frame(BROADCAST_MAC, arp.ArpPacket(arp.REVERSE_REQUEST, OTHER, ANY, OTHER, ANY)), 0)
    assert device.transmit() == []
    assert device.rarp_server is not None
    assert device.rarp_server.counters.unknown == 1


def test_hosts_without_a_server_are_silent() -> None:
    device, tracer = client()
    device.receive(frame(BROADCAST_MAC, arp.ArpPacket(arp.REVERSE_REQUEST, OTHER, ANY, OTHER, ANY)), 0)
    device.receive(REPLY, 0)
    assert device.transmit() == []
    assert device.addresses == []
    assert tracer.of(FrameDropped) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255", "10.0.0.0"])
def test_the_client_takes_no_impossible_address(address: str) -> None:
    device, _ = client()
    device.request_address(24, 0)
    device.receive(frame(CLIENT, arp.ArpPacket(arp.REVERSE_REPLY, SERVER, SERVER_IP, CLIENT, parse_ip4(address))), 1)
    assert device.addresses == []
    assert device.deadline() is not None


def test_the_client_takes_no_answer_to_another() -> None:
    device, _ = client()
    device.request_address(24, 0)
    device.receive(frame(CLIENT, arp.ArpPacket(arp.REVERSE_REPLY, SERVER, SERVER_IP, OTHER, OFFERED)), 1)
    assert device.addresses == []


@pytest.mark.parametrize("operation", [arp.REQUEST, arp.REPLY])
def test_arp_operations_under_the_rarp_ethertype_are_dropped(operation: int) -> None:
    device = server()
    device.receive(frame(SERVER, arp.ArpPacket(operation, CLIENT, OFFERED, CLIENT, SERVER_IP)), 0)
    assert device.transmit() == []
    assert device.counters.in_errors == 1


def test_down_pauses_and_up_asks_from_the_start() -> None:
    device, _ = client()
    device.request_address(24, 0)
    for _ in range(5):
        device.timeout(device.deadline() or 0)
    device.set_up(False, 100 * SECOND)
    assert device.deadline() is None
    device.timeout(200 * SECOND)
    assert device.transmit() == []
    device.set_up(True, 300 * SECOND)
    assert device.transmit() == [REQUEST]
    assert (device.deadline() or 0) <= 301.25 * SECOND


def test_a_prefix_length_out_of_range_is_misuse() -> None:
    device, _ = client()
    with pytest.raises(MisuseError):
        device.request_address(33, 0)
