"""The asking end of the control protocol (docs/control-protocol.md) for asyncio: many questions on few connections.

    await call ──┐                                  ┌──▶ reader: lines, and the descriptors that came with them
    await call ──┼──▶ one connection ──▶ agent ─────┤         │
    await call ──┘     (at most BUSY open)          └──▶ the future of each question

`Channel` is one connection. `Door` is what a script has of a node or of a supervisor: it opens connections as they are
needed, another one where all are busy, and forgets those that the other end has closed. Whoever stops waiting cancels
what it asked for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

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

BUSY = 200
"""Questions that wait on one connection; servers allow 256, those to cancel others included."""

READ_OCTETS = 64 * 1024

Heard = Callable[[dict[str, Any]], object]
"""Given the events of a question."""


class Answer(NamedTuple):
    """`fds` are the caller's to close."""

    result: dict[str, Any]
    fds: list[int]


class _Question(NamedTuple):
    answer: asyncio.Future[Answer]
    heard: Heard | None


class Channel:
    """Over a connected UNIX stream socket, which becomes the channel's. `greet` first."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.closed = False
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._lines = LineBuffer()
        self._fds: deque[int] = deque()
        self._waiting = bytearray()
        self._questions: dict[int, _Question] = {}
        self._last = 0
        self._loop.add_reader(link, self._readable)

    @property
    def busy(self) -> bool:
        return len(self._questions) >= BUSY

    async def greet(self) -> None:
        """Raises ControlError; then the channel is closed."""
        try:
            await self.ask(HELLO, {"version": PROTOCOL_VERSION})
        except BaseException:
            self.close()
            raise

    async def ask(self, method: str, params: Mapping[str, Any], heard: Heard | None = None) -> Answer:
        """Raises ControlError: the server's own, or `closed`."""
        if self.closed:
            raise ControlError("closed", "the connection was closed")
        self._last += 1
        number = self._last
        line = encode_line({"id": number, "method": method, "params": params})
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._questions[number] = _Question(answer, heard)
        self._write(line)
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(number, answer)
            raise

    def close(self, reason: str = "the connection was closed") -> None:
        """The server cancels what is not answered; who waits for it is told. Harmless when closed already."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._link)
        self._loop.remove_writer(self._link)
        self._link.close()
        _close_all(self._fds)
        self._fds.clear()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.answer.done():
                question.answer.set_exception(ControlError("closed", reason, "is the node still there?"))

    def _give_up(self, number: int, answer: asyncio.Future[Answer]) -> None:
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            _close_all(answer.result().fds)  # it came in the same moment
        if self._questions.pop(number, None) is not None and not self.closed:
            self._last += 1
            self._write(encode_line({"id": self._last, "method": CANCEL, "params": {"id": number}}))

    def _write(self, line: bytes) -> None:
        idle = not self._waiting
        self._waiting += line
        if idle:
            self._writable()

    def _writable(self) -> None:
        try:
            sent = self._link.send(self._waiting)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        del self._waiting[:sent]
        if self._waiting:
            self._loop.add_writer(self._link, self._writable)
        else:
            self._loop.remove_writer(self._link)

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._link, READ_OCTETS, MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds leaves them open over an exec
        self._fds.extend(fds)
        if not data:
            self.close()
            return
        self._lines.feed(data)
        try:
            while not self.closed and (line := self._lines.next_line()) is not None:
                self._sort(decode_line(line))
        except ControlError as error:
            self.close(error.message)

    def _sort(self, message: dict[str, Any]) -> None:
        """Descriptors come in the order of the lines that announce them."""
        count = message.get("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._fds):
            raise ControlError("bad-json", f"{text_of(count)} file descriptors announced, {len(self._fds)} came")
        fds = [self._fds.popleft() for _ in range(count)]
        error = message.get("error")
        if isinstance(error, dict) and message.get("id") is None:
            raise _error_of(error)  # the server understood nothing, and closes
        question = self._questions.get(message["id"]) if isinstance(message.get("id"), int) else None
        if question is None or question.answer.done():
            _close_all(fds)
        elif isinstance(event := message.get("event"), dict):
            if question.heard is not None:
                self._loop.call_soon(question.heard, event)  # what it raises is no matter of the next line's
        else:
            self._conclude(message, fds)

    def _conclude(self, message: Mapping[str, Any], fds: list[int]) -> None:
        answer = self._questions.pop(message["id"]).answer
        error, result = message.get("error"), message.get("result")
        if isinstance(error, dict):
            answer.set_exception(_error_of(error))
        elif isinstance(result, dict):
            answer.set_result(Answer(result, fds))
        else:
            answer.set_exception(ControlError("bad-json", "an answer without event, result or error"))


class Door:
    """Asks one server. `connect` makes a connection to it."""

    def __init__(self, connect: Callable[[], Awaitable[socket.socket]]) -> None:
        self._connect = connect
        self._channels: list[Channel] = []
        self._opening: asyncio.Task[Channel] | None = None

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        within: float | None = None,
        heard: Heard | None = None,
    ) -> Answer:
        """`within` (s) bounds the wait, connecting included. Raises ControlError, also `timeout`, and what `connect`
        raises."""
        try:
            async with asyncio.timeout(within) as limit:
                channel = await self._channel()
                return await channel.ask(method, params or {}, heard)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ControlError("timeout", f"{method}: no answer within {within:g} s") from None

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        for channel in self._channels:
            channel.close()
        self._channels.clear()

    async def _channel(self) -> Channel:
        while True:
            self._channels = [channel for channel in self._channels if not channel.closed]
            for channel in self._channels:
                if not channel.busy:
                    return channel
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open())
            opening = self._opening
            try:
                await asyncio.shield(opening)  # others wait for it too
            finally:
                if opening.done() and self._opening is opening:
                    self._opening = None

    async def _open(self) -> Channel:
        channel = Channel(await self._connect())
        await channel.greet()
        self._channels.append(channel)
        return channel


def _error_of(value: Mapping[str, Any]) -> ControlError:
    return ControlError(*(text_of(value.get(name, "")) for name in ("code", "message", "hint")))


def _close_all(fds: deque[int] | list[int]) -> None:
    for fd in fds:
        os.close(fd)
