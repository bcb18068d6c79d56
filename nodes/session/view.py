"""A socket as the transports of asyncio show it to programs: questions and options.

There are no methods that would take octets from under the transport, as in `asyncio.trsock`.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, NoReturn, TypeAlias

from nodes.session import options
from nodes.session.errors import plain_error, raising
from nodes.session.option_values import Kept, SocketEndpoint
from nodes.session.session import Session
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.wire.addresses import format_ip4

Address: TypeAlias = tuple[str, int]


class TransportSocketView:
    """What a socket can be asked, and its options. `kept` are the options that the stack has no use for."""

    __slots__ = ("_endpoint", "_kept", "_session")

    def __init__(self, session: Session, endpoint: SocketEndpoint, kept: Kept | None = None) -> None:
        self._session = session
        self._endpoint = endpoint
        self._kept: Kept = {} if kept is None else kept

    @property
    def session(self) -> Session:
        """The node that the socket is of."""
        return self._session

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM if isinstance(self._endpoint, TcpSocket) else socket.SOCK_DGRAM

    @property
    def proto(self) -> int:
        return socket.IPPROTO_TCP if isinstance(self._endpoint, TcpSocket) else socket.IPPROTO_UDP

    @property
    def closed(self) -> bool:
        return self._endpoint.closed

    def fileno(self) -> int:
        """No descriptor of the operating system is behind this: -1."""
        return -1

    def getsockname(self) -> Address:
        """Address and port of this side. Raises OSError (EBADF) once closed."""
        self._check_open()
        address, port = local_of(self._endpoint)
        return address, port

    def getpeername(self) -> Address:
        """Raises OSError: ENOTCONN where there is no peer, not yet or not any more; EBADF once closed."""
        self._check_open()
        endpoint = self._endpoint
        address, port = remote_of(endpoint)
        over = isinstance(endpoint, TcpSocket) and endpoint.state in (State.CLOSED, State.SYN_SENT, State.LISTEN)
        if not port or over:
            raise plain_error(errno.ENOTCONN)
        return address, port

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """See `nodes.session.options`. The form without a value is for what the stack does not have."""
        if optlen is not None:
            raise plain_error(errno.EINVAL)
        options.set_option(self._session, self._endpoint, level, optname, value, self._kept)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """See `nodes.session.options`."""
        return options.get_option(self._session, self._endpoint, level, optname, buflen, self._kept)

    def info(self) -> dict[str, object]:
        """Of a connection what TCP_INFO tells and more, under names of its own, times in nanoseconds, sizes in octets;
        of a datagram socket its queues. Raises OSError (ENOTCONN)."""
        endpoint = self._endpoint
        if isinstance(endpoint, TcpSocket):
            with raising():
                return endpoint.info(self._session.now())
        datagrams, octets = endpoint.waiting
        return {"waiting": datagrams, "waiting_octets": octets, "dropped": endpoint.dropped}

    def gettimeout(self) -> float:
        return 0.0

    @property
    def timeout(self) -> float:
        return 0.0

    def getblocking(self) -> bool:
        return False

    def settimeout(self, value: float | None) -> None:
        """Raises ValueError for anything but 0: only the event loop waits."""
        if value != 0:
            raise ValueError("the sockets of a node never wait: use the event loop")

    def setblocking(self, flag: bool) -> None:
        """Raises ValueError for True."""
        if flag:
            raise ValueError("the sockets of a node never wait: use the event loop")

    def get_inheritable(self) -> bool:
        return False

    def dup(self) -> NoReturn:
        raise plain_error(errno.EOPNOTSUPP)

    def __repr__(self) -> str:
        endpoint = self._endpoint
        kind = "tcp" if isinstance(endpoint, TcpSocket) else "udp"
        parts = [f"<{type(self).__name__} {kind} of {self._session.name}"]
        if endpoint.closed:
            return parts[0] + " [closed]>"
        for word, (address, port) in (("local", local_of(endpoint)), ("remote", remote_of(endpoint))):
            if port:
                parts.append(f"{word}={address}:{port}")
        if isinstance(endpoint, TcpSocket):
            parts.append(endpoint.state.value)
        return " ".join(parts) + ">"

    def _check_open(self) -> None:
        if self._endpoint.closed:
            raise plain_error(errno.EBADF)


def local_of(endpoint: SocketEndpoint) -> Address:
    """As `getsockname`, of a closed one too."""
    address, port = endpoint.local if isinstance(endpoint, TcpSocket) else (endpoint.local_address, endpoint.local_port)
    return format_ip4(address), port


def remote_of(endpoint: SocketEndpoint) -> Address:
    """As `getpeername`; port 0 where there is no peer."""
    address, port = (
        endpoint.remote if isinstance(endpoint, TcpSocket) else (endpoint.remote_address, endpoint.remote_port)
    )
    return format_ip4(address), port
