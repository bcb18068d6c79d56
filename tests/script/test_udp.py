"""UDP on a fake internet layer: what goes in, what must come out (RFC 768, RFC 1122 section 4.1)."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from random import Random

import pytest

from nodes.errors import LimitError, MisuseError, UnreachableError
from nodes.network.datagram import Datagram, IcmpError
from nodes.trace.datagram_events import DatagramDropped, DatagramReceived, DatagramSent, SocketUpdated
from nodes.trace.events import ListTracer
from nodes.transport.endpoint import SOCKET_ERROR_LIMIT, SOCKET_QUEUE_LIMIT, ReadyQueue
from nodes.transport.udp import UdpLayer, UdpSocket
from nodes.wire import icmp, ipv4, udp
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, format_ip4, is_multicast, parse_ip4

ME, MINE_TOO, PEER, OTHER = map(parse_ip4, ("10.0.0.1", "10.0.1.1", "10.0.0.2", "10.0.0.3"))
BROADCAST, GROUP, GROUP_2 = map(parse_ip4, ("10.0.0.255", "239.1.1.1", "239.1.1.2"))
NOWHERE = parse_ip4("192.0.2.1")


@dataclass
class Sent:
    payload: bytes
    destination: Ip4
    options: dict[str, object]


@dataclass
class FakeInternet:
    """Records what is sent; 10.0.0.0/24 on interface 0, 10.0.1.0/24 on interface 1, no other routes."""

    sent: list[Sent] = field(default_factory=list)
    groups: list[tuple[str, Ip4, int]] = field(default_factory=list)

    def send(self, payload, destination, protocol, now, **options):
        assert protocol == udp.PROTOCOL
        if destination == NOWHERE:
            raise UnreachableError("no route", errno=errno.ENETUNREACH)
        self.sent.append(Sent(bytes(payload), destination, options))

    def source_for(self, destination, interface=None):
        if destination == NOWHERE:
            raise UnreachableError("no route", errno=errno.ENETUNREACH)
        return MINE_TOO if interface == 1 or destination >> 8 == MINE_TOO >> 8 else ME

    def interface_for(self, destination):
        return 0

    def is_local(self, address):
        return address in (ME, MINE_TOO)

    def is_broadcast(self, address):
        return address in (LIMITED_BROADCAST, BROADCAST)

    def join(self, group, interface, now):
        self.groups.append(("join", group, interface))

    def leave(self, group, interface, now):
        self.groups.append(("leave", group, interface))


class Rig:
    def __init__(self) -> None:
        self.ip = FakeInternet()
        self.tracer = ListTracer()
        self.ready = ReadyQueue()
        self.layer = UdpLayer(self.ip, Random(1), self.tracer, self.ready)
        self.now = 0

    def socket(self, address: Ip4 = ANY, port: int = 0, **options: object) -> UdpSocket:
        opened = self.layer.open()
        for name, value in options.items():
            setattr(opened, name, value)
        if port:
            opened.bind(address, port, self.now)
        return opened

    def arrive(
        self,
        data: bytes = b"x",
        source: Ip4 = PEER,
        source_port: int = 5000,
        destination: Ip4 = ME,
        port: int = 7,
        *,
        interface: int = 0,
        raw: bytes | None = None,
    ) -> bool:
        payload = udp.build(source, destination, source_port, port, data) if raw is None else raw
        packet = memoryview(ipv4.build(source, destination, udp.PROTOCOL, payload, ttl=61))
        header, view = ipv4.parse(packet)
        return self.layer.receive(Datagram(interface, header, view, packet, False), self.now)

    def icmp(self, kind: int, code: int, local_port: int, remote: Ip4 = PEER, port: int = 7, rest: int = 0) -> None:
        quoted = ipv4.build(ME, remote, udp.PROTOCOL, udp.build(ME, remote, local_port, port, b"abc"))
        header, payload = ipv4.parse(quoted)
        self.layer.error(IcmpError(OTHER, kind, code, rest, header, payload[:8]), self.now)

    def dropped(self) -> list[str]:
        return [event.reason for event in self.tracer.of(DatagramDropped)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- RFC 768


def test_checksum_zero_means_none(rig: Rig) -> None:
    """768-1: a datagram without a checksum is taken."""
    socket = rig.socket(port=7)
    assert rig.arrive(raw=udp.build(PEER, ME, 5000, 7, b"plain", no_checksum=True))
    assert socket.receive().data == b"plain"


def test_computed_zero_is_sent_as_ones(rig: Rig) -> None:
    """768-1: this payload makes the sum all ones, so its checksum would be 0."""
    socket = rig.socket(port=7)
    plain = udp.build(ME, PEER, 7, 9, bytes(2))
    value = int.from_bytes(plain[6:8], "big")
    socket.send_to(value.to_bytes(2, "big"), PEER, 9, 0)
    assert rig.ip.sent[0].payload[6:8] == b"\xff\xff"


def test_no_checksum_option(rig: Rig) -> None:
    """1122-4.1.3.4: an application may do without."""
    rig.socket(port=7, no_checksum=True).send_to(b"x", PEER, 9, 0)
    assert rig.ip.sent[0].payload == bytes((0, 7, 0, 9, 0, 9, 0, 0)) + b"x"


def test_bad_checksum_is_dropped_and_counted(rig: Rig) -> None:
    """768-1."""
    socket = rig.socket(port=7)
    datagram = bytearray(udp.build(PEER, ME, 5000, 7, b"data"))
    datagram[-1] ^= 1
    assert rig.arrive(raw=bytes(datagram))
    assert socket.receive() is None
    assert rig.layer.counters.checksum_errors == rig.layer.counters.in_errors == 1
    assert rig.dropped() == ["bad_checksum"]


@pytest.mark.parametrize(("length", "arrives"), [(7, False), (8, True), (10, True), (12, True), (13, False)])
def test_length_field_against_ip(rig: Rig, length: int, arrives: bool) -> None:
    """768-2: octets after the UDP length are padding; a length beyond the packet is malformed."""
    socket = rig.socket(port=7)
    rig.arrive(raw=udp.HEADER.pack(5000, 7, length, 0) + b"abcd")
    received = socket.receive()
    assert (received is not None) == arrives
    if received is not None:
        assert received.data == b"abcd"[: length - 8]
    else:
        assert rig.dropped() == ["bad_length"]


def test_header_cut_short(rig: Rig) -> None:
    assert rig.arrive(raw=b"\x00\x07\x00\x07")
    assert rig.dropped() == ["bad_header"]


def test_empty_datagrams_are_delivered(rig: Rig) -> None:
    """768-2."""
    socket = rig.socket(port=7)
    rig.now = 17
    assert rig.arrive(b"")
    assert socket.receive() == (b"", PEER, 5000, ME, 0, 61, 17)
    socket.send_to(b"", PEER, 5000, 0)
    assert len(rig.ip.sent[0].payload) == 8


def test_largest_datagram(rig: Rig) -> None:
    socket = rig.socket(port=7)
    socket.send_to(bytes(65507), PEER, 9, 0)
    with pytest.raises(MisuseError) as caught:
        socket.send_to(bytes(65508), PEER, 9, 0)
    assert caught.value.errno == errno.EMSGSIZE
    assert len(rig.ip.sent) == 1


# -- demultiplexing


def test_connected_before_specific_before_wildcard(rig: Rig) -> None:
    wildcard = rig.socket(port=7, reuse_address=True)
    specific = rig.socket(ME, 7, reuse_address=True)
    connected = rig.socket(port=7, reuse_address=True)
    connected.connect(PEER, 5000, 0)
    for expected in (connected, specific, wildcard):
        assert rig.arrive(b"who")
        alive = [socket for socket in (wildcard, specific, connected) if not socket.closed]
        assert [socket for socket in alive if socket.receive()] == [expected]
        expected.close(0)
    assert not rig.arrive(b"who")


def test_connected_hears_only_its_peer(rig: Rig) -> None:
    socket = rig.socket(port=7)
    socket.connect(PEER, 5000, 0)
    assert not rig.arrive(source=OTHER)
    assert not rig.arrive(source_port=5001)
    assert rig.arrive()
    assert socket.local_address == ME
    socket.disconnect(0)
    assert socket.local_address == ANY
    assert rig.arrive(source=OTHER)


def test_of_equals_the_last_one_hears(rig: Rig) -> None:
    first, second = (rig.socket(port=7, reuse_address=True) for _ in range(2))
    rig.arrive()
    assert first.receive() is None
    assert second.receive() is not None


def test_specific_address_hears_only_it(rig: Rig) -> None:
    rig.socket(MINE_TOO, 7)
    assert not rig.arrive(destination=ME)
    assert rig.arrive(destination=MINE_TOO, interface=1)


def test_nobody_there(rig: Rig) -> None:
    """1122-3.2.2.1: False calls for a port unreachable."""
    assert not rig.arrive(port=99)
    assert rig.layer.counters.no_ports == 1
    assert rig.dropped() == ["no_port"]


@pytest.mark.parametrize("source", [GROUP, BROADCAST, LIMITED_BROADCAST])
def test_no_datagrams_from_groups(rig: Rig, source: Ip4) -> None:
    """1122-4.1.3.6: a broadcast or multicast source is no source."""
    socket = rig.socket(port=7)
    assert rig.arrive(source=source)
    assert socket.receive() is None
    assert rig.layer.counters.bad_sources == 1
    assert rig.dropped() == ["bad_source"]


@pytest.mark.parametrize("destination", [BROADCAST, LIMITED_BROADCAST])
def test_broadcast_reaches_all(rig: Rig, destination: Ip4) -> None:
    heard = [rig.socket(port=7, reuse_address=True), rig.socket(destination, 7, reuse_address=True)]
    deaf = [rig.socket(ME, 7, reuse_address=True), rig.socket(port=7, reuse_address=True)]
    deaf[1].connect(OTHER, 5000, 0)
    assert rig.arrive(destination=destination)
    assert [socket.receive() is not None for socket in heard + deaf] == [True, True, False, False]
    assert rig.arrive(destination=destination, port=99), "no port unreachable about a broadcast"


def test_multicast_reaches_members_of_that_interface(rig: Rig) -> None:
    member, bystander, elsewhere, bound = (rig.socket(ANY, 7, reuse_address=True) for _ in range(4))
    member.join_group(GROUP, 0)
    elsewhere.join_group(GROUP, 0, interface=1)
    bound.close(0)
    bound = rig.socket(GROUP, 7, reuse_address=True)
    bound.join_group(GROUP, 0)
    assert rig.arrive(destination=GROUP)
    assert [bool(s.receive()) for s in (member, bystander, elsewhere, bound)] == [True, False, False, True]
    assert rig.arrive(destination=GROUP_2), "no port unreachable about a multicast"
    assert member.receive() is None


def test_memberships_are_counted(rig: Rig) -> None:
    one, two = rig.socket(port=7), rig.socket(port=8)
    one.join_group(GROUP, 0)
    two.join_group(GROUP, 0)
    with pytest.raises(MisuseError) as caught:
        one.join_group(GROUP, 0)
    assert caught.value.errno == errno.EADDRINUSE
    one.leave_group(GROUP, 0)
    assert rig.ip.groups == [("join", GROUP, 0)]
    with pytest.raises(MisuseError) as caught:
        one.leave_group(GROUP, 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    two.close(0)
    assert rig.ip.groups == [("join", GROUP, 0), ("leave", GROUP, 0)]
    with pytest.raises(MisuseError):
        rig.socket(port=9).join_group(PEER, 0)


def test_groups_per_socket_are_bounded(rig: Rig) -> None:
    socket = rig.socket(port=7)
    for number in range(20):
        socket.join_group(Ip4(GROUP + number), 0)
    with pytest.raises(LimitError) as caught:
        socket.join_group(Ip4(GROUP + 20), 0)
    assert caught.value.errno == errno.ENOBUFS


# -- sending


def test_source_is_the_address_that_the_request_came_to(rig: Rig) -> None:
    """1122-4.1.3.5: on a multihomed node, a wildcard socket answers from where it was asked."""
    socket = rig.socket(port=7)
    rig.arrive(destination=MINE_TOO)
    socket.answer(socket.receive(), b"yes", 0)
    sent = rig.ip.sent[0]
    assert (sent.options["source"], sent.destination) == (MINE_TOO, PEER)
    header, payload = udp.parse(sent.payload, MINE_TOO, PEER)
    assert (header.source_port, header.destination_port, bytes(payload)) == (7, 5000, b"yes")


def test_answer_to_a_broadcast_leaves_from_a_real_address(rig: Rig) -> None:
    socket = rig.socket(port=7)
    rig.arrive(destination=BROADCAST)
    socket.answer(socket.receive(), b"yes", 0)
    assert rig.ip.sent[0].options["source"] == ME


def test_broadcast_needs_permission(rig: Rig) -> None:
    socket = rig.socket(port=7)
    for call in (lambda: socket.send_to(b"x", BROADCAST, 9, 0), lambda: socket.connect(LIMITED_BROADCAST, 9, 0)):
        with pytest.raises(MisuseError) as caught:
            call()
        assert caught.value.errno == errno.EACCES
    socket.broadcast = True
    socket.send_to(b"x", BROADCAST, 9, 0)
    socket.connect(LIMITED_BROADCAST, 9, 0)
    assert len(rig.ip.sent) == 1


def test_own_sockets_hear_a_broadcast_but_not_twice_their_own(rig: Rig) -> None:
    listener, sender = rig.socket(port=7), rig.socket(port=8, broadcast=True)
    sender.send_to(b"all", BROADCAST, 7, 0)
    assert listener.receive().data == b"all"
    assert listener.receive() is None


def test_multicast_options(rig: Rig) -> None:
    socket = rig.socket(port=7)
    socket.send_to(b"x", GROUP, 9, 0)
    assert rig.ip.sent[0].options["ttl"] == 1
    assert rig.ip.sent[0].options["multicast_loop"] is True
    socket.multicast_ttl, socket.multicast_interface, socket.multicast_loop = 5, 1, False
    socket.send_to(b"x", GROUP, 9, 0)
    options = rig.ip.sent[1].options
    assert (options["ttl"], options["interface"], options["source"]) == (5, 1, MINE_TOO)
    assert options["multicast_loop"] is False
    socket.send_to(b"x", GROUP, 9, 0, ttl=7)
    assert rig.ip.sent[2].options["ttl"] == 7


def test_reconnecting_chooses_the_source_anew(rig: Rig) -> None:
    socket = rig.socket(port=7)
    socket.connect(PEER, 5000, 0)
    socket.connect(parse_ip4("10.0.1.2"), 5000, 0)
    socket.send(b"x", 0)
    assert rig.ip.sent[0].options["source"] == socket.local_address == MINE_TOO


@pytest.mark.parametrize("loop", [True, False])
def test_multicast_ttl_zero_stays_inside(rig: Rig, loop: bool) -> None:
    member, sender = rig.socket(port=7), rig.socket(port=8, multicast_ttl=0, multicast_loop=loop)
    member.join_group(GROUP, 0)
    sender.send_to(b"in", GROUP, 7, 0)
    assert rig.ip.sent == []
    assert (member.receive() is not None) == loop


def test_send_options_reach_the_internet_layer(rig: Rig) -> None:
    socket = rig.socket(ME, 7, ttl=9, dont_fragment=True, traffic_class=0xB8)
    socket.send_to(b"x", PEER, 9, 0)
    socket.send_to(b"x", PEER, 9, 0, ttl=3, dont_fragment=False, traffic_class=0, source=MINE_TOO)
    first, second = (sent.options for sent in rig.ip.sent)
    names = ("source", "ttl", "dont_fragment", "traffic_class")
    assert [first[name] for name in names] == [ME, 9, True, 0xB8]
    assert [second[name] for name in names] == [MINE_TOO, 3, False, 0]


@pytest.mark.parametrize(
    ("arguments", "options", "number"),
    [
        ((b"x", PEER, 0, 0), {}, errno.EINVAL),
        ((b"x", PEER, 65536, 0), {}, errno.EINVAL),
        ((b"x", ANY, 9, 0), {}, errno.EINVAL),
        ((b"x", PEER, 9, 0), {"ttl": 0}, errno.EINVAL),
        ((b"x", PEER, 9, 0), {"ttl": 256}, errno.EINVAL),
        ((b"x", PEER, 9, 0), {"traffic_class": 256}, errno.EINVAL),
        ((b"x", PEER, 9, 0), {"source": OTHER}, errno.EADDRNOTAVAIL),
    ],
)
def test_misuse_of_send(rig: Rig, arguments: tuple[object, ...], options: dict[str, object], number: int) -> None:
    with pytest.raises(MisuseError) as caught:
        rig.socket(port=7).send_to(*arguments, **options)
    assert caught.value.errno == number
    assert rig.ip.sent == []


def test_first_send_takes_a_dynamic_port(rig: Rig) -> None:
    socket = rig.socket()
    socket.send_to(b"x", PEER, 9, 0)
    assert 49152 <= socket.local_port <= 65535
    assert int.from_bytes(rig.ip.sent[0].payload[:2], "big") == socket.local_port
    assert rig.arrive(port=socket.local_port)


def test_no_route(rig: Rig) -> None:
    socket = rig.socket(port=7)
    with pytest.raises(UnreachableError) as caught:
        socket.send_to(b"x", NOWHERE, 9, 0)
    assert caught.value.errno == errno.ENETUNREACH


# -- ICMP errors


@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [
        (icmp.UNREACHABLE, icmp.NET_UNREACHABLE, errno.ENETUNREACH),
        (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, errno.ENOPROTOOPT),
        (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, errno.ECONNREFUSED),
        (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, errno.EMSGSIZE),
        (icmp.UNREACHABLE, icmp.SOURCE_ROUTE_FAILED, errno.EOPNOTSUPP),
        (icmp.UNREACHABLE, icmp.HOST_UNKNOWN, errno.EHOSTDOWN),
        (icmp.UNREACHABLE, icmp.NET_PROHIBITED, errno.ENETUNREACH),
        (icmp.UNREACHABLE, icmp.HOST_PROHIBITED, errno.EHOSTUNREACH),
        (icmp.UNREACHABLE, icmp.ADMINISTRATIVELY_PROHIBITED, errno.EHOSTUNREACH),
        (icmp.UNREACHABLE, 99, errno.EHOSTUNREACH),
        (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, errno.EHOSTUNREACH),
        (icmp.PARAMETER_PROBLEM, 0, errno.EPROTO),
    ],
)
def test_errors_reach_connected_sockets(rig: Rig, kind: int, code: int, number: int) -> None:
    """1122-4.1.3.3 (1122-4.1.3.x): raised by the next call, once."""
    for call in ("send", "receive"):
        socket = rig.socket()
        socket.connect(PEER, 7, 0)
        rig.icmp(kind, code, socket.local_port)
        assert rig.ready.drain() == [socket]
        assert socket.readable
        with pytest.raises(UnreachableError) as caught:
            socket.send(b"x", 0) if call == "send" else socket.receive()
        assert caught.value.errno == number
        assert socket.receive() is None
    assert rig.ip.sent == []


@pytest.mark.parametrize("kind", [icmp.SOURCE_QUENCH, icmp.REDIRECT])
def test_advice_is_no_error(rig: Rig, kind: int) -> None:
    socket = rig.socket(record_errors=True)
    socket.connect(PEER, 7, 0)
    rig.icmp(kind, 0, socket.local_port)
    assert not socket.readable
    assert socket.take_error() is None


def test_unconnected_sockets_get_errors_only_in_their_queue(rig: Rig) -> None:
    socket = rig.socket(port=4000)
    rig.icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 4000)
    assert not socket.readable
    socket.record_errors = True
    rig.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 4000, rest=1400)
    assert socket.receive() is None
    error = socket.receive_error()
    assert (error.source, error.type, error.code, error.rest) == (OTHER, 3, 4, 1400)
    assert udp.HEADER.unpack(error.payload)[:2] == (4000, 7)
    assert socket.receive_error() is None


def test_errors_about_others_are_not_ours(rig: Rig) -> None:
    socket = rig.socket(port=4000)
    socket.connect(PEER, 7, 0)
    rig.icmp(icmp.UNREACHABLE, 3, 4000, remote=OTHER)
    rig.icmp(icmp.UNREACHABLE, 3, 4000, port=8)
    rig.icmp(icmp.UNREACHABLE, 3, 4001)
    assert not socket.readable
    assert rig.layer.counters.icmp_unmatched == 3


def test_error_queue_is_bounded(rig: Rig) -> None:
    socket = rig.socket(port=4000, record_errors=True)
    for _ in range(SOCKET_ERROR_LIMIT + 3):
        rig.icmp(icmp.UNREACHABLE, 3, 4000)
    assert socket.errors_dropped == 3


# -- binding, closing, queues


def test_binding(rig: Rig) -> None:
    socket = rig.socket(port=7)
    with pytest.raises(MisuseError) as caught:
        socket.bind(ANY, 8, 0)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(MisuseError) as caught:
        rig.socket(PEER, 8)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(MisuseError) as caught:
        rig.socket(ME, 7)
    assert caught.value.errno == errno.EADDRINUSE
    socket.close(0)
    rig.socket(ME, 7)


def test_dynamic_ports_run_out(rig: Rig) -> None:
    rig.layer.ports._last = 49153
    rig.socket().bind(ANY, 0, 0)
    rig.socket().bind(ANY, 0, 0)
    for call, number in (
        (lambda socket: socket.bind(ANY, 0, 0), errno.EADDRNOTAVAIL),
        (lambda socket: socket.connect(PEER, 7, 0), errno.EAGAIN),
        (lambda socket: socket.send_to(b"", PEER, 7, 0), errno.EAGAIN),
    ):
        with pytest.raises(LimitError) as caught:
            call(rig.socket())
        assert caught.value.errno == number


def test_everything_on_a_closed_socket(rig: Rig) -> None:
    socket = rig.socket(port=7)
    rig.arrive()
    socket.close(0)
    calls = (
        lambda: socket.bind(ANY, 7, 0),
        lambda: socket.connect(PEER, 7, 0),
        lambda: socket.disconnect(0),
        lambda: socket.send(b"", 0),
        lambda: socket.send_to(b"", PEER, 7, 0),
        socket.receive,
        socket.receive_error,
        socket.take_error,
        lambda: socket.join_group(GROUP, 0),
        lambda: socket.leave_group(GROUP, 0),
        lambda: socket.close(0),
    )
    for call in calls:
        with pytest.raises(MisuseError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert not socket.readable
    assert not rig.arrive()


def test_send_without_peer(rig: Rig) -> None:
    with pytest.raises(MisuseError) as caught:
        rig.socket(port=7).send(b"", 0)
    assert caught.value.errno == errno.EDESTADDRREQ


def test_queue_bounded_in_octets(rig: Rig) -> None:
    """The newest is dropped, the older ones stay."""
    socket = rig.socket(port=7, receive_limit=10)
    for data in (b"12345", b"67890", b"x"):
        rig.arrive(data)
    assert rig.dropped() == ["receive_buffer_full"]
    assert socket.dropped == rig.layer.counters.receive_buffer_errors == 1
    assert [socket.receive().data for _ in range(2)] == [b"12345", b"67890"]
    rig.arrive(b"x")
    assert socket.receive().data == b"x"


def test_queue_bounded_in_datagrams(rig: Rig) -> None:
    socket = rig.socket(port=7)
    for _ in range(SOCKET_QUEUE_LIMIT + 5):
        rig.arrive(b"")
    assert socket.dropped == 5
    assert socket.waiting == (SOCKET_QUEUE_LIMIT, 0)


def test_bell_rings_once_until_drained(rig: Rig) -> None:
    socket = rig.socket(port=7)
    for _ in range(3):
        rig.arrive()
    assert rig.ready.drain() == [socket]
    assert rig.ready.drain() == []
    rig.arrive()
    assert rig.ready.drain() == [socket]


def test_data_is_a_copy(rig: Rig) -> None:
    """A driver may reuse its frame buffer."""
    socket = rig.socket(port=7)
    packet = bytearray(ipv4.build(PEER, ME, udp.PROTOCOL, udp.build(PEER, ME, 5000, 7, b"keep")))
    header, view = ipv4.parse(packet)
    rig.layer.receive(Datagram(0, header, view, memoryview(packet), False), 0)
    packet[-4:] = b"XXXX"
    assert socket.receive().data == b"keep"


def test_events(rig: Rig) -> None:
    socket = rig.socket(ME, 7)
    socket.connect(PEER, 5000, 0)
    rig.arrive(b"abc")
    socket.send(b"de", 0)
    socket.close(0)
    states = [(event.old, event.new, event.local, event.remote) for event in rig.tracer.of(SocketUpdated)]
    local, remote = f"{format_ip4(ME)}:7", f"{format_ip4(PEER)}:5000"
    assert states == [
        ("none", "bound", local, ""),
        ("bound", "connected", local, remote),
        ("connected", "closed", local, remote),
    ]
    assert rig.tracer.of(DatagramReceived) == [DatagramReceived(PEER, 5000, ME, 7, 3)]
    assert rig.tracer.of(DatagramSent) == [DatagramSent(ME, 7, PEER, 5000, 2)]


def test_nothing_leaks(rig: Rig) -> None:
    """J-8: ports and sockets come back after many cycles."""
    for _ in range(2000):
        socket = rig.socket()
        socket.connect(PEER, 9, 0)
        socket.join_group(GROUP, 0)
        socket.close(0)
    assert len(rig.layer.ports) == 0
    assert rig.layer.snapshot(0)["sockets"] == []
    assert rig.layer._open == 0
    assert not is_multicast(ME)


def test_snapshot_is_json(rig: Rig) -> None:
    import json

    socket = rig.socket(port=7)
    socket.join_group(GROUP, 0)
    rig.arrive(b"abc")
    state = json.loads(json.dumps(rig.layer.snapshot(0)))
    assert state["sockets"] == [
        {
            "local": "0.0.0.0:7",
            "remote": "",
            "state": "bound",
            "waiting": 1,
            "waiting_octets": 3,
            "dropped": 0,
            "groups": ["239.1.1.1%0"],
        }
    ]
    assert state["counters"]["in_datagrams"] == 1
