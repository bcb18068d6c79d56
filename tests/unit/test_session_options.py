"""Options by their numbers: what reaches the stack, what is answered, what is refused."""

import errno
import socket
import struct
from socket import IPPROTO_IP, IPPROTO_TCP, SO_ERROR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

from nodes.session import tcp_info
from nodes.session.ip_options import IP_OPTIONS
from nodes.session.options import TABLE
from nodes.session.socket import StackSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import parse_ip4
from tests.unit.session_pair import Pair

RECVERR, MTU_DISCOVER, NO_CHECK = 11, 10, 11
GROUP = "239.1.1.1"


def number(call, *arguments):
    with pytest.raises(OSError) as caught:
        call(*arguments)
    return caught.value.errno


@pytest.fixture
def pair():
    return Pair()


@pytest.fixture
def tcp(pair):
    return StackSocket(pair.a)


@pytest.fixture
def udp(pair):
    return StackSocket(pair.a, SOCK_DGRAM)


def connected(pair):
    """A client of `a` and what the server of `b` accepted."""
    listener = StackSocket(pair.b)
    listener.bind(("", 80))
    listener.listen()
    client = StackSocket(pair.a)
    client.start_connect(("b", 80))
    pair.run()
    return client, listener.accept()[0]


@pytest.mark.parametrize(
    ("level", "name", "value", "field", "expected"),
    [
        (SOL_SOCKET, socket.SO_KEEPALIVE, 1, "keepalive", True),
        (SOL_SOCKET, socket.SO_RCVBUF, 50_000, "receive_limit", 50_000),
        (SOL_SOCKET, socket.SO_SNDBUF, 50_000, "send_limit", 50_000),
        (IPPROTO_TCP, socket.TCP_NODELAY, 1, "nodelay", True),
        (IPPROTO_TCP, socket.TCP_MAXSEG, 1000, "mss", 1000),
        (IPPROTO_TCP, socket.TCP_KEEPIDLE, 7, "keepalive_idle", 7 * SECOND),
        (IPPROTO_TCP, socket.TCP_KEEPINTVL, 7, "keepalive_interval", 7 * SECOND),
        (IPPROTO_TCP, socket.TCP_KEEPCNT, 7, "keepalive_probes", 7),
        (IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500, "user_timeout", 1500 * MILLISECOND),
        (IPPROTO_IP, socket.IP_TTL, 7, "ttl", 7),
        (IPPROTO_IP, socket.IP_TOS, 0x20, "traffic_class", 0x20),
    ],
)
def test_numbers_of_tcp(tcp, level, name, value, field, expected):
    for given in (value, struct.pack("i", value), bytearray(struct.pack("i", value))):
        tcp.setsockopt(level, name, 0 if field in ("keepalive", "nodelay") else value)
        tcp.setsockopt(level, name, given)
        assert getattr(tcp.endpoint.options, field) == expected
    assert tcp.getsockopt(level, name) == value
    assert tcp.getsockopt(level, name, 4) == struct.pack("i", value)
    assert tcp.getsockopt(level, name, 1) == struct.pack("i", value)[:1]


@pytest.mark.parametrize(
    ("level", "name", "value", "field", "expected"),
    [
        (SOL_SOCKET, socket.SO_BROADCAST, 1, "broadcast", True),
        (SOL_SOCKET, socket.SO_REUSEADDR, 1, "reuse_address", True),
        (SOL_SOCKET, socket.SO_REUSEPORT, 1, "reuse_address", True),
        (SOL_SOCKET, socket.SO_RCVBUF, 50_000, "receive_limit", 50_000),
        (IPPROTO_IP, socket.IP_TTL, 7, "ttl", 7),
        (IPPROTO_IP, socket.IP_TOS, 0x21, "traffic_class", 0x21),
        (IPPROTO_IP, socket.IP_MULTICAST_TTL, 0, "multicast_ttl", 0),
        (IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0, "multicast_loop", False),
        (IPPROTO_IP, MTU_DISCOVER, 2, "dont_fragment", True),
        (IPPROTO_IP, MTU_DISCOVER, 0, "dont_fragment", False),
        (IPPROTO_IP, RECVERR, 1, "record_errors", True),
    ],
)
def test_numbers_of_udp(udp, level, name, value, field, expected):
    udp.setsockopt(level, name, value)
    assert getattr(udp.endpoint, field) == expected
    assert udp.getsockopt(level, name) == value


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SOCK_STREAM, socket.SO_REUSEADDR),
        (SOCK_STREAM, socket.SO_REUSEPORT),
        (SOCK_STREAM, socket.SO_BROADCAST),
        (SOCK_DGRAM, socket.SO_OOBINLINE),
        (SOCK_DGRAM, socket.SO_KEEPALIVE),
    ],
)
def test_what_the_stack_has_no_use_for_is_remembered(pair, kind, name):
    opened = StackSocket(pair.a, kind)
    assert opened.getsockopt(SOL_SOCKET, name) == 0
    opened.setsockopt(SOL_SOCKET, name, 5)
    assert opened.getsockopt(SOL_SOCKET, name) == 1
    assert opened.view().getsockopt(SOL_SOCKET, name) == 1
    opened.view().setsockopt(SOL_SOCKET, name, 0)
    assert opened.getsockopt(SOL_SOCKET, name) == 0


def test_urgent_octets_stay_in_the_stream(pair):
    opened = StackSocket(pair.a)
    assert opened.getsockopt(SOL_SOCKET, socket.SO_OOBINLINE) == 1
    opened.setsockopt(SOL_SOCKET, socket.SO_OOBINLINE, 1)
    with pytest.raises(OSError) as caught:
        opened.setsockopt(SOL_SOCKET, socket.SO_OOBINLINE, 0)
    assert caught.value.errno == errno.EINVAL


def test_datagram_sockets_share_a_port_where_all_asked_for_it(pair):
    first, second, third = (StackSocket(pair.a, SOCK_DGRAM) for _ in range(3))
    for each in (first, second):
        each.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.setsockopt(SOL_SOCKET, socket.SO_REUSEPORT, 0)
        each.bind(("", 5000))
    assert number(third.bind, ("", 5000)) == errno.EADDRINUSE


def test_linger(tcp, udp):
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    for on, seconds, expected in (
        (1, 0, 0),
        (1, 3, 3 * SECOND),
        (0, 3, None),
        (1, -1, 0),
        (1, 2**31 - 1, 10**6 * SECOND),
    ):
        tcp.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, seconds))
        assert tcp.endpoint.options.linger == expected
        assert tcp.getsockopt(SOL_SOCKET, socket.SO_LINGER) == on
    tcp.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 9))
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_LINGER, 64) == struct.pack("ii", 1, 9)
    udp.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert number(tcp.setsockopt, SOL_SOCKET, socket.SO_LINGER, 1) == errno.EINVAL


def test_linger_0_resets(pair):
    client, server = connected(pair)
    client.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    pair.run()
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_buffers_are_held_within_bounds(tcp, udp):
    for opened in (tcp, udp):
        for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(SOL_SOCKET, name, 0)
            assert opened.getsockopt(SOL_SOCKET, name) == 2048
            opened.setsockopt(SOL_SOCKET, name, 0x7FFF_FFFF)
            assert opened.getsockopt(SOL_SOCKET, name) == 1 << 30


def test_questions(pair, tcp, udp):
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_TYPE) == SOCK_STREAM
    assert udp.getsockopt(SOL_SOCKET, socket.SO_TYPE) == SOCK_DGRAM
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
    assert udp.getsockopt(SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_UDP
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    tcp.listen()
    assert tcp.getsockopt(SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    assert udp.getsockopt(SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    assert tcp.getsockopt(IPPROTO_IP, socket.IP_TTL) == udp.getsockopt(IPPROTO_IP, socket.IP_TTL) == 64
    assert udp.getsockopt(IPPROTO_IP, MTU_DISCOVER) == 1


def test_the_error_is_told_once(pair):
    client = StackSocket(pair.a)
    client.start_connect(("b", 81))
    assert client.getsockopt(SOL_SOCKET, SO_ERROR) == 0
    pair.run()
    assert client.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED
    assert client.getsockopt(SOL_SOCKET, SO_ERROR) == 0
    datagrams = StackSocket(pair.a, SOCK_DGRAM)
    datagrams.start_connect(("b", 81))
    datagrams.send(b"x")
    pair.run()
    assert datagrams.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED


def test_congestion(pair, tcp):
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, 16) == b"cubic\0"
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    assert tcp.endpoint.options.congestion == "reno"
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic\0\0\0")
    assert tcp.endpoint.options.congestion == "cubic"
    assert number(tcp.setsockopt, IPPROTO_TCP, socket.TCP_CONGESTION, b"nosuch") == errno.ENOENT
    assert number(tcp.setsockopt, IPPROTO_TCP, socket.TCP_CONGESTION, 1) == errno.EINVAL


def test_times_of_tcp(tcp):
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10)
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
    assert tcp.endpoint.options.user_timeout is None
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7200
    for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        assert number(tcp.setsockopt, IPPROTO_TCP, name, 0) == errno.EINVAL
    assert number(tcp.setsockopt, IPPROTO_TCP, socket.TCP_USER_TIMEOUT, -1) == errno.EINVAL


def test_largest_segment(pair, tcp):
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_MAXSEG) == 536
    client, _ = connected(pair)
    assert client.getsockopt(IPPROTO_TCP, socket.TCP_MAXSEG) == client.info()["mss"] > 536
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_MAXSEG, 0)
    assert tcp.endpoint.options.mss is None


def test_service_and_lifetime(tcp, udp):
    tcp.setsockopt(IPPROTO_IP, socket.IP_TOS, 0x23)
    assert tcp.getsockopt(IPPROTO_IP, socket.IP_TOS) == 0x20
    tcp.setsockopt(IPPROTO_IP, socket.IP_TTL, 5)
    for opened in (tcp, udp):
        opened.setsockopt(IPPROTO_IP, socket.IP_TTL, -1)
        assert opened.getsockopt(IPPROTO_IP, socket.IP_TTL) == 64
        for bad in (0, 256, -2):
            assert number(opened.setsockopt, IPPROTO_IP, socket.IP_TTL, bad) == errno.EINVAL


def test_groups(pair, udp):
    group = socket.inet_aton(GROUP)
    number_of_group = parse_ip4(GROUP)
    by_address = group + socket.inet_aton("10.0.0.1")
    anywhere = group + bytes(4)
    by_index = group + bytes(4) + struct.pack("i", 1)
    for request in (by_address, anywhere, by_index):
        udp.setsockopt(IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        assert udp.endpoint.groups == {(number_of_group, 0)}
        udp.setsockopt(IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, request)
        assert udp.endpoint.groups == set()
    assert number(udp.setsockopt, IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, by_address) == errno.EADDRNOTAVAIL
    udp.setsockopt(IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, by_address)
    assert number(udp.setsockopt, IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, by_address) == errno.EADDRINUSE
    for bad, expected in (
        (group, errno.EINVAL),
        (5, errno.EINVAL),
        (group + socket.inet_aton("10.9.9.9"), errno.ENODEV),
        (group + bytes(4) + struct.pack("i", 2), errno.ENODEV),
        (socket.inet_aton("10.0.0.2") + socket.inet_aton("10.0.0.1"), errno.EINVAL),
    ):
        assert number(udp.setsockopt, IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, bad) == expected
    assert number(udp.getsockopt, IPPROTO_IP, socket.IP_ADD_MEMBERSHIP) == errno.ENOPROTOOPT


def test_the_interface_of_groups(udp):
    assert udp.getsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == bytes(4)
    own = socket.inet_aton("10.0.0.1")
    for request in (own, bytes(4) + own, bytes(8) + struct.pack("i", 1)):
        udp.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        assert udp.endpoint.multicast_interface == 0
        assert udp.getsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == own
        udp.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(4))
        assert udp.endpoint.multicast_interface is None
    udp.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, struct.unpack("i", own)[0])
    assert udp.endpoint.multicast_interface == 0
    assert number(udp.setsockopt, IPPROTO_IP, socket.IP_MULTICAST_IF, b"1") == errno.EINVAL


def test_options_of_groups_come_as_one_octet_too(udp):
    for name in (socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP):
        udp.setsockopt(IPPROTO_IP, name, b"\1")
        assert udp.getsockopt(IPPROTO_IP, name) == 1
        udp.setsockopt(IPPROTO_IP, name, b"\0")
        assert udp.getsockopt(IPPROTO_IP, name) == 0
    udp.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_TTL, -1)
    assert udp.getsockopt(IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
    assert number(udp.setsockopt, IPPROTO_IP, socket.IP_MULTICAST_TTL, 256) == errno.EINVAL
    assert number(udp.setsockopt, IPPROTO_IP, socket.IP_MULTICAST_TTL, b"") == errno.EINVAL


def test_path_mtu_of_tcp_is_always_discovered(tcp):
    tcp.setsockopt(IPPROTO_IP, MTU_DISCOVER, 2)
    assert tcp.getsockopt(IPPROTO_IP, MTU_DISCOVER) == 2
    assert number(tcp.setsockopt, IPPROTO_IP, MTU_DISCOVER, 0) == errno.EINVAL
    assert number(tcp.setsockopt, IPPROTO_IP, MTU_DISCOVER, 4) == errno.EINVAL


def test_options_of_the_other_transport_do_not_exist(tcp, udp):
    for name in (socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP, RECVERR):
        assert number(tcp.setsockopt, IPPROTO_IP, name, 1) == errno.ENOPROTOOPT
        assert number(tcp.getsockopt, IPPROTO_IP, name) == errno.ENOPROTOOPT
    for name in (socket.TCP_NODELAY, socket.TCP_QUICKACK, socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT):
        assert number(udp.setsockopt, IPPROTO_TCP, name, 1) == errno.ENOPROTOOPT
    for name in (socket.TCP_NODELAY, socket.TCP_QUICKACK, socket.TCP_INFO, socket.TCP_CONGESTION, socket.TCP_MAXSEG):
        assert number(udp.getsockopt, IPPROTO_TCP, name) == errno.ENOPROTOOPT


def test_what_is_unknown_or_wrong(tcp):
    assert number(tcp.setsockopt, SOL_SOCKET, 9999, 1) == errno.ENOPROTOOPT
    assert number(tcp.getsockopt, SOL_SOCKET, 9999) == errno.ENOPROTOOPT
    assert number(tcp.setsockopt, 9999, socket.SO_KEEPALIVE, 1) == errno.ENOPROTOOPT
    assert number(tcp.setsockopt, SOL_SOCKET, socket.SO_TYPE, 1) == errno.ENOPROTOOPT
    assert number(tcp.setsockopt, SOL_SOCKET, socket.SO_KEEPALIVE, b"\1") == errno.EINVAL
    assert number(tcp.setsockopt, SOL_SOCKET, socket.SO_KEEPALIVE, None, 4) == errno.EINVAL
    assert number(tcp.getsockopt, SOL_SOCKET, socket.SO_KEEPALIVE, 1025) == errno.EINVAL
    assert number(tcp.getsockopt, SOL_SOCKET, socket.SO_KEEPALIVE, -1) == errno.EINVAL
    for value in (1 << 31, -(1 << 31) - 1):
        with pytest.raises(OverflowError):
            tcp.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, value)
    for value in ("1", 1.0, None):
        with pytest.raises(TypeError):
            tcp.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, value)
    tcp.close()
    assert number(tcp.setsockopt, SOL_SOCKET, socket.SO_KEEPALIVE, 1) == errno.EBADF
    assert number(tcp.getsockopt, SOL_SOCKET, socket.SO_KEEPALIVE) == errno.EBADF


def test_every_option_answers_or_refuses_any_value(pair):
    """Any number and any octets: an answer, or an OSError."""
    client, _ = connected(pair)
    for opened in (client, StackSocket(pair.a), StackSocket(pair.a, SOCK_DGRAM)):
        for level, name in TABLE:
            for value in (0, 1, -1, 2**31 - 1, -(2**31), b"", b"\0", b"\xff" * 4, b"\xff" * 16, bytes(300)):
                try:
                    opened.setsockopt(level, name, value)
                except OSError as error:
                    assert error.errno in errno.errorcode
            for length in (0, 4, 1024):
                try:
                    opened.getsockopt(level, name, length)
                except OSError as error:
                    assert error.errno in errno.errorcode
        pair.run()
    assert all(len(pair_) == 2 for pair_ in IP_OPTIONS.values())


def test_tcp_info_of_a_connection(pair):
    listener = StackSocket(pair.b)
    listener.listen()
    client = StackSocket(pair.a)
    client.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, 300_000)
    client.start_connect(("b", listener.getsockname()[1]))
    pair.run()
    server, _ = listener.accept()
    client.send(b"x" * 5000)
    pair.run()
    assert server.recv(10_000) == b"x" * 5000
    packed = client.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 512)
    assert len(packed) == 232
    info = client.info()
    state, recovery, *_, options, scales, _ = struct.unpack_from("8B", packed)
    rto, _, mss, _, unacked = struct.unpack_from("5I", packed, 8)
    assert (state, recovery, options) == (1, 0, 1 | 2 | 4 | 8)
    assert f"wscale:{scales & 15},{scales >> 4}" in info["options"]
    assert scales & 15 > scales >> 4
    assert (rto, mss, unacked) == (info["rto"] // 1000, info["mss"], 0)
    rtt, rttvar, ssthresh, cwnd = struct.unpack_from("4I", packed, 68)
    assert (rtt, rttvar, ssthresh) == (info["srtt"] // 1000, info["rttvar"] // 1000, 0x7FFF_FFFF)
    assert cwnd == info["cwnd"] // info["mss"] >= 10
    _, _, acknowledged, received, sent_segments = struct.unpack_from("4QI", packed, 104)
    assert (acknowledged, received, sent_segments) == (5000, 0, info["segments_out"])
    assert struct.unpack_from("Q", packed, 200)[0] == 5000
    assert client.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 104) == packed[:104]


def test_tcp_info_without_a_connection(pair, tcp):
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 256)[0] == 7
    tcp.listen()
    assert tcp.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 256)[0] == 10
    client, server = connected(pair)
    client.close()
    pair.run()
    server.close()
    pair.run()
    assert number(client.getsockopt, IPPROTO_TCP, socket.TCP_INFO, 256) == errno.EBADF


def test_tcp_info_knows_all_states():
    assert {tcp_info.pack(state, {})[0] for state in State} == set(range(1, 12))


def test_options_reach_the_pump(pair, tcp):
    before = pair.touches
    tcp.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert pair.touches > before


def test_datagrams_without_a_checksum(pair, udp, tcp):
    assert udp.getsockopt(SOL_SOCKET, NO_CHECK) == 0
    udp.setsockopt(SOL_SOCKET, NO_CHECK, 1)
    assert udp.getsockopt(SOL_SOCKET, NO_CHECK) == 1
    assert udp.endpoint.no_checksum
    udp.setsockopt(SOL_SOCKET, NO_CHECK, 0)
    assert not udp.endpoint.no_checksum
    tcp.setsockopt(SOL_SOCKET, NO_CHECK, 1)  # kept, and TCP makes its checksums all the same
    assert tcp.getsockopt(SOL_SOCKET, NO_CHECK) == 1
