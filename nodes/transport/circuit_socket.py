"""Circuits for programs: a connection-oriented network service with sockets around it.

    program      bind, listen, accept | connect, send, receive, close
                          |
    CircuitSocket     one end of a circuit, or a listener; its bell (see `nodes.transport.endpoint`)
                          |
    CircuitSockets    the ports of the node's circuits
                          |
    CircuitLayer      calls, tables, labels (see `nodes.network.circuits`)

Messages keep their boundaries (SOCK_SEQPACKET, as Linux has it for X.25). A circuit is open when the called node has
accepted the call, before its program has; that takes it later, from a queue as TCP has one. The end of a circuit comes
after what was received before it. An empty message would look like the end, and is refused.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

from nodes.errors import DisconnectedError, LimitError, MisuseError, StackError, UnreachableError
from nodes.network.circuit_table import Cause, Circuit, Listener
from nodes.network.circuits import CircuitLayer
from nodes.transport.endpoint import Endpoint, Internet, check_destination
from nodes.transport.ports import Claim, PortSpace
from nodes.wire.addresses import ANY, Ip4, format_endpoint, format_ip4, is_multicast
from nodes.wire.checksum import Buffer

MAXIMUM_SOCKETS = 16_384

_NOT_SET_UP = {
    Cause.DONE: errno.ECONNREFUSED,
    Cause.REFUSED: errno.ECONNREFUSED,
    Cause.NO_ROUTE: errno.EHOSTUNREACH,
    Cause.LINK_DOWN: errno.EHOSTUNREACH,
    Cause.HOPS_EXCEEDED: errno.EHOSTUNREACH,
    Cause.NO_VCI: errno.ENOBUFS,
    Cause.TIMEOUT: errno.ETIMEDOUT,
}
"""What a call that was cleared is for who called."""


class CircuitSockets:
    """All sockets of circuits of a node."""

    def __init__(self, layer: CircuitLayer, ip: Internet, random: Random, ready: Callable[[Endpoint], None]) -> None:
        self.layer = layer
        self.ip = ip
        self.ports = PortSpace(random)
        self._ready = ready
        self._sockets: dict[CircuitSocket, None] = {}

    def open(self) -> CircuitSocket:
        """A new socket. Raises LimitError (EMFILE) when too many are open."""
        if len(self._sockets) >= MAXIMUM_SOCKETS:
            raise LimitError(f"{MAXIMUM_SOCKETS} sockets of circuits are open, the most allowed", errno=errno.EMFILE)
        return self.around(None)

    def around(self, circuit: Circuit | None) -> CircuitSocket:
        """A socket, of a call that was taken."""
        socket = CircuitSocket(self, self._ready, circuit)
        self._sockets[socket] = None
        return socket

    def sockets(self) -> list[CircuitSocket]:
        return list(self._sockets)

    def forget(self, socket: CircuitSocket) -> None:
        del self._sockets[socket]


class CircuitSocket(Endpoint):
    """Made by `CircuitSockets.open`. Every call on a closed one raises MisuseError (EBADF)."""

    __slots__ = ("_circuit", "_claim", "_listener", "_sockets", "_told", "_was_open", "closed")

    def __init__(self, sockets: CircuitSockets, ready: Callable[[Endpoint], None], circuit: Circuit | None) -> None:
        super().__init__(ready)
        self._sockets = sockets
        self._claim: Claim | None = None
        self._listener: Listener | None = None
        self._circuit = circuit
        self._told = False
        self._was_open = circuit is not None
        self.closed = False
        if circuit is not None:
            circuit.changed = self._changed

    # -- being set up

    def bind(self, address: Ip4, port: int, now: int) -> None:  # noqa: ARG002 (as other sockets have it)
        """Raises MisuseError: EINVAL when bound already, EADDRNOTAVAIL, EADDRINUSE; LimitError without a free port."""
        self._check_open()
        if self._claim is not None or self._circuit is not None:
            raise MisuseError("the socket is bound already")
        if address != ANY and not self._sockets.ip.is_local(address):
            raise MisuseError(f"{format_ip4(address)} is not an address of this node", errno=errno.EADDRNOTAVAIL)
        ports = self._sockets.ports
        self._claim = ports.claim(address, port) if port else ports.claim_dynamic(address)

    def listen(self, backlog: int, now: int) -> None:
        """Take calls to the port that the socket is bound to, a dynamic one otherwise. Raises MisuseError (EISCONN)."""
        self._check_open()
        if self._circuit is not None:
            raise MisuseError("the socket has a circuit", errno=errno.EISCONN)
        if self._listener is not None:
            self._listener.backlog = backlog
            return
        if self._claim is None:
            self.bind(ANY, 0, now)
        assert self._claim is not None
        self._listener = Listener(self._claim.address, self._claim.port, backlog, self.wake)
        self._sockets.layer.listen(self._listener)

    def accept(self) -> CircuitSocket | None:
        """The oldest call that waits. Raises MisuseError where the socket does not listen."""
        self._check_open()
        if self._listener is None:
            raise MisuseError("the socket does not listen")
        return self._sockets.around(self._listener.waiting.popleft()) if self._listener.waiting else None

    def connect(self, address: Ip4, port: int, now: int) -> None:
        """Call. Raises MisuseError: EISCONN, EALREADY, EACCES for a broadcast address; UnreachableError without a
        route, or for this node itself; LimitError without a label or a port."""
        self._check_open()
        if self._circuit is not None:
            calling = self._circuit.state == "calling"
            raise MisuseError(
                f"the circuit is {self._circuit.state}", errno=errno.EALREADY if calling else errno.EISCONN
            )
        if self._listener is not None:
            raise MisuseError("the socket listens", errno=errno.EOPNOTSUPP)
        sockets = self._sockets
        check_destination(sockets.ip, address, broadcast=False)
        if is_multicast(address) or sockets.ip.is_local(address):
            whose = "a group's" if is_multicast(address) else "of this node itself"
            raise UnreachableError(f"{format_ip4(address)} is {whose}: a circuit leads to another node")
        bound = ANY if self._claim is None else self._claim.address
        local = sockets.ip.source_for(address) if bound == ANY else bound
        if self._claim is None:
            self.bind(ANY, 0, now)
        assert self._claim is not None
        self._circuit = sockets.layer.call(address, local, now, port, self._claim.port)
        self._circuit.changed = self._changed

    # -- messages

    def send(self, data: Buffer, now: int) -> int:
        """One message; 0 where it has to wait for the other end to read. Raises MisuseError: ENOTCONN, EINVAL for an
        empty one, EMSGSIZE; LimitError; what ended the circuit, then EPIPE."""
        self._check_open()
        circuit = self._circuit
        if circuit is None:
            raise MisuseError("the socket has no circuit", errno=errno.ENOTCONN)
        error = self.take_error()
        if error is not None:
            raise error
        if circuit.state == "cleared":
            raise DisconnectedError("the circuit is cleared", errno=errno.EPIPE)
        if not len(data):
            raise MisuseError("an empty message would look like the end of the circuit")
        if circuit.state == "calling" or not self._sockets.layer.send(circuit, bytes(data), now):
            return 0
        return len(data)

    def receive(self, now: int) -> bytes | None:
        """The oldest message, None where there is none, b"" at the end. Raises what ended the circuit, MisuseError
        (ENOTCONN)."""
        self._check_open()
        circuit = self._circuit
        if circuit is None:
            raise MisuseError("the socket has no circuit", errno=errno.ENOTCONN)
        message = self._sockets.layer.read(circuit, now)
        if message is not None:
            return message
        error = self.take_error()
        if error is not None:
            raise error
        return b"" if circuit.state == "cleared" else None

    def close(self, now: int) -> None:
        """Clear the circuit, after what was sent; a listener clears the calls that nobody took."""
        self._check_open()
        self.closed = True
        if self._circuit is not None:
            self._circuit.changed = _nothing
            self._sockets.layer.clear(self._circuit, now)
        if self._listener is not None:
            self._sockets.layer.unlisten(self._listener, now)
        if self._claim is not None:
            self._sockets.ports.release(self._claim)
        self._sockets.forget(self)

    # -- what can be asked

    @property
    def state(self) -> str:
        """closed, listening, calling, open, cleared; bound or unbound before that."""
        if self.closed:
            return "closed"
        if self._circuit is not None:
            return self._circuit.state
        if self._listener is not None:
            return "listening"
        return "unbound" if self._claim is None else "bound"

    @property
    def connected(self) -> bool:
        return self._circuit is not None and self._circuit.state == "open"

    @property
    def readable(self) -> bool:
        if self._listener is not None:
            return bool(self._listener.waiting)
        circuit = self._circuit
        return circuit is not None and (bool(circuit.received) or circuit.state == "cleared")

    @property
    def writable(self) -> bool:
        circuit = self._circuit
        if circuit is None or circuit.state == "cleared":
            return True
        return circuit.state == "open" and circuit.sent < circuit.allowed

    @property
    def error(self) -> StackError | None:
        """What ended the circuit, as long as no call has told it: nothing where it was cleared in order."""
        circuit = self._circuit
        if circuit is None or circuit.cause is None or self._told:
            return None
        remote = format_endpoint(circuit.remote, circuit.remote_port)
        if not self._was_open:
            number = _NOT_SET_UP.get(circuit.cause, errno.ECONNRESET)
            kind = UnreachableError if number == errno.EHOSTUNREACH else DisconnectedError
            return kind(f"the call to {remote} was cleared: {circuit.cause.name}", errno=number)
        if circuit.cause is Cause.DONE:
            return None
        return DisconnectedError(f"the circuit to {remote} was cleared: {circuit.cause.name}")

    def take_error(self) -> StackError | None:
        """The error that the next call would raise, which then no longer does."""
        error = self.error
        self._told |= error is not None
        return error

    @property
    def local(self) -> tuple[Ip4, int]:
        if self._circuit is not None:
            return self._circuit.local, self._circuit.local_port
        return (ANY, 0) if self._claim is None else (self._claim.address, self._claim.port)

    @property
    def remote(self) -> tuple[Ip4, int]:
        return (ANY, 0) if self._circuit is None else (self._circuit.remote, self._circuit.remote_port)

    # -- what the layer calls

    def _changed(self) -> None:
        self._was_open |= self.connected
        self.wake()

    def _check_open(self) -> None:
        if self.closed:
            raise MisuseError("the socket is closed", errno=errno.EBADF)


def _nothing() -> None:
    """For circuits whose socket is closed."""
