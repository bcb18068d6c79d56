"""Virtual circuits with the methods of `socket.socket`: SOCK_SEQPACKET, as Linux has it for X.25.

    socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)     in a node with `circuits: true`
      client    connect ── call set-up, one round trip        send(message) ... recv -> message ... close
      server    bind, listen, accept                          b"" at the end that the other side asked for

One `send` is one `recv` at the other end; what `recv` has no room for is lost, as with datagrams. The kernel has no
such socket for IPv4, so a program's `socket.socket` is caught before it gets there (see `nodes.session.shadow`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, NoReturn, cast

from nodes.errors import MisuseError
from nodes.session.errors import os_error, plain_error, raising, would_block
from nodes.session.names import resolve_endpoint, resolve_peer
from nodes.session.option_values import SocketEndpoint
from nodes.session.session import Session
from nodes.session.socket import StackSocket, octets_of
from nodes.session.view import Address, TransportSocketView
from nodes.transport.circuit_socket import CircuitSocket
from nodes.transport.tcp.socket import DEFAULT_BACKLOG, MAXIMUM_BACKLOG
from nodes.wire.addresses import format_ip4

_READ_ONLY: dict[int, Callable[[CircuitSocket], int]] = {
    int(socket.SO_TYPE): lambda _: int(socket.SOCK_SEQPACKET),
    int(socket.SO_ERROR): lambda endpoint: getattr(endpoint.take_error(), "errno", 0),
    int(getattr(socket, "SO_ACCEPTCONN", 30)): lambda endpoint: int(endpoint.state == "listening"),
    int(getattr(socket, "SO_DOMAIN", 39)): lambda _: int(socket.AF_INET),
    int(getattr(socket, "SO_PROTOCOL", 38)): lambda _: 0,
}
_KEPT = (int(socket.SO_REUSEADDR), int(socket.SO_KEEPALIVE))


class CircuitStackSocket(StackSocket):
    """A circuit, or who listens for calls. Raises OSError: EPROTONOSUPPORT in a node without circuits, EMFILE."""

    __slots__ = ("_circuit",)

    def __init__(self, session: Session, endpoint: CircuitSocket | None = None) -> None:
        if endpoint is None:
            with raising():
                endpoint = _open(session)
        self._circuit = endpoint
        super().__init__(session, socket.SOCK_SEQPACKET, endpoint=cast("SocketEndpoint", endpoint))

    # ------------------------------------------------------------------------------------------------- for event loops

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_SEQPACKET

    @property
    def proto(self) -> int:
        return 0

    @property
    def readable(self) -> bool:
        return self._circuit.readable

    @property
    def writable(self) -> bool:
        return self._circuit.writable

    @property
    def connected(self) -> bool:
        return self._circuit.connected

    @property
    def error(self) -> OSError | None:
        error = self._circuit.error
        return None if error is None else os_error(error)

    def view(self) -> TransportSocketView:
        raise plain_error(errno.EOPNOTSUPP)

    # ---------------------------------------------------------------------------------------------------- being set up

    def bind(self, address: tuple[str | bytes, int]) -> None:
        self._check_open()
        own, port = resolve_endpoint(self._session, address)
        with raising():
            self._circuit.bind(own, port, self._session.now())

    def listen(self, backlog: int = DEFAULT_BACKLOG) -> None:
        with raising():
            self._circuit.listen(min(max(backlog, 1), MAXIMUM_BACKLOG), self._session.now())

    def accept(self) -> tuple[StackSocket, Address]:
        with raising():
            accepted = self._circuit.accept()
        if accepted is None:
            raise would_block()
        address, port = accepted.remote
        return CircuitStackSocket(self._session, accepted), (format_ip4(address), port)

    def start_connect(self, address: tuple[str | bytes, int]) -> bool:
        """Call. False: the answer is to be waited for. Raises OSError: EHOSTUNREACH, EISCONN; socket.gaierror."""
        self._check_open()
        remote, port = resolve_peer(self._session, address)
        with raising():
            self._circuit.connect(remote, port, self._session.now())
        self._session.touched()
        return False

    def connect_ex(self, address: tuple[str | bytes, int]) -> int:
        if self._circuit.state == "calling":
            return errno.EALREADY
        return super().connect_ex(address)

    # ---------------------------------------------------------------------------------------------------- the messages

    def send(self, data: Any, flags: int = 0) -> int:
        """One message. Raises BlockingIOError where the other end must read first; OSError: EMSGSIZE, EINVAL for an
        empty message, EPIPE, ECONNRESET, ENOTCONN."""
        self._check(flags)
        octets = octets_of(data)
        with raising():
            taken = self._circuit.send(octets, self._session.now())
        if not taken:
            raise would_block()
        self._session.touched()
        return taken

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.send(data, flags)

    def sendto(self, data: Any, *arguments: Any) -> int:  # noqa: ARG002
        raise plain_error(errno.EISCONN if self._circuit.connected else errno.EOPNOTSUPP)

    def _receive(self, limit: int, flags: int) -> tuple[bytes, Address | None]:
        self._check(flags)
        if limit < 0:
            raise ValueError("negative buffersize in recv")
        with raising():
            message = self._circuit.receive(self._session.now())
        if message is None:
            raise would_block()
        self._session.touched()  # the other end may be allowed more
        return message[:limit], None

    def shutdown(self, how: int) -> NoReturn:  # noqa: ARG002
        """Raises OSError (EOPNOTSUPP): a circuit is cleared as a whole."""
        raise plain_error(errno.EOPNOTSUPP)

    def abort(self) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- questions

    def getsockname(self) -> Address:
        self._check_open()
        address, port = self._circuit.local
        return format_ip4(address), port

    def getpeername(self) -> Address:
        self._check_open()
        if not self._circuit.connected:
            raise plain_error(errno.ENOTCONN)
        address, port = self._circuit.remote
        return format_ip4(address), port

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:  # noqa: ARG002
        """Keeps what changes nothing (REUSEADDR, KEEPALIVE). Raises OSError (ENOPROTOOPT) for the rest."""
        self._check_open()
        if level != socket.SOL_SOCKET or optname not in _KEPT:
            raise plain_error(errno.ENOPROTOOPT)
        self._kept[level, optname] = int(bool(value))

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:  # noqa: ARG002
        self._check_open()
        if level == socket.SOL_SOCKET and optname in _KEPT:
            return self._kept.get((level, optname), 0)
        if level != socket.SOL_SOCKET or optname not in _READ_ONLY:
            raise plain_error(errno.ENOPROTOOPT)
        return _READ_ONLY[optname](self._circuit)

    def info(self) -> dict[str, object]:
        return {"state": self._circuit.state}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} circuit of {self._session.name} [{self._circuit.state}]>"


def _open(session: Session) -> CircuitSocket:
    circuits = session.stack.circuits
    if circuits is None:
        raise MisuseError(
            f"{session.name} has no virtual circuits",
            errno=errno.EPROTONOSUPPORT,
            hint="write `circuits: true` at the top of the topology",
        )
    return circuits.sockets.open()
