"""The socket of TCP: what a program holds (RFC 9293 section 3.9.1, with the names of the socket API).

    open ─ bind ─ listen ─ accept ─▶ a socket with a connection
      └─── (bind) ─ connect ────────▶ send, receive, shutdown, close, abort

No call waits. `connect` begins; `connected` tells when it has succeeded. `send` takes what there is room for and rings
when there is more; `receive` gives what there is, None where there is nothing yet, b"" at the end of the stream. The
error that ended a connection is raised once, by the next call, after what arrived before it was read.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from nodes.errors import DisconnectedError, MisuseError, StackError
from nodes.transport.endpoint import Endpoint, check_destination
from nodes.transport.ports import Claim
from nodes.transport.tcp import closing, info, opening
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.listener import Listener
from nodes.transport.tcp.options import check_option
from nodes.transport.tcp.services import Key
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.states import State
from nodes.transport.tcp.timers import Timer
from nodes.wire.addresses import ANY, Ip4, format_ip4, is_multicast
from nodes.wire.checksum import Buffer

if TYPE_CHECKING:
    from nodes.transport.tcp.layer import TcpLayer

DEFAULT_BACKLOG = 128
MAXIMUM_BACKLOG = 65_535

_WRITABLE = frozenset({State.SYN_SENT, State.SYN_RCVD, State.ESTABLISHED, State.CLOSE_WAIT})


class TcpSocket(Endpoint):
    """Made by `TcpLayer.open`, or by `accept`. Methods raise MisuseError for calls that make no sense (EBADF once
    closed, ENOTCONN, EISCONN, EINVAL), and the DisconnectedError or UnreachableError that ended the connection."""

    __slots__ = ("_connection", "_layer", "_listener", "claim", "closed", "options")

    def __init__(self, layer: TcpLayer, ready: Callable[[Endpoint], None], options: SocketOptions) -> None:
        super().__init__(ready)
        self._layer = layer
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self.claim: Claim | None = None
        self.closed = False
        self.options = options

    # ---------------------------------------------------------------------------------------------------- being set up

    def bind(self, address: Ip4, port: int, now: int) -> None:
        """Take a local address (0.0.0.0: any) and a port (0: a free one). Raises MisuseError with EADDRINUSE where a
        socket has it, with EADDRNOTAVAIL for an address that is not ours."""
        self._check_open(now)
        if self.claim is not None or self._connection is not None:
            raise MisuseError("the socket has an address already")
        if address != ANY and not self._layer.ip.is_local(address):
            raise MisuseError(f"{format_ip4(address)} is not an address of this node", errno=errno.EADDRNOTAVAIL)
        ports = self._layer.ports
        self.claim = ports.claim(address, port) if port else ports.claim_dynamic(address)

    def listen(self, backlog: int, now: int) -> None:
        """Accept connections, of which `backlog` may wait. Binds to a free port where nothing was bound. Called again,
        it changes the backlog."""
        self._check_open(now)
        if self._connection is not None:
            raise MisuseError("the socket is connected", errno=errno.EISCONN)
        if not 1 <= backlog <= MAXIMUM_BACKLOG:
            raise MisuseError(f"a backlog of {backlog}, 1 to {MAXIMUM_BACKLOG} expected")
        if self.claim is None:
            self.bind(ANY, 0, now)
        assert self.claim is not None
        if self._listener is None:
            self._listener = self._layer.listen(self, self.claim.address, self.claim.port, backlog)
        self._listener.backlog = backlog

    def accept(self) -> TcpSocket | None:
        """The oldest connection that waits, None where there is none. Raises MisuseError (EINVAL) where the socket does
        not listen."""
        self._check_open(self._layer.now)
        if self._listener is None:
            raise MisuseError("the socket does not listen", hint="call listen first")
        connection = self._listener.accept()
        if connection is None:
            return None
        accepted = TcpSocket(self._layer, self._ring, connection.options)
        accepted._connection = connection
        connection.owner = accepted
        connection.listener = None
        self._layer.adopted()
        return accepted

    def connect(self, address: Ip4, port: int, now: int) -> None:
        """Begin a connection. Raises MisuseError for a destination that is not one host (MUST-46), UnreachableError
        without a route, LimitError without a free port."""
        self._check_open(now)
        if self._connection is not None or self._listener is not None:
            raise MisuseError("the socket is connected or listens already", errno=errno.EISCONN)
        if not 1 <= port <= 65_535:
            raise MisuseError(f"destination port {port} is outside 1 to 65535")
        if is_multicast(address) or self._layer.ip.is_broadcast(address):
            raise MisuseError(f"{format_ip4(address)} is not one host", errno=errno.ENETUNREACH)
        check_destination(self._layer.ip, address, broadcast=False)
        bound = self.claim.address if self.claim is not None else ANY
        local = self._layer.ip.source_for(address) if bound == ANY else bound
        local_port = self.claim.port if self.claim is not None else self._layer.choose_port(local, address, port)
        key = Key(local, local_port, address, port)
        connection = self._layer.connect(key, self.options, now)
        connection.owner = self
        self._connection = connection
        opening.connect(connection, now)

    # ------------------------------------------------------------------------------------------------------ the stream

    def send(self, data: Buffer, now: int) -> int:
        """Queue as much of `data` as there is room for; returns how many octets that is. Where it is not all, the
        socket rings when there is room again, or memory in the node. Data may be queued while the connection is being
        opened. Raises DisconnectedError (EPIPE) after `shutdown` or when the connection is over."""
        connection = self._connected(now)
        if connection.error is not None:
            raise self._take(connection.error)
        if connection.fin_sequence is not None or connection.state not in _WRITABLE:
            raise DisconnectedError("the socket no longer sends", errno=errno.EPIPE)
        memory = self._layer.memory
        if memory.exhausted:
            memory.wait(connection)
            return 0
        accepted = connection.send_buffer.append(data)
        memory.account(connection)
        if accepted < len(data):
            connection.wants_room = True
        if accepted:
            connection.mark()
        return accepted

    def want_room(self) -> None:
        """Ring when there is room to send, as after a `send` that did not take all."""
        if self._connection is not None:
            self._connection.wants_room = True

    def send_urgent(self, data: Buffer, now: int) -> int:
        """As `send`; the peer is told that its data up to the last of these octets is urgent (RFC 9293 section 3.8.5).
        New programs should not use it (SHLD-13)."""
        accepted = self.send(data, now)
        connection = self._connected(now)
        if accepted:
            connection.snd_up = connection.send_buffer.end
        return accepted

    def receive(self, limit: int = 65_536) -> bytes | None:
        """At most `limit` octets in order; b"" once the peer has closed and all was read; None where nothing is there
        yet. The last urgent octet begins a call's octets, so that `urgent` is 1 before it is read."""
        connection = self._connected(self._layer.now)
        if limit < 1:
            raise MisuseError(f"a limit of {limit} octets, at least 1 expected")
        if connection.recovery is not None:
            buffer = connection.receive_buffer
            if buffer.available:
                if connection.rcv_up is not None:
                    limit = self._until_mark(connection, limit)
                data = buffer.read(limit)
                if not buffer.capacity:
                    connection.mark()  # its window stands still: the output counts what is free now
                if 0 < buffer.capacity < connection.options.receive_limit and self._layer.memory.ample:
                    buffer.capacity = connection.receive_capacity(connection.octets_read)
                if connection.state is not State.CLOSED and connection.window.update_due():
                    connection.acknowledge_now()
                return data
        if connection.error is not None:
            raise self._take(connection.error)
        if connection.state in (State.CLOSED, State.TIME_WAIT) or connection.at_end:
            return b""
        return None

    def shutdown(self, now: int) -> None:
        """Nothing more will be sent: FIN, after what is queued. What the peer sends can still be read."""
        closing.shut_down(self._connected(now), now)

    def close(self, now: int) -> None:
        """The program is done with the socket. What is queued is still delivered, unless something that arrived was
        never read, or `linger` is 0: then the connection is reset. Harmless when called twice."""
        if self.closed:
            return
        self.closed = True
        self._layer.now = now
        self._layer.closed()
        if self._listener is not None:
            self._layer.unlisten(self._listener)
            self._listener.close(now)
        connection = self._connection
        if connection is not None:
            connection.owner = None
            if connection.state not in (State.CLOSED, State.TIME_WAIT):
                closing.close(connection, now)
        if self.claim is not None:
            self._layer.ports.release(self.claim)

    def abort(self, now: int) -> None:
        """Reset the connection and close the socket."""
        if self.closed:
            return
        connection = self._connection
        if connection is not None and connection.state not in (State.CLOSED, State.TIME_WAIT):
            connection.owner = None
            closing.abort(connection, now)
        self.close(now)

    # ------------------------------------------------------------------------------------------------------- questions

    @property
    def state(self) -> State:
        """Of the connection; LISTEN for a listener."""
        if self._listener is not None:
            return State.LISTEN
        connection = self._connection
        if connection is None:
            return State.CLOSED
        if connection.state is State.TIME_WAIT and not self._layer.is_time_wait(connection.key):
            return State.CLOSED
        return connection.state

    @property
    def connected(self) -> bool:
        """The handshake is complete, and the connection is not over."""
        connection = self._connection
        return connection is not None and connection.recovery is not None and connection.state is not State.CLOSED

    @property
    def readable(self) -> bool:
        """`receive` or `accept` has something: data, the end, an error, a connection."""
        if self._listener is not None:
            return self._listener.ready > 0
        c = self._connection
        if c is None:
            return False
        return c.at_end or c.state is State.CLOSED or (c.recovery is not None and c.receive_buffer.available > 0)

    @property
    def writable(self) -> bool:
        """`send` has room, or an error to tell."""
        c = self._connection
        if c is None:
            return False
        return c.error is not None or (
            c.state in _WRITABLE and c.recovery is not None and c.send_buffer.free > 0 and c.fin_sequence is None
        )

    @property
    def unsent(self) -> int:
        """Octets that were queued and are not acknowledged yet."""
        c = self._connection
        return 0 if c is None else c.send_buffer.end - c.send_buffer.start

    @property
    def urgent(self) -> int:
        """Octets from the next one to be read to the end of the urgent data, 0 where there is none."""
        c = self._connection
        if c is None or c.recovery is None or c.rcv_up is None:
            return 0
        return max(c.rcv_up - c.receive_buffer.position, 0)

    def _until_mark(self, c: Connection, limit: int) -> int:
        """How many octets may be read, so that a call ends before the last urgent one (RFC 6093 section 2.1)."""
        before = self.urgent - 1
        if before < 0:
            c.rcv_up = None
        return min(limit, before) if before > 0 else limit

    @property
    def local(self) -> tuple[Ip4, int]:
        """Address and port of this side; 0.0.0.0 and 0 while there are none."""
        if self._connection is not None:
            return self._connection.key.local, self._connection.key.local_port
        return (self.claim.address, self.claim.port) if self.claim is not None else (ANY, 0)

    @property
    def remote(self) -> tuple[Ip4, int]:
        if self._connection is None:
            return ANY, 0
        return self._connection.key.remote, self._connection.key.remote_port

    @property
    def error(self) -> StackError | None:
        """What ended the connection, as long as no call has told it."""
        return None if self._connection is None else self._connection.error

    def take_error(self) -> StackError | None:
        """What ended the connection, or else the last thing that the network reported and that did not end it. It is
        told once."""
        connection = self._connection
        if connection is None:
            return None
        if connection.error is not None:
            return self._take(connection.error)
        error, connection.soft_error = connection.soft_error, None
        return error

    def info(self, now: int) -> dict[str, object]:
        """Like TCP_INFO. Raises MisuseError (ENOTCONN) where there is no connection."""
        if self._connection is None:
            raise MisuseError("the socket is not connected", errno=errno.ENOTCONN)
        return info.describe(self._connection, now)

    # --------------------------------------------------------------------------------------------------------- options

    def set_option(self, name: str, value: object, now: int) -> None:
        """Set a field of `SocketOptions`. Raises MisuseError for an unknown name (ENOPROTOOPT) or a value that is not
        allowed (EINVAL; ENOENT for a congestion control that does not exist)."""
        self._check_open(now)
        check_option(name, value)
        setattr(self.options, name, value)
        if name == "receive_limit":
            self.options.receive_grows = False
        connection = self._connection
        if connection is None:
            return
        recovery = connection.recovery
        if name in ("keepalive", "keepalive_idle") and recovery is not None:
            if self.options.keepalive:
                due = connection.last_received + self.options.keepalive_idle
                connection.timers.set(Timer.KEEP_ALIVE, max(now, due))
            else:
                connection.timers.cancel(Timer.KEEP_ALIVE)
        elif name == "user_timeout" and recovery is not None and recovery.first_unanswered is not None:
            due = recovery.first_unanswered + connection.user_timeout
            connection.timers.set(Timer.USER_TIMEOUT, max(now, due))
        elif name == "receive_limit" and recovery is not None and connection.receive_buffer.capacity:
            connection.receive_buffer.capacity = self.options.receive_limit
        elif name == "send_limit":
            connection.send_buffer.capacity = self.options.send_limit
        elif name == "congestion" and recovery is not None:
            opening.change_congestion(connection, now)
        connection.mark()

    def _check_open(self, now: int) -> None:
        if self.closed:
            raise MisuseError("the socket is closed", errno=errno.EBADF)
        self._layer.now = now

    def _connected(self, now: int) -> Connection:
        self._check_open(now)
        if self._connection is None:
            raise MisuseError("the socket is not connected", errno=errno.ENOTCONN, hint="call connect first")
        return self._connection

    def _take(self, error: StackError) -> StackError:
        assert self._connection is not None
        self._connection.error = None
        return error
