"""ICMP: one packet in, exactly these out."""

from random import Random

import pytest

from nodes.datalink.interface import EthernetInterface, PointToPointInterface
from nodes.network.datagram import Datagram, IcmpError
from nodes.network.icmp_sender import BURST
from nodes.network.routes import Route
from nodes.network.routing import REDIRECT_LIFETIME, REDIRECT_LIMIT
from nodes.stack import Stack
from nodes.trace.events import IcmpReceived, IcmpSent, IcmpSuppressed, ListTracer, PacketDropped
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, Mac, Prefix, parse_ip4

OWN, PEER, ROUTER, OTHER_ROUTER, FAR = (
    parse_ip4(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.254", "10.0.0.253", "192.0.2.9")
)
PROTOCOL = 253


class Sink:
    def __init__(self) -> None:
        self.errors: list[IcmpError] = []

    def receive(self, datagram: Datagram, now: int) -> bool:
        return False

    def error(self, error: IcmpError, now: int) -> None:
        self.errors.append(error)


class Host:
    def __init__(self, forwarding: bool = False) -> None:
        self.tracer = ListTracer()
        links = [PointToPointInterface(0, "eth0", 1500, self.tracer)]
        self.stack = Stack(links, Random(1), self.tracer, forwarding=forwarding)
        self.stack.add_address(0, Prefix(OWN, 24), 0)
        self.stack.add_route(Route(Prefix(ANY, 0), ROUTER, 0), 0)
        self.sink = self.stack.handlers[PROTOCOL] = Sink()

    def feed(self, packet: bytes, now: int = 0) -> list[bytes]:
        self.stack.receive(0, packet, now)
        return [frame for _, frame in self.stack.transmit()]

    def suppressed(self) -> list[str]:
        return [event.reason for event in self.tracer.of(IcmpSuppressed) if isinstance(event, IcmpSuppressed)]

    def dropped(self) -> list[str]:
        return [event.reason for event in self.tracer.of(PacketDropped) if isinstance(event, PacketDropped)]

    def next_hop(self, destination: Ip4) -> Ip4 | None:
        route = self.stack.ip.routing.table.lookup(destination)
        return None if route is None else route.via


def request(payload: bytes, source: Ip4 = PEER, destination: Ip4 = OWN, **fields: object) -> bytes:
    return ipv4.build(source, destination, 1, payload, **fields)  # type: ignore[arg-type]


def error(kind: int, code: int, rest: int, quoted: bytes, source: Ip4 = ROUTER, destination: Ip4 = OWN) -> bytes:
    return ipv4.build(source, destination, 1, icmp.build(kind, code, rest, quoted))


def sent(length: int = 100, destination: Ip4 = FAR, source: Ip4 = OWN, **fields: object) -> bytes:
    """The first octets of a packet that the host sent."""
    return ipv4.build(source, destination, PROTOCOL, bytes(length - 20), **fields)[:28]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ queries


@pytest.mark.parametrize("length", [0, 1, 56, 1472])
def test_echo(length: int) -> None:
    """792-echo: same identifier, sequence and data, from the address that was asked, the class of service kept."""
    data = Random(length).randbytes(length)
    (reply,) = Host().feed(request(icmp.echo(icmp.ECHO_REQUEST, 0x1234, 7, data), traffic_class=0xBB))
    header, body = ipv4.parse(reply)
    assert (header.source, header.destination, header.traffic_class) == (OWN, PEER, 0xB8)
    assert bytes(body) == icmp.echo(icmp.ECHO_REPLY, 0x1234, 7, data)


def test_echo_of_65507_octets() -> None:
    """792-echo: request and reply in fragments."""
    host = Host()
    message = icmp.echo(icmp.ECHO_REQUEST, 1, 2, Random(1).randbytes(65507))
    frames = []
    for start in range(0, len(message), 1480):
        last = start + 1480 >= len(message)
        piece = request(message[start : start + 1480], fragment_offset=start, more_fragments=not last)
        frames += host.feed(piece)
    bodies = [ipv4.parse(frame) for frame in frames]
    assert b"".join(body for _, body in bodies)[8:] == message[8:]
    assert [header.fragment_offset for header, _ in bodies] == list(range(0, len(message), 1480))


@pytest.mark.parametrize("destination", [LIMITED_BROADCAST, parse_ip4("10.0.0.255"), parse_ip4("224.0.0.1")])
@pytest.mark.parametrize("kind", [icmp.ECHO_REQUEST, icmp.TIMESTAMP_REQUEST])
def test_queries_to_many_are_not_answered(destination: Ip4, kind: int) -> None:
    """1122-3.2.2.6."""
    host = Host()
    assert host.feed(request(icmp.build(kind, 0, 0, bytes(12)), destination=destination)) == []
    assert host.suppressed() == ["broadcast_destination"]


def test_a_query_from_nobody_is_not_answered() -> None:
    host = Host()
    assert host.feed(request(icmp.echo(icmp.ECHO_REQUEST, 1, 1, b""), source=ANY)) == []
    assert host.suppressed() == ["source"]


def test_timestamp() -> None:
    """1122-3.2.2.8: the originate time comes back; ours say that they are not the time of day."""
    body = (5).to_bytes(4, "big") + bytes(8)
    (reply,) = Host().feed(request(icmp.build(icmp.TIMESTAMP_REQUEST, 0, 0x00010002, body)), now=77 * MILLISECOND)
    message = icmp.parse(ipv4.parse(reply)[1])
    assert (message.type, message.rest) == (icmp.TIMESTAMP_REPLY, 0x00010002)
    assert bytes(message.body).hex() == "00000005" + "8000004d" * 2
    host = Host()
    assert host.feed(request(icmp.build(icmp.TIMESTAMP_REQUEST, 0, 0, bytes(11)))) == []
    assert len(host.dropped()) == 1


def test_echo_carries_record_route_and_timestamp_on() -> None:
    """1122-3.2.2.6."""
    record_route = bytes((7, 11, 8)) + FAR.to_bytes(4, "big") + bytes(4)
    times = bytes((68, 8, 5, 0, 0, 0, 0, 0))
    options = record_route + b"\1" + times + ipv4.ROUTER_ALERT
    (reply,) = Host().feed(request(icmp.echo(icmp.ECHO_REQUEST, 1, 1, b""), options=options), now=9 * MILLISECOND)
    written = bytes((7, 11, 12)) + FAR.to_bytes(4, "big") + OWN.to_bytes(4, "big")
    assert ipv4.parse(reply)[0].options == written + bytes((68, 8, 9, 0, 0x80, 0, 0, 9)) + b"\0"


def test_a_record_route_that_contradicts_itself() -> None:
    options = bytes((7, 7, 3, 0, 0, 0, 0, 0))
    (answer,) = Host().feed(request(icmp.echo(icmp.ECHO_REQUEST, 1, 1, b""), options=options))
    message = icmp.parse(ipv4.parse(answer)[1])
    assert (message.type, message.pointer) == (icmp.PARAMETER_PROBLEM, 22)


def test_what_is_not_icmp() -> None:
    """1122-3.2.2.x: unknown types, wrong checksums, short messages: silence."""
    host = Host()
    assert host.feed(request(icmp.build(42, 0, 0, b"?"))) == []
    assert host.feed(request(b"\x08\x00\x00\x00\x00\x00\x00\x00")) == []
    assert host.feed(request(b"\x08\x00\xf7\xff")) == []
    assert host.stack.ip.icmp.counters.in_ignored == 3
    assert len(host.tracer.of(IcmpReceived)) == 1


# ------------------------------------------------------------------------------------------------------- errors we send


def test_protocol_unreachable_quotes_the_packet() -> None:
    """1122-3.2.2.1, 1122-3.2.2b, 1812-4.3.2.3: to the source, as much of the packet as makes 576 octets."""
    host = Host()
    packet = ipv4.build(PEER, OWN, 200, Random(1).randbytes(1000), options=ipv4.ROUTER_ALERT, traffic_class=0xB8)
    (answer,) = host.feed(packet)
    header, body = ipv4.parse(answer)
    message = icmp.parse(body)
    assert (header.source, header.destination, header.traffic_class) == (OWN, PEER, 0)
    assert (message.type, message.code, message.rest) == (icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0)
    assert message.body == packet[:548]
    assert len(answer) == 576


def test_port_unreachable() -> None:
    """1122-3.2.2.1, by UDP, and a quote no longer than the packet."""
    host = Host()
    packet = ipv4.build(PEER, OWN, 17, bytes((0, 7, 0, 9, 0, 8, 0, 0)))
    (answer,) = host.feed(packet + bytes(18))
    message = icmp.parse(ipv4.parse(answer)[1])
    assert (message.type, message.code) == (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
    assert message.body == packet


def test_a_router_marks_its_errors_as_network_control() -> None:
    """1812-4.3.2.5."""
    (answer,) = Host(forwarding=True).feed(ipv4.build(PEER, OWN, 200, b""))
    assert ipv4.parse(answer)[0].traffic_class == 0xC0


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ipv4.build(PEER, LIMITED_BROADCAST, 200, b""), "broadcast_destination"),
        (ipv4.build(PEER, parse_ip4("10.0.0.255"), 200, b""), "broadcast_destination"),
        (ipv4.build(PEER, parse_ip4("224.0.0.1"), 200, b""), "broadcast_destination"),
        (ipv4.build(ANY, OWN, 200, b""), "source"),
        (ipv4.build(parse_ip4("0.1.2.3"), OWN, 200, b""), "source"),
        (ipv4.build(PEER, OWN, 200, bytes(8), fragment_offset=8, options=b"\x30\x01"), "fragment"),
        (ipv4.build(PEER, OWN, 1, icmp.build(3, 1, 0), options=b"\x30\x01"), "icmp_error"),
        (ipv4.build(PEER, OWN, 1, icmp.build(11, 0, 0), options=b"\x30\x01"), "icmp_error"),
        (ipv4.build(PEER, OWN, 1, icmp.build(42, 0, 0), options=b"\x30\x01"), "icmp_error"),
        (ipv4.build(PEER, OWN, 1, b"", options=b"\x30\x01"), "icmp_error"),
    ],
)
def test_no_error_about(packet: bytes, reason: str) -> None:
    """1122-3.2.2a: broadcasts, bad sources, later fragments, ICMP errors."""
    host = Host()
    assert host.feed(packet) == []
    assert host.suppressed() == [reason]


def test_no_error_about_a_link_broadcast() -> None:
    """1122-3.2.2a."""
    host = Host()
    header, payload = ipv4.parse(ipv4.build(PEER, OWN, 200, b""))
    datagram = Datagram(0, header, payload, memoryview(ipv4.build(PEER, OWN, 200, b"")), True)
    host.stack.ip.icmp.error(datagram, 3, 2, 0, 0)
    assert host.stack.transmit() == []
    assert host.suppressed() == ["link_broadcast"]


def test_an_error_about_a_query_is_sent() -> None:
    packet = ipv4.build(PEER, OWN, 1, icmp.echo(icmp.ECHO_REQUEST, 1, 1, b""), options=b"\x30\x01")
    assert len(Host().feed(packet)) == 1


def test_errors_are_limited_and_come_again() -> None:
    """1812-4.3.2.8."""
    host = Host()
    packet = ipv4.build(PEER, OWN, 200, b"")
    answers = [frame for _ in range(3 * BURST) for frame in host.feed(packet, now=SECOND)]
    assert len(answers) == BURST
    assert host.suppressed() == ["rate_limit"] * 2 * BURST
    assert len(host.feed(packet, now=SECOND + MILLISECOND - 1)) == 0
    assert len(host.feed(packet, now=SECOND + MILLISECOND)) == 1
    assert len(host.feed(packet, now=SECOND + MILLISECOND)) == 0
    answers = [frame for _ in range(3 * BURST) for frame in host.feed(packet, now=9 * SECOND)]
    assert len(answers) == BURST


# ---------------------------------------------------------------------------------------------------- errors we receive


@pytest.mark.parametrize(("kind", "code"), [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0), (11, 1), (12, 0)])
def test_errors_reach_the_transport(kind: int, code: int) -> None:
    """1122-3.2.2, 1122-4.1.3.x."""
    host = Host()
    assert host.feed(error(kind, code, 0x11000000, sent())) == []
    (heard,) = host.sink.errors
    assert (heard.source, heard.type, heard.code, heard.rest) == (ROUTER, kind, code, 0x11000000)
    assert (heard.header.destination, heard.header.total_length, bytes(heard.payload)) == (FAR, 100, bytes(8))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (error(3, 1, 0, sent(source=PEER)), "quoted_source_not_ours"),
        (error(3, 1, 0, sent()[:19]), "header"),
        (error(3, 1, 0, sent()[:27]), "8 octets"),
        (error(3, 1, 0, b"\x65" + sent()[1:]), "header"),
        (error(3, 1, 0, sent(), destination=LIMITED_BROADCAST), "icmp_error_to_broadcast"),
        (error(3, 1, 0, sent(), destination=parse_ip4("224.0.0.1")), "icmp_error_to_broadcast"),
        (error(3, 4, 500, sent(1400)), "quoted_packet_not_ours"),  # no DF: we would have cut it
        (error(3, 4, 1400, sent(1400, dont_fragment=True)), "quoted_length_impossible"),
        (error(3, 4, 1400, sent(1501, dont_fragment=True)), "quoted_length_impossible"),
    ],
)
def test_errors_that_are_not_about_us(packet: bytes, reason: str) -> None:
    host = Host()
    assert host.feed(packet) == []
    assert host.sink.errors == []
    assert reason in host.dropped()[0]


@pytest.mark.parametrize("packet", [error(4, 0, 0, sent()), error(3, 1, 0, sent(fragment_offset=8))])
def test_errors_that_nobody_needs(packet: bytes) -> None:
    """6633-1: source quench; and what quotes a later fragment."""
    host = Host()
    assert host.feed(packet) == []
    assert host.sink.errors == []


def test_an_error_about_an_unknown_protocol_is_no_harm() -> None:
    host = Host()
    assert host.feed(error(3, 2, 0, ipv4.build(OWN, FAR, 199, bytes(8)))) == []


# ------------------------------------------------------------------------------------------------------------ redirects


def test_a_redirect_is_followed_and_ages() -> None:
    """1122-3.2.2.2: a host route, whatever the code says."""
    host = Host()
    assert host.feed(error(5, 0, OTHER_ROUTER, sent())) == []
    assert host.next_hop(FAR) == OTHER_ROUTER
    assert host.next_hop(parse_ip4("192.0.2.10")) == ROUTER
    assert host.sink.errors == []
    assert host.stack.deadline() == REDIRECT_LIFETIME
    host.stack.timeout(REDIRECT_LIFETIME)
    assert host.next_hop(FAR) == ROUTER
    assert host.stack.deadline() is None


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (error(5, 1, OTHER_ROUTER, sent(), source=PEER), "redirect_not_from_first_hop"),
        (error(5, 1, OTHER_ROUTER, sent(destination=PEER)), "redirect_not_from_first_hop"),
        (error(5, 1, parse_ip4("10.9.0.1"), sent()), "redirect_gateway_not_on_link"),
        (error(5, 1, OWN, sent()), "redirect_gateway_not_on_link"),
        (error(5, 1, parse_ip4("10.0.0.255"), sent()), "redirect_gateway_not_on_link"),
        (error(5, 1, OTHER_ROUTER, sent(source=PEER)), "quoted_source_not_ours"),
    ],
)
def test_redirects_that_are_not_believed(packet: bytes, reason: str) -> None:
    """1122-3.2.2.2."""
    host = Host()
    host.feed(packet)
    assert host.dropped() == [reason]
    assert host.next_hop(FAR) == ROUTER


def test_a_router_is_not_redirected() -> None:
    host = Host(forwarding=True)
    host.feed(error(5, 1, OTHER_ROUTER, sent()))
    assert host.dropped() == ["redirect_to_router"]


def test_redirects_are_bounded() -> None:
    host = Host()
    for number in range(REDIRECT_LIMIT + 5):
        host.feed(error(5, 1, OTHER_ROUTER, sent(destination=Ip4(FAR + number))), now=number)
    assert host.next_hop(FAR) == ROUTER
    assert host.next_hop(Ip4(FAR + 5)) == OTHER_ROUTER
    assert len(host.stack.ip.routing.table) == REDIRECT_LIMIT + 2


# --------------------------------------------------------------------------------------------- neighbours that are gone


def run_until(stack: Stack, end: int) -> list[bytes]:
    """Lets timers run, and returns the IPv4 packets that leave."""
    frames = []
    while (due := stack.deadline()) is not None and due <= end:
        stack.timeout(due)
        following = stack.deadline()
        assert following is None or following > due
        frames += [frame for _, frame in stack.transmit()]
    return [frame[14:] for frame in frames if frame[12:14] == b"\x08\x00"]


def ethernet_stack(forwarding: bool) -> Stack:
    tracer = ListTracer()
    macs = [Mac(bytes((2, 0, 0, 0, 0, index))) for index in (1, 2)]
    links = [EthernetInterface(index, f"eth{index}", macs[index], 1500, Random(1), tracer) for index in range(2)]
    stack = Stack(links, Random(1), tracer, forwarding=forwarding)
    stack.add_address(0, Prefix(OWN, 24), 0)
    stack.add_address(1, Prefix.parse("10.0.1.1/24"), 0)
    stack.transmit()
    return stack


def test_a_host_hears_that_its_neighbour_does_not_answer() -> None:
    """1122-2.3.2.2: host unreachable, from ourselves to the transport."""
    stack = ethernet_stack(forwarding=False)
    sink = stack.handlers[PROTOCOL] = Sink()
    stack.ip.send(b"lost", PEER, PROTOCOL, 0)
    assert run_until(stack, 20 * SECOND) == []
    (heard,) = sink.errors
    assert (heard.source, heard.type, heard.code) == (OWN, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
    assert (heard.header.destination, bytes(heard.payload)) == (PEER, b"lost")


def test_a_router_tells_the_source_that_a_host_does_not_answer() -> None:
    """1812-5.2.7.1."""
    stack = ethernet_stack(forwarding=True)
    packet = ipv4.build(PEER, parse_ip4("10.0.1.7"), PROTOCOL, b"lost", ttl=9)
    request_from_peer = bytes.fromhex("ffffffffffff020000000009080600010800060400010200000000090a000002") + bytes(6)
    stack.receive(0, request_from_peer + OWN.to_bytes(4, "big"), 0)  # so that the router knows the source's MAC
    stack.receive(0, stack.interfaces[0].mac + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + packet, 0)
    answers = run_until(stack, 10 * SECOND)
    (answer,) = answers
    header, body = ipv4.parse(answer)
    message = icmp.parse(body)
    assert (header.source, header.destination) == (OWN, PEER)
    assert (message.type, message.code) == (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
    assert bytes(message.body)[20:] == b"lost"


# ------------------------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize("packets", [True, False])
def test_queries_are_traced_with_the_packets_and_errors_always(packets: bool) -> None:
    host = Host()
    host.tracer.packets = packets
    host.feed(request(icmp.echo(icmp.ECHO_REQUEST, 1, 1, b"")))
    host.feed(error(icmp.TIME_EXCEEDED, 0, 0, sent()))
    host.feed(ipv4.build(PEER, OWN, 200, b"no such protocol"))
    received = [event.type for event in host.tracer.of(IcmpReceived)]
    answered = [event.type for event in host.tracer.of(IcmpSent)]
    queries = ([icmp.ECHO_REQUEST], [icmp.ECHO_REPLY]) if packets else ([], [])
    assert received == [*queries[0], icmp.TIME_EXCEEDED]
    assert answered == [*queries[1], icmp.UNREACHABLE]
