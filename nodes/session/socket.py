"""Sockets of the stack with the methods of `socket.socket`, none of which ever waits.

        program, event loop                              stack
    ─────────────────────────────       ─────────────────────────────────────
    start_connect, send, recv ... ────▶ endpoint (TcpSocket or UdpSocket)
    on_ready  ◀── ready(now) ◀───────── ring: something happened to the endpoint

What cannot be done at once raises BlockingIOError. The stack rings once when something happens, and not again while it
stays so: whoever waits looks first (`readable`, `writable`, `connected`, `error`), then waits for `on_ready`, then
looks again. A `send` that had no room waits for the next ring whatever `writable` says: memory of the node may be what
is short.

What a transport of asyncio shows to programs is a `TransportSocketView`: the same without the methods here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from nodes.errors import StackError
from nodes.session.errors import os_error, plain_error, raising, would_block
from nodes.session.names import resolve_endpoint, resolve_peer
from nodes.session.option_values import SocketEndpoint
from nodes.session.session import EndpointOwner, Session
from nodes.session.view import Address, TransportSocketView, remote_of
from nodes.transport.icmp_errors import as_exception
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.socket import DEFAULT_BACKLOG, MAXIMUM_BACKLOG, TcpSocket
from nodes.transport.tcp.states import State
from nodes.transport.udp_socket import UdpSocket
from nodes.wire.addresses import format_ip4

DATAGRAM_LIMIT = 65_535
"""Octets that `recv` asks for where nobody says how many: more than a datagram has."""

_URGENT = int(socket.MSG_OOB)

_HARMLESS = int(getattr(socket, "MSG_DONTWAIT", 0)) | int(getattr(socket, "MSG_NOSIGNAL", 0))
"""Flags that ask for what is so anyway."""


class StackSocket(TransportSocketView, EndpointOwner):
    """A socket of the node of `session`, of type SOCK_STREAM or SOCK_DGRAM. `on_ready` is called without arguments when
    something happened to it, from inside the stack's pump: it may only take note.

    With `endpoint`, the socket is around one that is there already. Raises OSError (EMFILE) when too many are open."""

    __slots__ = ("_reading_ended", "_writing_ended", "on_ready")

    def __init__(
        self,
        session: Session,
        type: int = socket.SOCK_STREAM,  # noqa: A002 (as `socket.socket` has it)
        *,
        endpoint: SocketEndpoint | None = None,
    ) -> None:
        if endpoint is None:
            with raising():
                endpoint = _open(session, type)
        super().__init__(session, endpoint)
        self.on_ready: Callable[[], None] | None = None
        self._reading_ended = False
        self._writing_ended = False
        endpoint.owner = self

    # ------------------------------------------------------------------------------------------------- for event loops

    @property
    def endpoint(self) -> SocketEndpoint:
        return self._endpoint

    def ready(self, now: int) -> None:  # noqa: ARG002 (the surface of an owner)
        """The stack rings."""
        if self.on_ready is not None:
            self.on_ready()

    @property
    def readable(self) -> bool:
        """`recv`, or `accept`, has something: data, the end, an error, a connection."""
        return self._endpoint.readable or self._reading_ended

    @property
    def writable(self) -> bool:
        """`send` has room, or an error to tell."""
        return not isinstance(self._endpoint, TcpSocket) or self._endpoint.writable or self._writing_ended

    @property
    def connected(self) -> bool:
        """A connection is open; of a datagram socket: it has a peer."""
        endpoint = self._endpoint
        return endpoint.connected if isinstance(endpoint, TcpSocket) else endpoint.remote_port != 0

    @property
    def error(self) -> OSError | None:
        """What ended the connection, as long as no call has told it; this does not count as telling."""
        endpoint = self._endpoint
        error = endpoint.error if isinstance(endpoint, TcpSocket) else None
        return None if error is None else os_error(error)

    def take_error(self) -> OSError | None:
        """The error that the next call would raise, which then no longer does (SO_ERROR)."""
        self._check_open()
        error: StackError | None = self._endpoint.take_error()
        return None if error is None else os_error(error)

    def view(self) -> TransportSocketView:
        """For programs: no octets can be taken through it."""
        return TransportSocketView(self._session, self._endpoint, self._kept)

    # ---------------------------------------------------------------------------------------------------- being set up

    def bind(self, address: tuple[str | bytes, int]) -> None:
        """Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EINVAL when bound already; socket.gaierror."""
        self._check_open()
        own, port = resolve_endpoint(self._session, address)
        with raising():
            self._endpoint.bind(own, port, self._session.now())

    def listen(self, backlog: int = DEFAULT_BACKLOG) -> None:
        """Raises OSError: EISCONN, EADDRINUSE; EOPNOTSUPP for a datagram socket."""
        endpoint = self._stream()
        with raising():
            endpoint.listen(min(max(backlog, 1), MAXIMUM_BACKLOG), self._session.now())

    def accept(self) -> tuple[StackSocket, Address]:
        """The oldest connection that waits. Raises BlockingIOError where there is none, OSError (EINVAL) where the
        socket does not listen."""
        endpoint = self._stream()
        with raising():
            accepted = endpoint.accept()
        if accepted is None:
            raise would_block()
        return StackSocket(self._session, endpoint=accepted), remote_of(accepted)

    def start_connect(self, address: tuple[str | bytes, int]) -> bool:
        """Begin to connect. True where that was all, as for datagrams; False where the connection is to be waited for:
        until `connected`, or `error`. Raises OSError for what cannot even begin; socket.gaierror."""
        self._check_open()
        remote, port = resolve_peer(self._session, address)
        self._renew()
        with raising():
            self._endpoint.connect(remote, port, self._session.now())
        self._session.touched()
        return isinstance(self._endpoint, UdpSocket)

    def connect_ex(self, address: tuple[str | bytes, int]) -> int:
        """0 or an errno: EINPROGRESS for a connection that has been begun, EALREADY while it is."""
        endpoint = self._endpoint
        if isinstance(endpoint, TcpSocket) and endpoint.state is State.SYN_SENT:
            return errno.EALREADY
        try:
            return 0 if self.start_connect(address) else errno.EINPROGRESS
        except socket.gaierror:
            raise
        except OSError as error:
            return error.errno or errno.EIO

    def connect(self, address: tuple[str | bytes, int]) -> None:
        """As `start_connect`. Raises BlockingIOError (EINPROGRESS) where the connection is to be waited for."""
        number = self.connect_ex(address)
        if number:
            raise plain_error(number)

    # ------------------------------------------------------------------------------------------------------ the octets

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most `bufsize` octets, b"" at the end of a stream; of a datagram the first ones. Urgent octets are in the
        stream, and what one call gives ends before the last of them, where it is not that. Raises BlockingIOError
        where nothing is there yet, what ended the connection, and OSError (EINVAL) for MSG_OOB, as Linux does with
        SO_OOBINLINE."""
        return self._receive(bufsize, flags)[0]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer; returns the number of octets."""
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom(self, bufsize: int = DATAGRAM_LIMIT, flags: int = 0) -> tuple[bytes, Address | None]:
        """As `recv`, and where a datagram came from; None for a stream."""
        return self._receive(bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Address | None]:
        """As `recvfrom`, into a buffer. Raises ValueError for a buffer that is too small for `nbytes`."""
        target = memoryview(buffer).cast("B")
        if nbytes < 0 or nbytes > len(target):
            raise ValueError(f"{nbytes} octets asked for, the buffer has {len(target)}")
        data, source = self._receive(nbytes or len(target), flags)
        target[: len(data)] = data
        return len(data), source

    def send(self, data: Any, flags: int = 0) -> int:
        """Returns how many octets were taken. With MSG_OOB the last of them is urgent (RFC 6093). Raises
        BlockingIOError where there is no room, OSError: EPIPE, ECONNRESET, ENOTCONN; for datagrams EMSGSIZE,
        EDESTADDRREQ, ENETUNREACH and what the network reported, EOPNOTSUPP for urgent ones."""
        endpoint, octets = self._endpoint, octets_of(data)
        urgent = isinstance(endpoint, TcpSocket) and flags & _URGENT
        self._check(flags & ~_URGENT if urgent else flags)
        if self._writing_ended:
            raise plain_error(errno.EPIPE)
        if isinstance(endpoint, UdpSocket):
            with raising():
                endpoint.send(octets, self._session.now())
            self._session.touched()
            return len(octets)
        if endpoint.state is State.SYN_SENT:
            raise would_block()
        with raising():
            taken = (endpoint.send_urgent if urgent else endpoint.send)(octets, self._session.now())
        if not taken and len(octets):
            raise would_block()
        self._session.touched()
        return taken

    def sendto(self, data: Any, *arguments: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`. Raises what `send` raises, and socket.gaierror."""
        if not 1 <= len(arguments) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        address = arguments[-1]
        flags = arguments[0] if len(arguments) == 2 else 0
        endpoint, octets = self._endpoint, octets_of(data)
        if isinstance(endpoint, TcpSocket):
            self._check(flags & ~_URGENT)
            if address is not None:
                raise plain_error(errno.EISCONN if endpoint.remote[1] else errno.EPIPE)
            return self.send(octets, flags)
        self._check(flags)
        if address is None:
            return self.send(octets)
        if self._writing_ended:
            raise plain_error(errno.EPIPE)
        remote, port = resolve_peer(self._session, address)
        with raising():
            endpoint.send_to(octets, remote, port, self._session.now())
        self._session.touched()
        return len(octets)

    def shutdown(self, how: int) -> None:
        """SHUT_WR: nothing more will be sent, after what is queued. SHUT_RD: `recv` comes to an end after what is
        there. Raises OSError (ENOTCONN)."""
        self._check_open()
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise plain_error(errno.EINVAL)
        endpoint = self._endpoint
        if isinstance(endpoint, TcpSocket):
            if endpoint.state in (State.CLOSED, State.LISTEN):
                raise plain_error(errno.ENOTCONN)
            if how != socket.SHUT_RD:
                with raising():
                    endpoint.shutdown(self._session.now())
                self._session.touched()
        elif not endpoint.remote_port:
            raise plain_error(errno.ENOTCONN)
        else:
            self._writing_ended |= how != socket.SHUT_RD
        self._reading_ended |= how != socket.SHUT_WR

    def close(self) -> None:
        """What is queued is still delivered, as the stack does (see `TcpSocket.close`). Harmless when called twice."""
        endpoint = self._endpoint
        if endpoint.closed:
            return
        endpoint.owner = None
        self.on_ready = None
        endpoint.close(self._session.now())
        self._session.touched()

    def abort(self) -> None:
        """Reset the connection, and close."""
        endpoint = self._endpoint
        if isinstance(endpoint, TcpSocket):
            endpoint.owner = None
            self.on_ready = None
            endpoint.abort(self._session.now())
            self._session.touched()
        else:
            self.close()

    def detach(self) -> SocketEndpoint:
        """Hand the endpoint to another owner: this object is none of its business any more."""
        self._endpoint.owner = None
        self.on_ready = None
        return self._endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _renew(self) -> None:
        """A connection that is over, and whose error was told, leaves a socket that may connect again, as in Linux. The
        stack's cannot: another takes its place, with the same options and local port."""
        old = self._endpoint
        if not isinstance(old, TcpSocket) or not old.remote[1] or old.state is not State.CLOSED or old.error:
            return
        with raising():
            new = self._session.stack.tcp.open()
            new.options = SocketOptions.copy(old.options)
            old.owner = None
            old.close(self._session.now())
            self._endpoint, new.owner = new, self
            if old.claim is not None:
                new.bind(old.claim.address, old.claim.port, self._session.now())

    def _receive(self, limit: int, flags: int) -> tuple[bytes, Address | None]:
        endpoint = self._endpoint
        if flags & _URGENT and isinstance(endpoint, TcpSocket):
            self._check_open()
            raise OSError(errno.EINVAL, "urgent data is in the stream, as with SO_OOBINLINE")
        self._check(flags)
        if limit < 0:
            raise ValueError("negative buffersize in recv")
        if isinstance(endpoint, UdpSocket):
            return self._receive_datagram(endpoint, limit)
        if not limit:
            return b"", None
        with raising():
            data = endpoint.receive(limit)
        if data is None:
            if self._reading_ended:
                return b"", None
            raise would_block()
        if data:
            self._session.touched()  # the window may have opened
        return data, None

    def _receive_datagram(self, endpoint: UdpSocket, limit: int) -> tuple[bytes, Address | None]:
        with raising():
            received = endpoint.receive()
        if received is not None:
            return received.data[:limit], (format_ip4(received.source), received.source_port)
        recorded = endpoint.receive_error()
        error = None if recorded is None else as_exception(recorded)
        if error is not None:
            raise os_error(error)
        if self._reading_ended:
            return b"", None
        raise would_block()

    def _stream(self) -> TcpSocket:
        self._check_open()
        if not isinstance(self._endpoint, TcpSocket):
            raise plain_error(errno.EOPNOTSUPP)
        return self._endpoint

    def _check(self, flags: int) -> None:
        self._check_open()
        if flags & ~_HARMLESS:
            raise OSError(errno.EOPNOTSUPP, f"flags {flags:#x}: the stack has none of them")


def _open(session: Session, kind: int) -> SocketEndpoint:
    if kind == socket.SOCK_STREAM:
        return session.stack.tcp.open()
    if kind == socket.SOCK_DGRAM:
        return session.stack.udp.open()
    raise OSError(errno.EPROTONOSUPPORT, f"socket type {kind}: the stack has streams and datagrams")


def octets_of(data: Any) -> bytes | memoryview:
    """What a program wants to send. Raises TypeError for what has no octets."""
    return data if isinstance(data, bytes) else memoryview(data).cast("B")
