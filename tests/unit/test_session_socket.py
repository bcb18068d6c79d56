"""Sockets of the stack by the methods of `socket.socket`: what they do, and what they raise."""

import errno
import socket
from socket import SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_DGRAM

import pytest

from nodes.session.session import EndpointOwner
from nodes.session.socket import StackSocket
from nodes.session.view import TransportSocketView, local_of, remote_of
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from tests.unit.session_pair import Pair


def number(call, *arguments):
    with pytest.raises(OSError) as caught:
        call(*arguments)
    return caught.value.errno


@pytest.fixture
def pair():
    return Pair()


def listening(session, port=80):
    listener = StackSocket(session)
    listener.bind(("", port))
    listener.listen()
    return listener


def connected(pair):
    listener = listening(pair.b)
    client = StackSocket(pair.a)
    assert client.start_connect(("b", 80)) is False
    pair.run()
    return client, listener.accept()[0]


def datagrams(session, port=0):
    opened = StackSocket(session, SOCK_DGRAM)
    if port:
        opened.bind(("", port))
    return opened


# --------------------------------------------------------------------------------------------------------- what it is


def test_a_socket_says_what_it_is(pair):
    tcp, udp = StackSocket(pair.a), datagrams(pair.a)
    assert (tcp.family, tcp.type, tcp.proto) == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert (udp.family, udp.type, udp.proto) == (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    assert tcp.fileno() == -1
    assert tcp.gettimeout() == tcp.timeout == 0
    assert tcp.getblocking() is tcp.get_inheritable() is False
    tcp.setblocking(False)
    tcp.settimeout(0)
    assert isinstance(tcp, EndpointOwner)
    assert tcp.session is pair.a


def test_it_never_blocks(pair):
    tcp = StackSocket(pair.a)
    for call, value in ((tcp.setblocking, True), (tcp.settimeout, 1.0), (tcp.settimeout, None)):
        with pytest.raises(ValueError, match="never wait"):
            call(value)


def test_other_types_do_not_exist(pair):
    assert number(StackSocket, pair.a, socket.SOCK_RAW) == errno.EPROTONOSUPPORT
    assert number(StackSocket(pair.a).dup) == errno.EOPNOTSUPP


def test_too_many_sockets():
    pair = Pair(maximum_connections=2)
    kept = [StackSocket(pair.a), StackSocket(pair.a)]
    assert number(StackSocket, pair.a) == errno.EMFILE
    kept[0].close()
    StackSocket(pair.a)


def test_texts(pair):
    client, server = connected(pair)
    host, port = client.getsockname()
    assert repr(client) == f"<StackSocket tcp of a local={host}:{port} remote=10.0.0.2:80 established>"
    assert repr(server.view()) == f"<TransportSocketView tcp of b local=10.0.0.2:80 remote={host}:{port} established>"
    assert repr(datagrams(pair.a, 53)) == "<StackSocket udp of a local=0.0.0.0:53>"
    client.close()
    assert repr(client) == "<StackSocket tcp of a [closed]>"


# ------------------------------------------------------------------------------------------------------ being set up


def test_names_of_both_sides(pair):
    client, server = connected(pair)
    assert client.getsockname() == server.getpeername()
    assert client.getpeername() == server.getsockname() == ("10.0.0.2", 80)
    fresh = StackSocket(pair.a)
    assert fresh.getsockname() == ("0.0.0.0", 0)
    assert number(fresh.getpeername) == errno.ENOTCONN
    fresh.bind(("a", 0))
    assert fresh.getsockname()[0] == "10.0.0.1"
    assert 49152 <= fresh.getsockname()[1] <= 65535
    client.close()
    assert number(client.getsockname) == number(client.getpeername) == errno.EBADF
    assert remote_of(client.endpoint) == ("10.0.0.2", 80)
    assert local_of(server.endpoint) == ("10.0.0.2", 80)


def test_there_is_no_peer_before_and_after_the_connection(pair):
    client = StackSocket(pair.a)
    client.start_connect(("b", 80))
    assert number(client.getpeername) == errno.ENOTCONN
    pair.run()
    assert number(client.getpeername) == errno.ENOTCONN


@pytest.mark.parametrize(
    ("address", "expected"),
    [(("10.9.9.9", 80), errno.EADDRNOTAVAIL), (("b", 80), errno.EADDRNOTAVAIL), (("", 80), errno.EADDRINUSE)],
)
def test_bind_errors(pair, address, expected):
    holders = [listening(pair.a), datagrams(pair.a, 80)]
    for holder in holders:
        opened = StackSocket(pair.a, holder.type)
        assert number(opened.bind, address) == expected
        opened.bind(("", 81))
        assert number(opened.bind, ("", 82)) == errno.EINVAL


def test_connecting(pair):
    listener = listening(pair.b)
    client = StackSocket(pair.a)
    rings = []
    client.on_ready = lambda: rings.append(client.connected)
    assert client.connect_ex(("b", 80)) == errno.EINPROGRESS
    assert client.connect_ex(("b", 80)) == errno.EALREADY
    assert (client.connected, client.readable, client.writable, client.error) == (False, False, False, None)
    pair.run()
    assert rings == [True]
    assert (client.connected, client.readable, client.writable, client.error) == (True, False, True, None)
    assert client.connect_ex(("b", 80)) == errno.EISCONN
    assert number(client.connect, ("b", 80)) == errno.EISCONN
    assert listener.readable
    accepted, address = listener.accept()
    assert address == client.getsockname()
    assert accepted.session is pair.b
    assert accepted.endpoint.owner is accepted


def test_connect_in_progress_is_a_blocking_io_error(pair):
    with pytest.raises(BlockingIOError) as caught:
        StackSocket(pair.a).connect(("b", 80))
    assert caught.value.errno == errno.EINPROGRESS


def test_connection_refused(pair):
    client = StackSocket(pair.a)
    rings = []
    client.on_ready = lambda: rings.append(client.error)
    client.start_connect(("b", 80))
    pair.run()
    assert [type(error) for error in rings] == [ConnectionRefusedError]
    assert not client.connected
    assert client.writable
    assert client.readable
    assert isinstance(client.error, ConnectionRefusedError)
    with pytest.raises(ConnectionRefusedError):
        client.recv(10)
    assert client.error is None
    assert client.take_error() is None


def test_connection_timed_out():
    pair = Pair(syn_r2=5)
    client = StackSocket(pair.a)
    pair.cut = True
    client.start_connect(("b", 80))
    pair.run(10 * SECOND)
    error = client.take_error()
    assert isinstance(error, TimeoutError)
    assert error.errno == errno.ETIMEDOUT
    assert client.take_error() is None


def test_nobody_has_the_address():
    pair = Pair(syn_r2=5)
    client = StackSocket(pair.a)
    client.start_connect(("10.0.0.99", 80))
    pair.run(10 * SECOND)
    assert client.take_error().errno == errno.EHOSTUNREACH


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 80), errno.ENETUNREACH),
        (("far", 80), errno.ENETUNREACH),
        (("10.0.0.255", 80), errno.ENETUNREACH),
        (("b", 0), errno.EINVAL),
    ],
)
def test_what_cannot_even_begin(pair, address, expected):
    client = StackSocket(pair.a)
    assert client.connect_ex(address) == expected
    assert number(client.start_connect, address) == expected


def test_unknown_names(pair):
    for call in (StackSocket(pair.a).connect_ex, StackSocket(pair.a).bind, StackSocket(pair.a).start_connect):
        with pytest.raises(socket.gaierror):
            call(("nobody", 80))


def test_accept_errors(pair):
    listener = listening(pair.a)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert number(StackSocket(pair.a).accept) == errno.EINVAL
    assert number(datagrams(pair.a).accept) == number(datagrams(pair.a).listen) == errno.EOPNOTSUPP
    client, _ = connected(pair)
    assert number(client.listen) == errno.EISCONN


@pytest.mark.parametrize("backlog", [-1, 0, 1, 100_000])
def test_any_backlog_will_do(pair, backlog):
    opened = StackSocket(pair.a)
    opened.listen(backlog)
    assert opened.getsockname()[1]


def test_a_listener_does_not_receive(pair):
    listener = listening(pair.a)
    assert number(listener.recv, 1) == number(listener.send, b"x") == errno.ENOTCONN
    assert not listener.writable


# -------------------------------------------------------------------------------------------------------- the stream


def test_octets_both_ways(pair):
    client, server = connected(pair)
    assert client.send(b"hello") == 5
    assert server.send(memoryview(b"world")[1:]) == 4
    pair.run()
    assert server.recv(2) == b"he"
    assert server.recvfrom(100) == (b"llo", None)
    buffer = bytearray(10)
    assert client.recv_into(buffer) == 4
    assert buffer[:4] == b"orld"
    for opened in (client, server):
        with pytest.raises(BlockingIOError) as caught:
            opened.recv(1)
        assert caught.value.errno == errno.EAGAIN


def test_buffers_of_other_items_are_counted_in_octets(pair):
    client, server = connected(pair)
    assert client.send(memoryview(bytes(16)).cast("I")) == 16
    assert client.send(bytearray(b"ab")) == 2
    pair.run()
    target = memoryview(bytearray(20)).cast("I")
    assert server.recv_into(target) == 18
    client.send(b"abcdef")
    pair.run()
    buffer = bytearray(6)
    assert server.recv_into(buffer, 2) == 2
    assert server.recv_into(memoryview(buffer)[2:], 0) == 4
    assert buffer == b"abcdef"


def test_limits_of_receiving(pair):
    client, server = connected(pair)
    server.send(b"x")
    pair.run()
    assert client.recv(0) == b""
    with pytest.raises(ValueError, match="negative"):
        client.recv(-1)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match="octets asked for"):
            client.recv_into(bytearray(4), wrong)
    assert client.recv(1) == b"x"


def test_back_pressure(pair):
    client, server = connected(pair)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    rings = []
    client.on_ready = lambda: rings.append(client.writable)
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            sent += client.send(bytes(5000))
            pair.run()
    assert 10_000 <= sent < 200_000
    assert not client.writable
    rings.clear()
    while server.readable:
        received = len(server.recv(65_536))
        pair.run(SECOND)
        sent -= received
    assert sent == 0
    assert True in rings
    assert client.writable


def test_reading_opens_the_window(pair):
    """What a program reads may be news for the peer: the pump is asked for."""
    client, server = connected(pair)
    client.send(b"x")
    pair.run()
    before = pair.touches
    assert server.recv(10) == b"x"
    assert pair.touches == before + 1


@pytest.mark.parametrize("call", ["send", "start_connect", "shutdown", "close", "abort"])
def test_what_may_leave_frames_asks_for_the_pump(pair, call):
    client, _ = connected(pair)
    before = pair.touches
    if call == "start_connect":
        client = StackSocket(pair.a)
    arguments = {"send": [b"x"], "start_connect": [("b", 80)], "shutdown": [SHUT_WR]}.get(call, [])
    getattr(client, call)(*arguments)
    assert pair.touches > before


def test_no_octets_before_the_connection_is_open(pair):
    listening(pair.b)
    client = StackSocket(pair.a)
    assert number(client.send, b"x") == number(client.recv, 1) == errno.ENOTCONN
    client.start_connect(("b", 80))
    with pytest.raises(BlockingIOError):
        client.send(b"x")
    with pytest.raises(BlockingIOError):
        client.recv(1)


def test_half_close(pair):
    client, server = connected(pair)
    client.send(b"question")
    client.shutdown(SHUT_WR)
    with pytest.raises(BrokenPipeError):
        client.send(b"more")
    pair.run()
    assert server.recv(100) == b"question"
    assert server.recv(100) == server.recv(100) == b""
    server.send(b"answer")
    pair.run()
    assert client.recv(100) == b"answer"
    server.shutdown(SHUT_WR)
    pair.run()
    assert client.recv(100) == b""


def test_reading_can_be_ended(pair):
    client, server = connected(pair)
    server.send(b"x")
    pair.run()
    client.shutdown(SHUT_RD)
    assert client.readable
    assert client.recv(10) == b"x"
    assert client.recv(10) == b""
    assert client.send(b"y") == 1
    server.shutdown(SHUT_RDWR)
    assert server.recv(10) == b""
    pair.run()
    assert server.recv(10) == b"y"


def test_shutdown_errors(pair):
    assert number(StackSocket(pair.a).shutdown, SHUT_WR) == errno.ENOTCONN
    assert number(listening(pair.a).shutdown, SHUT_RDWR) == errno.ENOTCONN
    client, _ = connected(pair)
    assert number(client.shutdown, 7) == errno.EINVAL


def test_reset_by_the_peer(pair):
    client, server = connected(pair)
    client.send(b"x")
    pair.run()
    server.abort()
    pair.run()
    assert isinstance(client.error, ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert client.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        client.send(b"x")
    assert number(client.shutdown, SHUT_WR) == errno.ENOTCONN


def test_close_delivers_what_is_queued(pair):
    client, server = connected(pair)
    client.send(b"x" * 100_000)
    client.close()
    client.close()
    received = b""
    while not received.endswith(b"END"):
        pair.run()
        data = server.recv(65_536)
        received += data or b"END"
    assert len(received) == 100_003


def test_a_closed_socket(pair):
    for opened in (StackSocket(pair.a), datagrams(pair.a)):
        opened.on_ready = lambda: None
        endpoint = opened.endpoint
        assert not opened.closed
        opened.close()
        opened.close()
        opened.abort()
        assert opened.closed
        assert endpoint.owner is None
        assert opened.on_ready is None
        for call, arguments in (
            (opened.bind, [("", 1)]),
            (opened.start_connect, [("b", 1)]),
            (opened.recv, [1]),
            (opened.recvfrom, [1]),
            (opened.recv_into, [bytearray(1)]),
            (opened.send, [b"x"]),
            (opened.sendto, [b"x", ("b", 1)]),
            (opened.shutdown, [SHUT_WR]),
            (opened.take_error, []),
            (opened.listen, []),
            (opened.accept, []),
        ):
            assert number(call, *arguments) == errno.EBADF
        assert opened.connect_ex(("b", 1)) == errno.EBADF


def test_it_closes_at_the_end_of_a_block(pair):
    with StackSocket(pair.a) as opened:
        assert not opened.closed
    assert opened.closed


def test_an_endpoint_can_change_hands(pair):
    client, server = connected(pair)
    server.on_ready = lambda: pytest.fail("rung after it was detached")
    endpoint = server.detach()
    assert endpoint.owner is None
    client.send(b"x")
    pair.run()
    again = StackSocket(pair.b, endpoint=endpoint)
    assert again.readable
    assert again.recv(1) == b"x"


def test_flags(pair):
    client, server = connected(pair)
    assert client.send(b"x", getattr(socket, "MSG_NOSIGNAL", 0)) == 1
    pair.run()
    assert number(server.recv, 1, socket.MSG_PEEK) == errno.EOPNOTSUPP
    assert number(client.send, b"x", socket.MSG_DONTROUTE) == errno.EOPNOTSUPP
    assert server.recv(1, getattr(socket, "MSG_DONTWAIT", 0)) == b"x"


def test_urgent_octets(pair):
    """In the stream, and what one call gives ends before the last of them."""
    client, server = connected(pair)
    client.send(b"before")
    assert client.send(b"hurry!", socket.MSG_OOB) == 6
    client.send(b"after")
    pair.run()
    assert server.info()["urgent"] == 12
    assert number(server.recv, 1, socket.MSG_OOB) == errno.EINVAL
    assert server.recv(4) == b"befo"
    assert server.recv(100) == b"rehurry"
    assert server.info()["urgent"] == 1, "at the mark"
    assert server.readable
    assert server.recv(100) == b"!after"
    assert server.info()["urgent"] == 0
    client.send(b"and so on")
    pair.run()
    assert server.recv(100) == b"and so on"
    assert client.sendto(b"?", socket.MSG_OOB, None) == 1
    pair.run()
    assert server.info()["urgent"] == 1
    assert server.recv(1) == b"?"


def test_urgent_octets_that_cannot_be(pair):
    client, server = connected(pair)
    server.close()
    assert number(server.recv, 1, socket.MSG_OOB) == errno.EBADF
    assert number(datagrams(pair.a).send, b"x", socket.MSG_OOB) == errno.EOPNOTSUPP
    assert number(datagrams(pair.a).sendto, b"x", socket.MSG_OOB, ("b", 9)) == errno.EOPNOTSUPP
    assert number(datagrams(pair.a, 9).recv, 1, socket.MSG_OOB) == errno.EOPNOTSUPP
    client.shutdown(SHUT_WR)
    assert number(client.send, b"x", socket.MSG_OOB) == errno.EPIPE


def test_sendto_on_a_stream(pair):
    client, server = connected(pair)
    assert number(client.sendto, b"x", ("b", 80)) == errno.EISCONN
    assert number(StackSocket(pair.a).sendto, b"x", ("b", 80)) == errno.EPIPE
    assert client.sendto(b"x", None) == 1
    pair.run()
    assert server.recv(1) == b"x"


def test_statistics(pair):
    client, _ = connected(pair)
    assert client.info()["state"] == "established"
    assert client.view().info()["mss"] == client.info()["mss"]
    assert number(StackSocket(pair.a).info) == errno.ENOTCONN
    server = datagrams(pair.b, 9)
    datagrams(pair.a).sendto(b"abc", ("b", 9))
    pair.run()
    assert server.info() == {"waiting": 1, "waiting_octets": 3, "dropped": 0}


def test_a_view_has_nothing_that_takes_octets(pair):
    view = connected(pair)[0].view()
    assert type(view) is TransportSocketView
    for method in ("recv", "recv_into", "recvfrom", "send", "sendto", "bind", "connect", "accept", "close", "shutdown"):
        assert not hasattr(view, method)


def test_a_connection_within_the_node(pair):
    for host in ("localhost", "a", "0.0.0.0"):
        listener = StackSocket(pair.a)
        listener.bind((host, 0))
        listener.listen()
        client = StackSocket(pair.a)
        client.start_connect(listener.getsockname())
        pair.run()
        assert client.connected
        server, address = listener.accept()
        assert address == client.getsockname()
        client.send(b"x")
        pair.run()
        assert server.recv(1) == b"x"


def test_states_of_a_whole_life(pair):
    client, server = connected(pair)
    client.close()
    pair.run()
    assert server.endpoint.state is State.CLOSE_WAIT
    assert server.recv(1) == b""
    server.close()
    pair.run()
    assert pair.stacks[1].tcp.snapshot(pair.now)["connection_count"] == 0


# -------------------------------------------------------------------------------------------------------- datagrams


def test_datagrams(pair):
    server, client = datagrams(pair.b, 9), datagrams(pair.a)
    rings = []
    server.on_ready = lambda: rings.append(server.readable)
    assert not server.readable
    assert server.writable
    assert client.sendto(b"one", ("b", 9)) == 3
    assert client.sendto(b"", 0, ("b", 9)) == 0
    assert client.sendto(bytearray(b"three"), ("b", 9)) == 5
    pair.run()
    assert rings == [True]
    address = ("10.0.0.1", client.getsockname()[1])
    assert server.recvfrom() == (b"one", address)
    assert server.recvfrom(100) == (b"", address)
    assert server.recv(2) == b"th"
    with pytest.raises(BlockingIOError):
        server.recv(10)
    server.sendto(b"back", address)
    pair.run()
    buffer = bytearray(10)
    assert client.recvfrom_into(buffer, 2) == (2, ("10.0.0.2", 9))
    assert buffer[:3] == b"ba\0"


def test_datagrams_within_the_node(pair):
    server, client = datagrams(pair.a, 9), datagrams(pair.a)
    for host in ("0.0.0.0", "", "localhost", "a"):
        client.sendto(b"x", (host, 9))
        pair.run()
        assert server.recv(1) == b"x"


def test_connected_datagrams(pair):
    server, client = datagrams(pair.b, 9), datagrams(pair.a)
    assert number(client.send, b"x") == errno.EDESTADDRREQ
    assert number(client.getpeername) == errno.ENOTCONN
    assert not client.connected
    assert client.start_connect(("b", 9)) is True
    assert client.connect_ex(("b", 9)) == 0
    client.connect(("b", 9))
    assert client.connected
    assert client.getpeername() == ("10.0.0.2", 9)
    assert client.send(b"x") == client.sendto(b"y", None) == client.sendto(b"z", ("b", 9)) == 1
    pair.run()
    assert [server.recv(9) for _ in range(3)] == [b"x", b"y", b"z"]


def test_nobody_is_there(pair):
    client = datagrams(pair.a)
    client.start_connect(("b", 9))
    client.send(b"x")
    pair.run()
    assert client.readable
    assert client.error is None
    with pytest.raises(ConnectionRefusedError, match="port unreachable"):
        client.recv(10)
    client.send(b"x")
    pair.run()
    with pytest.raises(ConnectionRefusedError):
        client.send(b"x")
    assert client.send(b"x") == 1
    pair.run()
    assert isinstance(client.take_error(), ConnectionRefusedError)
    assert client.take_error() is None


def test_recorded_errors_of_a_socket_without_a_peer(pair):
    client = datagrams(pair.a)
    client.sendto(b"x", ("b", 9))
    pair.run()
    assert not client.readable
    client.setsockopt(socket.IPPROTO_IP, 11, 1)
    client.sendto(b"x", ("b", 9))
    pair.run()
    assert client.readable
    with pytest.raises(ConnectionRefusedError):
        client.recv(10)
    assert not client.readable


@pytest.mark.parametrize(
    ("data", "address", "expected"),
    [
        (b"x" * 65_508, ("b", 9), errno.EMSGSIZE),
        (b"x", ("10.0.0.255", 9), errno.EACCES),
        (b"x", ("<broadcast>", 9), errno.EACCES),
        (b"x", ("192.0.2.1", 9), errno.ENETUNREACH),
        (b"x", ("b", 0), errno.EINVAL),
    ],
)
def test_datagrams_that_cannot_be_sent(pair, data, address, expected):
    assert number(datagrams(pair.a).sendto, data, address) == expected


def test_broadcast_by_permission(pair):
    server, client = datagrams(pair.b, 9), datagrams(pair.a)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.sendto(b"all", ("<broadcast>", 9))
    pair.run()
    assert server.recv(10) == b"all"


def test_shutdown_of_datagrams(pair):
    client = datagrams(pair.a)
    assert number(client.shutdown, SHUT_RD) == errno.ENOTCONN
    client.start_connect(("b", 9))
    client.shutdown(SHUT_RDWR)
    assert client.readable
    assert client.recv(1) == b""
    for call, arguments in ((client.send, [b"x"]), (client.sendto, [b"x", ("b", 9)])):
        assert number(call, *arguments) == errno.EPIPE


def test_wrong_arguments(pair):
    client = datagrams(pair.a)
    for arguments in ([], [0, ("b", 9), 1]):
        with pytest.raises(TypeError):
            client.sendto(b"x", *arguments)
    with pytest.raises(TypeError):
        client.sendto("x", ("b", 9))
    with pytest.raises(TypeError):
        client.send(5)
