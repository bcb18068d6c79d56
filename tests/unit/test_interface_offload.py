"""Interfaces whose frames begin with a virtio-net header."""

from __future__ import annotations

from random import Random

import pytest

from nodes.datalink.interface import EthernetInterface, PointToPointInterface
from nodes.errors import MisuseError
from nodes.trace.events import FrameDropped, FrameReceived, FrameSent, ListTracer
from nodes.units import SECOND
from nodes.wire import arp, ethernet, ipv4, tcp, virtio
from nodes.wire.addresses import Prefix, parse_ip4, parse_mac
from nodes.wire.virtio import VirtioHeader

ME, PEER = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")
OWN, OTHER = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
GSO = VirtioHeader(virtio.NEEDS_CSUM, virtio.GSO_TCPV4, 54, 1460, 34, 16)


def device(known: bool = True) -> tuple[EthernetInterface, ListTracer]:
    tracer = ListTracer()
    made = EthernetInterface(0, "eth0", ME, 1500, Random(1), tracer, offload=True)
    made.add_address(Prefix(OWN, 24), 0)
    if known:
        made.arp.learn(OTHER, PEER, 0, for_us=True, trigger="test")
    made.transmit()
    return made, tracer


def packet(octets: int, flags: int = tcp.ACK, options: bytes = b"", tcp_options: bytes = b"") -> bytes:
    segment = tcp.build(OWN, OTHER, 1, 2, 3, 4, flags, 5, payload=bytes(octets), options=tcp_options, partial=True)
    return ipv4.build(OWN, OTHER, 6, segment, dont_fragment=True, options=options)


def incoming(header: VirtioHeader, content: bytes) -> bytes:
    return virtio.build(header) + ethernet.build(ME, PEER, ethernet.ETHERTYPE_IPV4, content)


def sent(interface: EthernetInterface) -> tuple[VirtioHeader, bytes]:
    (frame,) = interface.transmit()
    header, rest = virtio.parse(frame)
    parsed, payload = ethernet.parse(rest)
    assert (parsed.destination, parsed.source) == (PEER, ME)
    return header, bytes(payload)


# --- sending


def test_what_is_not_tcp_lacks_nothing() -> None:
    interface, _ = device()
    data = ipv4.build(OWN, OTHER, 17, b"datagram")
    interface.send(data, OTHER, 0)
    assert sent(interface) == (VirtioHeader(), data)


def test_arp_lacks_nothing() -> None:
    interface, _ = device(known=False)
    interface.send(packet(1), OTHER, 0, partial_checksum=True)
    (question,) = interface.transmit()
    header, frame = virtio.parse(question)
    assert header == VirtioHeader()
    assert arp.parse(ethernet.parse(frame)[1]).target_ip == OTHER


@pytest.mark.parametrize("segment_size", [0, 1460, 100])
def test_a_checksum_is_left_to_the_link(segment_size: int) -> None:
    """With a size, too, where there is no more than one piece."""
    interface, _ = device()
    interface.send(packet(100), OTHER, 0, segment_size=segment_size, partial_checksum=True)
    assert sent(interface) == (VirtioHeader(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, 34, 16), packet(100))


def test_cutting_is_left_to_the_link() -> None:
    interface, _ = device()
    interface.send(packet(60_000), OTHER, 0, segment_size=1460, partial_checksum=True)
    assert sent(interface) == (GSO, packet(60_000))


def test_cutting_is_told_also_where_the_whole_would_fit() -> None:
    """The path may be narrower than the link."""
    interface, _ = device()
    interface.send(packet(1400), OTHER, 0, segment_size=500, partial_checksum=True)
    assert sent(interface)[0] == GSO._replace(segment_size=500)


def test_headers_with_options() -> None:
    interface, _ = device()
    data = packet(60_000, options=bytes((1, 1, 1, 0)), tcp_options=bytes((1,) * 12))
    interface.send(data, OTHER, 0, segment_size=1444, partial_checksum=True)
    assert sent(interface)[0] == VirtioHeader(1, 1, 14 + 24 + 32, 1444, 14 + 24, 16)
    interface.send(packet(9, options=bytes(4)), OTHER, 0, partial_checksum=True)
    assert sent(interface)[0] == VirtioHeader(1, 0, 0, 0, 14 + 24, 16)


def test_the_flag_cwr_is_for_the_first_piece() -> None:
    interface, _ = device()
    interface.send(packet(3000, tcp.ACK | tcp.CWR), OTHER, 0, segment_size=1460, partial_checksum=True)
    assert sent(interface)[0].gso_type == virtio.GSO_TCPV4 | virtio.GSO_ECN
    interface.send(packet(3000, tcp.ACK | tcp.ECE), OTHER, 0, segment_size=1460, partial_checksum=True)
    assert sent(interface)[0].gso_type == virtio.GSO_TCPV4


def test_pieces_have_to_fit() -> None:
    interface, _ = device()
    for octets, size in ((1461, 0), (3000, 1461), (1461, 1461)):
        with pytest.raises(MisuseError, match="exceeds the MTU") as caught:
            interface.send(packet(octets), OTHER, 0, segment_size=size, partial_checksum=True)
        assert caught.value.errno == 90  # EMSGSIZE
    interface.send(packet(1460), OTHER, 0, partial_checksum=True)
    with pytest.raises(MisuseError, match="exceeds the MTU"):
        interface.send(packet(3000), OTHER, 0)
    assert len(interface.transmit()) == 1


def test_a_packet_that_waits_for_arp_keeps_its_note() -> None:
    interface, _ = device(known=False)
    plain = ipv4.build(OWN, OTHER, 17, b"datagram")
    interface.send(packet(60_000), OTHER, 0, segment_size=1460, partial_checksum=True)
    interface.send(plain, OTHER, 0)
    interface.send(packet(10), OTHER, 0, partial_checksum=True)
    interface.transmit()
    answer = arp.build(arp.ArpPacket(arp.REPLY, PEER, OTHER, ME, OWN))
    interface.receive(virtio.PLAIN + ethernet.build(ME, PEER, ethernet.ETHERTYPE_ARP, answer), 1)
    frames = [virtio.parse(frame) for frame in interface.transmit()]
    assert [header for header, _ in frames] == [GSO, VirtioHeader(), VirtioHeader(virtio.NEEDS_CSUM, 0, 0, 0, 34, 16)]
    assert [bytes(frame[14:]) for _, frame in frames] == [packet(60_000), plain, packet(10)]


def test_a_packet_that_nobody_takes_comes_back_without_note() -> None:
    interface, _ = device(known=False)
    interface.send(packet(3000), OTHER, 0, segment_size=1460, partial_checksum=True)
    assert interface.given_up == []
    for second in range(1, 5):
        interface.timeout(second * SECOND)
    assert interface.given_up
    assert interface.failed() == [packet(3000)]
    assert interface.given_up == []


def test_octets_do_not_count_the_note() -> None:
    interface, tracer = device()
    tracer.packets = True
    interface.send(packet(100), OTHER, 0, partial_checksum=True)
    interface.receive(incoming(VirtioHeader(), packet(100)), 0)
    (out,) = [event for _, event in tracer.events if isinstance(event, FrameSent) and event.ethertype == 0x800]
    (inward,) = [event for _, event in tracer.events if isinstance(event, FrameReceived)]
    assert out.length == inward.length == 14 + 20 + 20 + 100
    assert interface.counters.in_octets == 154


@pytest.mark.parametrize(
    "interface",
    [
        EthernetInterface(0, "eth0", ME, 1500, Random(1), ListTracer()),
        PointToPointInterface(0, "ip0", 1500, ListTracer()),
    ],
    ids=["ethernet", "ip"],
)
def test_without_offload_nothing_is_left_to_the_link(interface: EthernetInterface | PointToPointInterface) -> None:
    with pytest.raises(MisuseError, match="has no offload"):
        interface.send(packet(10), OTHER, 0, partial_checksum=True)
    assert interface.transmit() == []


# --- receiving


@pytest.mark.parametrize(("flags", "valid"), [(0, False), (1, True), (2, True), (3, True), (4, False)])
def test_what_is_known_of_a_checksum(flags: int, valid: bool) -> None:
    interface, _ = device()
    content = packet(10)
    assert interface.receive(incoming(VirtioHeader(flags, 0, 0, 0, 34, 16), content), 0) == (content, False, valid)


def test_a_long_segment_comes_in() -> None:
    interface, _ = device()
    for kind in (virtio.GSO_TCPV4, virtio.GSO_TCPV4 | virtio.GSO_ECN):
        header = GSO._replace(gso_type=kind, header_length=9999)  # a hint, no more: Linux gives other values, too
        assert interface.receive(incoming(header, packet(60_000)), 0) == (packet(60_000), False, True)


@pytest.mark.parametrize(
    ("header", "content", "reason"),
    [
        (GSO._replace(segment_size=1461), packet(60_000), "pieces of 1501 octets exceed the MTU 1500"),
        (GSO._replace(gso_type=virtio.GSO_UDP_L4), packet(60_000), "gso type 5"),
        (GSO._replace(gso_type=virtio.GSO_TCPV6), packet(60_000), "gso type 4"),
        (GSO, b"", "no TCP header"),
        (GSO, packet(10)[:32], "no TCP header"),
        (GSO, b"\x4f" + bytes(60), "no TCP header"),
    ],
)
def test_segments_that_no_link_could_carry(header: VirtioHeader, content: bytes, reason: str) -> None:
    interface, tracer = device()
    assert interface.receive(incoming(header, content), 0) is None
    (event,) = [event for _, event in tracer.events if isinstance(event, FrameDropped)]
    assert (event.reason, event.length) == (reason, 14 + len(content))
    assert interface.counters.in_errors == 1


@pytest.mark.parametrize("length", [0, 5, 10, 23])
def test_a_frame_too_short_for_its_headers(length: int) -> None:
    interface, tracer = device()
    assert interface.receive(bytes(length), 0) is None
    (event,) = [event for _, event in tracer.events if isinstance(event, FrameDropped)]
    assert event.length == max(0, length - 10)


def test_the_state_says_so() -> None:
    assert device()[0].snapshot(0)["offload"] is True
    assert EthernetInterface(0, "eth0", ME, 1500, Random(1), ListTracer()).snapshot(0)["offload"] is False
