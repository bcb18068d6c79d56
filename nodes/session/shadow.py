"""Kernel sockets that programs in a node make themselves stand for sockets of its stack.

Some libraries call `socket.socket()` and hand the result to `loop.sock_connect` and `loop.create_connection`. In a
node such a socket must not reach the kernel's network. As long as it is neither bound nor connected there, it is only
a handle: the first call of the loop makes a socket of the stack beside it and turns its class into `ShadowSocket`,
whose methods are those of the socket of the stack. Options set before are carried over. Closing either closes both.

What is bound or connected in the kernel, socket pairs and UNIX sockets stay what they are.
"""

from __future__ import annotations

import errno
import socket
import weakref
from collections.abc import Callable
from typing import Any

from nodes.session.circuit import CircuitStackSocket
from nodes.session.errors import plain_error
from nodes.session.option_values import SocketEndpoint
from nodes.session.session import CURRENT, Session
from nodes.session.socket import StackSocket

_FORWARDED = (
    "accept",
    "bind",
    "connect",
    "connect_ex",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "send",
    "sendto",
    "setsockopt",
    "shutdown",
)
_CARRIED = (
    ("SOL_SOCKET", "SO_BROADCAST"),
    ("SOL_SOCKET", "SO_KEEPALIVE"),
    ("SOL_SOCKET", "SO_RCVBUF"),
    ("SOL_SOCKET", "SO_REUSEADDR"),
    ("SOL_SOCKET", "SO_REUSEPORT"),
    ("SOL_SOCKET", "SO_SNDBUF"),
    ("IPPROTO_TCP", "TCP_KEEPCNT"),
    ("IPPROTO_TCP", "TCP_KEEPIDLE"),
    ("IPPROTO_TCP", "TCP_KEEPINTVL"),
    ("IPPROTO_TCP", "TCP_NODELAY"),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT"),
    ("IPPROTO_IP", "IP_TOS"),
    ("IPPROTO_IP", "IP_TTL"),
)
"""Options that are carried over where they are not what a new socket has."""

_DOUBLED = ("SO_RCVBUF", "SO_SNDBUF")
"""What Linux reports is twice what was set."""

_own: weakref.WeakKeyDictionary[socket.socket, ShadowedSocket | ShadowedCircuit] = weakref.WeakKeyDictionary()


class _Shadow:
    """A socket's shadow, known only weakly: when the program forgets it, `close` is called. Once a transport has it
    (`keep`), that is what closes both."""

    __slots__ = ("_finalizer", "_kept", "_known")

    def __init__(self, shadow: socket.socket, close: Callable[[], None]) -> None:
        self._known = weakref.ref(shadow)
        self._kept: socket.socket | None = None
        self._finalizer = weakref.finalize(shadow, close)
        self._finalizer.atexit = False

    def keep(self) -> None:
        self._kept = self._known()

    def close(self) -> None:
        shadow, self._kept = self._known(), None
        self._finalizer.detach()
        if shadow is not None:
            socket.socket.close(shadow)


class ShadowedSocket(StackSocket):
    """The socket of the stack."""

    __slots__ = ("_shadow",)

    def __init__(self, session: Session, shadow: socket.socket) -> None:
        super().__init__(session, shadow.type)
        self._shadow = _Shadow(shadow, self.close)

    def keep(self) -> None:
        """A transport takes it over."""
        self._shadow.keep()

    def close(self) -> None:
        super().close()
        self._shadow.close()

    def abort(self) -> None:
        super().abort()
        self._shadow.close()

    def detach(self) -> SocketEndpoint:
        self._shadow.close()
        return super().detach()


class ShadowedCircuit(CircuitStackSocket):
    """The circuit of the stack, which no transport takes over."""

    __slots__ = ("_shadow",)

    def __init__(self, session: Session, shadow: socket.socket) -> None:
        super().__init__(session)
        self._shadow = _Shadow(shadow, self.close)

    def close(self) -> None:
        super().close()
        self._shadow.close()


class ShadowSocket(socket.socket):
    """What becomes of the kernel's."""

    __slots__ = ()

    def close(self) -> None:
        own = _own.get(self)
        if own is not None:
            own.close()
        super().close()

    def detach(self) -> int:
        """Raises OSError (EOPNOTSUPP): the descriptor alone is of no use."""
        raise plain_error(errno.EOPNOTSUPP)


def _forward(name: str) -> Any:
    def method(self: ShadowSocket, *arguments: Any, **keywords: Any) -> Any:
        return getattr(_own[self], name)(*arguments, **keywords)

    method.__name__ = name
    method.__doc__ = f"See `StackSocket.{name}`."
    return method


for _name in _FORWARDED:
    setattr(ShadowSocket, _name, _forward(_name))


class ShadowCircuit(ShadowSocket):
    """What a program has of a circuit. The kernel's socket below was made as one of TCP."""

    __slots__ = ()

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_SEQPACKET

    @property
    def proto(self) -> int:
        return 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """One message."""
        _own[self].send(data, flags)


_real_init = socket.socket.__init__


def _init(self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002
    session = CURRENT.get()
    circuit = family == socket.AF_INET and type == socket.SOCK_SEQPACKET and fileno is None
    if not circuit or session is None or self.__class__ is not socket.socket:
        _real_init(self, family, type, proto, fileno)
        return
    _real_init(self, socket.AF_INET, socket.SOCK_STREAM)
    try:
        own = ShadowedCircuit(session, self)
    except OSError:
        self.close()
        raise
    self.__class__ = ShadowCircuit
    _own[self] = own


def catch_circuits() -> None:
    """From now on, SOCK_SEQPACKET in a node is a circuit. The kernel has none for IPv4, so that its socket could not be
    made to stand for one, as for other types; everything else is as before."""
    socket.socket.__init__ = _init  # type: ignore[method-assign]


def stack_socket(session: Session, sock: Any) -> Any:
    """The socket of the stack that a kernel socket stands for, made now if need be; `sock` itself where it is the
    kernel's. Raises OSError (EMFILE)."""
    if isinstance(sock, ShadowSocket):
        return _own[sock]
    if type(sock) is not socket.socket or not _is_blank(sock):
        return sock
    own = ShadowedSocket(session, sock)
    for level, name, value in _options(sock):
        own.setsockopt(level, name, value)
    sock.__class__ = ShadowSocket
    _own[sock] = own
    return own


def _is_blank(sock: socket.socket) -> bool:
    """Whether the kernel knows nothing of it yet."""
    if sock.family != socket.AF_INET or sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        return False
    if sock.fileno() < 0:
        return False
    try:
        if sock.getsockname()[1]:
            return False
        sock.getpeername()
    except OSError:
        return True
    return False


def _options(sock: socket.socket) -> list[tuple[int, int, int]]:
    """Those that are not what a new socket has."""
    found = []
    with socket.socket(sock.family, sock.type) as fresh:
        for level_name, name in _CARRIED:
            if not hasattr(socket, name) or (level_name == "IPPROTO_TCP" and sock.type != socket.SOCK_STREAM):
                continue
            level, option = getattr(socket, level_name), getattr(socket, name)
            value = sock.getsockopt(level, option)
            if value != fresh.getsockopt(level, option):
                found.append((level, option, value // 2 if name in _DOUBLED else value))
        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        if linger != fresh.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8):
            found.append((socket.SOL_SOCKET, socket.SO_LINGER, linger))  # type: ignore[arg-type]
    return found
