"""The options of sockets by their usual numbers, on the endpoints of the stack.

    level         what the stack does                           what is kept and answered, and changes nothing
    SOL_SOCKET    KEEPALIVE LINGER RCVBUF SNDBUF (TCP)          SNDBUF and KEEPALIVE of UDP, BROADCAST of TCP,
                  BROADCAST REUSEADDR (UDP), REUSEPORT (UDP)    REUSEADDR, REUSEPORT of TCP
                  NO_CHECK (UDP)                                NO_CHECK of TCP
    IPPROTO_TCP   NODELAY MAXSEG KEEPIDLE KEEPINTVL KEEPCNT     QUICKACK
                  USER_TIMEOUT CONGESTION
    IPPROTO_IP    TTL TOS, of UDP also MULTICAST_TTL _LOOP      MTU_DISCOVER of TCP, which always discovers it
                  _IF, ADD_ DROP_MEMBERSHIP MTU_DISCOVER
                  RECVERR
    as it is      OOBINLINE of TCP: 1, and may be set to that only
    to be read    TYPE PROTOCOL DOMAIN ACCEPTCONN ERROR, TCP_INFO

A port that was in use by connections in TIME_WAIT can always be bound again, so that REUSEADDR has nothing to do for
TCP; two listeners never share a port, REUSEPORT or not. Numbers are those of the operating system underneath, and
Linux's for what it does not have. Interfaces are counted from 1 where a number names one, since 0 means any.
"""

from __future__ import annotations

import errno
import socket
import struct

from nodes.session import tcp_info
from nodes.session.errors import plain_error, raising
from nodes.session.ip_options import IP_OPTIONS
from nodes.session.option_values import (
    INT,
    Call,
    Getter,
    Kept,
    Setter,
    SocketEndpoint,
    Table,
    Value,
    constant,
    keep_flag,
    kept,
    number,
)
from nodes.session.session import Session
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.transport.udp_socket import UdpSocket
from nodes.units import MILLISECOND, SECOND

LEVEL_SOCKET = socket.SOL_SOCKET
LEVEL_TCP = int(socket.IPPROTO_TCP)
LEVEL_IP = int(socket.IPPROTO_IP)

SMALLEST_BUFFER = 2048
"""Octets: about what Linux raises smaller wishes to (SOCK_MIN_RCVBUF)."""
LARGEST_BUFFER = 1 << 30

LONGEST_ANSWER = 1024
"""Octets that `getsockopt` of Python gives at most."""

DEFAULT_UDP_SEND_BUFFER = 212_992

LONGEST_LINGER = 1_000_000
"""Seconds: eleven days, the bound of the stack's times."""

DEFAULT_MSS = 536
"""What Linux tells of a connection that is not there yet (RFC 9293 MUST-15)."""

_LINGER = struct.Struct("=ii")


def set_option(
    session: Session, endpoint: SocketEndpoint, level: int, name: int, value: object, kept: Kept | None = None
) -> None:
    """`value` is a number or packed octets, as for `socket.setsockopt`. Raises OSError: ENOPROTOOPT for an option that
    does not exist, EINVAL for a value that is not allowed; TypeError and OverflowError as that does."""
    if endpoint.closed:
        raise plain_error(errno.EBADF)
    pair = TABLE.get((level, name))
    if pair is None or pair[1] is None:
        raise plain_error(errno.ENOPROTOOPT)
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if not isinstance(value, int | bytes):
        raise TypeError(f"the value of an option is a number or octets, not {value!r}")
    if isinstance(value, int) and not -1 << 31 <= value < 1 << 31:
        raise OverflowError(f"the value of an option has 32 bits, {value} has more")
    with raising():
        pair[1](Call(session, endpoint, {} if kept is None else kept, (level, name)), value)
    session.touched()


def get_option(
    session: Session, endpoint: SocketEndpoint, level: int, name: int, buflen: int = 0, kept: Kept | None = None
) -> int | bytes:
    """A number, or with `buflen` at most so many octets, as `socket.getsockopt`. Raises OSError (ENOPROTOOPT)."""
    if endpoint.closed:
        raise plain_error(errno.EBADF)
    if not 0 <= buflen <= LONGEST_ANSWER:
        raise OSError(errno.EINVAL, "getsockopt buflen out of range")
    pair = TABLE.get((level, name))
    if pair is None or pair[0] is None:
        raise plain_error(errno.ENOPROTOOPT)
    with raising():
        value = pair[0](Call(session, endpoint, {} if kept is None else kept, (level, name)))
    if buflen:
        return (value if isinstance(value, bytes) else INT.pack(value))[:buflen]
    return value if isinstance(value, int) else INT.unpack(value[:4].ljust(4, b"\0"))[0]


def _tcp_flag(name: str) -> tuple[Getter, Setter]:
    return (
        lambda call: int(bool(getattr(call.stream().options, name))),
        lambda call, value: call.tcp(name, number(value) != 0),
    )


def _tcp_time(name: str, unit: int) -> tuple[Getter, Setter]:
    """A time that the program counts in `unit`."""
    return (
        lambda call: (getattr(call.stream().options, name) or 0) // unit,
        lambda call, value: call.tcp(name, number(value) * unit),
    )


# ------------------------------------------------------------------------------------------------------ SOL_SOCKET


def _get_linger(call: Call) -> bytes:
    linger = call.endpoint.options.linger if isinstance(call.endpoint, TcpSocket) else None
    return _LINGER.pack(0, 0) if linger is None else _LINGER.pack(1, linger // SECOND)


def _set_linger(call: Call, value: Value) -> None:
    if isinstance(value, int) or len(value) < _LINGER.size:
        raise plain_error(errno.EINVAL)
    on, seconds = _LINGER.unpack_from(value)
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("linger", min(max(seconds, 0), LONGEST_LINGER) * SECOND if on else None)


def _get_receive_limit(call: Call) -> int:
    endpoint = call.endpoint
    return endpoint.options.receive_limit if isinstance(endpoint, TcpSocket) else endpoint.receive_limit


def _set_receive_limit(call: Call, value: Value) -> None:
    limit = _buffer(value)
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("receive_limit", limit)
    else:
        call.endpoint.receive_limit = limit


def _get_send_limit(call: Call) -> int:
    if isinstance(call.endpoint, TcpSocket):
        return call.endpoint.options.send_limit
    return call.kept.get(call.key, DEFAULT_UDP_SEND_BUFFER)


def _set_send_limit(call: Call, value: Value) -> None:
    limit = _buffer(value)
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("send_limit", limit)
    else:
        call.kept[call.key] = limit


def _buffer(value: Value) -> int:
    return min(max(number(value), SMALLEST_BUFFER), LARGEST_BUFFER)


def _get_keepalive(call: Call) -> int:
    if isinstance(call.endpoint, TcpSocket):
        return int(call.endpoint.options.keepalive)
    return call.kept.get(call.key, 0)


def _set_keepalive(call: Call, value: Value) -> None:
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("keepalive", number(value) != 0)
    else:
        keep_flag(call, value)


def _get_broadcast(call: Call) -> int:
    return int(call.endpoint.broadcast) if isinstance(call.endpoint, UdpSocket) else call.kept.get(call.key, 0)


def _set_broadcast(call: Call, value: Value) -> None:
    if isinstance(call.endpoint, UdpSocket):
        call.endpoint.broadcast = number(value) != 0
    else:
        keep_flag(call, value)


def _set_reuse(call: Call, value: Value) -> None:
    keep_flag(call, value)
    if isinstance(call.endpoint, UdpSocket):
        others = [key for key in (_REUSE_ADDRESS, _REUSE_PORT) if call.kept.get(key)]
        call.endpoint.reuse_address = bool(others)


def _get_no_check(call: Call) -> int:
    return int(call.endpoint.no_checksum) if isinstance(call.endpoint, UdpSocket) else call.kept.get(call.key, 0)


def _set_no_check(call: Call, value: Value) -> None:
    """RFC 1122 section 4.1.3.4: a program may send datagrams without a checksum."""
    if isinstance(call.endpoint, UdpSocket):
        call.endpoint.no_checksum = number(value) != 0
    else:
        keep_flag(call, value)


def _get_inline(call: Call) -> int:
    return int(isinstance(call.endpoint, TcpSocket)) or call.kept.get(call.key, 0)


def _set_inline(call: Call, value: Value) -> None:
    """Urgent octets are always in the stream, as RFC 6093 section 5 wants it; nothing can take them out of it."""
    if isinstance(call.endpoint, TcpSocket) and not number(value):
        raise plain_error(errno.EINVAL)
    keep_flag(call, value)


def _get_type(call: Call) -> int:
    return int(socket.SOCK_STREAM if isinstance(call.endpoint, TcpSocket) else socket.SOCK_DGRAM)


def _get_protocol(call: Call) -> int:
    return int(socket.IPPROTO_TCP if isinstance(call.endpoint, TcpSocket) else socket.IPPROTO_UDP)


def _get_error(call: Call) -> int:
    """Told once, as everywhere."""
    error = call.endpoint.take_error()
    return 0 if error is None else error.errno


def _get_listens(call: Call) -> int:
    return int(isinstance(call.endpoint, TcpSocket) and call.endpoint.state is State.LISTEN)


_REUSE_ADDRESS = (LEVEL_SOCKET, int(socket.SO_REUSEADDR))
_REUSE_PORT = (LEVEL_SOCKET, constant("SO_REUSEPORT", 15))

_SOCKET: Table = {
    int(socket.SO_REUSEADDR): (kept(), _set_reuse),
    constant("SO_REUSEPORT", 15): (kept(), _set_reuse),
    int(socket.SO_KEEPALIVE): (_get_keepalive, _set_keepalive),
    int(socket.SO_LINGER): (_get_linger, _set_linger),
    int(socket.SO_SNDBUF): (_get_send_limit, _set_send_limit),
    int(socket.SO_RCVBUF): (_get_receive_limit, _set_receive_limit),
    int(socket.SO_BROADCAST): (_get_broadcast, _set_broadcast),
    int(socket.SO_OOBINLINE): (_get_inline, _set_inline),
    constant("SO_NO_CHECK", 11): (_get_no_check, _set_no_check),
    int(socket.SO_ERROR): (_get_error, None),
    int(socket.SO_TYPE): (_get_type, None),
    constant("SO_PROTOCOL", 38): (_get_protocol, None),
    constant("SO_DOMAIN", 39): (lambda _: int(socket.AF_INET), None),
    constant("SO_ACCEPTCONN", 30): (_get_listens, None),
}


# ------------------------------------------------------------------------------------------------------ IPPROTO_TCP


def _get_mss(call: Call) -> int:
    endpoint = call.stream()
    if endpoint.connected:
        mss = endpoint.info(call.session.now())["mss"]
        return mss if isinstance(mss, int) else 0
    return endpoint.options.mss or DEFAULT_MSS


def _set_mss(call: Call, value: Value) -> None:
    call.tcp("mss", number(value) or None)


def _get_congestion(call: Call) -> bytes:
    return call.stream().options.congestion.encode("ascii") + b"\0"


def _set_congestion(call: Call, value: Value) -> None:
    if isinstance(value, int):
        raise plain_error(errno.EINVAL)
    call.tcp("congestion", value.partition(b"\0")[0].decode("ascii", "replace"))


def _set_user_timeout(call: Call, value: Value) -> None:
    milliseconds = number(value)
    if milliseconds < 0:
        raise plain_error(errno.EINVAL)
    call.tcp("user_timeout", milliseconds * MILLISECOND or None)


def _get_probes(call: Call) -> int:
    return call.stream().options.keepalive_probes


def _set_probes(call: Call, value: Value) -> None:
    call.tcp("keepalive_probes", number(value))


def _get_info(call: Call) -> bytes:
    endpoint = call.stream()
    info = endpoint.info(call.session.now()) if endpoint.remote[1] else {}
    return tcp_info.pack(endpoint.state, info)


def _set_quick_ack(call: Call, value: Value) -> None:
    call.stream()
    keep_flag(call, value)


def _get_quick_ack(call: Call) -> int:
    call.stream()
    return call.kept.get(call.key, 1)


_TCP: Table = {
    int(socket.TCP_NODELAY): _tcp_flag("nodelay"),
    constant("TCP_MAXSEG", 2): (_get_mss, _set_mss),
    constant("TCP_KEEPIDLE", constant("TCP_KEEPALIVE", 4)): _tcp_time("keepalive_idle", SECOND),
    constant("TCP_KEEPINTVL", 5): _tcp_time("keepalive_interval", SECOND),
    constant("TCP_KEEPCNT", 6): (_get_probes, _set_probes),
    constant("TCP_INFO", 11): (_get_info, None),
    constant("TCP_QUICKACK", 12): (_get_quick_ack, _set_quick_ack),
    constant("TCP_CONGESTION", 13): (_get_congestion, _set_congestion),
    constant("TCP_USER_TIMEOUT", 18): (_tcp_time("user_timeout", MILLISECOND)[0], _set_user_timeout),
}

TABLE: dict[tuple[int, int], tuple[Getter | None, Setter | None]] = {
    **{(LEVEL_IP, name): pair for name, pair in IP_OPTIONS.items()},
    **{(LEVEL_TCP, name): pair for name, pair in _TCP.items()},
    **{(LEVEL_SOCKET, name): pair for name, pair in _SOCKET.items()},
}
"""By level and number."""
