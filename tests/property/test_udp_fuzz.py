"""Any octets from the wire give UDP and the echo sockets at most a counted drop."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.network.datagram import Datagram, IcmpError
from nodes.stack import Stack
from nodes.trace.events import ListTracer
from nodes.transport.udp import MAXIMUM_SOCKETS
from nodes.wire import icmp, ipv4, udp
from nodes.wire.addresses import ANY, Ip4, parse_ip4

ME, PEER = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
ADDRESSES = st.one_of(
    st.sampled_from([ME, PEER, parse_ip4("10.0.0.255"), parse_ip4("239.1.1.1"), ANY]), st.integers(0, 0xFFFFFFFF)
)


def make() -> Stack:
    interface = InterfaceConfig("ip0", "02:00:00:00:00:01", ("10.0.0.1/24",), kind="ip")
    stack = Stack.from_config(NodeConfig("lab", "me", interfaces=(interface,)), Random(5), ListTracer(), 0)
    wildcard, connected = stack.udp.open(), stack.udp.open()
    wildcard.bind(ANY, 7, 0)
    wildcard.record_errors = True
    wildcard.join_group(parse_ip4("239.1.1.1"), 0)
    connected.bind(ANY, 8, 0)
    connected.connect(PEER, 8, 0)
    stack.echo.open().bind(7, 0)
    stack.transmit()
    return stack


def datagram(source: int, destination: int, payload: bytes) -> Datagram:
    header, view = ipv4.parse(ipv4.build(Ip4(source), Ip4(destination), udp.PROTOCOL, payload))
    return Datagram(0, header, view, view, False)


@given(ADDRESSES, ADDRESSES, st.binary(max_size=64))
def test_any_datagram(source: int, destination: int, payload: bytes) -> None:
    """J-7 for one layer: taken, refused or dropped with its reason; never an exception."""
    stack = make()
    assert stack.udp.receive(datagram(source, destination, payload), 0) in (True, False)
    counters = stack.udp.counters
    assert counters.in_errors + counters.no_ports + counters.bad_sources + counters.in_datagrams == 1


@given(
    ADDRESSES,
    ADDRESSES,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=40),
    st.sampled_from([1, 17]),
)
def test_any_icmp_error(
    source: int, destination: int, kind: int, code: int, rest: int, quoted: bytes, protocol: int
) -> None:
    stack = make()
    header, payload = ipv4.parse(ipv4.build(Ip4(source), Ip4(destination), protocol, quoted))
    for handler in (stack.udp, stack.echo):
        handler.error(IcmpError(PEER, kind, code, rest, header, payload), 0)
        assert handler.counters.icmp_errors == 1


@given(st.binary(max_size=80), st.sampled_from([1, 17]))
def test_any_packet_through_the_stack(payload: bytes, protocol: int) -> None:
    stack = make()
    stack.receive(0, ipv4.build(PEER, ME, protocol, payload), 0)
    for frame in stack.transmit():
        header, body = ipv4.parse(frame[1])
        assert header.destination == PEER
        assert icmp.parse(body).type in (icmp.UNREACHABLE, icmp.ECHO_REPLY, icmp.TIMESTAMP_REPLY)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_any_calls_leave_the_tables_consistent(calls: list[tuple[int, int]]) -> None:
    """Open, bind, connect, disconnect, close in any order: what is closed hears nothing and holds nothing."""
    layer = make().udp
    before = len(layer.ports)
    sockets = [layer.open() for _ in range(4)]
    for action, index in calls:
        socket = sockets[index]
        if action == 0 and not socket.claim and not socket.closed:
            socket.reuse_address = True
            socket.bind(ANY, 4000, 0)
        elif action == 1 and not socket.closed:
            socket.connect(PEER, 9, 0)
        elif action == 2 and not socket.closed:
            socket.disconnect(0)
        elif action == 3 and not socket.closed:
            socket.close(0)
            sockets[index] = layer.open()
        elif action == 4:
            layer.receive(datagram(PEER, ME, udp.build(PEER, ME, 9, 4000, b"x")), 0)
        elif action == 5 and not socket.closed:
            while socket.receive() is not None:
                pass
    for socket in sockets:
        socket.close(0)
    assert len(layer.ports) == before
    assert len(layer.snapshot(0)["sockets"]) == 2
    assert layer._open == 2 < MAXIMUM_SOCKETS
