"""What waits at a socket of the stack, in the order in which it came.

    sock_recv, sock_accept ...  an attempt that raised BlockingIOError and is made again after each ring
    add_reader, add_writer      a callback that is run in each turn as long as the socket is ready

The stack rings once when something happens; a selector reports for as long as it stays so. What is left to do when a
turn ends asks for another turn.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

from nodes.session.socket import StackSocket
from nodes.transport.tcp.socket import TcpSocket

Value = TypeVar("Value")

READ, WRITE = 0, 1


class Attempts:
    """The `on_ready` of a socket."""

    __slots__ = ("_context", "_loop", "_scheduled", "_sock", "_waiting", "_watches", "connecting")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: StackSocket, context: contextvars.Context) -> None:
        self.connecting = False
        """A connection is being opened whose end nobody was told: whoever asks again waits for the same."""
        self._loop: Any = loop
        self._sock = sock
        self._context = context
        self._scheduled = False
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._watches: list[asyncio.Handle | None] = [None, None]

    def __call__(self) -> None:
        """The stack rings."""
        if not self._scheduled and (self._waiting or any(self._watches)):
            self._scheduled = True
            self._loop.call_soon(self._turn, context=self._context)

    async def wait(self, attempt: Callable[[], Value]) -> Value:
        """What `attempt` gives once it does not raise BlockingIOError any more."""
        future: asyncio.Future[Value] = self._loop.create_future()
        entry = attempt, future
        self._waiting.append(entry)
        try:
            return await future
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def watch(self, what: int, handle: asyncio.Handle) -> None:
        """Run a callback for as long as the socket is ready to be read, or written: READ or WRITE."""
        self.unwatch(what)
        self._watches[what] = handle
        self()

    def unwatch(self, what: int) -> bool:
        """Whether there was one."""
        old, self._watches[what] = self._watches[what], None
        if old is not None:
            old.cancel()
        return old is not None

    def _turn(self) -> None:
        self._scheduled = False
        self._try_all()
        sock, (reader, writer) = self._sock, self._watches
        if sock.closed:
            return
        if reader is not None and sock.readable:
            self._run(reader)
        if writer is not None:
            if sock.writable:
                self._run(writer)
            elif isinstance(sock.endpoint, TcpSocket):
                sock.endpoint.want_room()

    def _run(self, handle: asyncio.Handle) -> None:
        self._loop._add_callback(handle)
        self()

    def _try_all(self) -> None:
        for entry in list(self._waiting):
            attempt, future = entry
            if future.done():
                continue
            try:
                value = attempt()
            except BlockingIOError:
                continue
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 (it is raised where somebody waits)
                future.set_exception(error)
            else:
                future.set_result(value)
            self._waiting.remove(entry)
