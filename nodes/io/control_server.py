"""The serving end of the control protocol: many connections, each with many requests, in one thread.

What a connection goes through:

    new ──hello──> open ──requests, events, results──> closed
     │              ├── a line that is not JSON, or too long    error reply, then closed
     └── anything   ├── a peer that does not read               its requests are no longer read; closed when full
         else:      └── a peer that goes away                   its requests are cancelled
         closed

A slow reader is held back in two steps. Above HIGH_WATER octets waiting for it, its next requests stay in the kernel,
and `Request.congested` tells producers of events to pause. Above MAX_WAITING the connection is closed, because events
that its own requests go on to produce would otherwise fill the memory of the node.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from nodes.contract import PROTOCOL_VERSION
from nodes.errors import StackError
from nodes.io.control_protocol import (
    CANCEL,
    HELLO,
    MAX_DESCRIPTORS,
    ControlError,
    LineBuffer,
    decode_line,
    encode_line,
)
from nodes.io.reactor import Reactor

HIGH_WATER = 256 * 1024
MAX_WAITING = 4 << 20
MAX_CONNECTIONS = 64
"""A person has a few; a program that opens more has a leak."""

MAX_REQUESTS = 256
"""Requests of one connection that wait for their result at the same time."""

READ_OCTETS = 64 * 1024
TURN_READS = 16
"""Reads from one connection before others get their turn."""

Handler: TypeAlias = "Callable[[Request], None]"


class Request:
    """One request. Answer with any number of `event`, then with one `result` or `error`, now or later. A handler
    may also raise ControlError or StackError, which becomes the error reply."""

    __slots__ = ("_connection", "_done", "cancelled", "id", "method", "on_cancel", "params")

    def __init__(self, connection: _Connection, number: int, method: str, params: dict[str, object]) -> None:
        self._connection = connection
        self._done = False
        self.id = number
        self.method = method
        self.params = params
        self.cancelled = False
        """True when nobody waits for the answer any more: answers are dropped."""
        self.on_cancel: Callable[[], None] | None = None
        """Called once when the peer cancels or goes away. It may still call `result`, which a peer that
        cancelled will read."""

    @property
    def done(self) -> bool:
        """True after the result or the error."""
        return self._done

    @property
    def congested(self) -> bool:
        """True while the peer does not keep up: a producer of events should pause or leave some out."""
        return self._connection.waiting > HIGH_WATER

    def event(self, data: Mapping[str, object]) -> None:
        """Send an intermediate answer. One that is too long ends the request with an error."""
        if not self._done:
            self._send({"id": self.id, "event": data})

    def result(self, data: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        """Send the final answer, with duplicates of file descriptors: the caller keeps and closes its own. A result
        that is too long becomes an error. Raises ControlError for more than MAX_DESCRIPTORS."""
        if len(fds) > MAX_DESCRIPTORS:
            raise ControlError("too-many", f"{len(fds)} file descriptors, at most {MAX_DESCRIPTORS} fit")
        reply: dict[str, object] = {"id": self.id, "result": data}
        if fds:
            reply["fds"] = len(fds)
        if not self._done:
            self._send(reply, fds)
            self._finish()

    def _send(self, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        try:
            self._connection.send(message, fds)
        except ControlError as error:
            self.error(error.code, error.message, error.hint)

    def error(self, code: str, message: str, hint: str = "") -> None:
        """Send the final answer of a request that failed."""
        if not self._done:
            self._connection.send({"id": self.id, "error": {"code": code, "message": message, "hint": hint}})
            self._finish()

    def cancel(self) -> None:
        """For the server: the peer does not want the answer, or is gone."""
        if self._done or self.cancelled:
            return
        callback, self.on_cancel = self.on_cancel, None
        if callback is not None:
            callback()
        self.error("cancelled", f"{self.method} was cancelled")
        self.cancelled = True

    def _finish(self) -> None:
        self._done = True
        self._connection.requests.pop(self.id, None)


Methods: TypeAlias = Mapping[str, Callable[[Request, Mapping[str, Any]], None]]
"""What a server can do, by name: each is given the request and its parameters."""


def dispatch(methods: Methods, request: Request) -> None:
    """Hand a request to its method, which raises KeyError, TypeError or ValueError for bad parameters."""
    method = methods.get(request.method)
    if method is None:
        request.error("unknown-method", f"no method {request.method!r}", f"known: {', '.join(methods)}")
        return
    try:
        method(request, request.params)
    except KeyError as error:
        request.error("bad-params", f"{request.method}: parameter {error} is missing")
    except (TypeError, ValueError) as error:
        request.error("bad-params", f"{request.method}: {error}")


class ControlServer:
    """Serves the connections of a listening UNIX stream socket with `handler`, from the callbacks of `reactor`.

    The socket stays the caller's; it is made non-blocking. `on_disconnect` hears why each connection ended."""

    def __init__(
        self,
        listening: socket.socket,
        reactor: Reactor,
        handler: Handler,
        *,
        name: str = "",
        on_disconnect: Callable[[str], None] | None = None,
    ) -> None:
        self.reactor = reactor
        self.handler = handler
        self.name = name
        """What `hello` answers, so that a client knows whom it reached."""
        self.on_disconnect = on_disconnect
        self.connections: set[_Connection] = set()
        self.refused = 0
        """Connections turned away because there were MAX_CONNECTIONS."""
        self._listening = listening
        listening.setblocking(False)
        reactor.add(listening.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            peer, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._pause_accepting()
            return
        if len(self.connections) >= MAX_CONNECTIONS:
            self.refused += 1
            peer.close()
            return
        self.adopt(peer)

    def _pause_accepting(self) -> None:
        """Out of descriptors: the listening socket stays readable, and would spin. Wait for a second."""
        descriptor = self._listening.fileno()
        self.reactor.pause(descriptor)
        self.reactor.call_at(self.reactor.clock() + 1_000_000_000, lambda: self.reactor.add(descriptor, self._accept))

    def adopt(self, peer: socket.socket) -> None:
        """Serve an already connected socket, one end of a socketpair for example; it becomes the server's."""
        self.connections.add(_Connection(self, peer))

    def close(self) -> None:
        """End all connections; the listening socket stays open."""
        if self._listening.fileno() >= 0:
            self.reactor.remove(self._listening.fileno())
        for connection in list(self.connections):
            connection.close("the server ends")


class _Connection:
    """A peer: its unfinished line, its unfinished requests, and what it has not read yet."""

    def __init__(self, server: ControlServer, peer: socket.socket) -> None:
        peer.setblocking(False)
        self.requests: dict[int, Request] = {}
        self.waiting = 0
        """Octets that wait to be sent."""
        self._server = server
        self._socket = peer
        self._lines = LineBuffer()
        self._output: deque[tuple[memoryview, list[int]]] = deque()
        self._greeted = False
        self._closing = ""
        """Why to close when the output is sent."""
        self._closed = False
        server.reactor.add(peer.fileno(), self._on_readable)

    # -- input

    def _on_readable(self) -> None:
        for _ in range(TURN_READS):
            if self._closed or self._closing or self.waiting > HIGH_WATER:
                return
            try:
                data = self._socket.recv(READ_OCTETS)
            except BlockingIOError:
                return
            except OSError as error:
                self.close(error.strerror or str(error))
                return
            if not data:
                self.close("the peer closed the connection")
                return
            self._lines.feed(data)
            self._serve_lines()

    def _serve_lines(self) -> None:
        try:
            while not (self._closed or self._closing or self.waiting > HIGH_WATER):
                line = self._lines.next_line()
                if line is None:
                    return
                self._serve(decode_line(line))
        except ControlError as error:
            self._reject(None, error)

    def _serve(self, message: dict[str, object]) -> None:
        number, method, params = message.get("id"), message.get("method"), message.get("params", {})
        if not isinstance(number, int) or isinstance(number, bool):
            raise ControlError("bad-request", "id must be an integer")
        if not isinstance(method, str) or not isinstance(params, dict) or set(message) - {"id", "method", "params"}:
            reason = "a request is an object of id, method (text) and params (an object)"
            self._reject(number, ControlError("bad-request", reason))
        elif number in self.requests or len(self.requests) >= MAX_REQUESTS:
            reason = (
                f"id {number} is in use" if number in self.requests else f"{MAX_REQUESTS} requests are not answered"
            )
            self._reject(number, ControlError("too-many", reason, "wait for results before sending more"))
        elif not self._greeted:
            self._greet(number, method, params)
        else:
            request = self.requests[number] = Request(self, number, method, params)
            self._dispatch(request)

    def _greet(self, number: int, method: str, params: dict[str, object]) -> None:
        version = params.get("version")
        if method != HELLO:
            self._reject(
                number, ControlError("version", "the first request must be hello", "send hello with a version")
            )
        elif version != PROTOCOL_VERSION:
            reason = f"version {version}, this end speaks {PROTOCOL_VERSION}"
            self._reject(number, ControlError("version", reason, "use the same Layerlab on both ends"))
        else:
            self._greeted = True
            self.send({"id": number, "result": {"version": PROTOCOL_VERSION, "name": self._server.name}})

    def _dispatch(self, request: Request) -> None:
        try:
            if request.method == CANCEL:
                self._cancel(request)
            elif request.method == HELLO:
                request.result({"version": PROTOCOL_VERSION, "name": self._server.name})
            else:
                self._server.handler(request)
        except ControlError as error:
            request.error(error.code, error.message, error.hint)
        except StackError as error:
            request.error(errno.errorcode.get(error.errno, "EIO"), error.message, error.hint)

    def _cancel(self, request: Request) -> None:
        number = request.params.get("id")
        target = self.requests.get(number) if isinstance(number, int) and number != request.id else None
        if target is not None:
            target.cancel()
        request.result({"cancelled": target is not None})

    def _reject(self, number: int | None, error: ControlError) -> None:
        """Say what is wrong, then close: what follows on this connection cannot be trusted."""
        self._closing = f"{error.message} ({error.code})"
        self.send({"id": number, "error": {"code": error.code, "message": error.message, "hint": error.hint}})

    # -- output

    def send(self, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        """Queue a line and send what the peer takes. Raises ControlError for a line that is too long."""
        line = encode_line(message)
        if self._closed:
            return
        if self.waiting + len(line) > MAX_WAITING:
            self.close(f"the peer does not read: {self.waiting} octets wait for it")
            return
        self._output.append((memoryview(line), _duplicate(fds)))
        self.waiting += len(line)
        if len(self._output) == 1 or self._closing:
            self._flush()
        else:
            self._watch()

    def _flush(self) -> None:
        while self._output:
            line, fds = self._output[0]
            try:
                sent = socket.send_fds(self._socket, [line], fds) if fds else self._socket.send(line)
            except BlockingIOError:
                break
            except OSError as error:
                self.close(error.strerror or str(error))
                return
            _close_all(fds)
            self.waiting -= sent
            if sent == len(line):
                self._output.popleft()
            else:
                self._output[0] = line[sent:], []
        self._watch()

    def _watch(self) -> None:
        """Have the reactor watch for what can go on: output while there is some, input while the peer keeps up."""
        reactor, descriptor = self._server.reactor, self._socket.fileno()
        reactor.set_writable(descriptor, self._on_writable if self._output else None)
        if self._closing and not self._output:
            self.close(self._closing)
        elif self._closing or self.waiting > HIGH_WATER:
            reactor.pause(descriptor)

    def _on_writable(self) -> None:
        self._flush()
        if not (self._closed or self._closing or self.waiting > HIGH_WATER):
            self._server.reactor.add(self._socket.fileno(), self._on_readable)
            self._serve_lines()  # lines that were read before the peer fell behind

    def close(self, reason: str) -> None:
        """End the connection and cancel its requests. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._server.reactor.remove(self._socket.fileno())
        self._server.connections.discard(self)
        for _, fds in self._output:
            _close_all(fds)
        self._output.clear()
        self.waiting = 0
        self._socket.close()
        for request in list(self.requests.values()):
            request.cancel()
        if self._server.on_disconnect is not None:
            self._server.on_disconnect(reason)


def _duplicate(fds: Sequence[int]) -> list[int]:
    """Raises ControlError, with the name of the errno, where the process has no descriptor left."""
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))
    except OSError as error:
        _close_all(copies)
        raise ControlError(
            errno.errorcode.get(error.errno or 0, "EIO"), f"file descriptors: {error.strerror}"
        ) from None
    return copies


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
