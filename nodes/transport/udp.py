"""The User Datagram Protocol (RFC 768, RFC 1122 section 4.1): ports and a checksum on top of IP, and nothing else.

    arrival   parse ─ wrong length or checksum ───────────────▶ dropped, counted
                │  from a broadcast or multicast address ─────▶ dropped (RFC 1122 section 4.1.3.6)
                │  unicast ─ Demultiplexer.find ── nobody ────▶ False: the internet layer answers "port unreachable"
                └  group ── Demultiplexer.find_all, members

    sending   source address: the caller's, the socket's, or the route's; the checksum covers it (pseudo header),
              so it is chosen here and not below

A wildcard socket that answers a request should send from the address that the request came to (RFC 1122 section
4.1.3.5): `UdpSocket.answer` does.

An interface does not hear its own frames: what a socket broadcasts reaches the other sockets of its node from here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random

from nodes.errors import LimitError, MisuseError, StackError, WireError
from nodes.network.datagram import LOCAL_INTERFACE, Datagram, IcmpError
from nodes.trace.datagram_events import DatagramDropped, DatagramReceived, DatagramSent, SocketUpdated
from nodes.trace.events import Tracer
from nodes.transport.demultiplexer import Demultiplexer
from nodes.transport.endpoint import Endpoint, Internet, check_destination
from nodes.transport.ports import PortSpace
from nodes.transport.udp_socket import Received, UdpSocket
from nodes.wire import udp
from nodes.wire.addresses import ANY, Ip4, format_endpoint, format_ip4, is_multicast
from nodes.wire.checksum import Buffer

__all__ = ["Received", "UdpLayer", "UdpSocket"]

DEFAULT_TTL = 64
"""What a datagram that never left the node claims to have had (RFC 1700, assigned numbers)."""

MAXIMUM_SOCKETS = 32_768
"""Twice the dynamic ports, so that these run out first, and a leak of shared ports is found before memory is."""


@dataclass(slots=True)
class UdpCounters:
    """Names as in the UDP-MIB (RFC 4113) where it has them."""

    in_datagrams: int = 0
    in_errors: int = 0
    checksum_errors: int = 0
    no_ports: int = 0
    bad_sources: int = 0
    receive_buffer_errors: int = 0
    out_datagrams: int = 0
    out_errors: int = 0
    icmp_errors: int = 0
    icmp_unmatched: int = 0


class UdpLayer:
    """All UDP of a node. `ready` is told of each socket that has something to read."""

    def __init__(self, ip: Internet, random: Random, tracer: Tracer, ready: Callable[[Endpoint], None]) -> None:
        self._ip = ip
        self._trace = tracer
        self._ready = ready
        self._demultiplexer: Demultiplexer[UdpSocket] = Demultiplexer()
        self._members: dict[tuple[Ip4, int], int] = {}
        self._open = 0
        self.ports = PortSpace(random)
        self.counters = UdpCounters()

    def open(self) -> UdpSocket:
        """A new socket. Raises LimitError with EMFILE when too many are open."""
        if self._open >= MAXIMUM_SOCKETS:
            raise LimitError(f"{MAXIMUM_SOCKETS} UDP sockets are open, the most allowed", errno=errno.EMFILE)
        self._open += 1
        return UdpSocket(self, self._ready)

    # -- arrivals: the surface of a transport handler

    def receive(self, datagram: Datagram, now: int) -> bool:
        """False where a unicast datagram is for nobody, which calls for a port unreachable."""
        source, destination = datagram.header.source, datagram.header.destination
        try:
            header, payload = udp.parse(datagram.payload, source, destination, verified=datagram.checksum_valid)
        except WireError as error:
            return self._malformed(datagram, error, now)
        if is_multicast(source) or self._ip.is_broadcast(source):
            self.counters.bad_sources += 1
            self._dropped(source, header.source_port, destination, header.destination_port, "bad_source", now)
            return True
        if is_multicast(destination) or self._ip.is_broadcast(destination):
            sockets = self._group(destination, header, source, datagram.interface)
            answered = True
        else:
            found = self._demultiplexer.find(destination, header.destination_port, source, header.source_port)
            sockets = [found] if found else []
            answered = found is not None
        if not sockets:
            self.counters.no_ports += 1
            self._dropped(source, header.source_port, destination, header.destination_port, "no_port", now)
            return answered
        received = Received(
            bytes(payload), source, header.source_port, destination, datagram.interface, datagram.header.ttl, now
        )
        self._hand_over(sockets, received, header.destination_port)
        return True

    def error(self, error: IcmpError, now: int) -> None:  # noqa: ARG002 (the surface of a transport handler)
        """An ICMP error about a datagram that this node sent: for the socket that sent it (RFC 1122 4.1.3.3)."""
        self.counters.icmp_errors += 1
        quoted = error.header
        socket = None
        if len(error.payload) >= udp.HEADER_LENGTH:
            ports = udp.HEADER.unpack_from(error.payload)
            socket = self._demultiplexer.find(quoted.source, ports[0], quoted.destination, ports[1])
        if socket is None:
            self.counters.icmp_unmatched += 1
            return
        socket.report(error)

    def _group(self, group: Ip4, header: udp.UdpHeader, source: Ip4, interface: int) -> list[UdpSocket]:
        sockets = self._demultiplexer.find_all(group, header.destination_port, source, header.source_port)
        if is_multicast(group):
            return [socket for socket in sockets if socket.hears(group, interface)]
        return sockets

    def _hand_over(self, sockets: list[UdpSocket], received: Received, port: int) -> None:
        """One copy of the octets, shared by all receivers."""
        now = received.time
        for socket in sockets:
            if socket.deliver(received):
                self.counters.in_datagrams += 1
                if self._trace.packets:
                    self._trace(now, DatagramReceived(*received[1:4], port, len(received.data)))
            else:
                self.counters.receive_buffer_errors += 1
                self._dropped(
                    received.source, received.source_port, received.destination, port, "receive_buffer_full", now
                )

    def _malformed(self, datagram: Datagram, error: WireError, now: int) -> bool:
        self.counters.in_errors += 1
        self.counters.checksum_errors += error.field == "checksum"
        source_port = destination_port = 0
        if len(datagram.payload) >= udp.HEADER_LENGTH:
            source_port, destination_port, _, _ = udp.HEADER.unpack_from(datagram.payload)
        source, destination = datagram.header.source, datagram.header.destination
        self._dropped(source, source_port, destination, destination_port, f"bad_{error.field}", now)
        return True

    def _dropped(
        self, source: Ip4, source_port: int, destination: Ip4, destination_port: int, reason: str, now: int
    ) -> None:
        self._trace(now, DatagramDropped(source, source_port, destination, destination_port, reason))

    # -- what sockets ask for (udp_socket.Datagrams)

    def bind(self, socket: UdpSocket, address: Ip4, port: int, now: int) -> None:
        """See `UdpSocket.bind`."""
        if socket.claim is not None:
            raise MisuseError(f"the socket is bound to port {socket.local_port} already")
        if address != ANY and not self._ip.is_local(address) and not self._is_group(address):
            raise MisuseError(f"{format_ip4(address)} is not an address of this node", errno=errno.EADDRNOTAVAIL)
        self._claim(socket, address, port, errno.EADDRNOTAVAIL, "bind", now)

    def connect(self, socket: UdpSocket, address: Ip4, port: int, now: int) -> None:
        """See `UdpSocket.connect`."""
        self._check_destination(socket, address, port)
        bound = socket.claim.address if socket.claim else ANY  # what an earlier connect chose counts no more
        own = ANY if self._is_group(bound) else bound
        local = self._ip.source_for(address) if own == ANY else own
        if socket.claim is None:
            self._claim(socket, ANY, 0, errno.EAGAIN, "connect", now)
        before, old_state = _name(socket.remote_address, socket.remote_port), _state(socket)
        self._demultiplexer.remove(socket)
        if not self._is_group(socket.local_address):
            socket.local_address = local
        socket.remote_address, socket.remote_port = address, port
        self._demultiplexer.add(socket)
        self._updated(socket, old_state, "connected", f"connect, before {before}" if before else "connect", now)

    def disconnect(self, socket: UdpSocket, now: int) -> None:
        if socket.claim is None or not socket.remote_port:
            return
        self._demultiplexer.remove(socket)
        socket.local_address = socket.claim.address
        socket.remote_address, socket.remote_port = ANY, 0
        self._demultiplexer.add(socket)
        self._updated(socket, "connected", "bound", "disconnect", now)

    def send(
        self,
        socket: UdpSocket,
        data: Buffer,
        address: Ip4,
        port: int,
        now: int,
        *,
        ttl: int | None,
        dont_fragment: bool,
        traffic_class: int,
        source: Ip4 | None,
    ) -> None:
        """See `UdpSocket.send_to`."""
        self._check_destination(socket, address, port)
        multicast = is_multicast(address)
        group = multicast or self._ip.is_broadcast(address)
        if ttl is None:
            ttl = socket.multicast_ttl if multicast else socket.ttl
        self._check_fields(len(data), ttl, 0 if multicast else 1, traffic_class, source)
        interface = socket.multicast_interface if group else None
        local = source or self._own_address(socket) or self._ip.source_for(address, interface)
        if socket.claim is None:
            self._claim(socket, ANY, 0, errno.EAGAIN, "send", now)
        datagram = udp.build(local, address, socket.local_port, port, data, no_checksum=socket.no_checksum)
        if ttl != 0:
            try:
                self._ip.send(
                    datagram,
                    address,
                    udp.PROTOCOL,
                    now,
                    source=local,
                    ttl=ttl,
                    dont_fragment=dont_fragment,
                    traffic_class=traffic_class,
                    interface=interface,
                    multicast_loop=socket.multicast_loop,
                )
            except StackError:
                self.counters.out_errors += 1
                raise
        self.counters.out_datagrams += 1
        if self._trace.packets:
            self._trace(now, DatagramSent(local, socket.local_port, address, port, len(data)))
        if group and (not multicast or ttl == 0):
            self._loop(socket, local, address, port, data, now)

    def answer_source(self, destination: Ip4) -> Ip4 | None:
        """The source for an answer to what came to `destination`: itself, or the route's where it is a group."""
        return destination if self._ip.is_local(destination) else None

    def group_interface(self, group: Ip4, interface: int | None) -> int:
        """Where a membership without an interface is meant. Raises MisuseError for what is no group."""
        if not is_multicast(group):
            raise MisuseError(f"{format_ip4(group)} is not a multicast group (224.0.0.0/4)")
        return self._ip.interface_for(group) if interface is None else interface

    def join(self, socket: UdpSocket, group: Ip4, interface: int, now: int) -> None:
        members = self._members.get((group, interface), 0)
        if not members:
            self._ip.join(group, interface, now)
        self._members[group, interface] = members + 1
        socket.groups.add((group, interface))

    def leave(self, socket: UdpSocket, group: Ip4, interface: int, now: int) -> None:
        socket.groups.remove((group, interface))
        self._members[group, interface] -= 1
        if not self._members[group, interface]:
            del self._members[group, interface]
            self._ip.leave(group, interface, now)

    def close(self, socket: UdpSocket, now: int) -> None:
        for group, interface in sorted(socket.groups):
            self.leave(socket, group, interface, now)
        if socket.claim is not None:
            self._demultiplexer.remove(socket)
            self.ports.release(socket.claim)
        self._open -= 1
        self._updated(socket, _state(socket), "closed", "close", now)

    def sockets(self) -> list[UdpSocket]:
        """Those that have a port."""
        return list(self._demultiplexer.sockets())

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002 (nothing here ages)
        """Counters and sockets as values of JSON."""
        sockets = [_describe(socket) for socket in self._demultiplexer.sockets()]
        return {"counters": asdict(self.counters), "sockets": sockets}

    def _claim(self, socket: UdpSocket, address: Ip4, port: int, full: int, trigger: str, now: int) -> None:
        if port == 0:
            socket.claim = self.ports.claim_dynamic(address, reuse=socket.reuse_address, full=full)
        else:
            socket.claim = self.ports.claim(address, port, reuse=socket.reuse_address)
        socket.local_address, socket.local_port = address, socket.claim.port
        self._demultiplexer.add(socket)
        self._updated(socket, "none", "bound", trigger, now)

    def _check_destination(self, socket: UdpSocket, address: Ip4, port: int) -> None:
        if not 1 <= port <= 65535:
            raise MisuseError(f"destination port {port} is outside 1 to 65535")
        check_destination(self._ip, address, broadcast=socket.broadcast)

    def _loop(self, sender: UdpSocket, source: Ip4, group: Ip4, port: int, data: Buffer, now: int) -> None:
        """What this node's own sockets hear of what one of them sends: broadcasts, and multicasts that stay inside
        (TTL 0). Other multicasts come back through the internet layer, which knows the members."""
        sockets = self._demultiplexer.find_all(group, port, source, sender.local_port)
        if is_multicast(group):
            heard = sender.multicast_loop
            sockets = [socket for socket in sockets if heard and socket.hears(group, sender.multicast_interface)]
        received = Received(bytes(data), source, sender.local_port, group, LOCAL_INTERFACE, DEFAULT_TTL, now)
        self._hand_over(sockets, received, port)

    def _check_fields(
        self, length: int, ttl: int | None, lowest_ttl: int, traffic_class: int, source: Ip4 | None
    ) -> None:
        if length > udp.MAXIMUM_PAYLOAD:
            raise MisuseError(
                f"{length} octets in one datagram, at most {udp.MAXIMUM_PAYLOAD} fit", errno=errno.EMSGSIZE
            )
        if ttl is not None and not lowest_ttl <= ttl <= 255:
            raise MisuseError(f"time to live {ttl} is outside {lowest_ttl} to 255")
        if not 0 <= traffic_class <= 255:
            raise MisuseError(f"traffic class {traffic_class} is outside 0 to 255")
        if source is not None and not self._ip.is_local(source):
            raise MisuseError(f"{format_ip4(source)} is not an address of this node", errno=errno.EADDRNOTAVAIL)

    def _is_group(self, address: Ip4) -> bool:
        return is_multicast(address) or self._ip.is_broadcast(address)

    def _own_address(self, socket: UdpSocket) -> Ip4:
        """The address to send from that the socket was given; ANY where that is the route's business."""
        return ANY if self._is_group(socket.local_address) else socket.local_address

    def _updated(self, socket: UdpSocket, old: str, new: str, trigger: str, now: int) -> None:
        local, remote = _name(socket.local_address, socket.local_port), _name(socket.remote_address, socket.remote_port)
        self._trace(now, SocketUpdated("udp", local, remote, old, new, trigger))


def _name(address: Ip4, port: int) -> str:
    return format_endpoint(address, port) if port else ""


def _state(socket: UdpSocket) -> str:
    return "connected" if socket.remote_port else "bound" if socket.local_port else "none"


def _describe(socket: UdpSocket) -> dict[str, object]:
    datagrams, octets = socket.waiting
    return {
        "local": _name(socket.local_address, socket.local_port),
        "remote": _name(socket.remote_address, socket.remote_port),
        "state": _state(socket),
        "waiting": datagrams,
        "waiting_octets": octets,
        "dropped": socket.dropped,
        "groups": [f"{format_ip4(group)}%{interface}" for group, interface in sorted(socket.groups)],
    }
