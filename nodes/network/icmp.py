"""ICMP in a host or a router: answers to queries, news about our own packets (RFC 792, RFC 1122 section 3.2.2).

    arrives                       what happens
    echo request                  echo reply: same identifier, sequence, data; record route and timestamp options
                                  carried on; none to a broadcast or multicast (section 3.2.2.6)
    timestamp request             timestamp reply, with a clock that is not the time of day
    echo reply                    to the echo sockets above
    redirect                      a host route, where it comes from the first hop in use and names a router on the link
    fragmentation needed          the path MTU falls, and the transport above hears of it
    other errors                  to the transport whose packet is quoted
    source quench, unknown types  ignored (RFC 6633; RFC 1122 section 3.2.2)

Anyone can send errors. One counts only where it quotes a packet that this node could have sent: from one of our
addresses, by a route that we have, not larger than its link. Transports check what they know of the packet besides.

Errors that we send are made in `nodes.network.icmp_sender`.
"""

from __future__ import annotations

from collections.abc import Callable

from nodes.errors import StackError, WireError
from nodes.network import options as ip_options
from nodes.network import packet_events
from nodes.network.counters import IcmpCounters
from nodes.network.datagram import Datagram, IcmpError
from nodes.network.icmp_sender import IcmpErrorSender, Send
from nodes.network.local_addresses import LocalAddresses
from nodes.network.path_mtu import PathMtuCache
from nodes.network.routing import Routing
from nodes.trace.events import IcmpReceived, IcmpSent, IcmpSuppressed, Tracer
from nodes.units import MILLISECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, is_multicast
from nodes.wire.checksum import Buffer
from nodes.wire.icmp import IcmpMessage
from nodes.wire.ipv4 import IPv4Header

_ROUTINE = frozenset({icmp.ECHO_REQUEST, icmp.ECHO_REPLY, icmp.TIMESTAMP_REQUEST, icmp.TIMESTAMP_REPLY})
"""Queries and replies change nothing and come by the thousand: they are traced with the packets, errors always."""

_MINIMUM_QUOTE = 8  # octets after the quoted header
_TIMESTAMPS = 12  # octets: originate, receive, transmit
_NOT_TIME_OF_DAY = 0x8000_0000
_DAY = 86_400_000  # milliseconds


def _believe(error: IcmpError) -> bool:  # noqa: ARG001 (the surface of `IcmpLayer.is_ours`)
    """A transport without sequence numbers cannot know."""
    return True


class IcmpLayer:
    """The ICMP of one node. `send` is the internet layer's."""

    def __init__(
        self,
        send: Send,
        addresses: LocalAddresses,
        routing: Routing,
        path_mtus: PathMtuCache,
        tracer: Tracer,
        *,
        router: bool,
    ) -> None:
        self.counters = IcmpCounters()
        self._send = send
        self._addresses = addresses
        self._routing = routing
        self._path_mtus = path_mtus
        self._tracer = tracer
        self._router = router
        self.is_ours: Callable[[IcmpError], bool] = _believe
        """Whether a transport knows the quoted packet as one of its own: asked before a path MTU is learned from it."""
        self._errors = IcmpErrorSender(send, addresses, self.counters, tracer, router=router)

    def receive(self, datagram: Datagram, now: int) -> IcmpError | IcmpMessage | None:
        """Takes an ICMP message. Returns what is for the layer above: an error, or an echo reply."""
        self.counters.in_messages += 1
        try:
            message = icmp.parse(datagram.payload)
        except WireError as error:
            self._ignore(datagram, str(error), now)
            return None
        if self._tracer.packets or message.type not in _ROUTINE:
            self._tracer(now, IcmpReceived(datagram.header.source, message.type, message.code))
        if message.type == icmp.ECHO_REPLY:
            return message
        if message.type == icmp.ECHO_REQUEST:
            self._reply(datagram, icmp.ECHO_REPLY, message.rest, message.body, now)
        elif message.type == icmp.TIMESTAMP_REQUEST:
            self._reply_time(datagram, message, now)
        elif message.type in icmp.ERRORS:
            return self._error_received(datagram, message, now)
        else:
            self.counters.in_ignored += 1
        return None

    def error(
        self,
        packet: Datagram | Buffer,
        kind: int,
        code: int,
        rest: int,
        now: int,
        *,
        link_broadcast: bool = False,
        trigger: str = "packet_received",
    ) -> None:
        """Sends an error about a packet to its source, unless a rule forbids it (`nodes.network.icmp_sender`). Raises
        WireError where `packet` is no IPv4 packet."""
        if isinstance(packet, Datagram):
            header, octets = packet.header, packet.packet
            link_broadcast = link_broadcast or packet.link_broadcast
        else:
            header, octets = ipv4.parse(packet)[0], memoryview(packet)
        self._errors.send(
            header, octets[: header.total_length], kind, code, rest, now, link_broadcast=link_broadcast, trigger=trigger
        )

    def _reply(self, datagram: Datagram, kind: int, rest: int, body: Buffer, now: int) -> None:
        """Answers a query from the address that it was sent to."""
        header = datagram.header
        source, own = header.source, header.destination
        if datagram.link_broadcast or is_multicast(own) or self._addresses.is_broadcast(own):
            self._suppressed(source, kind, "broadcast_destination", now)
            return
        if not self._addresses.names_single_host(source):
            self._suppressed(source, kind, "source", now)
            return
        try:
            options = ip_options.recorded(header.options, own, now)
        except WireError as error:
            self.error(datagram, icmp.PARAMETER_PROBLEM, 0, error.offset << 24, now, trigger=error.reason)
            return
        traffic_class = header.traffic_class & 0xFC  # the request's class of service, not its congestion marks
        message = icmp.build(kind, 0, rest, body)
        try:
            self._send(
                message, source, ipv4.PROTOCOL_ICMP, now, source=own, traffic_class=traffic_class, options=options
            )
        except StackError as error:
            self._suppressed(source, kind, error.message, now)
            return
        self.counters.out_messages += 1
        if self._tracer.packets:
            self._tracer(now, IcmpSent(source, kind, 0, "query_received"))

    def _reply_time(self, datagram: Datagram, message: IcmpMessage, now: int) -> None:
        """RFC 792, with the high bit set as the times do not count from midnight."""
        if len(message.body) < _TIMESTAMPS:
            self._ignore(datagram, "icmp body: too short for a timestamp request", now)
            return
        time = (now // MILLISECOND % _DAY | _NOT_TIME_OF_DAY).to_bytes(4, "big")
        self._reply(datagram, icmp.TIMESTAMP_REPLY, message.rest, bytes(message.body[:4]) + time + time, now)

    def _error_received(self, datagram: Datagram, message: IcmpMessage, now: int) -> IcmpError | None:
        self.counters.in_errors += 1
        try:
            header, payload = parse_quoted(message.body)
        except WireError as problem:
            self._ignore(datagram, f"quoted {problem}", now)
            return None
        error = IcmpError(datagram.header.source, message.type, message.code, message.rest, header, payload)
        reason = self._implausible(datagram, error)
        if reason is None and message.type == icmp.REDIRECT:
            reason = self._redirect(datagram, message.gateway, header.destination, now)
        elif reason is None and (message.type, message.code) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED):
            reason = self._too_big(error, message.next_hop_mtu, now)
        if reason is not None:
            self._ignore(datagram, reason, now)
            return None
        if message.type in (icmp.REDIRECT, icmp.SOURCE_QUENCH) or header.fragment_offset:
            return None  # nothing that a transport could use
        return error

    def _implausible(self, datagram: Datagram, error: IcmpError) -> str | None:
        """Why this error cannot be about a packet of ours."""
        if datagram.link_broadcast or is_multicast(datagram.header.destination):
            return "icmp_error_to_broadcast"
        if self._addresses.is_broadcast(datagram.header.destination):
            return "icmp_error_to_broadcast"
        if not self._addresses.is_own(error.header.source):
            return "quoted_source_not_ours"
        return None

    def _too_big(self, error: IcmpError, told: int, now: int) -> str | None:
        """Learns a path MTU, or says why not (RFC 1191 section 3)."""
        header = error.header
        route = self._routing.table.lookup(header.destination)
        if route is None or not header.dont_fragment:
            return "quoted_packet_not_ours"
        link = self._addresses.interfaces[route.interface]
        first_link = link.mtu
        longest = ipv4.MAXIMUM_LENGTH if link.offload else first_link  # a kernel's router quotes the segment uncut
        if header.total_length > longest or told >= header.total_length:
            return "quoted_length_impossible"
        if not self.is_ours(error):
            return "quoted_packet_not_in_flight"
        self._path_mtus.lower(header.destination, told, header.total_length, first_link, now)
        return None

    def _redirect(self, datagram: Datagram, gateway: Ip4, destination: Ip4, now: int) -> str | None:
        """Installs a host route, or says why not. Routers do not listen (RFC 1812 section 5.2.7.2)."""
        if self._router:
            return "redirect_to_router"
        route = self._routing.table.lookup(destination)
        if route is None or route.via is None or route.via != datagram.header.source:
            return "redirect_not_from_first_hop"
        if route.interface != datagram.interface:
            return "redirect_not_from_first_hop"
        link = self._addresses.interfaces[route.interface]
        on_link = any(prefix.contains(gateway) for prefix in link.addresses)
        if not on_link or self._addresses.is_own(gateway) or not self._addresses.names_single_host(gateway):
            return "redirect_gateway_not_on_link"
        self._routing.redirect(destination, gateway, route.interface, now)
        return None

    def _ignore(self, datagram: Datagram, reason: str, now: int) -> None:
        self.counters.in_ignored += 1
        index = datagram.interface
        name = self._addresses.interfaces[index].name if index >= 0 else packet_events.LOOPBACK_NAME
        self._tracer(now, packet_events.dropped(name, datagram.header, reason))

    def _suppressed(self, destination: Ip4, kind: int, reason: str, now: int) -> None:
        self.counters.out_suppressed += 1
        self._tracer(now, IcmpSuppressed(destination, kind, 0, reason))


def parse_quoted(body: Buffer) -> tuple[IPv4Header, memoryview]:
    """The header that an ICMP error quotes, and what is quoted after it. The packet itself may be longer than the
    quote, and its checksum may be wrong by what happened on the way. Raises WireError where the header, or the eight
    octets that must follow (RFC 792), are not there."""
    if len(body) < ipv4.HEADER_LENGTH:
        raise WireError("ipv4", "header", len(body), f"{len(body)} octets, at least 20 expected")
    first, traffic_class, length, identification, flags, ttl, protocol, _, source, destination = (
        ipv4.HEADER.unpack_from(body)
    )
    end = (first & 15) * 4
    if first >> 4 != 4 or end < ipv4.HEADER_LENGTH or length < end:
        raise WireError("ipv4", "header", 0, "no IPv4 header")
    if len(body) < end + min(_MINIMUM_QUOTE, length - end):
        raise WireError("ipv4", "payload", len(body), f"less than {_MINIMUM_QUOTE} octets quoted")
    view = memoryview(body)
    header = IPv4Header(
        end,
        traffic_class,
        length,
        identification,
        bool(flags & ipv4.DONT_FRAGMENT),
        bool(flags & ipv4.MORE_FRAGMENTS),
        (flags & ipv4.OFFSET_MASK) * 8,
        ttl,
        protocol,
        source,
        destination,
        bytes(view[ipv4.HEADER_LENGTH : end]),
    )
    return header, view[end:length]
