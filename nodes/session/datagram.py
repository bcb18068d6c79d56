"""Datagrams for asyncio: the transport of `create_datagram_endpoint`, over a UDP socket of the stack.

It behaves as asyncio's own (`_SelectorDatagramTransport`) with one difference that programs see: nothing is ever
queued for sending, since UDP does not wait. What the stack cannot send, and what ICMP reports about a connected
socket, is `error_received`.

    stack rings ─▶ ready: note a handle ─▶ loop ─▶ _read_ready: datagram_received, error_received, at most
                        (once)                     READS_PER_TURN, then another turn
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
from asyncio.log import logger
from asyncio.transports import _FlowControlMixin
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nodes.errors import StackError
from nodes.session import names
from nodes.session.errors import os_error, plain_error
from nodes.session.names import resolve_peer
from nodes.session.session import EndpointOwner, Session
from nodes.session.socket import StackSocket
from nodes.session.view import Address
from nodes.transport.icmp_errors import as_exception
from nodes.transport.udp_socket import UdpSocket
from nodes.wire.addresses import format_ip4

READS_PER_TURN = 16
"""Datagrams for one protocol before the other callbacks of the loop get their turn."""

WARN_AFTER = 5
"""Sends after the end that pass silently: LOG_THRESHOLD_FOR_CONNLOST_WRITES of asyncio."""

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)


class DatagramTransport(EndpointOwner, _FlowControlMixin, asyncio.DatagramTransport):
    """`address`: the peer of all that is sent, where there is only one. `waiter` is told when the protocol has been
    connected. Takes over the socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: StackSocket,
        protocol: asyncio.BaseProtocol,
        address: Address | None = None,
        waiter: asyncio.Future[None] | None = None,
    ) -> None:
        endpoint = sock.endpoint
        if not isinstance(endpoint, UdpSocket):
            raise ValueError(f"a datagram socket was expected, got {sock!r}")
        sock.detach()
        peer = (format_ip4(endpoint.remote_address), endpoint.remote_port) if endpoint.remote_port else None
        self._extra: dict[str, Any]
        super().__init__({"socket": sock.view(), "sockname": sock.getsockname(), "peername": peer}, loop)
        self._loop: asyncio.AbstractEventLoop = loop
        self._session = sock.session
        self._endpoint = endpoint
        self._protocol = protocol
        self._address = address
        self._context = contextvars.copy_context()
        self._scheduled = False
        self._closing = False
        self._over = 0  # once more than 0, sends go nowhere; counted for the log
        endpoint.owner = self
        self._soon(protocol.connection_made, self)
        self._soon(self._start, waiter)

    # ------------------------------------------------------------------------------------------------- what programs do

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram, an empty one too. What hinders it is told to `error_received`. Raises TypeError for what
        are no octets, ValueError for another address than that of the peer."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._address:
            if addr not in (None, self._address):
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = self._address
        if self._over:
            if self._address and self._over >= WARN_AFTER:
                logger.warning("socket.send() raised exception.")
            self._over += 1
            return
        try:
            self._send(bytes(data), addr)
        except StackError as error:
            self._report(os_error(error))
        except OSError as error:
            self._report(error)
        except (TypeError, ValueError, OverflowError) as error:  # no address at all
            self._fail(error, "Fatal write error on datagram transport")

    def close(self) -> None:
        """Nothing is queued: the port is free at once. `connection_lost` follows."""
        if not self._closing:
            self._end(None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        local = "{}:{}".format(*self._extra["sockname"])
        return (
            f"<{type(self).__name__} {state} udp of {self._session.name} local={local} peer={self._extra['peername']}>"
        )

    # ----------------------------------------------------------------------------------------------- what happens to it

    def ready(self, now: int) -> None:  # noqa: ARG002 (the surface of an owner)
        """The stack rings."""
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._read_ready)

    def _start(self, waiter: asyncio.Future[None] | None) -> None:
        """In a turn of its own: a protocol that raises when it is connected is connected nevertheless."""
        if self._endpoint.readable:
            self.ready(0)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _read_ready(self) -> None:
        self._scheduled = False
        try:
            for _ in range(READS_PER_TURN):
                if self._closing or not self._read():
                    return
        finally:  # whatever the protocol raised, the rest of the queue is still there
            if not self._closing and self._endpoint.readable:
                self.ready(0)

    def _read(self) -> bool:
        """One datagram or one error; False where there is none."""
        protocol: Any = self._protocol
        try:
            received = self._endpoint.receive()
        except StackError as error:
            protocol.error_received(os_error(error))
            return True
        if received is not None:
            protocol.datagram_received(received.data, (format_ip4(received.source), received.source_port))
            return True
        recorded = self._endpoint.receive_error()
        if recorded is None:
            return False
        exception = as_exception(recorded)
        if exception is not None:
            protocol.error_received(os_error(exception))
        return True

    def _send(self, data: bytes, addr: Any) -> None:
        now = self._session.now()
        if addr is None or self._extra["peername"]:
            self._endpoint.send(data, now)
        else:
            self._endpoint.send_to(data, *resolve_peer(self._session, addr), now)
        self._session.touched()

    def _report(self, error: OSError) -> None:
        protocol: Any = self._protocol
        protocol.error_received(error)

    def _fail(self, error: Exception, message: str) -> None:
        context = {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        self._loop.call_exception_handler(context)
        if not self._closing:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._closing = True
        self._over += 1
        self._endpoint.owner = None
        if not self._endpoint.closed:
            self._endpoint.close(self._session.now())
            self._session.touched()
        self._soon(self._tell_end, error)

    def _tell_end(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def _soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)


# ---------------------------------------------------------------------------------------------------- for event loops


async def create_datagram_endpoint(
    loop: asyncio.AbstractEventLoop,
    session: Session,
    protocol_factory: Callable[[], Protocol],
    local_addr: tuple[str, int] | None = None,
    remote_addr: tuple[str, int] | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: StackSocket | None = None,
) -> tuple[DatagramTransport, Protocol]:
    """As `loop.create_datagram_endpoint`, in the node of `session`. Raises OSError, socket.gaierror, ValueError."""
    if sock is not None:
        _check_alone(sock, local_addr, remote_addr, family, proto, flags, reuse_port, allow_broadcast)
        peer = None
        protocol = protocol_factory()
    else:
        local, peer = _addresses(session, local_addr, remote_addr, family, proto, flags)
        sock = _open(session, local, peer, reuse_port=bool(reuse_port), allow_broadcast=bool(allow_broadcast))
        try:
            protocol = protocol_factory()
        except BaseException:
            sock.close()
            raise
    waiter: asyncio.Future[None] = loop.create_future()
    transport = DatagramTransport(loop, sock, protocol, peer, waiter)
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


def _check_alone(sock: StackSocket, *modifiers: object) -> None:
    if sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A datagram socket was expected, got {sock!r}")
    words = ("local_addr", "remote_addr", "family", "proto", "flags", "reuse_port", "allow_broadcast")
    given = ", ".join(f"{word}={value}" for word, value in zip(words, modifiers, strict=True) if value)
    if given:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({given})")


def _addresses(
    session: Session,
    local_addr: tuple[str, int] | None,
    remote_addr: tuple[str, int] | None,
    family: int,
    proto: int,
    flags: int,
) -> list[Address | None]:
    """Local and remote address, None for what the program did not ask for."""
    if local_addr is None and remote_addr is None:
        if family == socket.AF_UNSPEC:
            raise ValueError("unexpected address family")
        if family != socket.AF_INET:
            raise plain_error(errno.EAFNOSUPPORT)
    found: list[Address | None] = []
    for address in (local_addr, remote_addr):
        if address is None:
            found.append(None)
        elif len(address) != 2:
            raise TypeError("2-tuple is expected")
        else:
            kind = socket.SOCK_DGRAM
            infos = names.getaddrinfo(session, *address, family=family, type=kind, proto=proto, flags=flags)
            found.append(infos[0][4])  # one transport, and a name has one address
    return found


def _open(
    session: Session, local: Address | None, remote: Address | None, *, reuse_port: bool, allow_broadcast: bool
) -> StackSocket:
    sock = StackSocket(session, socket.SOCK_DGRAM)
    try:
        for option in _options(reuse_port=reuse_port, allow_broadcast=allow_broadcast):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if local is not None:
            sock.bind(local)
        if remote is not None and not allow_broadcast:  # who may send to all has no peer to hear alone
            sock.start_connect(remote)
    except BaseException:
        sock.close()
        raise
    return sock


def _options(*, reuse_port: bool, allow_broadcast: bool) -> Iterator[int]:
    if reuse_port:
        yield int(getattr(socket, "SO_REUSEPORT", 15))
    if allow_broadcast:
        yield int(socket.SO_BROADCAST)
