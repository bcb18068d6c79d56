"""TCP connections of the node that somebody outside reads and writes: each bridged to a UNIX stream socket.

    a program outside ◀──▶ socket pair ◀──▶ bridge ◀──▶ TCP connection of the stack ◀──▶ peer

A bridge keeps at most one piece of data for each direction, and takes the next when that is gone: a reader outside who
does not read closes the window of the connection, and a peer that does not read fills the socket pair.

    the peer sends FIN             what it sent is handed over, then the pair's other half ends: end of file
    the program shuts down         what it wrote is sent, then FIN; the other direction goes on
    the program closes             what it wrote is sent, then FIN; what the peer then still sends is answered with RST
    the peer sends RST, time-out   what had arrived is handed over, then end of file; `connection` tells the error

A UNIX socket cannot tell that a connection was reset: therefore each has a number to ask by. The ends of connections
that are over are remembered for a while.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Any

from nodes.application.base import resolve
from nodes.errors import LimitError, MisuseError, StackError
from nodes.io.control import Request
from nodes.io.reactor import Reactor
from nodes.stack import Stack
from nodes.transport.tcp.socket import TcpSocket
from nodes.wire.addresses import ANY, format_ip4

BRIDGE_LIMIT = 256
"""Connections that are bridged at a time: each takes a descriptor or two of the process, which has some 1,000."""

ENDED_LIMIT = 256
"""Bridges that are over and can still be asked about; the oldest is forgotten."""

PIECE = 65_536
"""Octets that a bridge takes at once."""

PIECES_PER_TURN = 16
"""Pieces that one direction moves before others in the node have their turn."""


class BridgeTable:
    """The bridges of one node, by number. `pump` is called after each input from outside, with the time."""

    def __init__(self, stack: Stack, reactor: Reactor, pump: Callable[[int], None]) -> None:
        self.reactor = reactor
        self.pump = pump
        self._stack = stack
        self._bridges: dict[int, Bridge] = {}
        self._ended: dict[int, dict[str, object]] = {}
        self._last = 0

    def connect(self, request: Request, params: Mapping[str, Any], now: int) -> None:
        """Connect to `to` (a name of the lab or an address), `to_port`; answer when that has succeeded, with one end of
        a socket pair. Raises what the stack raises at once."""
        if len(self._bridges) >= BRIDGE_LIMIT:
            raise LimitError(f"{BRIDGE_LIMIT} connections are open from outside", hint="close some")
        destination, to_port = resolve(self._stack, params["to"]), int(params["to_port"])
        endpoint = self._stack.tcp.open()
        try:
            if "address" in params or "port" in params:
                source = resolve(self._stack, params["address"]) if params.get("address") else ANY
                endpoint.bind(source, int(params.get("port", 0)), now)
            endpoint.connect(destination, to_port, now)
        except Exception:
            endpoint.close(now)
            raise
        self._last += 1
        self._bridges[self._last] = Bridge(self, self._last, endpoint, request)

    def describe(self, number: int) -> dict[str, object]:
        """`state` (opening, open, closed), `error` (None, or its code and message), octets `sent` and `received` by the
        program outside. Raises MisuseError for an unknown number."""
        bridge = self._bridges.get(number)
        if bridge is not None:
            return bridge.describe()
        if number not in self._ended:
            raise MisuseError(f"no connection {number!r}", errno=errno.ESRCH)
        return self._ended[number]

    def abort(self, number: int, now: int) -> None:
        """Reset a connection; harmless where it is over. Raises MisuseError for an unknown number."""
        self.describe(number)
        if number in self._bridges:
            self._bridges[number].abort(now)

    def close(self) -> None:
        """The node ends, and its connections with it."""
        now = self.now()
        for bridge in list(self._bridges.values()):
            bridge.close(now)

    def now(self) -> int:
        """The time, which the stack is told too: reading from a socket tells it none, and may open a window."""
        self._stack.tcp.now = monotonic_ns()
        return self._stack.tcp.now

    def forget(self, number: int) -> None:
        """For a bridge that is over."""
        self._ended[number] = self._bridges.pop(number).describe()
        if len(self._ended) > ENDED_LIMIT:
            del self._ended[next(iter(self._ended))]


class Bridge:
    """One connection and our end of its socket pair. It is the owner that the stack's ready queue names."""

    def __init__(self, table: BridgeTable, number: int, endpoint: TcpSocket, request: Request) -> None:
        self._table = table
        self._number = number
        self._endpoint = endpoint
        self._request: Request | None = request
        self._pair: socket.socket | None = None
        self._watched: select.epoll | None = None
        self._error: StackError | None = None
        self._to_program = memoryview(b"")
        self._to_network = memoryview(b"")
        self._program_ended = False
        self._program_gone = False
        """It has closed, and reads no more."""
        self._sending = True
        """FIN is still to be sent."""
        self._receiving = True
        """The peer's end has not been handed over."""
        self._sent = 0
        self._received = 0
        endpoint.owner = self
        request.on_cancel = self._cancel

    def describe(self) -> dict[str, object]:
        state = "closed" if self._endpoint.closed else ("opening" if self._pair is None else "open")
        error = self._error
        told = None if error is None else {"code": _code(error), "message": error.message}
        return {"state": state, "error": told, "sent": self._sent, "received": self._received}

    def ready(self, now: int) -> None:
        """The stack rang. Whoever drains its bells also sends what comes of it."""
        if self._endpoint.closed:
            return
        if self._request is not None:
            self._open(self._request, now)
        else:
            self._move(now)

    def abort(self, now: int) -> None:
        """End both sides at once."""
        self._endpoint.abort(now)
        self._finish(now)

    def close(self, now: int) -> None:
        """End both sides; what the peer has not got yet is still delivered while there is a node."""
        self._endpoint.close(now)
        self._finish(now)

    def _cancel(self) -> None:
        """Whoever asked for the connection does not want it any more."""
        now = self._table.now()
        self.abort(now)
        self._table.pump(now)

    # ------------------------------------------------------------------------------------------------ being connected

    def _open(self, request: Request, now: int) -> None:
        error = self._endpoint.error
        if error is None and not self._endpoint.connected:
            return
        self._request, request.on_cancel = None, None
        if error is None:
            self._answer(request, now)
            return
        self._error = error
        self._finish(now)
        request.error(_code(error), error.message, error.hint)

    def _answer(self, request: Request, now: int) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self.abort(now)
            raise LimitError(f"no socket pair: {error.strerror}", errno=error.errno) from None
        ours.setblocking(False)
        self._pair = ours
        self._table.reactor.add(ours.fileno(), self._on_pair)
        (address, port), (to, to_port) = self._endpoint.local, self._endpoint.remote
        with theirs:
            request.result(
                {
                    "connection": self._number,
                    "address": format_ip4(address),
                    "port": port,
                    "to": format_ip4(to),
                    "to_port": to_port,
                },
                fds=[theirs.fileno()],
            )
        self._move(now)

    # --------------------------------------------------------------------------------------------------- moving octets

    def _on_pair(self) -> None:
        """The program wrote, read, or went away."""
        now = self._table.now()
        self._move(now)
        self._table.pump(now)

    def _move(self, now: int) -> None:
        """What can go on in both directions; then end what is over."""
        try:
            self._outward(now)
        except StackError as error:
            self._fail(error)
        if not self._endpoint.closed:
            self._inward(now)
        if not self._endpoint.closed and not (self._sending or self._receiving):
            self._finish(now)

    def _fail(self, error: StackError) -> None:
        """The connection is over. What arrived before is still handed over."""
        if self._error is None and not self._program_gone:
            self._error = error
        self._to_network = memoryview(b"")
        self._sending = False
        self._table.reactor.pause(self._descriptor)

    def _inward(self, now: int) -> None:
        """From the network to the program, until one of them has no more."""
        for _ in range(PIECES_PER_TURN):
            if not self._to_program and not self._take():
                self._table.reactor.set_writable(self._descriptor, None)
                return
            try:
                written = self._local.send(self._to_program)
            except BlockingIOError:
                written = 0
            except (BrokenPipeError, ConnectionResetError):
                self.abort(now)  # data for a program that has closed: as a kernel's socket would (RFC 9293 3.6.1)
                return
            self._to_program = self._to_program[written:]
            if self._to_program:
                break
        self._table.reactor.set_writable(self._descriptor, self._on_pair)

    def _take(self) -> bool:
        """The next piece from the connection. False: there is none now, or no more."""
        if not self._receiving:
            return False
        try:
            data = self._endpoint.receive(PIECE)
        except StackError as error:
            self._fail(error)
            data = b""
        if data:
            self._received += len(data)
            self._to_program = memoryview(data)
        elif data is not None:
            self._receiving = False
            with contextlib.suppress(OSError):  # ENOTCONN: the program has closed, which is found out next
                self._local.shutdown(socket.SHUT_WR)
        return bool(data)

    def _outward(self, now: int) -> None:
        """From the program to the network. Raises the StackError that ended the connection."""
        if not self._sending:
            return
        for _ in range(PIECES_PER_TURN):
            if not self._to_network and not self._read(now):
                break
            accepted = self._endpoint.send(self._to_network, now)
            self._sent += accepted
            self._to_network = self._to_network[accepted:]
            if self._to_network:
                self._table.reactor.pause(self._descriptor)  # the socket rings when there is room
                return
        if not (self._endpoint.closed or self._program_ended):
            self._table.reactor.add(self._descriptor, self._on_pair)

    def _read(self, now: int) -> bool:
        """The next piece from the program. False: there is none now, or no more."""
        if not self._program_ended:
            try:
                data = self._local.recv(PIECE)
            except BlockingIOError:
                return False
            except ConnectionResetError:  # it closed with something unread: a kernel's socket sends RST
                self.abort(now)
                return False
            if data:
                self._to_network = memoryview(data)
                return True
            self._program_ended = True
            self._table.reactor.pause(self._descriptor)
            self._watch_for_close()
        self._sending = False
        if self._program_gone:
            self.close(now)
        else:
            self._endpoint.shutdown(now)
        return False

    # ------------------------------------------------------------------------------------------------------ the end

    @property
    def _local(self) -> socket.socket:
        assert self._pair is not None
        return self._pair

    @property
    def _descriptor(self) -> int:
        return self._local.fileno()

    def _watch_for_close(self) -> None:
        """A program that has shut down its sending side reads on, or has closed. At the end of file, the reactor would
        report a readable socket for ever; a set of its own reports only that the other side is gone."""
        watched = select.epoll(1)
        watched.register(self._descriptor, 0)
        self._program_gone = bool(watched.poll(0))
        if self._program_gone:
            watched.close()
            return
        self._watched = watched
        self._table.reactor.add(watched.fileno(), self._on_close)

    def _on_close(self) -> None:
        now = self._table.now()
        self._program_gone = True
        self.close(now)
        self._table.pump(now)

    def _finish(self, now: int) -> None:
        """Close what is open, once."""
        reactor = self._table.reactor
        self._endpoint.close(now)
        if self._watched is not None:
            reactor.remove(self._watched.fileno())
            self._watched.close()
            self._watched = None
        if self._pair is not None and self._pair.fileno() >= 0:
            reactor.remove(self._pair.fileno())
            self._pair.close()
        self._to_program = self._to_network = memoryview(b"")
        self._sending = self._receiving = False
        self._table.forget(self._number)


def _code(error: StackError) -> str:
    return errno.errorcode.get(error.errno, "EIO")
