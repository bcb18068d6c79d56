"""What a router does with packets for others: one packet in, exactly these out."""

from random import Random

import pytest

from nodes.datalink.interface import PointToPointInterface
from nodes.network import forwarding
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import IcmpSuppressed, ListTracer, NullTracer, PacketDropped, PacketForwarded
from nodes.units import MILLISECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import LIMITED_BROADCAST, Ip4, Prefix, parse_ip4

SOURCE, NEAR, FAR = parse_ip4("10.0.0.2"), parse_ip4("10.0.1.2"), parse_ip4("192.0.2.9")
IN, OUT = parse_ip4("10.0.0.1"), parse_ip4("10.0.1.1")


class Router:
    """10.0.0.1/24 on port 0, 10.0.1.1/24 on port 1, where 10.0.1.254 leads to 192.0.2.0/24; port 2 has MTU 576 and
    10.0.2.1/24."""

    def __init__(self, packets: bool = True) -> None:
        self.tracer = ListTracer(packets)
        links = [PointToPointInterface(index, f"eth{index}", 1500, self.tracer) for index in range(3)]
        links[2].mtu = 576
        self.stack = Stack(links, Random(1), self.tracer, forwarding=True)
        for index in range(3):
            self.stack.add_address(index, Prefix.parse(f"10.0.{index}.1/24"), 0)
        self.stack.add_route(Route(Prefix.parse("192.0.2.0/24"), parse_ip4("10.0.1.254"), 1), 0)

    def feed(self, packet: bytes, port: int = 0, now: int = 0) -> list[tuple[int, bytes]]:
        self.stack.receive(port, packet, now)
        return self.stack.transmit()

    def answer(self, packet: bytes, port: int = 0) -> tuple[int, int, int]:
        """Type, code and rest of the only answer, which must go back where the packet came from."""
        ((out, frame),) = self.feed(packet, port)
        header, body = ipv4.parse(frame)
        message = icmp.parse(body)
        assert (out, header.destination) == (port, ipv4.parse(packet)[0].source)
        assert bytes(message.body) == packet[:548]
        return message.type, message.code, message.rest

    def dropped(self) -> list[str]:
        return [event.reason for event in self.tracer.of(PacketDropped) if isinstance(event, PacketDropped)]


def packet(destination: Ip4 = NEAR, source: Ip4 = SOURCE, length: int = 100, **fields: object) -> bytes:
    return ipv4.build(source, destination, 17, Random(1).randbytes(length - 20), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, 3])
def test_a_packet_goes_on_with_one_hop_less_to_live(times: int) -> None:
    """791-3.2, 1624: nothing but TTL and checksum changes, on the long and on the short way; padding is left behind."""
    router = Router()
    sent = packet(ttl=9, identification=77, traffic_class=0xB9, dont_fragment=True)
    for _ in range(times):
        ((port, frame),) = router.feed(sent + b"padding")
    assert port == 1
    header, payload = ipv4.parse(frame)
    assert header == ipv4.parse(sent)[0]._replace(ttl=8)
    assert payload == sent[20:]
    assert router.stack.ip.counters.forw_datagrams == times
    assert len(router.tracer.of(PacketForwarded)) == times


def test_both_ways_give_the_same_octets() -> None:
    """1624: adjusting the checksum is as good as making it anew, for every TTL and all kinds of headers."""
    random = Random(3)
    router = Router()
    for _ in range(2000):
        source = Ip4(0x0A000002 + random.randrange(50))
        fields = {"ttl": random.randint(2, 255), "identification": random.getrandbits(16)}
        sent = packet(source=source, length=random.randint(20, 60), traffic_class=random.getrandbits(8), **fields)
        long_way = Router(packets=False).feed(sent)
        assert router.feed(sent) == long_way


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (lambda octets: octets[:8] + bytes((octets[8] ^ 1,)) + octets[9:], "checksum"),
        (lambda octets: octets[:50], "arrived"),
        (lambda octets: b"\x46" + octets[1:], "checksum"),
        (lambda octets: octets[:2] + b"\0\x13" + octets[4:], "total length"),
    ],
)
def test_damaged_packets_are_not_forwarded(broken: object, kind: str, warm: bool) -> None:
    """1812-5.2.2."""
    router = Router()
    if warm:
        router.feed(packet())
    assert router.feed(broken(packet())) == []  # type: ignore[operator]
    assert kind in router.dropped()[0]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("ttl", [0, 1])
def test_time_exceeded(ttl: int, warm: bool) -> None:
    """1812-5.3.1."""
    router = Router()
    if warm:
        router.feed(packet())
    assert router.answer(packet(ttl=ttl)) == (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0)
    assert router.dropped() == ["ttl_exceeded"]


def test_no_route() -> None:
    """1812-4.3.3.1: net unreachable."""
    router = Router()
    assert router.answer(packet(parse_ip4("198.51.100.1"))) == (icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0)
    assert router.stack.ip.counters.out_no_routes == 1


@pytest.mark.parametrize("warm", [False, True])
def test_too_big_and_not_to_be_cut(warm: bool) -> None:
    """1191-4: the answer names the MTU of the next link."""
    router = Router()
    if warm:
        router.feed(packet(parse_ip4("10.0.2.2")))
    big = packet(parse_ip4("10.0.2.2"), length=577, dont_fragment=True)
    assert router.answer(big) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 576)
    assert len(router.feed(packet(parse_ip4("10.0.2.2"), length=576, dont_fragment=True))) == 1


def test_fragmentation_needed_is_not_rate_limited() -> None:
    router = Router()
    big = packet(parse_ip4("10.0.2.2"), length=577, dont_fragment=True)
    assert sum(len(router.feed(big)) for _ in range(500)) == 500


def test_too_big_is_cut() -> None:
    """791-frag-2, in a router; fragments of fragments included."""
    router = Router()
    sent = packet(parse_ip4("10.0.2.2"), length=1500, identification=7, fragment_offset=1480, more_fragments=True)
    frames = router.feed(sent)
    parsed = [ipv4.parse(frame) for _, frame in frames]
    assert [port for port, _ in frames] == [2, 2, 2]
    assert [header.fragment_offset for header, _ in parsed] == [1480, 1480 + 552, 1480 + 1104]
    assert all(header.more_fragments and header.ttl == 63 and header.identification == 7 for header, _ in parsed)
    assert b"".join(body for _, body in parsed) == sent[20:]
    assert router.stack.ip.counters.frag_creates == 3
    assert router.stack.ip.counters.forw_datagrams == 1


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("224.0.0.5", "multicast_or_broadcast_destination"),
        ("239.255.0.1", "multicast_or_broadcast_destination"),
        ("240.0.0.1", "multicast_or_broadcast_destination"),
        ("10.0.1.255", "directed_broadcast"),
        ("0.0.0.0", "destination_not_forwardable"),
        ("0.1.2.3", "destination_not_forwardable"),
        ("169.254.1.1", "destination_not_forwardable"),
        ("127.0.0.1", "loopback_destination"),
    ],
)
def test_destinations_that_are_not_forwarded(destination: str, reason: str) -> None:
    """1812-5.3.7, 2644-1, 3927-2.7: silence."""
    router = Router()
    router.stack.add_route(Route(Prefix.parse("0.0.0.0/0"), parse_ip4("10.0.1.254"), 1), 0)
    assert router.feed(packet(parse_ip4(destination))) == []
    assert router.dropped() == [reason]


@pytest.mark.parametrize("source", ["0.0.0.0", "0.0.0.5", "169.254.7.7"])
def test_sources_that_are_not_forwarded(source: str) -> None:
    router = Router()
    assert router.feed(packet(source=parse_ip4(source))) == []
    assert router.dropped() == ["source_not_forwardable"]


def test_a_link_broadcast_is_not_forwarded() -> None:
    """1812-5.3.4, on the short way too."""
    router = Router()
    router.feed(packet())
    link = router.stack.interfaces[0]
    assert router.stack.ip.receive(link, memoryview(packet()), True, 0) is None
    assert router.stack.transmit() == []
    assert router.dropped() == ["link_broadcast_of_unicast"]


def test_the_limited_broadcast_stays_here() -> None:
    router = Router()
    assert router.feed(packet(LIMITED_BROADCAST)) == []
    assert router.stack.ip.counters.in_delivers == 1


def test_redirect() -> None:
    """1812-5.2.7.2: back by the link it came from: the source learns the next hop, and the packet goes on."""
    router = Router()
    neighbour = parse_ip4("10.0.1.9")
    for _ in range(2):  # the decision is not remembered, or the second would go without
        sent = packet(FAR, neighbour)
        (_, redirect), (port, forwarded) = router.feed(sent, port=1)
        message = icmp.parse(ipv4.parse(redirect)[1])
        assert (message.type, message.code, message.gateway) == (5, 1, parse_ip4("10.0.1.254"))
        assert bytes(message.body) == sent
        assert (port, ipv4.parse(forwarded)[0].ttl) == (1, 63)


def test_no_redirect_to_a_source_that_is_not_on_the_link() -> None:
    router = Router()
    assert [port for port, _ in router.feed(packet(FAR, SOURCE), port=1)] == [1]


def test_a_remembered_decision_does_not_swallow_a_redirect() -> None:
    """The same addresses first by another link, then by the one that the packet leaves by."""
    router = Router()
    sent = packet(FAR, parse_ip4("10.0.1.9"))
    assert len(router.feed(sent, port=0)) == 1
    assert len(router.feed(sent, port=1)) == 2


def test_errors_leave_from_the_address_that_the_packet_was_for() -> None:
    """1122-3.2.2: also where that is not the address of the link."""
    ((port, frame),) = Router().feed(ipv4.build(SOURCE, OUT, 200, b""))
    assert (port, ipv4.parse(frame)[0].source) == (0, OUT)


def test_no_error_about_an_error() -> None:
    """1122-3.2.2a, in a router."""
    router = Router()
    error = ipv4.build(SOURCE, parse_ip4("198.51.100.1"), 1, icmp.build(3, 1, 0, packet()[:28]))
    assert router.feed(error) == []
    assert [event.reason for event in router.tracer.of(IcmpSuppressed)] == ["icmp_error"]  # type: ignore[union-attr]


def test_record_route_and_timestamp_are_written() -> None:
    """1812-5.2.4.1: the address of the way out, as far as there is room."""
    router = Router()
    options = bytes((7, 7, 4, 0, 0, 0, 0)) + bytes((68, 12, 5, 1)) + bytes(8) + bytes((7, 3, 4, 0, 0))
    ((_, frame),) = router.feed(packet(options=options), now=5 * MILLISECOND)
    written = ipv4.parse(frame)[0].options
    assert written[:7] == bytes((7, 7, 8)) + OUT.to_bytes(4, "big")
    assert written[7:19] == bytes((68, 12, 13, 1)) + OUT.to_bytes(4, "big") + bytes((0x80, 0, 0, 5))
    assert written[19:22] == bytes((7, 3, 4))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (bytes((68, 8, 9, 0xE0, 1, 1, 1, 1)), bytes((68, 8, 9, 0xF0, 1, 1, 1, 1))),  # no room: counted
        (bytes((68, 12, 5, 3)) + OUT.to_bytes(4, "big") + bytes(4), bytes((68, 12, 13, 3))),  # asks for us
        (bytes((68, 12, 5, 3)) + FAR.to_bytes(4, "big") + bytes(4), bytes((68, 12, 5, 3))),  # asks for another
        (bytes((7, 7, 8, 1, 1, 1, 1, 0)), bytes((7, 7, 8, 1, 1, 1, 1, 0))),  # full
    ],
)
def test_options_with_conditions(options: bytes, expected: bytes) -> None:
    ((_, frame),) = Router().feed(packet(options=options))
    assert ipv4.parse(frame)[0].options.startswith(expected)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        (bytes((7, 7, 3, 0, 0, 0, 0, 0)), 22),
        (bytes((7, 7, 5, 0, 0, 0, 0, 0)), 22),
        (bytes((7, 2, 0, 0)), 21),
        (bytes((68, 8, 4, 0, 0, 0, 0, 0)), 22),
        (bytes((68, 8, 5, 1, 0, 0, 0, 0)), 22),
        (bytes((68, 3, 5, 0)), 21),
        (bytes((68, 8, 9, 0xF0, 0, 0, 0, 0)), 23),
        (bytes((99, 0, 0, 0)), 21),
    ],
)
def test_malformed_options(options: bytes, pointer: int) -> None:
    """1812-5.2.7.3: parameter problem with the place."""
    assert Router().answer(packet(options=options)) == (icmp.PARAMETER_PROBLEM, 0, pointer << 24)


def test_changes_are_followed_at_once() -> None:
    """Routes, addresses, MTUs and carriers that change under a remembered decision."""
    router = Router()
    router.stack.add_route(Route(Prefix.parse("0.0.0.0/0"), parse_ip4("10.0.2.254"), 2), 0)
    ask = packet(FAR)
    assert [port for port, _ in router.feed(ask)] == [1]
    assert [port for port, _ in router.feed(ask)] == [1]
    router.stack.set_mtu(1, 68, 0)
    assert len(router.feed(ask)) == 2
    router.stack.set_mtu(1, 1500, 0)
    router.stack.set_port(1, up=False, now=0)
    assert [port for port, _ in router.feed(ask)] == [2]
    router.stack.set_port(1, up=True, now=0)
    assert [port for port, _ in router.feed(ask)] == [1]
    router.stack.remove_route(Prefix.parse("192.0.2.0/24"), parse_ip4("10.0.1.254"), 1, 0)
    assert [port for port, _ in router.feed(ask)] == [2]
    router.stack.add_address(1, Prefix(FAR, 24), 0)
    assert router.feed(ask) == []
    assert router.stack.ip.counters.in_delivers == 1


def test_decisions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "DECISION_LIMIT", 10)
    router = Router()
    for number in range(50):
        assert len(router.feed(packet(source=Ip4(SOURCE + number)))) == 1
    forwarder = router.stack.ip._forwarder
    assert forwarder is not None
    assert len(forwarder._decisions) <= 10


def test_without_a_trace_of_packets_nothing_changes() -> None:
    links = [PointToPointInterface(index, f"eth{index}", 1500, NullTracer()) for index in range(2)]
    stack = Stack(links, Random(1), NullTracer(), forwarding=True)
    stack.add_address(0, Prefix(IN, 24), 0)
    stack.add_address(1, Prefix(OUT, 24), 0)
    for _ in range(2):
        stack.receive(0, packet(), 0)
    frames = stack.transmit()
    assert [port for port, _ in frames] == [1, 1]
    assert frames[0] == frames[1]
