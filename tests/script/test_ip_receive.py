"""What a host takes, and what it drops: one packet in, exactly these out."""

from random import Random

import pytest

from nodes.datalink.interface import PointToPointInterface
from nodes.errors import MisuseError, UnreachableError
from nodes.network.datagram import LOCAL_INTERFACE, Datagram, IcmpError
from nodes.network.ip import LOCAL_QUEUE_LIMIT
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import ListTracer, PacketDropped, RouteUpdated
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import ALL_SYSTEMS, ANY, LIMITED_BROADCAST, Ip4, Prefix, parse_ip4

OWN, PEER, ROUTER, FAR = (parse_ip4(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.254", "192.0.2.9"))
PROTOCOL = 253  # for experiments (RFC 3692)


class Sink:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []
        self.errors: list[IcmpError] = []

    def receive(self, datagram: Datagram, now: int) -> bool:
        self.datagrams.append(datagram)
        return True

    def error(self, error: IcmpError, now: int) -> None:
        self.errors.append(error)


class Host:
    """A host or router with two bare IP interfaces, 10.0.0.1/24 and 10.0.1.1/24."""

    def __init__(self, forwarding: bool = False) -> None:
        self.tracer = ListTracer()
        links = [PointToPointInterface(index, f"eth{index}", 1500, self.tracer) for index in range(2)]
        self.stack = Stack(links, Random(1), self.tracer, forwarding=forwarding)
        self.stack.add_address(0, Prefix(OWN, 24), 0)
        self.stack.add_address(1, Prefix.parse("10.0.1.1/24"), 0)
        self.stack.add_route(Route(Prefix(ANY, 0), ROUTER, 0), 0)
        self.sink = self.stack.handlers[PROTOCOL] = Sink()

    def feed(self, packet: bytes, port: int = 0, now: int = 0) -> list[bytes]:
        self.stack.receive(port, packet, now)
        return [frame for _, frame in self.stack.transmit()]

    def taken(self) -> list[bytes]:
        datagrams, self.sink.datagrams = self.sink.datagrams, []
        return [bytes(datagram.payload) for datagram in datagrams]

    def reasons(self) -> list[str]:
        return [event.reason for event in self.tracer.of(PacketDropped) if isinstance(event, PacketDropped)]


def packet(
    source: Ip4 = PEER, destination: Ip4 = OWN, payload: bytes = b"octets", protocol: int = PROTOCOL, **fields: object
) -> bytes:
    return ipv4.build(source, destination, protocol, payload, **fields)  # type: ignore[arg-type]


def changed(offset: int, value: int) -> bytes:
    """A packet with one octet changed and the checksum put right again."""
    octets = bytearray(packet())
    octets[offset] = value
    octets[10:12] = b"\0\0"
    total = sum(octets[index] << 8 | octets[index + 1] for index in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    octets[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(octets)


def test_padding_is_cut_off() -> None:
    """791-len: Ethernet pads short packets; the padding is not delivered."""
    host = Host()
    assert host.feed(packet() + bytes(20)) == []
    assert host.taken() == [b"octets"]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "header"),
        (packet()[:19], "header"),
        (changed(0, 0x65), "version"),  # 1122-3.2.1.1
        (changed(0, 0x44), "header length"),
        (changed(0, 0x4F), "total length"),
        (changed(3, 19), "total length"),
        (changed(3, 27), "total length"),
        (packet()[:10] + b"\0\0" + packet()[12:], "checksum"),  # 1122-3.2.1.2
    ],
)
def test_malformed_headers(octets: bytes, reason: str) -> None:
    """1122-3.2.1.1, 1122-3.2.1.2, 791-len: dropped without an answer, counted and traced."""
    host = Host()
    assert host.feed(octets) == []
    assert host.taken() == []
    assert reason in host.reasons()[0]
    assert host.stack.ip.counters.in_hdr_errors == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("224.0.0.9", "multicast_source"),
        ("240.0.0.1", "reserved_source"),
        ("255.255.255.255", "broadcast_source"),
        ("10.0.0.255", "broadcast_source"),
        ("10.0.1.255", "broadcast_source"),
        ("127.0.0.1", "loopback_source"),
        ("10.0.0.1", "own_source"),
        ("10.0.1.1", "own_source"),
    ],
)
@pytest.mark.parametrize("forwarding", [False, True])
def test_sources_that_nobody_has(source: str, reason: str, forwarding: bool) -> None:
    """1122-3.2.1.3."""
    host = Host(forwarding)
    assert host.feed(packet(parse_ip4(source), protocol=200)) == []  # and no error about it
    assert host.reasons() == [reason]
    assert host.stack.ip.counters.in_addr_errors == 1


@pytest.mark.parametrize("destination", ["10.0.0.3", "10.0.1.1", "192.0.2.1", "10.0.1.255", "224.0.0.5", "0.0.0.0"])
def test_a_host_takes_only_what_is_for_the_interface(destination: str) -> None:
    """1122-3.2.1.3, strong host model of 3.3.4.2: also not the address of its other interface."""
    host = Host()
    assert host.feed(packet(destination=parse_ip4(destination))) == []
    assert host.taken() == []
    assert host.reasons() == ["not_for_this_host"]


def test_a_router_takes_what_is_for_any_of_its_addresses() -> None:
    host = Host(forwarding=True)
    host.feed(packet(destination=parse_ip4("10.0.1.1")))
    assert host.taken() == [b"octets"]


@pytest.mark.parametrize("destination", [LIMITED_BROADCAST, parse_ip4("10.0.0.255"), ALL_SYSTEMS])
def test_broadcasts_and_all_systems_are_ours(destination: Ip4) -> None:
    host = Host()
    host.feed(packet(destination=destination))
    assert host.taken() == [b"octets"]
    host.feed(packet(ANY, destination))  # from a station that has no address yet
    assert host.taken() == [b"octets"]


def test_loopback_does_not_come_from_outside() -> None:
    """1122-3.2.1.3."""
    host = Host()
    assert host.feed(packet(destination=parse_ip4("127.0.0.1"))) == []
    assert host.reasons() == ["loopback_destination"]


def test_a_link_broadcast_does_not_carry_a_unicast() -> None:
    """1122-3.3.6."""
    host = Host()
    link = host.stack.interfaces[0]
    assert host.stack.ip.receive(link, memoryview(packet()), True, 0) is None
    assert host.reasons() == ["link_broadcast_of_unicast"]
    assert host.stack.ip.receive(link, memoryview(packet(destination=LIMITED_BROADCAST)), True, 0) is not None


@pytest.mark.parametrize("ttl", [0, 1])
def test_the_time_to_live_is_no_matter_at_the_destination(ttl: int) -> None:
    """1122-3.2.1.7."""
    host = Host()
    host.feed(packet(ttl=ttl))
    assert host.taken() == [b"octets"]


@pytest.mark.parametrize("options", [bytes((0x94, 4, 0, 0)), bytes((30, 5, 1, 2, 3, 1, 1, 0)), bytes((1, 1, 1, 1))])
def test_unknown_options_are_ignored(options: bytes) -> None:
    """1122-3.2.1.8."""
    host = Host()
    assert host.feed(packet(options=options)) == []
    assert host.taken() == [b"octets"]


@pytest.mark.parametrize(
    ("options", "pointer"), [(bytes((30, 1, 0, 0)), 21), (bytes((1, 30, 9, 0)), 22), (bytes((1, 1, 1, 30)), 24)]
)
def test_malformed_options_are_answered_with_their_place(options: bytes, pointer: int) -> None:
    """1122-3.2.2.5: parameter problem."""
    host = Host()
    sent = packet(options=options)
    (answer,) = host.feed(sent)
    header, body = ipv4.parse(answer)
    message = icmp.parse(body)
    assert (header.destination, message.type, message.code, message.pointer) == (PEER, 12, 0, pointer)
    assert message.body == sent
    assert host.taken() == []


@pytest.mark.parametrize("kind", [131, 137])
@pytest.mark.parametrize("pointer", [4, 8])
@pytest.mark.parametrize("forwarding", [False, True])
def test_source_routes_are_refused(kind: int, pointer: int, forwarding: bool) -> None:
    """7126-4.3."""
    host = Host(forwarding)
    (answer,) = host.feed(packet(options=bytes((kind, 7, pointer, 192, 0, 2, 1, 0))))
    message = icmp.parse(ipv4.parse(answer)[1])
    assert (message.type, message.code) == (icmp.UNREACHABLE, icmp.SOURCE_ROUTE_FAILED)
    assert host.reasons() == ["source_route"]
    assert host.taken() == []


def test_fragments_are_put_together() -> None:
    """1122-3.3.2a: the longest datagram, in any order."""
    host = Host()
    data = Random(1).randbytes(65515)
    pieces = [
        packet(payload=data[start : start + 1480], fragment_offset=start, more_fragments=start + 1480 < len(data))
        for start in range(0, len(data), 1480)
    ]
    Random(2).shuffle(pieces)
    for piece in pieces:
        assert host.feed(piece) == []
    assert host.taken() == [data]
    assert host.stack.ip.counters.reasm_oks == 1


def test_reassembly_timeout_is_reported_with_the_first_fragment_only() -> None:
    """1122-3.3.2b."""
    host = Host()
    first = packet(payload=bytes(1480), more_fragments=True, identification=1)
    host.feed(first)
    host.feed(packet(payload=bytes(1480), more_fragments=True, identification=2, fragment_offset=1480))
    assert host.stack.deadline() == 60_000_000_000
    host.stack.timeout(60_000_000_000)
    assert host.stack.deadline() is None
    ((_, answer),) = host.stack.transmit()
    message = icmp.parse(ipv4.parse(answer)[1])
    assert (message.type, message.code) == (icmp.TIME_EXCEEDED, icmp.REASSEMBLY_EXCEEDED)
    assert message.body == first[:548]


def test_fragments_that_no_datagram_has() -> None:
    """791-frag-1."""
    host = Host()
    assert host.feed(packet(payload=bytes(15), more_fragments=True)) == []
    assert "not the last" in host.reasons()[0]
    assert host.stack.deadline() is None


# ------------------------------------------------------------------------------------------------------------ sending


def test_a_datagram_to_ourselves_never_touches_an_interface() -> None:
    host = Host()
    for destination in ("10.0.0.1", "10.0.1.1", "127.0.0.1", "127.9.9.9"):
        host.stack.ip.send(b"own", parse_ip4(destination), PROTOCOL, 0)
        assert host.stack.transmit() == []
        (datagram,) = host.sink.datagrams
        assert datagram.interface == LOCAL_INTERFACE
        assert datagram.header.destination == parse_ip4(destination)
        assert host.taken() == [b"own"]


def test_the_queue_to_ourselves_is_bounded() -> None:
    host = Host()
    for _ in range(LOCAL_QUEUE_LIMIT + 3):
        host.stack.ip.send(b"own", OWN, PROTOCOL, 0)
    host.stack.transmit()
    assert len(host.taken()) == LOCAL_QUEUE_LIMIT
    assert host.reasons() == ["local_queue_full"] * 3


def test_a_node_that_answers_itself_for_ever_does_not_hold_the_pump() -> None:
    host = Host()

    class Mirror(Sink):
        def receive(self, datagram: Datagram, now: int) -> bool:
            host.stack.ip.send(datagram.payload, OWN, PROTOCOL, now)
            return True

    host.stack.handlers[PROTOCOL] = Mirror()
    host.stack.ip.send(b"", OWN, PROTOCOL, 5)
    host.stack.transmit()
    assert host.stack.deadline() == 6
    host.stack.timeout(6)
    assert host.stack.deadline() == 7


def test_sending_cuts_what_is_longer_than_the_link() -> None:
    """791-frag-2, and 6864-4: all with one identification, the next datagram with another."""
    host = Host()
    for _ in range(2):
        host.stack.ip.send(bytes(5000), FAR, PROTOCOL, 0, traffic_class=4)
    parsed = [ipv4.parse(frame) for _, frame in host.stack.transmit()]
    assert [len(body) for _, body in parsed] == [1480, 1480, 1480, 560] * 2
    identifications = [header.identification for header, _ in parsed]
    assert len(set(identifications[:4])) == len(set(identifications[4:])) == 1
    assert identifications[0] != identifications[4]
    assert {header.traffic_class for header, _ in parsed} == {4}
    assert host.stack.ip.counters.frag_creates == 8


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ({"payload": bytes(1481), "dont_fragment": True}, 90),  # EMSGSIZE
        ({"payload": bytes(65516)}, 90),
        ({"payload": bytes(65515), "options": ipv4.ROUTER_ALERT}, 90),
        ({"source": PEER}, 99),  # EADDRNOTAVAIL
        ({"source": parse_ip4("127.0.0.1")}, 99),
        ({"ttl": 0}, 22),
        ({"ttl": 256}, 22),
        ({"traffic_class": 256}, 22),
        ({"options": bytes(44)}, 22),
        ({"options": b"\x30\x00"}, 22),
        ({"interface": 2, "destination": LIMITED_BROADCAST}, 22),
    ],
)
def test_what_cannot_be_sent(arguments: dict[str, object], number: int) -> None:
    """1122-3.2.1.7 (TTL 0) and the limits of the header."""
    host = Host()
    keywords = {"payload": b"", "destination": FAR, "protocol": PROTOCOL, "now": 0, **arguments}
    with pytest.raises(MisuseError) as caught:
        host.stack.ip.send(**keywords)  # type: ignore[arg-type]
    assert caught.value.errno == number
    assert host.stack.transmit() == []


def test_without_a_route_there_is_no_way() -> None:
    host = Host()
    host.stack.remove_route(Prefix(ANY, 0), ROUTER, 0, 0)
    with pytest.raises(UnreachableError, match="no route"):
        host.stack.ip.send(b"", FAR, PROTOCOL, 0)
    assert host.stack.ip.counters.out_no_routes == 1
    changes = [event for event in host.tracer.of(RouteUpdated) if isinstance(event, RouteUpdated)]
    assert (changes[-1].old, changes[-1].new) == ("via 10.0.0.254 eth0", "none")


def test_the_source_is_the_address_of_the_way_out() -> None:
    """1122-3.3.4.3."""
    host = Host()
    assert host.stack.ip.source_for(FAR) == OWN
    assert host.stack.ip.source_for(parse_ip4("10.0.1.7")) == parse_ip4("10.0.1.1")
    assert host.stack.ip.source_for(parse_ip4("127.0.0.9")) == parse_ip4("127.0.0.1")
    assert host.stack.ip.interface_for(parse_ip4("10.0.1.7")) == 1
    host.stack.add_address(0, Prefix.parse("10.7.0.1/16"), 0)
    assert host.stack.ip.source_for(parse_ip4("10.7.9.9")) == parse_ip4("10.7.0.1")


def test_addresses_bring_and_take_their_routes() -> None:
    host = Host()
    assert host.stack.ip.is_local(parse_ip4("10.0.1.1"))
    host.stack.remove_address(1, Prefix.parse("10.0.1.1/24"), 0)
    assert not host.stack.ip.is_local(parse_ip4("10.0.1.1"))
    assert not host.stack.ip.is_broadcast(parse_ip4("10.0.1.255"))
    assert host.stack.ip.interface_for(parse_ip4("10.0.1.7")) == 0


def test_a_carrier_that_goes_takes_its_routes_along() -> None:
    host = Host()
    host.stack.set_port(0, up=False, now=1)
    with pytest.raises(UnreachableError):
        host.stack.ip.send(b"", FAR, PROTOCOL, 1)
    host.stack.set_port(0, up=True, now=2)
    host.stack.ip.send(b"", FAR, PROTOCOL, 2)
    assert len(host.stack.transmit()) == 1


def test_a_multicast_leaves_with_ttl_1_and_a_copy_for_ourselves() -> None:
    """1112-6.1."""
    host = Host()
    group = parse_ip4("239.1.2.3")
    host.stack.ip.join(group, 1, 0)
    host.stack.transmit()
    host.stack.ip.send(b"news", group, PROTOCOL, 0, interface=1, multicast_loop=True)
    ((port, frame),) = host.stack.transmit()
    header, _ = ipv4.parse(frame)
    assert (port, header.ttl, header.destination, header.source) == (1, 1, group, parse_ip4("10.0.1.1"))
    assert [datagram.interface for datagram in host.sink.datagrams] == [1]
    host.stack.ip.send(b"news", group, PROTOCOL, 0, interface=1)
    host.stack.transmit()
    assert len(host.taken()) == 1
