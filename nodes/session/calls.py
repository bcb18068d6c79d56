"""The `sock_*` methods of the event loop, over sockets of the stack.

A call tries at once what it is asked for. Where that would have to wait, the attempt is kept with the socket (see
`nodes.session.attempts`), and made again in a turn of the loop after each ring of the stack, until it succeeds, fails
or is cancelled. `add_reader` and `add_writer` take sockets of the stack too.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio import base_events
from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeVar

from nodes.session.attempts import READ, WRITE, Attempts
from nodes.session.errors import plain_error
from nodes.session.session import Session, World
from nodes.session.shadow import catch_circuits, stack_socket
from nodes.session.socket import StackSocket
from nodes.session.stream import context_in

Value = TypeVar("Value")
check_ssl_socket: Callable[[Any], None] = base_events._check_ssl_socket  # type: ignore[attr-defined]


class SocketCallsLoop(asyncio.SelectorEventLoop):
    """`world`: what the loop waits in."""

    def __init__(self, world: World) -> None:
        super().__init__()
        catch_circuits()
        self._world = world
        self._numbers = 0
        self._orphans: list[tuple[int, Callable[[], None]]] = []

    def next_number(self) -> int:
        """Counts what is made in this loop: the order of everything that has no other."""
        self._numbers += 1
        return self._numbers

    def orphan(self, number: int, close: Callable[[], None]) -> None:
        """From a finalizer, which runs in any thread and in the middle of anything, the stack's work too: close what
        nobody refers to any more. It is done in the next turn, in the order of `next_number`, because in which order
        Python's collector finalizes what it found together may depend on addresses and hashes."""
        if self.is_closed():
            close()
            return
        self._orphans.append((number, close))
        base: Any = self
        base._write_to_self()

    def _close_orphans(self) -> None:
        orphans, self._orphans = self._orphans, []
        for _, close in sorted(orphans, key=itemgetter(0)):
            close()

    def in_node(self) -> Session | None:
        """The node that the running program lives in; None outside of all."""
        return self._world.session()

    def own_socket(self, sock: Any) -> Any:
        """The socket of the stack that `sock` is, or that it stands for in a node; the kernel's otherwise."""
        if isinstance(sock, StackSocket):
            return sock
        session = self.in_node()
        return sock if session is None else stack_socket(session, sock)

    # ------------------------------------------------------------------------------------------------------- the calls

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        own = self._checked(sock)
        return await self._attempt(own, lambda: own.recv(n)) if own else await super().sock_recv(sock, n)

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        own = self._checked(sock)
        return await self._attempt(own, lambda: own.recv_into(buf)) if own else await super().sock_recv_into(sock, buf)

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> Any:
        own = self._checked(sock)
        if own is None:
            return await super().sock_recvfrom(sock, bufsize)
        return await self._attempt(own, lambda: own.recvfrom(bufsize))

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> Any:
        own = self._checked(sock)
        if own is None:
            return await super().sock_recvfrom_into(sock, buf, nbytes)
        return await self._attempt(own, lambda: own.recvfrom_into(buf, nbytes or len(buf)))

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        """Until the stack has taken all of it."""
        own = self._checked(sock)
        if own is None:
            return await super().sock_sendall(sock, data)
        rest = data if isinstance(data, bytes) else memoryview(data).cast("B")

        def attempt() -> None:
            nonlocal rest
            while rest:  # where there is no room, `send` raises, and the stack will ring
                rest = memoryview(rest)[own.send(rest) :]

        return await self._attempt(own, attempt)

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        own = self._checked(sock)
        if own is None:
            return await super().sock_sendto(sock, data, address)
        return await self._attempt(own, lambda: own.sendto(data, address))

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Who gave up waiting and asks again waits for the same connection. Raises OSError with the stack's errno."""
        own = self._checked(sock)
        if own is None:
            await super().sock_connect(sock, address)
            return
        resolve: Any = self._ensure_resolved  # type: ignore[attr-defined]
        circuit = own.type == socket.SOCK_SEQPACKET  # names and services know nothing of circuits
        kind = socket.SOCK_STREAM if circuit else own.type
        infos = await resolve(address, family=own.family, type=kind, proto=own.proto, loop=self)
        address = infos[0][4]
        if infos[0][0] != socket.AF_INET:
            raise plain_error(errno.EAFNOSUPPORT)
        attempts = self._attempts(own)
        if not attempts.connecting:
            if own.start_connect(address):
                return
            attempts.connecting = True
        try:
            await self._attempt(own, lambda: _connected(own, address))
        except OSError:
            attempts.connecting = False
            raise
        attempts.connecting = False

    async def sock_accept(self, sock: Any) -> tuple[Any, Any]:
        own = self._checked(sock)
        return await self._attempt(own, own.accept) if own else await super().sock_accept(sock)

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> None:
        """As asyncio's; a callback for as long as there is something to read."""
        own = self.own_socket(fd)
        if isinstance(own, StackSocket):
            self._attempts(own).watch(READ, asyncio.Handle(callback, args, self))
        else:
            super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        """Whether there was one."""
        own = self.own_socket(fd)
        return self._attempts(own).unwatch(READ) if isinstance(own, StackSocket) else super().remove_reader(fd)

    def add_writer(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> None:
        """As asyncio's; a callback for as long as there is room."""
        own = self.own_socket(fd)
        if isinstance(own, StackSocket):
            self._attempts(own).watch(WRITE, asyncio.Handle(callback, args, self))
        else:
            super().add_writer(fd, callback, *args)

    def remove_writer(self, fd: Any) -> bool:
        """Whether there was one."""
        own = self.own_socket(fd)
        return self._attempts(own).unwatch(WRITE) if isinstance(own, StackSocket) else super().remove_writer(fd)

    async def _sock_sendfile_native(self, sock: Any, file: Any, offset: int, count: int | None) -> int:
        if isinstance(self.own_socket(sock), StackSocket):
            raise asyncio.SendfileNotAvailableError("a socket of the stack is no descriptor of the kernel")
        native: Any = super()
        sent: int = await native._sock_sendfile_native(sock, file, offset, count)
        return sent

    # ---------------------------------------------------------------------------------------------------------- inside

    def _checked(self, sock: Any) -> StackSocket | None:
        """The socket of the stack; None for the kernel's."""
        check_ssl_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        own = self.own_socket(sock)
        return own if isinstance(own, StackSocket) else None

    async def _attempt(self, sock: StackSocket, attempt: Callable[[], Value]) -> Value:
        try:
            return attempt()
        except BlockingIOError:
            pass
        return await self._attempts(sock).wait(attempt)

    def _attempts(self, sock: StackSocket) -> Attempts:
        if sock.endpoint.owner is not sock:
            raise RuntimeError(f"{sock!r} is used by the transport {sock.endpoint.owner!r}")
        attempts = sock.on_ready
        if not isinstance(attempts, Attempts):
            attempts = sock.on_ready = Attempts(self, sock, context_in(sock))
        return attempts


def _connected(sock: StackSocket, address: Any) -> None:
    """Raises BlockingIOError while the connection is being opened, and what became of it."""
    if sock.connected:
        return
    error = sock.error
    if error is None:
        if sock.readable:  # over, and the error was told
            raise plain_error(errno.ECONNABORTED)
        raise BlockingIOError
    sock.take_error()
    failed = OSError(error.errno, f"Connect call failed {address}: {error.strerror}")
    failed.__cause__ = error.__cause__
    for note in getattr(error, "__notes__", ()):
        failed.add_note(note)
    raise failed
