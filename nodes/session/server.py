"""A listening TCP server for asyncio, over sockets of the stack.

`asyncio.Server` itself keeps the books (who serves, who waits for the end), so that `serve_forever`, `wait_closed` and,
from Python 3.13 on, `close_clients` mean what they mean in the Python that runs. What is different is how it hears of
connections: the stack rings the listening socket, and a handle of the loop accepts what waits.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from asyncio import constants
from asyncio.base_events import Server
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nodes.session.session import EndpointOwner
from nodes.session.socket import StackSocket
from nodes.session.stream import StreamTransport, context_in
from nodes.session.view import TransportSocketView

if TYPE_CHECKING:
    from ssl import SSLContext

    from nodes.session.connecting import ConnectingLoop

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listening(EndpointOwner):
    """A socket that listens for a server. At most `backlog` connections are accepted in a turn of the loop."""

    def __init__(
        self,
        loop: ConnectingLoop,
        sock: StackSocket,
        accepted: Callable[[StackSocket, tuple[str, int]], None],
        backlog: int,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._accepted = accepted
        self._backlog = backlog
        self._context = context_in(sock)
        self._scheduled = False
        self._open = True
        sock.on_ready = None
        sock.endpoint.owner = self
        if sock.readable:
            self.ready(0)

    def ready(self, now: int) -> None:  # noqa: ARG002 (the surface of an owner)
        """The stack rings."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._accept, context=self._context)

    def close(self) -> None:
        """Connections that nobody accepted are reset."""
        self._open = False
        self._sock.close()

    def _accept(self) -> None:
        self._scheduled = False
        for _ in range(self._backlog):
            if not self._open:
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._refused(error)
                return
            self._accepted(sock, address)
        if self._sock.readable:
            self.ready(0)

    def _refused(self, error: OSError) -> None:
        if error.errno not in _OUT_OF_RESOURCES:
            raise error
        self._loop.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": error,
                "socket": self._sock.view(),
            }
        )
        self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self.ready, 0, context=self._context)


class StackServer(Server):
    """What `create_server` gives in a node."""

    _loop: ConnectingLoop
    _sockets: list[StackSocket] | None

    def __init__(
        self,
        loop: ConnectingLoop,
        sockets: list[StackSocket],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        ssl_context: SSLContext | None,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> None:
        base: Any = super()
        base.__init__(
            loop, sockets, protocol_factory, ssl_context, backlog, ssl_handshake_timeout, ssl_shutdown_timeout
        )

    @property
    def sockets(self) -> tuple[TransportSocketView, ...]:  # type: ignore[override]  # of ours, not of the kernel's
        """Those that listen; none once it is closed."""
        return tuple(sock.view() for sock in self._sockets or ())

    def attach(self, transport: StreamTransport) -> None:
        """A connection of this server has begun."""
        base: Any = super()
        base._attach(*((transport,) if sys.version_info >= (3, 13) else ()))

    def detach(self, transport: StreamTransport) -> None:
        """It has ended."""
        base: Any = super()
        base._detach(*((transport,) if sys.version_info >= (3, 13) else ()))
