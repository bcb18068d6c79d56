"""Calls that make no sense, and calls that come too late: each the documented error, with its number and its hint."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from nodes.errors import DisconnectedError, LimitError, MisuseError, StackError, UnreachableError
from nodes.transport.tcp.settings import TcpSettings, settings_from
from nodes.transport.tcp.socket import MAXIMUM_BACKLOG, TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from nodes.wire.addresses import ANY, Ip4, Prefix, parse_ip4
from nodes.wire.tcp import ACK, FIN, RST, SYN
from tests.sim.tcp_attacker import NODE, PEER, Attacker, Flow, octets

FOREIGN, UNROUTED = parse_ip4("192.0.2.1"), parse_ip4("198.51.100.1")


@pytest.fixture
def attacker() -> Attacker:
    return Attacker()


def fails(kind: type[StackError], number: int, call: Callable[[], object], *words: str) -> StackError:
    """`call` raises this kind of error with this number, and its text or hint has these words."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    assert error.errno == number, errno.errorcode[error.errno]
    assert error.message
    for word in words:
        assert word in f"{error.message} {error.hint}"
    return error


def established(attacker: Attacker) -> tuple[TcpSocket, Flow]:
    flow = attacker.open(attacker.listen(80))
    assert flow.socket is not None
    return flow.socket, flow


# ------------------------------------------------------------------------------------------------ being set up: bind


@pytest.mark.parametrize("port", [-1, 65_536, 1 << 40])
def test_bind_to_a_port_that_cannot_be(attacker: Attacker, port: int) -> None:
    fails(MisuseError, errno.EINVAL, lambda: attacker.tcp.open().bind(ANY, port, attacker.now), str(port))


def test_bind_to_a_port_in_use(attacker: Attacker) -> None:
    attacker.listen(80)
    fails(MisuseError, errno.EADDRINUSE, lambda: attacker.tcp.open().bind(ANY, 80, attacker.now), "80", "close")
    fails(MisuseError, errno.EADDRINUSE, lambda: attacker.tcp.open().bind(NODE, 80, attacker.now))


def test_a_port_is_free_again_after_close(attacker: Attacker) -> None:
    attacker.listen(80).close(attacker.now)
    attacker.listen(80)


@pytest.mark.parametrize("address", [FOREIGN, parse_ip4("10.255.255.255"), parse_ip4("224.0.0.1")])
def test_bind_to_an_address_that_is_not_ours(attacker: Attacker, address: Ip4) -> None:
    fails(MisuseError, errno.EADDRNOTAVAIL, lambda: attacker.tcp.open().bind(address, 80, attacker.now))


def test_bind_twice(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    socket.bind(ANY, 80, attacker.now)
    fails(MisuseError, errno.EINVAL, lambda: socket.bind(ANY, 81, attacker.now))
    assert socket.local == (ANY, 80)


def test_bind_of_a_connected_socket(attacker: Attacker) -> None:
    socket, _ = established(attacker)
    fails(MisuseError, errno.EINVAL, lambda: socket.bind(ANY, 81, attacker.now))


# ----------------------------------------------------------------------------------------------------- listen, accept


@pytest.mark.parametrize("backlog", [0, -1, MAXIMUM_BACKLOG + 1])
def test_backlog_that_cannot_be(attacker: Attacker, backlog: int) -> None:
    socket = attacker.tcp.open()
    socket.bind(ANY, 80, attacker.now)
    fails(MisuseError, errno.EINVAL, lambda: socket.listen(backlog, attacker.now), str(backlog), str(MAXIMUM_BACKLOG))
    assert socket.state is State.CLOSED
    assert [s.flags & RST for s in attacker.feed(SYN, 1)] == [RST], "nobody listens"


def test_listen_on_a_connected_socket(attacker: Attacker) -> None:
    socket, _ = established(attacker)
    fails(MisuseError, errno.EISCONN, lambda: socket.listen(1, attacker.now))


def test_listen_without_bind_takes_a_free_port(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    socket.listen(1, attacker.now)
    assert socket.local[1] >= 49_152


def test_listen_again_changes_the_backlog(attacker: Attacker) -> None:
    socket = attacker.listen(80, backlog=1)
    socket.listen(2, attacker.now)
    for port in (1, 2):
        attacker.open(None, port=port)
    assert attacker.tcp.counters.listen_overflows == 0


def test_accept_where_nobody_listens(attacker: Attacker) -> None:
    fails(MisuseError, errno.EINVAL, attacker.tcp.open().accept, "listen")
    socket, _ = established(attacker)
    fails(MisuseError, errno.EINVAL, socket.accept, "listen")


def test_accept_without_a_connection_waits(attacker: Attacker) -> None:
    assert attacker.listen(80).accept() is None


@pytest.mark.parametrize(
    "call",
    [
        lambda socket: socket.send(b"x", 0),
        lambda socket: socket.receive(),
        lambda socket: socket.shutdown(0),
        lambda socket: socket.info(0),
    ],
    ids=["send", "receive", "shutdown", "info"],
)
def test_stream_calls_on_a_listener_or_a_new_socket(attacker: Attacker, call: Callable[[TcpSocket], object]) -> None:
    for socket in (attacker.listen(80), attacker.tcp.open()):
        fails(MisuseError, errno.ENOTCONN, lambda socket=socket: call(socket))


# ------------------------------------------------------------------------------------------------------------ connect


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_connect_to_a_port_that_cannot_be(attacker: Attacker, port: int) -> None:
    fails(MisuseError, errno.EINVAL, lambda: attacker.tcp.open().connect(PEER, port, attacker.now), str(port))


@pytest.mark.parametrize(
    ("address", "number"),
    [
        (parse_ip4("224.0.0.1"), errno.ENETUNREACH),
        (parse_ip4("255.255.255.255"), errno.ENETUNREACH),
        (parse_ip4("10.255.255.255"), errno.ENETUNREACH),
        (ANY, errno.EINVAL),
    ],
)
def test_connect_to_what_is_not_one_host(attacker: Attacker, address: Ip4, number: int) -> None:
    """MUST-46."""
    fails(MisuseError, number, lambda: attacker.tcp.open().connect(address, 80, attacker.now))
    assert not attacker.pump() and not attacker.connections()


def test_connect_without_a_route(attacker: Attacker) -> None:
    attacker.stack.remove_route(Prefix(ANY, 0), PEER, 0, attacker.now)
    socket = attacker.tcp.open()
    fails(UnreachableError, errno.ENETUNREACH, lambda: socket.connect(UNROUTED, 80, attacker.now))
    assert attacker.connections() == 0 and len(attacker.tcp.ports) == 0
    socket.connect(PEER, 80, attacker.now)  # the socket can still be used


def test_connect_twice(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    socket.connect(PEER, 80, attacker.now)
    fails(MisuseError, errno.EISCONN, lambda: socket.connect(PEER, 81, attacker.now))
    attacker.pump()
    accepted, _ = established(attacker)
    fails(MisuseError, errno.EISCONN, lambda: accepted.connect(PEER, 81, attacker.now))


def test_connect_of_a_listener(attacker: Attacker) -> None:
    server = attacker.listen(80)
    fails(MisuseError, errno.EISCONN, lambda: server.connect(PEER, 81, attacker.now))


def test_connect_where_the_connection_exists(attacker: Attacker) -> None:
    """The four values name a connection: there is no second."""
    flow = attacker.open(attacker.listen(80))
    client = attacker.tcp.open()
    attacker.tcp._listeners.clear()
    attacker.tcp.ports._claims.clear()
    client.bind(NODE, 80, attacker.now)
    fails(MisuseError, errno.EADDRINUSE, lambda: client.connect(PEER, flow.port, attacker.now))


# -------------------------------------------------------------------------------------------------------- the stream


def test_receive_before_anything_came(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    socket.connect(PEER, 80, attacker.now)
    assert socket.receive() is None
    attacker.pump()
    accepted, _ = established(attacker)
    assert accepted.receive() is None


def test_send_before_the_handshake_is_complete_is_queued(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    socket.connect(PEER, 80, attacker.now)
    assert socket.send(b"early", attacker.now) == 5
    assert not socket.writable and socket.unsent == 5


def test_send_of_nothing(attacker: Attacker) -> None:
    socket, _ = established(attacker)
    assert socket.send(b"", attacker.now) == 0
    assert not attacker.pump()


def test_send_after_shutdown(attacker: Attacker) -> None:
    socket, _ = established(attacker)
    socket.shutdown(attacker.now)
    fails(DisconnectedError, errno.EPIPE, lambda: socket.send(b"x", attacker.now))
    socket.shutdown(attacker.now)
    assert [s.flags & FIN for s in attacker.pump()] == [FIN], "twice says it once"


def test_every_call_after_close(attacker: Attacker) -> None:
    socket, _ = established(attacker)
    socket.close(attacker.now)
    calls: list[Callable[[], object]] = [
        lambda: socket.send(b"x", attacker.now),
        socket.receive,
        socket.accept,
        lambda: socket.shutdown(attacker.now),
        lambda: socket.bind(ANY, 0, attacker.now),
        lambda: socket.listen(1, attacker.now),
        lambda: socket.connect(PEER, 80, attacker.now),
        lambda: socket.set_option("nodelay", True, attacker.now),
        lambda: socket.send_urgent(b"x", attacker.now),
    ]
    for call in calls:
        fails(MisuseError, errno.EBADF, call, "closed")
    socket.close(attacker.now)
    socket.abort(attacker.now)
    assert attacker.tcp._sockets == 1, "counted once, however often it is closed"


def test_send_after_the_peer_reset(attacker: Attacker) -> None:
    """The reason first, once; then that nothing more is sent."""
    socket, flow = established(attacker)
    flow.send(RST, flow.seq)
    fails(DisconnectedError, errno.ECONNRESET, lambda: socket.send(b"x", attacker.now), "reset")
    fails(DisconnectedError, errno.EPIPE, lambda: socket.send(b"x", attacker.now))
    assert socket.receive() == b""


def test_read_after_the_end(attacker: Attacker) -> None:
    socket, flow = established(attacker)
    flow.send(ACK | FIN, flow.seq, data=octets(flow.seq, 3))
    assert [socket.receive(2), socket.receive(2), socket.receive(2), socket.receive(2)] == [
        octets(flow.seq, 2),
        octets(flow.seq + 2, 1),
        b"",
        b"",
    ]


@pytest.mark.parametrize("limit", [0, -1])
def test_read_of_nothing_is_not_the_end(attacker: Attacker, limit: int) -> None:
    """b"" says that the peer has closed: a limit that allows nothing must not say that."""
    socket, flow = established(attacker)
    flow.send(ACK, flow.seq, data=octets(flow.seq, 3))
    fails(MisuseError, errno.EINVAL, lambda: socket.receive(limit), str(limit))
    assert socket.receive() == octets(flow.seq, 3)


def test_shutdown_of_a_connection_that_is_over(attacker: Attacker) -> None:
    socket, flow = established(attacker)
    flow.send(RST, flow.seq)
    socket.shutdown(attacker.now)
    assert not attacker.pump()


# ----------------------------------------------------------------------------------------------------------- options


def test_unknown_option(attacker: Attacker) -> None:
    socket = attacker.tcp.open()
    fails(MisuseError, errno.ENOPROTOOPT, lambda: socket.set_option("no_delay", True, 0), "did you mean", "nodelay")
    fails(MisuseError, errno.ENOPROTOOPT, lambda: socket.set_option("xyz", True, 0), "known are", "linger")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodelay", 1),
        ("nodelay", "yes"),
        ("nodelay", None),
        ("keepalive_idle", 0),
        ("keepalive_idle", 1.5),
        ("keepalive_probes", 128),
        ("linger", -1),
        ("linger", True),
        ("user_timeout", 0),
        ("ttl", 0),
        ("ttl", 256),
        ("traffic_class", 1),
        ("traffic_class", 256),
        ("receive_limit", 0),
        ("receive_limit", 1 << 31),
        ("send_limit", -5),
        ("send_limit", None),
        ("mss", 47),
        ("mss", 65_536),
        ("congestion", 7),
    ],
)
def test_bad_option_value(attacker: Attacker, name: str, value: object) -> None:
    """The option keeps the value that it had."""
    socket = attacker.tcp.open()
    before = getattr(socket.options, name)
    fails(MisuseError, errno.EINVAL, lambda: socket.set_option(name, value, 0), name)
    assert getattr(socket.options, name) == before


def test_unknown_congestion_control(attacker: Attacker) -> None:
    for socket in (attacker.tcp.open(), established(attacker)[0]):
        before = socket.options.congestion
        fails(MisuseError, errno.ENOENT, lambda socket=socket: socket.set_option("congestion", "cubik", 0), "cubic")
        assert socket.options.congestion == before


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"msl_": 1}, "msl"),
        ({"msl": "long"}, "msl"),
        ({"sack": 1}, "sack"),
        ({"receive_buffer": -1}, "receive_buffer"),
        ({"initial_window": 1.5}, "initial_window"),
        ({"congestion": "cubik"}, "cubic"),
        ({"msl": float("inf")}, "msl"),
        ({"fin_wait_2": float("nan")}, "fin_wait_2"),
        ({"maximum_connections": True}, "maximum_connections"),
    ],
)
def test_bad_settings_of_a_node(values: dict[str, str | int | float | bool], word: str) -> None:
    with pytest.raises(MisuseError) as caught:
        settings_from(values)
    assert word in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "values",
    [
        {"msl": 0},
        {"receive_buffer": 0},
        {"send_buffer": 0},
        {"initial_window": 0},
        {"initial_rto": 0},
        {"minimum_rto": 0, "clock_granularity": 0},
        {"maximum_rto": 0},
        {"delayed_ack": 0},
        {"maximum_half_open": 0},
        {"maximum_connections": 0},
        {"time_wait_limit": 0},
        {"challenge_ack_limit": 0},
        {"keepalive_probes": 0, "keepalive_idle": 0, "keepalive_interval": 0},
        {"r1": 0, "r2": 0, "syn_r2": 0, "fin_wait_2": 0},
        {"memory": 0},
    ],
    ids=lambda values: next(iter(values)),
)
def test_settings_of_zero_never_crash_a_node(values: dict[str, int]) -> None:
    """Refused as the node starts, or a node that runs: nothing in between, and no timer that spins."""
    try:
        settings = settings_from(values)
    except MisuseError as error:
        assert error.errno == errno.EINVAL
        return
    attacker = Attacker(settings)
    try:
        server = attacker.listen(80, keepalive=True)
        client = attacker.tcp.open()
        client.connect(PEER, 9, attacker.now)
    except StackError:
        return
    answers = attacker.feed(SYN, 100)
    if answers and answers[0].flags & SYN:
        attacker.feed(ACK, 101, answers[0].sequence + 1)
        accepted = server.accept()
        if accepted is not None:
            attacker.feed(ACK, 101, answers[0].sequence + 1, data=octets(101, 50))
            accepted.send(bytes(50), attacker.now)
            attacker.advance(SECOND)
            accepted.close(attacker.now)
    before = attacker.wakeups
    attacker.advance(3000 * SECOND)
    assert attacker.wakeups - before < 5000
    assert attacker.connections() == 0


# ------------------------------------------------------------------------------------------------------------- limits


def test_too_many_sockets(attacker: Attacker) -> None:
    small = Attacker(TcpSettings(maximum_connections=1))
    small.tcp.open()
    fails(LimitError, errno.EMFILE, small.tcp.open)


def test_no_port_left(attacker: Attacker) -> None:
    attacker.tcp.ports = type(attacker.tcp.ports)(attacker.tcp.random, first_dynamic=50_000, last_dynamic=50_001)
    for _ in range(2):
        attacker.tcp.open().bind(ANY, 0, attacker.now)
    fails(LimitError, errno.EADDRNOTAVAIL, lambda: attacker.tcp.open().bind(ANY, 0, attacker.now), "in use")
    fails(LimitError, errno.EADDRNOTAVAIL, lambda: attacker.tcp.open().listen(1, attacker.now))


def test_failed_connect_takes_nothing(attacker: Attacker) -> None:
    """No port, no connection, no timer stays behind, and the socket can be closed."""
    attacker.stack.remove_address(0, Prefix(NODE, 8), attacker.now)
    socket = attacker.tcp.open()
    with pytest.raises(StackError):
        socket.connect(PEER, 80, attacker.now)
    socket.close(attacker.now)
    assert attacker.tcp._sockets == 0
    attacker.assert_empty()


def test_link_that_is_down(attacker: Attacker) -> None:
    """Not an error of the call: the link may come back, and the data goes again."""
    socket, _ = established(attacker)
    attacker.stack.set_port(0, False, attacker.now)
    assert socket.send(b"waits", attacker.now) == 5
    assert not attacker.advance(10 * SECOND)
    attacker.stack.set_port(0, True, attacker.now)
    assert b"waits" in [bytes(s.payload) for s in attacker.advance(60 * SECOND)]
