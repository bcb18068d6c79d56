"""Connections, servers, datagrams and names of the event loop: in a node its stack's, outside of all the kernel's.

asyncio's own `create_connection`, `connect_accepted_socket`, `start_tls` and `sendfile` do the work, with its rules and
its messages. What they build on is replaced here: how a socket is made and connected, what transport is put around it,
how names are looked up. TLS is asyncio's SSLProtocol over our transport.

What a node does not have says so: processes, signals, pipes, UNIX sockets belong to the machine that the lab runs on.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
from asyncio import sslproto
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from nodes.session import datagram, names
from nodes.session.calls import SocketCallsLoop
from nodes.session.errors import plain_error
from nodes.session.server import Listening, StackServer
from nodes.session.session import Session
from nodes.session.shadow import ShadowedSocket
from nodes.session.socket import StackSocket
from nodes.session.stream import StreamTransport


@dataclass
class ServerOptions:
    """What `create_server` is asked for besides addresses: names and defaults are asyncio's."""

    backlog: int = 100
    ssl: Any = None
    reuse_address: bool | None = None
    reuse_port: bool | None = None
    keep_alive: bool | None = None
    ssl_handshake_timeout: float | None = None
    ssl_shutdown_timeout: float | None = None
    start_serving: bool = True

    def check(self) -> None:
        """Raises TypeError, ValueError."""
        if isinstance(self.ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            if getattr(self, name) is not None and self.ssl is None:
                raise ValueError(f"{name} is only meaningful with ssl")

    def of_sockets(self) -> list[int]:
        """The options to set on each socket."""
        posix = os.name == "posix" and sys.platform != "cygwin"
        options = [socket.SO_REUSEADDR] if (posix if self.reuse_address is None else self.reuse_address) else []
        if self.reuse_port:
            options.append(int(getattr(socket, "SO_REUSEPORT", 15)))
        if self.keep_alive:
            options.append(socket.SO_KEEPALIVE)
        return options


class ConnectingLoop(SocketCallsLoop):
    """See the module."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._listening: dict[StackSocket, Listening] = {}

    # ----------------------------------------------------------------------------------------------------------- names

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (as asyncio has it)
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        session = self.in_node()
        if session is None:
            return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        return list(names.getaddrinfo(session, host, port, family=family, type=type, proto=proto, flags=flags))

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        session = self.in_node()
        if session is None:
            return await super().getnameinfo(sockaddr, flags)
        return names.getnameinfo(session, sockaddr, flags)

    # ----------------------------------------------------------------------------------------------------- connections

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """As asyncio's. Raises OSError with the stack's errno, socket.gaierror."""
        if sock is not None:
            sock = self._taken_over(sock)
        return await super().create_connection(protocol_factory, host, port, sock=sock, **options)

    async def connect_accepted_socket(
        self, protocol_factory: Callable[[], Any], sock: Any, **options: Any
    ) -> tuple[Any, Any]:
        return await super().connect_accepted_socket(protocol_factory, self._taken_over(sock), **options)

    async def _connect_sock(self, exceptions: list[list[Any]], addr_info: Any, local_addr_infos: Any = None) -> Any:
        session = self.in_node()
        if session is None:
            base: Any = super()
            return await base._connect_sock(exceptions, addr_info, local_addr_infos)
        ours: list[OSError] = []
        exceptions.append(ours)
        try:
            return await self._connect_own(session, addr_info, local_addr_infos)
        except OSError as error:
            ours.append(error)
            raise
        finally:
            del ours, exceptions  # the errors know this frame

    async def _connect_own(self, session: Session, info: Any, local_infos: Any) -> StackSocket:
        family, kind, _, _, address = info
        if family != socket.AF_INET:
            raise plain_error(errno.EAFNOSUPPORT)
        sock = StackSocket(session, kind)
        try:
            if local_infos is not None:
                _bind_any(sock, local_infos)
            await self.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        if isinstance(sock, StackSocket):
            return StreamTransport(self, sock, protocol, waiter, extra, server)
        base: Any = super()
        return base._make_socket_transport(sock, protocol, waiter, extra=extra, server=server)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        **options: Any,
    ) -> Any:
        if not isinstance(rawsock, StackSocket):
            base: Any = super()
            return base._make_ssl_transport(
                rawsock, protocol, sslcontext, waiter, extra=extra, server=server, **options
            )
        make: Any = sslproto.SSLProtocol
        tls = make(self, protocol, sslcontext, waiter, **options)
        StreamTransport(self, rawsock, tls, None, extra, server)
        return tls._app_transport

    # --------------------------------------------------------------------------------------------------------- servers

    async def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        sock: Any = None,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        **options: Any,
    ) -> Any:
        """As asyncio's. Raises OSError: EADDRINUSE, EADDRNOTAVAIL; socket.gaierror."""
        own = None if sock is None else self._taken_over(sock)
        session = own.session if isinstance(own, StackSocket) else self.in_node()
        if session is None or (sock is not None and not isinstance(own, StackSocket)):
            return await super().create_server(
                protocol_factory, host, port, sock=sock, family=family, flags=flags, **options
            )
        asked = ServerOptions(**options)
        asked.check()
        if host is not None or port is not None:
            if own is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            addresses = await self._own_addresses(host, port, family, flags)
            sockets = _bind_all(session, addresses, asked.of_sockets())
        elif own is None:
            raise ValueError("Neither host/port nor sock were specified")
        elif own.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        else:
            sockets = [own]
        timeouts = asked.ssl_handshake_timeout, asked.ssl_shutdown_timeout
        server = StackServer(self, sockets, protocol_factory, asked.ssl, asked.backlog, *timeouts)
        if asked.start_serving:
            await server.start_serving()
        return server

    async def _own_addresses(self, host: Any, port: Any, family: int, flags: int) -> list[tuple[str, int]]:
        """Each address once, in the order of the hosts."""
        if host == "":
            hosts: list[Any] = [None]
        elif isinstance(host, str | bytes) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = list(host)
        resolve: Any = self._create_server_getaddrinfo  # type: ignore[attr-defined]
        found = [await resolve(each, port, family=family, flags=flags) for each in hosts]
        addresses = {info[4]: info[0] for info in itertools.chain.from_iterable(found)}
        ours = [address for address, kind in addresses.items() if kind == socket.AF_INET]
        if not ours:
            raise plain_error(errno.EAFNOSUPPORT)
        return ours

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
    ) -> None:
        base: Any = super()
        if not isinstance(sock, StackSocket):
            base._start_serving(protocol_factory, sock, sslcontext, server, backlog, *timeouts)
            return

        def accepted(connection: StackSocket, address: tuple[str, int]) -> None:
            extra = {"peername": address}
            accept: Any = self._accept_connection2  # type: ignore[attr-defined]
            self.create_task(accept(protocol_factory, connection, extra, sslcontext, server, *timeouts))

        self._listening[sock] = Listening(self, sock, accepted, backlog)

    def _stop_serving(self, sock: Any) -> None:
        if not isinstance(sock, StackSocket):
            base: Any = super()
            base._stop_serving(sock)
            return
        listening = self._listening.pop(sock, None)
        if listening is not None:
            listening.close()
        else:
            sock.close()

    # ------------------------------------------------------------------------------------------------------- datagrams

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """See `nodes.session.datagram`."""
        own = None if sock is None else self._taken_over(sock)
        session = own.session if isinstance(own, StackSocket) else self.in_node()
        kernel = options.get("family") == getattr(socket, "AF_UNIX", -1) or (
            sock is not None and not isinstance(own, StackSocket)
        )
        if session is None or kernel:
            return await super().create_datagram_endpoint(
                protocol_factory, local_addr, remote_addr, sock=sock, **options
            )
        return await datagram.create_datagram_endpoint(
            self, session, protocol_factory, local_addr, remote_addr, sock=own, **options
        )

    def _taken_over(self, sock: Any) -> Any:
        """See `own_socket`; from now on it is the loop that closes it."""
        own = self.own_socket(sock)
        if isinstance(own, ShadowedSocket):
            own.keep()
        return own

    # -------------------------------------------------------------------------------------------- what no node has

    async def create_unix_connection(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("create_unix_connection", "UNIX sockets")
        return await super().create_unix_connection(*arguments, **options)

    async def create_unix_server(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("create_unix_server", "UNIX sockets")
        return await super().create_unix_server(*arguments, **options)

    async def subprocess_exec(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("subprocess_exec", "processes")
        return await super().subprocess_exec(*arguments, **options)

    async def subprocess_shell(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("subprocess_shell", "processes")
        return await super().subprocess_shell(*arguments, **options)

    async def connect_read_pipe(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("connect_read_pipe", "pipes")
        return await super().connect_read_pipe(*arguments, **options)

    async def connect_write_pipe(self, *arguments: Any, **options: Any) -> Any:
        self._refuse("connect_write_pipe", "pipes")
        return await super().connect_write_pipe(*arguments, **options)

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        self._refuse("add_signal_handler", "signals")
        super().add_signal_handler(sig, callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        return False if self.in_node() is not None else super().remove_signal_handler(sig)

    def _refuse(self, call: str, what: str) -> None:
        session = self.in_node()
        if session is not None:
            _no(call, what, session)


def _no(call: str, what: str, session: Session) -> NoReturn:
    raise NotImplementedError(
        f"{call}: the node {session.name} has no {what}, only a network; {what} are of the machine, outside of nodes"
    )


def _bind_all(session: Session, addresses: list[tuple[str, int]], options: list[int]) -> list[StackSocket]:
    """A socket for each. Raises OSError, and leaves none open then."""
    sockets: list[StackSocket] = []
    try:
        for address in addresses:
            sock = StackSocket(session, socket.SOCK_STREAM)
            sockets.append(sock)
            for option in options:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                sock.bind(address)
            except OSError as error:
                raise _not_bound(error, address) from None
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_any(sock: StackSocket, infos: Any) -> None:
    """To the first of the addresses that can be had."""
    failed: OSError | None = None
    for family, _, _, _, address in infos:
        if family != socket.AF_INET:
            continue
        try:
            sock.bind(address)
        except OSError as error:
            failed = _not_bound(error, address)
        else:
            return
    raise failed or OSError(errno.EADDRNOTAVAIL, "no matching local address with family=AF_INET found")


def _not_bound(error: OSError, address: Any) -> OSError:
    text = (error.strerror or str(error)).lower()
    return OSError(error.errno, f"error while attempting to bind on address {address!r}: {text}")
