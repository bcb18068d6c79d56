"""The asking end of the control protocol: blocking calls with a deadline, for the command line and for tests.

A connection carries several requests at once. Answers are sorted by their id as they arrive, so that a program can make
a call in the middle of a stream of events; answers to requests that were given up are thrown away, with their file
descriptors.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from nodes.contract import PROTOCOL_VERSION
from nodes.io.control_protocol import (
    CANCEL,
    HELLO,
    MAX_DESCRIPTORS,
    ControlError,
    LineBuffer,
    decode_line,
    encode_line,
    text_of,
)

HELLO_TIMEOUT = 10.0
"""Seconds for a server to greet: one that runs does it at once."""

MAX_KEPT = 65_536
"""Answers kept for other requests while one is waited for."""

READ_OCTETS = 64 * 1024


class Reply(NamedTuple):
    """What came for a request: an event, or the end as a result or an error."""

    event: dict[str, object] | None
    result: dict[str, object] | None
    error: ControlError | None
    fds: list[int]


class ControlClient:
    """Talks to a ControlServer over a connected UNIX stream socket, which becomes the client's. Greets at once.

    Every method raises ControlError: the server's own, or `closed`, `timeout`, `version`, `bad-json`."""

    def __init__(self, connection: socket.socket, *, timeout: float | None = HELLO_TIMEOUT) -> None:
        self._socket = connection
        self._lines = LineBuffer()
        self._fds: deque[int] = deque()
        self._open: dict[int, deque[Reply]] = {}
        self._next = 0
        self._kept = 0
        try:
            self.server, _ = self.call(HELLO, {"version": PROTOCOL_VERSION}, timeout)
        except ControlError:
            self.close()
            raise

    @classmethod
    def connect(cls, path: str | os.PathLike[str], *, timeout: float | None = HELLO_TIMEOUT) -> ControlClient:
        """Connect to the socket at `path`. Raises OSError where nobody listens."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(os.fspath(path))
        except OSError:
            connection.close()
            raise
        return cls(connection, timeout=timeout)

    def call(
        self, method: str, params: Mapping[str, object] | None = None, timeout: float | None = None
    ) -> tuple[dict[str, object], list[int]]:
        """Ask and wait for the result; events on the way are dropped. `timeout` in seconds, None: for ever. Returns the
        result and the file descriptors that came with it, which are then the caller's to close."""
        stream = self.stream(method, params, timeout)
        try:
            for _ in stream:
                pass
        finally:
            stream.close()
        return stream.result, stream.fds

    def stream(
        self, method: str, params: Mapping[str, object] | None = None, timeout: float | None = None
    ) -> EventStream:
        """Ask, and iterate over the events until the result. `timeout` is for the whole of it."""
        number = self._send(method, params or {})
        self._open[number] = deque()
        return EventStream(self, number, None if timeout is None else time.monotonic() + timeout)

    def close(self) -> None:
        """End the connection; the server cancels what is not answered. Safe to call twice."""
        self._socket.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        for replies in self._open.values():
            for reply in replies:
                _close_all(reply.fds)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- for EventStream

    def next_reply(self, number: int, deadline: float | None) -> Reply:
        """The next answer to a request, from what was kept or from the socket."""
        replies = self._open[number]
        while not replies:
            line = self._next_line(deadline)
            self._sort(decode_line(line))
        self._kept -= 1
        return replies.popleft()

    def forget(self, number: int) -> None:
        """Keep no more answers to a request."""
        for reply in self._open.pop(number, ()):
            self._kept -= 1
            _close_all(reply.fds)

    def cancel(self, number: int) -> None:
        """Ask the server to end a request."""
        try:
            self._send(CANCEL, {"id": number})
        except ControlError as error:
            if error.code not in ("closed", "timeout"):  # a peer that is gone has cancelled everything
                raise

    def _send(self, method: str, params: Mapping[str, object]) -> int:
        self._next += 1
        line = encode_line({"id": self._next, "method": method, "params": params})
        try:
            self._socket.settimeout(HELLO_TIMEOUT)
            self._socket.sendall(line)
        except TimeoutError:
            raise ControlError("timeout", f"{method}: the peer takes no request") from None
        except OSError as error:
            raise ControlError("closed", f"{method}: {error.strerror or error}", "is the node still there?") from None
        return self._next

    def _next_line(self, deadline: float | None) -> bytes:
        while (line := self._lines.next_line()) is None:
            try:
                self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-6))
                data, fds, _, _ = socket.recv_fds(self._socket, READ_OCTETS, MAX_DESCRIPTORS)
            except TimeoutError:
                raise ControlError("timeout", "no answer in time") from None
            except OSError as error:
                raise ControlError("closed", error.strerror or str(error), "is the node still there?") from None
            for fd in fds:
                os.set_inheritable(fd, False)  # recv_fds leaves them open over an exec
            self._fds.extend(fds)
            if not data:
                raise ControlError("closed", "the connection was closed", "is the node still there?")
            self._lines.feed(data)
        return line

    def _sort(self, message: dict[str, object]) -> None:
        """Put an answer where its request waits. Descriptors come in the order of the lines that announce them."""
        count = message.get("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._fds):
            raise ControlError("bad-json", f"{text_of(count)} file descriptors announced, {len(self._fds)} came")
        fds = [self._fds.popleft() for _ in range(count)]
        number, event, result = message.get("id"), message.get("event"), message.get("result")
        error = _error(message.get("error")) if "error" in message else None
        if error is not None and number is None:
            raise error  # the server understood nothing, and closes
        replies = self._open.get(number) if isinstance(number, int) else None
        if replies is None:
            _close_all(fds)
            return
        if self._kept >= MAX_KEPT:
            raise ControlError("too-many", f"{MAX_KEPT} events wait in another stream", "read the streams in turn")
        self._kept += 1
        as_event = event if isinstance(event, dict) else None
        as_result = result if isinstance(result, dict) else None
        if as_event is None and as_result is None and error is None:
            raise ControlError("bad-json", "an answer without event, result or error")
        replies.append(Reply(as_event, as_result, error, fds))


class EventStream:
    """The events of one request. After the last, `result` and `fds` are there; an error reply raises. The result is
    also the value of the generator's end (`StopIteration.value`)."""

    def __init__(self, client: ControlClient, number: int, deadline: float | None) -> None:
        self.result: dict[str, object] = {}
        self.fds: list[int] = []
        self._client = client
        self._number = number
        self._deadline = deadline
        self._ended = False

    def __iter__(self) -> Iterator[dict[str, object]]:
        return self

    def __next__(self) -> dict[str, object]:
        if self._ended:
            raise StopIteration(self.result)
        try:
            reply = self._client.next_reply(self._number, self._deadline)
        except ControlError:
            self.close()
            raise
        if reply.event is not None:
            return reply.event
        self._ended = True
        self._client.forget(self._number)
        if reply.error is not None:
            raise reply.error
        self.result, self.fds = reply.result or {}, reply.fds
        raise StopIteration(self.result)

    def cancel(self) -> None:
        """Ask the server to end the request; go on iterating for its last events and its result."""
        if not self._ended:
            self._client.cancel(self._number)

    def close(self) -> None:
        """Give the request up: it is cancelled and its answers are dropped. Safe at any time, and twice."""
        if not self._ended:
            self._ended = True
            self._client.forget(self._number)
            self._client.cancel(self._number)


def _error(value: object) -> ControlError:
    if not isinstance(value, dict):
        return ControlError("bad-json", f"an error that is no object: {text_of(value)}")
    return ControlError(*(text_of(value.get(name, "")) for name in ("code", "message", "hint")))


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
