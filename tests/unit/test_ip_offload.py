"""The internet layer: what TCP may leave to a link, what is remembered of ways and of senders, and when that ends."""

from __future__ import annotations

from random import Random

import pytest

from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.device import build_device
from nodes.errors import MisuseError
from nodes.network.datagram import Datagram
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import ListTracer, PacketDropped, PacketSent
from nodes.wire import ethernet, icmp, ipv4, tcp, udp, virtio
from nodes.wire.addresses import Prefix, parse_ip4, parse_mac
from nodes.wire.virtio import VirtioHeader

MACS = [parse_mac(f"02:00:00:00:00:0{number}") for number in range(4)]
OWN, OTHER, FAR, SLOW = map(parse_ip4, ("10.0.0.1", "10.0.0.2", "192.0.2.1", "10.0.1.2"))
MSS = 1460


class Handler:
    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []

    def receive(self, datagram: Datagram, now: int) -> bool:
        self.datagrams.append(datagram)
        return True

    def error(self, error: object, now: int) -> None:
        raise AssertionError(error)


def host(packets: bool = False) -> tuple[Stack, Handler, ListTracer]:
    """10.0.0.1 on a link with offload, 10.0.1.1 on one without; the default route leads over the first."""
    tracer = ListTracer(packets)
    interfaces = (
        InterfaceConfig("eth0", "02:00:00:00:00:01", ("10.0.0.1/24",), offload=True),
        InterfaceConfig("eth1", "02:00:00:00:00:02", ("10.0.1.1/24",)),
    )
    config = NodeConfig("t", "h", interfaces=interfaces, routes=(RouteConfig("0.0.0.0/0", "10.0.0.2", "eth0"),))
    stack = Stack.from_config(config, Random(1), tracer, 0)
    for interface, neighbor in zip(stack.interfaces, (OTHER, SLOW), strict=True):
        interface.arp.learn(neighbor, MACS[3], 0, for_us=True, trigger="test")  # type: ignore[union-attr]
    stack.transmit()
    handler = stack.handlers[6] = Handler()
    return stack, handler, tracer


def send(stack: Stack, to: int, octets: int, *, size: int = 0, dont_fragment: bool = True) -> None:
    source = stack.ip.source_for(to)
    segment = tcp.build(source, to, 1, 2, 1000, 4, tcp.ACK, 5, payload=bytes(octets), partial=True)
    stack.ip.send(
        segment, to, 6, 0, source=source, dont_fragment=dont_fragment, segment_size=size, partial_checksum=True
    )


def frames(stack: Stack) -> list[tuple[int, VirtioHeader | None, ipv4.IPv4Header, memoryview]]:
    found = []
    for port, frame in stack.transmit():
        header, rest = virtio.parse(frame) if port == 0 else (None, memoryview(frame))
        found.append((port, header, *ipv4.parse(ethernet.parse(rest)[1])))
    return found


def arriving(source: int, destination: int, protocol: int, payload: bytes, flags: int = 0) -> bytes:
    packet = ipv4.build(source, destination, protocol, payload)
    return virtio.build(VirtioHeader(flags)) + ethernet.build(MACS[1], MACS[3], ethernet.ETHERTYPE_IPV4, packet)


# --- sending


def test_who_may_leave_work_to_the_link() -> None:
    stack, _, _ = host()
    ip = stack.ip
    answers = [ip.offload_for(to) for to in (OTHER, FAR, SLOW, OWN, parse_ip4("127.0.0.1"))]
    assert answers == [True, True, False, True, True]
    stack.set_port(0, False, 1)
    assert [ip.offload_for(to) for to in (OTHER, FAR, SLOW, OWN)] == [False, False, False, True]


def test_a_long_segment_leaves_whole() -> None:
    stack, _, _ = host()
    send(stack, OTHER, 60_000, size=MSS)
    ((port, note, header, payload),) = frames(stack)
    assert note == VirtioHeader(1, 1, 54, MSS, 34, 16)
    assert (port, header.total_length, header.identification, len(payload)) == (0, 60_040, 0, 60_020)


@pytest.mark.parametrize("packets", [False, True])
def test_a_long_segment_is_cut_where_the_link_cannot(packets: bool) -> None:
    """The way may have changed since TCP asked."""
    stack, _, tracer = host(packets)
    send(stack, SLOW, 4000, size=MSS)
    rows = frames(stack)
    assert [header.total_length for _, _, header, _ in rows] == [1500, 1500, 1120]
    assert all(port == 1 for port, *_ in rows)
    segments = [tcp.parse(payload, header.source, header.destination) for _, _, header, payload in rows]
    assert [segment.sequence for segment in segments] == [1000, 2460, 3920]
    assert len(tracer.of(PacketSent)) == 3 * packets


def test_a_long_segment_is_one_packet_in_the_trace() -> None:
    stack, _, tracer = host(packets=True)
    send(stack, OTHER, 4000, size=MSS)
    assert [event.length for event in tracer.of(PacketSent)] == [4040]
    assert len(stack.transmit()) == 1


def test_pieces_have_to_fit_the_path() -> None:
    stack, _, _ = host()
    stack.ip.path_mtus.lower(FAR, 1000, 1500, 1500, 0)
    send(stack, FAR, 5000, size=960)
    assert len(frames(stack)) == 1
    with pytest.raises(MisuseError, match="1001 octets, 1000 fit the path"):
        send(stack, FAR, 5000, size=961)
    send(stack, FAR, 900, size=961)
    with pytest.raises(MisuseError, match="1040 octets, 1000 fit the path"):
        send(stack, FAR, 1000)


def test_pieces_that_may_be_fragmented() -> None:
    """Without DF, what does not fit is cut here and then fragmented; every piece has an identification of its own."""
    stack, _, _ = host()
    send(stack, FAR, 3000, size=1000, dont_fragment=False)
    send(stack, FAR, 10, dont_fragment=False)
    (_, note, first, _), (_, _, second, _) = frames(stack)
    assert note is not None
    assert note.segment_size == 1000
    assert second.identification == first.identification + 3 & 0xFFFF
    stack.ip.path_mtus.lower(FAR, 600, 1500, 1500, 0)
    send(stack, FAR, 2000, size=1000, dont_fragment=False)
    rows = frames(stack)
    assert [header.total_length for _, _, header, _ in rows] == [596, 464, 596, 464]
    assert all(note == VirtioHeader() for _, note, _, _ in rows)


def test_to_itself_a_node_sends_without_checksum() -> None:
    stack, handler, _ = host()
    send(stack, OWN, 60_000, size=MSS)
    stack.transmit()
    (datagram,) = handler.datagrams
    assert datagram.checksum_valid
    assert len(datagram.payload) == 60_020


@pytest.mark.parametrize("kind", ["router", "hub", "switch"])
def test_what_passes_frames_on_has_no_offload(kind: str) -> None:
    interface = InterfaceConfig("eth0", "02:00:00:00:00:01", offload=True)
    config = NodeConfig("t", "n", kind, interfaces=(interface,))  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="has no offload"):
        build_device(config, Random(1), ListTracer(), 0)
    bare = NodeConfig("t", "n", interfaces=(InterfaceConfig("ip0", "", kind="ip", offload=True),))
    with pytest.raises(MisuseError, match="has no offload"):
        build_device(bare, Random(1), ListTracer(), 0)


# --- receiving


@pytest.mark.parametrize("flags", [virtio.NEEDS_CSUM, virtio.DATA_VALID])
def test_a_checksum_that_is_vouched_for_is_not_verified(flags: int) -> None:
    stack, handler, _ = host()
    socket = stack.udp.open()
    socket.bind(OWN, 7, 0)
    wrong = udp.HEADER.pack(9, 7, 10, 0x1234) + b"ab"
    stack.receive(0, arriving(OTHER, OWN, 17, wrong), 0)
    assert (stack.udp.counters.checksum_errors, socket.readable) == (1, False)
    stack.receive(0, arriving(OTHER, OWN, 17, wrong, flags), 0)
    received = socket.receive()
    assert received is not None
    assert received.data == b"ab"
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20), flags), 0)
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 0)
    assert [datagram.checksum_valid for datagram in handler.datagrams] == [True, False]


def test_a_reassembled_datagram_is_verified() -> None:
    """No link vouches for a checksum of which it sees a part."""
    stack, handler, _ = host()
    for offset, more in ((0, True), (16, False)):
        packet = ipv4.build(OTHER, OWN, 6, bytes(16), identification=5, more_fragments=more, fragment_offset=offset)
        frame = ethernet.build(MACS[1], MACS[3], ethernet.ETHERTYPE_IPV4, packet)
        stack.receive(0, virtio.build(VirtioHeader(virtio.NEEDS_CSUM)) + frame, 0)
    assert [datagram.checksum_valid for datagram in handler.datagrams] == [False]


# --- what is remembered


def test_a_known_sender_is_forgotten_with_our_address() -> None:
    stack, handler, tracer = host()
    prefix = stack.interfaces[0].addresses[0]
    for _ in range(3):
        stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 0)
    assert len(handler.datagrams) == 3
    assert stack.ip.counters.in_delivers == stack.ip.counters.in_receives == 3
    stack.remove_address(0, prefix, 1)
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 2)
    assert len(handler.datagrams) == 3
    assert [event.reason for event in tracer.of(PacketDropped)] == ["not_for_this_host"]


def test_a_known_sender_is_forgotten_with_one_of_two_addresses() -> None:
    """No route changes: the subnet stays connected."""
    stack, handler, _ = host()
    second = Prefix(parse_ip4("10.0.0.9"), 24)
    stack.add_address(0, second, 0)
    stack.receive(0, arriving(OTHER, second.address, 6, bytes(20)), 0)
    assert stack.ip.interface_for(second.address) == -1
    stack.remove_address(0, second, 1)
    stack.receive(0, arriving(OTHER, second.address, 6, bytes(20)), 1)
    assert len(handler.datagrams) == 1
    assert stack.ip.interface_for(second.address) == 0


def test_a_known_sender_that_becomes_ourselves() -> None:
    stack, handler, tracer = host()
    for _ in range(2):
        stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 0)
    stack.add_address(0, Prefix(OTHER, 24), 1)
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 2)
    assert len(handler.datagrams) == 2
    assert [event.reason for event in tracer.of(PacketDropped)] == ["own_source"]


def test_a_known_pair_is_known_by_its_interface() -> None:
    """The strong host model: what came by eth0 does not excuse the same by eth1."""
    stack, handler, tracer = host()
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 0)
    packet = ipv4.build(OTHER, OWN, 6, bytes(20))
    for destination in (MACS[2], b"\xff" * 6):
        stack.receive(1, ethernet.build(destination, MACS[3], ethernet.ETHERTYPE_IPV4, packet), 0)
    broadcast = virtio.PLAIN + ethernet.build(b"\xff" * 6, MACS[3], ethernet.ETHERTYPE_IPV4, packet)
    stack.receive(0, broadcast, 0)
    assert len(handler.datagrams) == 1
    reasons = [event.reason for event in tracer.of(PacketDropped)]
    assert reasons == ["not_for_this_host", "link_broadcast_of_unicast", "link_broadcast_of_unicast"]


def test_a_known_pair_still_has_its_fragments_and_options_looked_at() -> None:
    stack, handler, _ = host()
    stack.receive(0, arriving(OTHER, OWN, 6, bytes(20)), 0)
    for packet in (
        ipv4.build(OTHER, OWN, 6, bytes(16), identification=1, more_fragments=True),
        ipv4.build(OTHER, OWN, 6, bytes(16), identification=2, fragment_offset=16),
        ipv4.build(OTHER, OWN, 6, bytes(16), options=bytes((131, 7, 4, 10, 0, 0, 9))),
    ):
        frame = ethernet.build(MACS[1], MACS[3], ethernet.ETHERTYPE_IPV4, packet)
        stack.receive(0, virtio.PLAIN + frame, 0)
    assert len(handler.datagrams) == 1


def test_a_way_is_forgotten_with_a_route() -> None:
    stack, _, _ = host()
    assert stack.ip.interface_for(FAR) == 0
    stack.add_route(Route(Prefix.parse("192.0.2.0/24"), SLOW, 1), 1)
    assert stack.ip.interface_for(FAR) == 1
    assert not stack.ip.offload_for(FAR)
    stack.set_port(1, False, 2)
    assert stack.ip.interface_for(FAR) == 0
    stack.add_address(0, Prefix(FAR, 24), 3)
    assert stack.ip.interface_for(FAR) == -1


def test_an_error_about_a_partial_segment_quotes_what_was_sent() -> None:
    stack, handler, _ = host()
    send(stack, OTHER, 3000, size=MSS)
    ((_, _, _, payload),) = frames(stack)
    quoted = ipv4.build(OWN, OTHER, 6, bytes(payload[:40]), dont_fragment=True)
    message = icmp.build(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, quoted)
    with pytest.raises(AssertionError, match="IcmpError"):
        stack.receive(0, arriving(OTHER, OWN, 1, message), 1)
    assert handler.datagrams == []
