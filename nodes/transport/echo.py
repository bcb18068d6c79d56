"""Sockets for ICMP echo (RFC 792, RFC 1122 section 3.2.2.6), in the manner of Linux's ping sockets.

An echo request carries an identifier and a sequence number, and its reply repeats both. The identifier is to an echo
socket what a port is to a UDP socket: each has one, dynamic or bound, from a space of their own. Replies with it,
and ICMP errors that quote a request with it, go to that socket.

    send_to(data, destination, sequence) ──▶ echo request, identifier of the socket
    receive() ◀── echo reply with this identifier, from whomever (a broadcast is answered by many)
    receive_error() ◀── unreachable, time exceeded ... that quotes an echo request with this identifier

Answering requests is the internet layer's work; a program need not run for it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import NamedTuple

from nodes.errors import LimitError, MisuseError, StackError
from nodes.network.datagram import Datagram, IcmpError
from nodes.trace.datagram_events import DatagramDropped, SocketUpdated
from nodes.trace.events import Tracer
from nodes.transport.endpoint import Endpoint, Internet, check_destination
from nodes.transport.icmp_errors import number
from nodes.transport.inbox import InboxEndpoint
from nodes.transport.ports import Claim, PortSpace
from nodes.wire import icmp
from nodes.wire.addresses import ANY, Ip4, format_ip4, is_multicast
from nodes.wire.checksum import Buffer
from nodes.wire.icmp import IcmpMessage
from nodes.wire.ipv4 import PROTOCOL_ICMP

MAXIMUM_DATA = 65535 - 20 - icmp.HEADER_LENGTH


class EchoReply(NamedTuple):
    """`destination` is the address of this node that the reply was sent to, `time` when it arrived (ns)."""

    source: Ip4
    sequence: int
    data: bytes
    ttl: int
    destination: Ip4
    time: int


@dataclass(slots=True)
class EchoCounters:
    in_replies: int = 0
    no_sockets: int = 0
    receive_buffer_errors: int = 0
    out_requests: int = 0
    out_errors: int = 0
    icmp_errors: int = 0
    icmp_unmatched: int = 0


def quoted_sequence(error: IcmpError) -> int:
    """The sequence number of the echo request that `error`, from `EchoSocket.receive_error`, is about."""
    return int.from_bytes(error.payload[6:8], "big")


class EchoSocket(InboxEndpoint[EchoReply]):
    """Made by `EchoLayer.open`. `broadcast` allows broadcast destinations, `receive_limit` bounds the octets that wait
    to be read. Every call on a closed socket raises MisuseError with EBADF."""

    __slots__ = ("_layer", "broadcast", "claim")

    def __init__(self, layer: EchoLayer, ready: Callable[[Endpoint], None]) -> None:
        super().__init__(ready)
        self._layer = layer
        self.claim: Claim | None = None
        self.broadcast = False

    @property
    def identifier(self) -> int:
        """0 as long as there is none."""
        return self.claim.port if self.claim else 0

    def bind(self, identifier: int, now: int) -> None:
        """Take an identifier, 0 for a dynamic one. Raises MisuseError with EADDRINUSE, LimitError when all are used."""
        self._check_open()
        self._layer.bind(self, identifier, "bind", now)

    def send_to(
        self,
        data: Buffer,
        destination: Ip4,
        sequence: int,
        now: int,
        *,
        ttl: int | None = None,
        dont_fragment: bool = False,
        traffic_class: int = 0,
        source: Ip4 | None = None,
    ) -> None:
        """Send an echo request with 0 to 65,507 octets of data. Raises MisuseError: EMSGSIZE, EACCES for a broadcast
        address without `broadcast`, EADDRNOTAVAIL for a source that is not ours; UnreachableError without a route."""
        self._check_open()
        self._layer.send(self, data, destination, sequence, now, ttl, dont_fragment, traffic_class, source)

    def close(self, now: int) -> None:
        """Give the identifier back and forget what waits to be read."""
        self._check_open()
        self._layer.close(self, now)
        self._forget()


class EchoLayer:
    """All echo sockets of a node. The stack hands over ICMP echo replies and ICMP errors about ICMP packets."""

    def __init__(self, ip: Internet, random: Random, tracer: Tracer, ready: Callable[[Endpoint], None]) -> None:
        self._ip = ip
        self._trace = tracer
        self._ready = ready
        self._sockets: dict[int, EchoSocket] = {}
        self._open = 0
        self.identifiers = PortSpace(random, name="echo identifier", first_dynamic=1)
        self.counters = EchoCounters()

    def open(self) -> EchoSocket:
        """A new socket. Raises LimitError with EMFILE where as many are open as there are identifiers."""
        if self._open >= 65535:
            raise LimitError("65535 echo sockets are open, the most allowed", errno=errno.EMFILE)
        self._open += 1
        return EchoSocket(self, self._ready)

    def receive(self, datagram: Datagram, message: IcmpMessage, now: int) -> bool:
        """Take an echo reply, `message`, and the datagram it came in; False where it belongs to no socket. Nothing is
        ever answered to it (RFC 1122 section 3.2.2.6)."""
        header = datagram.header
        socket = self._sockets.get(message.identifier)
        if socket is None:
            self.counters.no_sockets += 1
            return False
        reply = EchoReply(header.source, message.sequence, bytes(message.body), header.ttl, header.destination, now)
        if socket.deliver(reply):
            self.counters.in_replies += 1
            return True
        self.counters.receive_buffer_errors += 1
        identifier = message.identifier
        self._trace(
            now, DatagramDropped(header.source, identifier, header.destination, identifier, "receive_buffer_full")
        )
        return True

    def error(self, error: IcmpError, now: int) -> None:  # noqa: ARG002 (the surface of a transport handler)
        """An ICMP error that quotes an ICMP message of ours."""
        self.counters.icmp_errors += 1
        quoted = error.payload
        socket = None
        if len(quoted) >= icmp.HEADER_LENGTH and quoted[0] == icmp.ECHO_REQUEST:
            socket = self._sockets.get(int.from_bytes(quoted[4:6], "big"))
        if socket is None or number(error.type, error.code) is None:
            self.counters.icmp_unmatched += 1
            return
        socket.report(error)

    def bind(self, socket: EchoSocket, identifier: int, trigger: str, now: int) -> None:
        if socket.claim is not None:
            raise MisuseError(f"the socket has identifier {socket.identifier} already")
        claims = self.identifiers
        socket.claim = claims.claim(ANY, identifier) if identifier else claims.claim_dynamic(ANY, full=errno.EAGAIN)
        self._sockets[socket.identifier] = socket
        self._updated(socket, "none", "bound", trigger, now)

    def send(
        self,
        socket: EchoSocket,
        data: Buffer,
        destination: Ip4,
        sequence: int,
        now: int,
        ttl: int | None,
        dont_fragment: bool,
        traffic_class: int,
        source: Ip4 | None,
    ) -> None:
        """See `EchoSocket.send_to`."""
        self._check(socket, data, destination, sequence, source)
        if ttl is not None and not 1 <= ttl <= 255:
            raise MisuseError(f"time to live {ttl} is outside 1 to 255")
        if ttl is None and is_multicast(destination):
            ttl = 1  # RFC 1112 section 6.1: a multicast leaves the link only where asked to
        if socket.claim is None:
            self.bind(socket, 0, "send", now)
        message = icmp.echo(icmp.ECHO_REQUEST, socket.identifier, sequence, data)
        try:
            self._ip.send(
                message,
                destination,
                PROTOCOL_ICMP,
                now,
                source=source,
                ttl=ttl,
                dont_fragment=dont_fragment,
                traffic_class=traffic_class,
            )
        except StackError:
            self.counters.out_errors += 1
            raise
        self.counters.out_requests += 1

    def close(self, socket: EchoSocket, now: int) -> None:
        old = "bound" if socket.claim else "none"
        if socket.claim is not None:
            del self._sockets[socket.identifier]
            self.identifiers.release(socket.claim)
        self._open -= 1
        self._updated(socket, old, "closed", "close", now)

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002 (nothing here ages)
        """Counters and identifiers in use as values of JSON."""
        return {"counters": asdict(self.counters), "identifiers": sorted(self._sockets)}

    def _check(self, socket: EchoSocket, data: Buffer, destination: Ip4, sequence: int, source: Ip4 | None) -> None:
        if len(data) > MAXIMUM_DATA:
            raise MisuseError(
                f"{len(data)} octets in one echo request, at most {MAXIMUM_DATA} fit", errno=errno.EMSGSIZE
            )
        if not 0 <= sequence <= 65535:
            raise MisuseError(f"sequence number {sequence} is outside 0 to 65535")
        check_destination(self._ip, destination, broadcast=socket.broadcast)
        if source is not None and not self._ip.is_local(source):
            raise MisuseError(f"{format_ip4(source)} is not an address of this node", errno=errno.EADDRNOTAVAIL)

    def _updated(self, socket: EchoSocket, old: str, new: str, trigger: str, now: int) -> None:
        self._trace(now, SocketUpdated("icmp", f"echo:{socket.identifier}", "", old, new, trigger))
