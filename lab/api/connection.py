"""A TCP connection of a node in another process, for the script: streams over the UNIX socket that bridges it.

A UNIX socket cannot tell that a connection was reset, or that its node crashed: it only ends. So when it ends, the
node is asked how the connection ended, and only then the reader hears of it.

    the pair ends ──▶ how? ──┬── as it should ──────────▶ end of file; the other direction goes on
                             ├── reset, timed out ... ──▶ that OSError, and the connection is over
                             └── nobody answers ────────▶ ConnectionResetError: the node has crashed
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Coroutine

from lab.errors import LabError

HowItEnded = Callable[[], Awaitable[tuple[str, str] | None]]
"""The name of an errno and a message; None where nothing went wrong. Raises LabError where nobody can be asked."""


async def open_streams(
    node: str, link: socket.socket, names: dict[str, tuple[str, int]], how_it_ended: HowItEnded
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`link`: the script's end of the bridge. `names`: `sockname` and `peername` of the connection."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = _Bridged(node, reader, loop, how_it_ended)
    link.setblocking(False)
    transport, _ = await loop.create_unix_connection(lambda: protocol, sock=link)
    transport._extra.update(names)  # type: ignore[attr-defined]
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Bridged(asyncio.StreamReaderProtocol):
    def __init__(
        self, node: str, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop, how_it_ended: HowItEnded
    ) -> None:
        super().__init__(reader, loop=loop)
        self._node = node
        self._loop_of_script = loop
        self._how_it_ended = how_it_ended
        self._link: asyncio.Transport | None = None
        self._error: Exception | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = transport  # type: ignore[assignment]
        super().connection_made(transport)

    def eof_received(self) -> bool:
        self._ask(self._end())
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            super().connection_lost(self._error)
        else:  # it was written to before its end was seen
            self._ask(self._lose(exc))

    def _ask(self, asking: Coroutine[None, None, None]) -> None:
        task = self._loop_of_script.create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _end(self) -> None:
        self._error = await self._cause()
        if self._error is None:
            super().eof_received()
        elif self._link is not None:
            self._link.abort()  # connection_lost follows, or has been

    async def _lose(self, error: Exception) -> None:
        super().connection_lost(await self._cause() or error)

    async def _cause(self) -> OSError | None:
        try:
            found = await self._how_it_ended()
        except LabError as error:
            lost = ConnectionResetError(errno.ECONNRESET, f"the node {self._node} has crashed")
            lost.__cause__ = error
            return lost
        return None if found is None else OSError(getattr(errno, found[0], errno.EIO), found[1])
