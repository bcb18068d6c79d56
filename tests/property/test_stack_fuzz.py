"""Any frames into a whole stack: nothing is raised, nothing grows without bound, time goes on."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.datalink.interface import EthernetInterface, PointToPointInterface
from nodes.network import forwarding, reassembly, routes
from nodes.network.fragmentation import fragment
from nodes.network.path_mtu import ENTRY_LIMIT
from nodes.network.routes import Route
from nodes.network.routing import REDIRECT_LIMIT
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.units import SECOND
from nodes.wire import icmp, igmp, ipv4
from nodes.wire.addresses import ANY, BROADCAST_MAC, Ip4, Mac, Prefix, multicast_mac, parse_ip4
from nodes.wire.checksum import checksum

MAC, PEER_MAC = Mac(bytes((2, 0, 0, 0, 0, 1))), Mac(bytes((2, 0, 0, 0, 0, 9)))
OWN, PEER, FAR = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), parse_ip4("192.0.2.9")
ADDRESSES = [
    OWN,
    PEER,
    FAR,
    ANY,
    *map(parse_ip4, ("10.0.0.255", "255.255.255.255", "224.0.0.1", "239.1.2.3", "127.0.0.1")),
]


def build_stack(kind: str, forwarding_: bool) -> Stack:
    tracer = NullTracer()
    tracer.packets = True  # so that the events are made too
    link = (
        EthernetInterface(0, "eth0", MAC, 1500, Random(1), tracer)
        if kind == "ethernet"
        else PointToPointInterface(0, "eth0", 1500, tracer)
    )
    other = PointToPointInterface(1, "eth1", 576, tracer)
    stack = Stack([link, other], Random(1), tracer, forwarding=forwarding_)
    stack.add_address(0, Prefix(OWN, 24), 0)
    stack.add_address(1, Prefix.parse("10.0.1.1/24"), 0)
    stack.add_route(Route(Prefix.parse("0.0.0.0/0"), parse_ip4("10.0.1.2"), 1), 0)
    stack.ip.join(parse_ip4("239.1.2.3"), 0, 0)
    stack.udp.open().bind(ANY, 7, 0)
    return stack


def mended(packet: bytes) -> bytes:
    """The header checksum put right, where there is a header: or nearly nothing gets past it."""
    length = (packet[0] & 15) * 4 if packet else 0
    if length < 20 or len(packet) < length:
        return packet
    header = packet[:10] + b"\0\0" + packet[12:length]
    return header[:10] + checksum(header).to_bytes(2, "big") + packet[12:]


addresses = st.one_of(st.sampled_from(ADDRESSES), st.integers(0, 2**32 - 1))
quoted = st.builds(
    lambda source, destination, flags, body: ipv4.build(Ip4(source), Ip4(destination), 17, body, dont_fragment=flags),
    addresses,
    addresses,
    st.booleans(),
    st.binary(max_size=40),
)
bodies = st.one_of(
    st.binary(max_size=80),
    st.builds(
        icmp.build,
        st.sampled_from([0, 3, 4, 5, 8, 11, 12, 13, 42]),
        st.integers(0, 15),
        st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 1500)),
        st.one_of(st.binary(max_size=60), quoted),
    ),
    st.builds(
        lambda kind, response, group: igmp.build(igmp.IgmpMessage(kind, response, Ip4(group))),
        st.sampled_from([0x11, 0x12, 0x16, 0x17, 0x22]),
        st.integers(0, 255),
        addresses,
    ),
)
packets = st.builds(
    lambda source, destination, protocol, body, ttl, more, offset, identification, options: ipv4.build(
        Ip4(source),
        Ip4(destination),
        protocol,
        body,
        ttl=ttl,
        more_fragments=more,
        fragment_offset=offset * 8,
        identification=identification,
        options=options,
    ),
    addresses,
    addresses,
    st.sampled_from([1, 1, 2, 17, 6, 200]),
    bodies,
    st.integers(0, 255),
    st.booleans(),
    st.one_of(st.just(0), st.integers(0, 8191)),
    st.integers(0, 3),
    st.one_of(st.just(b""), st.binary(max_size=40)),
)
damaged = st.builds(
    lambda packet, place, value: mended(
        packet[: place % len(packet)] + bytes([value]) + packet[place % len(packet) + 1 :]
    ),
    packets,
    st.integers(0, 200),
    st.integers(0, 255),
)
payloads = st.one_of(st.binary(max_size=100), packets, damaged)
macs = st.sampled_from([MAC, BROADCAST_MAC, multicast_mac(parse_ip4("239.1.2.3")), PEER_MAC])
frames = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda destination, source, kind, body: destination + source + kind.to_bytes(2, "big") + body,
        macs,
        macs,
        st.sampled_from([0x0800, 0x0800, 0x0800, 0x0806, 0x8035, 0x0026]),
        payloads,
    ),
)


def drive(stack: Stack, inputs: list[tuple[int, bytes]]) -> None:
    now = 0
    for gap, frame in inputs:
        now += gap
        due = stack.deadline()
        if due is not None and due <= now:
            stack.timeout(now)
            following = stack.deadline()
            assert following is None or following > now
        stack.receive(0, frame, now)
        for port, sent in stack.transmit():
            assert len(sent) <= stack.interfaces[port].mtu + 14
    check_bounds(stack)
    stack.snapshot(now)


def check_bounds(stack: Stack) -> None:
    ip = stack.ip
    assert ip._reassembler._memory <= reassembly.MEMORY_LIMIT
    assert len(ip._reassembler._partials) <= reassembly.DATAGRAM_LIMIT
    assert len(ip.path_mtus._entries) <= ENTRY_LIMIT
    assert len(ip.routing.table) <= REDIRECT_LIMIT + 3
    assert len(ip.routing.table._cache) <= routes.CACHE_LIMIT
    assert ip._forwarder is None or len(ip._forwarder._decisions) <= forwarding.DECISION_LIMIT
    assert not ip.has_local


gaps = st.sampled_from([0, 1, 1_000_000, SECOND, 30 * SECOND, 700 * SECOND])


@pytest.mark.parametrize("forwarding_", [False, True])
@given(inputs=st.lists(st.tuples(gaps, frames), max_size=20))
def test_any_frames(forwarding_: bool, inputs: list[tuple[int, bytes]]) -> None:
    """J-7."""
    drive(build_stack("ethernet", forwarding_), inputs)


@pytest.mark.parametrize("forwarding_", [False, True])
@given(inputs=st.lists(st.tuples(gaps, payloads), max_size=20))
def test_any_packets(forwarding_: bool, inputs: list[tuple[int, bytes]]) -> None:
    """J-7, past the Ethernet header."""
    drive(build_stack("ip", forwarding_), inputs)


@pytest.mark.parametrize("forwarding_", [False, True])
def test_many_mutated_packets(forwarding_: bool) -> None:
    """J-7: a long run over one stack, and then it still answers."""
    random = Random(11)
    stack = build_stack("ip", forwarding_)
    echo = ipv4.build(PEER, OWN, 1, icmp.echo(icmp.ECHO_REQUEST, 1, 1, bytes(8)))
    redirect = ipv4.build(parse_ip4("10.0.1.2"), OWN, 1, icmp.build(5, 1, PEER, ipv4.build(OWN, FAR, 17, bytes(8))))
    seeds = [
        echo,
        redirect,
        ipv4.build(PEER, FAR, 17, bytes(700)),
        ipv4.build(PEER, OWN, 17, bytes(64), more_fragments=True),
    ]
    seeds.append(ipv4.build(PEER, OWN, 1, bytes(8), options=bytes((7, 11, 4)) + bytes(8) + b"\x44\x04\x05\x00"))
    inputs = []
    for _ in range(4000):
        octets = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            octets[random.randrange(min(len(octets), 60))] = random.getrandbits(8)
        inputs.append((random.choice((0, 1000, SECOND)), mended(bytes(octets))))
    drive(stack, inputs)
    stack.receive(0, echo, 10**14)
    assert [port for port, _ in stack.transmit()] == [0]


@settings(max_examples=40)
@given(
    length=st.integers(1, 8000),
    mtus=st.lists(st.integers(68, 1500), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_fragments_of_fragments_in_any_order_give_the_original(length: int, mtus: list[int], seed: int) -> None:
    """791-frag-1, 815-1: cut over several links, shuffled, some twice."""
    random = Random(seed)
    data = random.randbytes(length)
    pieces = [ipv4.build(PEER, OWN, 200, data, identification=5)]
    for mtu in mtus:
        pieces = [
            cut for piece in pieces for cut in ([piece] if len(piece) <= mtu else fragment(*ipv4.parse(piece), mtu))
        ]
    last = pieces.pop(random.randrange(len(pieces)))
    pieces += random.sample(pieces, len(pieces) // 3)
    random.shuffle(pieces)
    stack = build_stack("ip", forwarding_=False)
    link = stack.interfaces[0]
    assert all(stack.ip.receive(link, memoryview(piece), False, 0) is None for piece in pieces)
    whole = stack.ip.receive(link, memoryview(last), False, 0)
    assert whole is not None
    assert whole.payload == data
    assert ipv4.parse(whole.packet)[1] == data
