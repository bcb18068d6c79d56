"""A TCP connection for asyncio: the transport of `create_connection`, `create_server` and `start_tls`.

    program ──write──▶ [buffer of the transport] ──▶ send buffer of TCP ──▶ peer
                          over the high-water mark: protocol.pause_writing
    program ◀─data_received── receive buffer of TCP ◀── peer
                          pause_reading: nothing is taken from it, and the window closes

It behaves as asyncio's transport over a socket of the kernel (`_SelectorSocketTransport`). The stack rings once when
something happened, the selector for as long as it stays so: a turn that leaves something to read asks for another turn.
Callbacks of the protocol run from handles of the loop, in the context that the transport was made in, never from
inside the stack.

`abort` gives up what is in the transport's own buffer and closes the socket: what TCP has taken is still sent, as a
kernel does. A reset is what SO_LINGER with a time of 0 makes of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import sys
import warnings
from asyncio import constants
from asyncio.log import logger
from asyncio.transports import _FlowControlMixin
from typing import TYPE_CHECKING, Any

from nodes.errors import StackError
from nodes.session.errors import os_error, raising
from nodes.session.session import CURRENT, EndpointOwner
from nodes.session.socket import StackSocket
from nodes.transport.tcp.socket import TcpSocket
from nodes.wire.checksum import Buffer

if TYPE_CHECKING:
    from nodes.session.connecting import ConnectingLoop
    from nodes.session.server import StackServer

MAX_READ = 256 * 1024
"""Octets for one protocol before the others of the loop get their turn: as asyncio reads."""


class StreamTransport(EndpointOwner, _FlowControlMixin, asyncio.Transport):
    """`waiter` is told when the protocol has been connected. Takes over the socket, which is connected or accepted."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self,
        loop: ConnectingLoop,
        sock: StackSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: StackServer | None = None,
    ) -> None:
        self._sock: StackSocket | None = None  # for __del__, where something below raises
        endpoint = sock.endpoint
        if not isinstance(endpoint, TcpSocket):
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        self._number = loop.next_number()
        self._extra: dict[str, Any]
        super().__init__(extra, loop)
        self._extra["socket"] = sock.view()
        self._extra["sockname"] = _name_or_none(sock.getsockname)
        if "peername" not in self._extra:
            self._extra["peername"] = _name_or_none(sock.getpeername)
        self._loop: ConnectingLoop = loop
        self._session = sock.session
        self._sock = sock
        self._endpoint = endpoint
        self._context = context_in(sock)
        self._buffer = bytearray()
        self._scheduled = False  # a turn is ahead
        self._started = False
        self._paused = False
        self._ended = False  # the peer's end was told
        self._eof = False  # ours
        self._closing = False
        self._lost = 0  # once more than 0, connection_lost is ahead or over; then counts writes for the log
        self._protocol_connected = False
        self.set_protocol(protocol)
        self._server = server
        if server is not None:
            server.attach(self)
        sock.on_ready = None
        endpoint.owner = self
        endpoint.set_option("nodelay", True, self._session.now())  # as asyncio does
        self._soon(self._protocol.connection_made, self)
        if waiter is not None:
            self._soon(_wake, waiter)
        self._soon(self._start)  # data only when whoever waits for the connection has had his turn, as with asyncio

    def __hash__(self) -> int:
        """By the order of creation: sets of transports are in the same order in every run."""
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        sock = self._sock
        if sock is None:
            return f"<{type(self).__name__} closed>"
        words = [type(self).__name__, *(["closing"] if self._closing else []), f"tcp of {self._session.name}"]
        words += [f"local={self._extra['sockname']}", f"peer={self._extra['peername']}"]
        words += ["reading" if self.is_reading() else "not reading", f"buffer={len(self._buffer)}"]
        return f"<{' '.join(words)}>"

    def __del__(self) -> None:
        sock = self._sock
        if sock is not None:
            if self._session.alive:
                warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._loop.orphan(self._number, sock.close)
            if self._server is not None and sys.version_info >= (3, 13):
                self._server.detach(self)

    # ------------------------------------------------------------------------------------------------- what programs do

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """socket, sockname, peername, and tcp_info: what `TcpSocket.info` tells now."""
        if name == "tcp_info":
            return self._extra["socket"].info()
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        self._protocol_connected = True

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Take nothing more from the stack: its window closes when it is full, and the peer has to wait."""
        if self.is_reading():
            self._paused = True
            self._log("%r pauses reading")

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._ended = False  # a protocol that came meanwhile is told the end too
        if self._endpoint.readable:
            self.ready(0)
        self._log("%r resumes reading")

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: Any) -> None:
        """Raises TypeError for what are no octets, RuntimeError after `write_eof`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._lost:
            if self._lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._lost += 1
            return
        if not self._buffer:
            octets = data if isinstance(data, bytes) else memoryview(data).cast("B")
            taken = self._send(octets)
            if taken is None or taken == len(octets):
                return
            data = memoryview(octets)[taken:] if taken else octets
        self._buffer += data
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """FIN, after what is buffered. Raises OSError where the connection is over."""
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffer:
            self._shutdown()

    def close(self) -> None:
        """What is buffered is still sent."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lost += 1
            self._soon(self._call_connection_lost, None)

    def abort(self) -> None:
        """What is buffered here is not sent any more."""
        self._force_close(None)

    def fail(self, error: OSError) -> None:
        """The same, and that is why: for whoever takes the node away."""
        self._force_close(error)

    # ----------------------------------------------------------------------------------------------- what happens to it

    def ready(self, now: int) -> None:  # noqa: ARG002 (the surface of an owner)
        """The stack rings."""
        if self._started and not self._scheduled:
            self._scheduled = True
            self._soon(self._turn)

    def _start(self) -> None:
        self._started = True
        if self._buffer or self._endpoint.readable:
            self.ready(0)

    def _turn(self) -> None:
        self._scheduled = False
        if self._wants_data() and self._endpoint.readable:
            try:
                self._read()
            finally:  # whatever the protocol raised, the rest is still there
                if self._wants_data() and self._endpoint.readable:
                    self.ready(0)
        self._flush()

    def _wants_data(self) -> bool:
        return not (self._paused or self._closing or self._ended)

    def _read(self) -> None:
        if self._buffered:
            self._read_into_buffer()
            return
        data = self._receive(MAX_READ)
        if data:
            try:
                self._protocol.data_received(data)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 (as asyncio: any error of a protocol ends its connection)
                self._fatal_error(error, "Fatal error: protocol.data_received() call failed.")
        elif data is not None:
            self._end_of_stream()

    def _read_into_buffer(self) -> None:
        try:
            buffer = self._protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            view = memoryview(buffer).cast("B")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001
            self._fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return
        data = self._receive(len(view))
        if data:
            view[: len(data)] = data
            view.release()
            try:
                self._protocol.buffer_updated(len(data))
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001
                self._fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")
        elif data is not None:
            self._end_of_stream()

    def _receive(self, limit: int) -> bytes | None:
        """None where nothing is there, or the connection failed."""
        try:
            data = self._endpoint.receive(limit)
        except StackError as error:
            self._fatal_error(os_error(error), "Fatal read error on socket transport")
            return None
        if data:
            self._session.touched()  # the window may have opened
        return data

    def _end_of_stream(self) -> None:
        self._ended = True
        self._log("%r received EOF")
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001
            self._fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _send(self, data: Buffer) -> int | None:
        """How much the stack took; None where the connection failed."""
        try:
            taken = self._endpoint.send(data, self._session.now())
        except StackError as error:
            self._buffer.clear()
            self._fatal_error(os_error(error), "Fatal write error on socket transport")
            return None
        if taken:
            self._session.touched()
        return taken

    def _flush(self) -> None:
        if not self._buffer or self._lost:
            return
        with memoryview(self._buffer) as view:
            error = None
            try:
                taken = self._endpoint.send(view, self._session.now())
            except StackError as caught:
                taken, error = 0, os_error(caught)
        if error is not None:
            self._buffer.clear()
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        if not taken:
            return
        self._session.touched()
        del self._buffer[:taken]
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # which may write more
        if self._buffer:
            return
        if self._closing:
            self._call_connection_lost(None)
        elif self._eof:
            self._shutdown()

    def _shutdown(self) -> None:
        with raising():
            self._endpoint.shutdown(self._session.now())
        self._session.touched()

    # ---------------------------------------------------------------------------------------------------------- the end

    def _fatal_error(self, error: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(error, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=error)
        else:
            context = {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler(context)
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._closing = True
        self._lost += 1
        self._soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        self._lost += 1
        try:
            if self._protocol_connected:
                self._protocol.connection_lost(error)
        finally:
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()
            self._protocol = None
            server, self._server = self._server, None
            if server is not None:
                server.detach(self)

    def _soon(self, callback: Any, *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)

    def _log(self, text: str) -> None:
        if self._loop.get_debug():
            logger.debug(text, self)


def context_in(sock: StackSocket) -> contextvars.Context:
    """The context of the caller, in the socket's node."""
    context = contextvars.copy_context()
    if context.get(CURRENT) is not sock.session:
        context.run(CURRENT.set, sock.session)
    return context


def _name_or_none(ask: Any) -> Any:
    """An address, where there is one."""
    try:
        return ask()
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.EBADF, errno.EINVAL):
            return None
        raise


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
