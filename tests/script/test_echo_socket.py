"""Echo sockets on a whole stack with one bare IP interface: packets in, packets out (RFC 792)."""

from __future__ import annotations

import errno
import json
from random import Random

import pytest

from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.errors import LimitError, MisuseError
from nodes.stack import Stack
from nodes.trace.datagram_events import DatagramDropped
from nodes.trace.events import ListTracer
from nodes.transport.echo import EchoReply, quoted_sequence
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import ANY, Ip4, parse_ip4

ME, PEER, ROUTER, BROADCAST = map(parse_ip4, ("10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.255"))


class Rig:
    def __init__(self) -> None:
        interface = InterfaceConfig("ip0", "02:00:00:00:00:01", ("10.0.0.1/24",), kind="ip")
        route = RouteConfig("0.0.0.0/0", "10.0.0.9", "ip0")
        self.tracer = ListTracer()
        self.stack = Stack.from_config(
            NodeConfig("lab", "me", interfaces=(interface,), routes=(route,)), Random(5), self.tracer, 0
        )
        self.echo = self.stack.echo

    def sent(self) -> list[tuple[ipv4.IPv4Header, icmp.IcmpMessage]]:
        packets = [ipv4.parse(frame) for _, frame in self.stack.transmit()]
        return [(header, icmp.parse(payload)) for header, payload in packets]

    def arrive(self, message: bytes, source: Ip4 = PEER, now: int = 0) -> None:
        self.stack.receive(0, ipv4.build(source, ME, 1, message, ttl=60), now)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_request_and_reply(rig: Rig) -> None:
    """792-echo: identifier, sequence and data of the reply are those of the request."""
    socket = rig.echo.open()
    socket.send_to(b"hello", PEER, 3, 0, ttl=9)
    ((header, message),) = rig.sent()
    assert (header.source, header.destination, header.ttl) == (ME, PEER, 9)
    assert (message.type, message.identifier, message.sequence, bytes(message.body)) == (
        8,
        socket.identifier,
        3,
        b"hello",
    )
    rig.arrive(icmp.echo(icmp.ECHO_REPLY, socket.identifier, 3, b"hello"), now=44)
    assert rig.stack.drain_ready() == [socket]
    assert socket.receive() == EchoReply(PEER, 3, b"hello", 60, ME, 44)
    assert socket.receive() is None


def test_replies_go_by_identifier(rig: Rig) -> None:
    one, two = rig.echo.open(), rig.echo.open()
    one.bind(100, 0)
    two.bind(200, 0)
    rig.arrive(icmp.echo(icmp.ECHO_REPLY, 200, 1, b""))
    rig.arrive(icmp.echo(icmp.ECHO_REPLY, 300, 1, b""))
    rig.arrive(icmp.echo(icmp.ECHO_REQUEST, 100, 1, b""))
    assert not one.readable
    assert two.receive() is not None
    assert rig.echo.counters.no_sockets == 1


def test_identifiers_are_exclusive(rig: Rig) -> None:
    one, two = rig.echo.open(), rig.echo.open()
    one.bind(100, 0)
    with pytest.raises(MisuseError) as caught:
        two.bind(100, 0)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(MisuseError):
        one.bind(101, 0)
    one.close(0)
    two.bind(100, 0)


def test_identifiers_run_out(rig: Rig) -> None:
    rig.echo.identifiers._last = 1
    rig.echo.open().bind(0, 0)
    with pytest.raises(LimitError) as caught:
        rig.echo.open().bind(0, 0)
    assert caught.value.errno == errno.EAGAIN


@pytest.mark.parametrize(("kind", "code", "rest"), [(3, 1, 0), (3, 4, 1300), (11, 0, 0), (12, 0, 0)])
def test_errors_go_to_the_socket_that_asked(rig: Rig, kind: int, code: int, rest: int) -> None:
    socket = rig.echo.open()
    socket.send_to(bytes(1472), PEER, 77, 0)
    rig.stack.transmit()
    request = icmp.echo(icmp.ECHO_REQUEST, socket.identifier, 77, bytes(1472))
    quoted = ipv4.build(ME, PEER, 1, request, dont_fragment=True)[:28]
    rig.arrive(icmp.build(kind, code, rest, quoted), source=ROUTER)
    assert rig.stack.drain_ready() == [socket]
    error = socket.receive_error()
    assert (error.source, error.type, error.code, error.rest) == (ROUTER, kind, code, rest)
    assert quoted_sequence(error) == 77
    assert error.header.destination == PEER


def test_errors_about_replies_are_nobodys(rig: Rig) -> None:
    socket = rig.echo.open()
    socket.bind(100, 0)
    for message in (icmp.echo(icmp.ECHO_REPLY, 100, 1, b""), icmp.echo(icmp.ECHO_REQUEST, 101, 1, b"")):
        rig.arrive(icmp.build(3, 1, 0, ipv4.build(ME, PEER, 1, message)), source=ROUTER)
    assert not socket.readable


@pytest.mark.parametrize(
    ("arguments", "options", "number"),
    [
        ((bytes(65508), PEER, 1, 0), {}, errno.EMSGSIZE),
        ((b"", PEER, 65536, 0), {}, errno.EINVAL),
        ((b"", ANY, 1, 0), {}, errno.EINVAL),
        ((b"", BROADCAST, 1, 0), {}, errno.EACCES),
        ((b"", PEER, 1, 0), {"ttl": 0}, errno.EINVAL),
        ((b"", PEER, 1, 0), {"source": PEER}, errno.EADDRNOTAVAIL),
        ((bytes(2000), PEER, 1, 0), {"dont_fragment": True}, errno.EMSGSIZE),
    ],
)
def test_misuse(rig: Rig, arguments: tuple[object, ...], options: dict[str, object], number: int) -> None:
    socket = rig.echo.open()
    with pytest.raises(MisuseError) as caught:
        socket.send_to(*arguments, **options)
    assert caught.value.errno == number
    assert rig.sent() == []


def test_broadcast_where_allowed(rig: Rig) -> None:
    socket = rig.echo.open()
    socket.broadcast = True
    socket.send_to(b"", BROADCAST, 1, 0)
    assert rig.sent()[0][0].destination == BROADCAST


def test_queue_is_bounded(rig: Rig) -> None:
    socket = rig.echo.open()
    socket.bind(100, 0)
    socket.receive_limit = 10
    for _ in range(3):
        rig.arrive(icmp.echo(icmp.ECHO_REPLY, 100, 1, b"12345"))
    assert (socket.dropped, rig.echo.counters.receive_buffer_errors) == (1, 1)
    assert [event.reason for event in rig.tracer.of(DatagramDropped)] == ["receive_buffer_full"]


def test_closed(rig: Rig) -> None:
    socket = rig.echo.open()
    socket.bind(100, 0)
    socket.close(0)
    for call in (
        socket.receive,
        socket.receive_error,
        lambda: socket.bind(1, 0),
        lambda: socket.send_to(b"", PEER, 1, 0),
        lambda: socket.close(0),
    ):
        with pytest.raises(MisuseError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert json.dumps(rig.echo.snapshot(0))
    assert len(rig.echo.identifiers) == 0


def test_own_address_answers(rig: Rig) -> None:
    socket = rig.echo.open()
    socket.send_to(b"me", ME, 1, 0)
    rig.stack.transmit()
    assert socket.receive().source == ME
