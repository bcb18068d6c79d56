"""Passing on packets that are for others (RFC 1812 section 5.2).

The first packet from a source to a destination takes the long way, which checks everything and may end in an ICMP
error. A packet that was forwarded without anything special leaves its decision behind, by both addresses; those that
follow take the short way, which is what a router's speed is made of:

    unpack once - decision for (source, destination)? - no options, TTL above 1, fits, checksum right
    -> the header packed again with TTL - 1 and the checksum adjusted (RFC 1624), the payload copied once

A decision holds while the routing table's version is the one it was made with; routes, addresses and carriers all
count that up. Whatever the short way does not understand goes the long way.

Not forwarded at all: broadcasts, multicasts, directed broadcasts (RFC 2644), loopback, class E, 0.0.0.0/8 and
link-local addresses (RFC 1812 section 5.3.7, RFC 3927 section 2.7), source routes (RFC 7126 section 4.3).
"""

from __future__ import annotations

from typing import NamedTuple

from nodes.datalink.interface import Interface
from nodes.errors import WireError
from nodes.network import fragmentation, packet_events
from nodes.network import options as ip_options
from nodes.network.counters import IpCounters
from nodes.network.icmp import IcmpLayer
from nodes.network.local_addresses import LocalAddresses
from nodes.network.routes import Route, RouteTable
from nodes.trace.events import PacketForwarded, PacketReceived, Tracer
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import updated
from nodes.wire.ipv4 import IPv4Header

DECISION_LIMIT = 4096
"""Pairs of addresses with a decision; as with the routing table's cache, a full one is emptied."""

_PLAIN = 0x45  # version 4, five words: no options
_LINK_LOCAL = 0xA9FE  # 169.254.0.0/16


class Decision(NamedTuple):
    """What was found for a source and a destination, and the version of the table it was found in."""

    interface: Interface
    next_hop: Ip4
    version: int


class Forwarder:
    """The router in a node. Shares addresses, routes, counters and ICMP with the internet layer."""

    def __init__(
        self, addresses: LocalAddresses, table: RouteTable, icmp_layer: IcmpLayer, counters: IpCounters, tracer: Tracer
    ) -> None:
        self._addresses = addresses
        self._interfaces = addresses.interfaces
        self._table = table
        self._icmp = icmp_layer
        self._counters = counters
        self._tracer = tracer
        self._decisions: dict[int, Decision] = {}

    def repeat(self, interface: Interface, packet: memoryview, now: int) -> bool:
        """The short way. False where the packet has to go the long one; then nothing has happened to it."""
        if len(packet) < ipv4.HEADER_LENGTH:
            return False
        first, traffic_class, length, identification, flags, ttl, protocol, checksum, source, destination = (
            ipv4.HEADER.unpack_from(packet)
        )
        decision = self._decisions.get(source << 32 | destination)
        if decision is None or first != _PLAIN or ttl < 2 or not ipv4.HEADER_LENGTH <= length <= len(packet):
            return False
        out, next_hop, version = decision
        if version != self._table.version or length > out.mtu or out is interface:
            return False
        if int.from_bytes(packet[: ipv4.HEADER_LENGTH], "big") % 0xFFFF:  # not zero, so this is the whole check
            return False
        word = ttl << 8 | protocol
        checksum = updated(checksum, word, word - 0x100)
        header = ipv4.HEADER.pack(
            first, traffic_class, length, identification, flags, ttl - 1, protocol, checksum, source, destination
        )
        self._counters.forw_datagrams += 1
        if self._tracer.packets:
            name = interface.name
            self._tracer(now, PacketReceived(name, source, destination, protocol, length, identification))
            self._tracer(now, PacketForwarded(name, out.name, source, destination, next_hop, ttl - 1))
        out.send(header + packet[ipv4.HEADER_LENGTH : length], next_hop, now)
        return True

    def forward(self, interface: Interface, header: IPv4Header, packet: memoryview, now: int) -> None:
        """The long way, of a packet that is sound and not for this node. `packet` ends where the packet does."""
        reason = self._not_forwardable(header)
        if reason is not None:
            self._counters.in_addr_errors += 1
            self._drop(interface, header, reason, now)
            return
        route = self._table.lookup(header.destination)
        if route is None:
            self._counters.out_no_routes += 1
            self._refuse(interface, header, packet, icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0, "no_route", now)
            return
        if header.ttl <= 1:
            self._counters.in_hdr_errors += 1
            self._refuse(interface, header, packet, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0, "ttl_exceeded", now)
            return
        out, next_hop = self._interfaces[route.interface], route.next_hop(header.destination)
        try:
            options = ip_options.record(header.options, self._addresses.source_on(out, next_hop), now)
        except WireError as error:
            self._counters.in_hdr_errors += 1
            pointer = error.offset << 24
            self._refuse(interface, header, packet, icmp.PARAMETER_PROBLEM, 0, pointer, str(error), now)
            return
        if out is interface:
            self._redirect(header, packet, route, out, now)
        self._pass_on(
            interface, out, header, header._replace(ttl=header.ttl - 1, options=options), packet, next_hop, now
        )

    def _pass_on(
        self,
        interface: Interface,
        out: Interface,
        old: IPv4Header,
        header: IPv4Header,
        packet: memoryview,
        next_hop: Ip4,
        now: int,
    ) -> None:
        payload = packet[header.header_length :]
        if header.total_length <= out.mtu:
            pieces = [_build(header, payload)]
            self._remember(header, out, next_hop)
        elif header.dont_fragment:
            self._counters.frag_fails += 1
            trigger, mtu = "larger_than_mtu", out.mtu
            self._refuse(interface, old, packet, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu, trigger, now)
            return
        else:
            pieces = fragmentation.fragment(header, payload, out.mtu)
            self._counters.frag_oks += 1
            self._counters.frag_creates += len(pieces)
            self._tracer(now, packet_events.fragmented(header, len(pieces), out.mtu))
        self._counters.forw_datagrams += 1
        if self._tracer.packets:
            source, destination = header.source, header.destination
            self._tracer(now, PacketForwarded(interface.name, out.name, source, destination, next_hop, header.ttl))
        for piece in pieces:
            out.send(piece, next_hop, now)

    def _remember(self, header: IPv4Header, out: Interface, next_hop: Ip4) -> None:
        if len(self._decisions) >= DECISION_LIMIT:
            self._decisions.clear()
        self._decisions[header.source << 32 | header.destination] = Decision(out, next_hop, self._table.version)

    def _redirect(self, header: IPv4Header, packet: memoryview, route: Route, out: Interface, now: int) -> None:
        """Tells a host on the link about the better first hop on the same link (RFC 1812 section 5.2.7.2). The packet
        is forwarded nevertheless."""
        next_hop = route.next_hop(header.destination)
        if any(prefix.contains(header.source) and prefix.contains(next_hop) for prefix in out.addresses):
            self._icmp.error(packet, icmp.REDIRECT, icmp.REDIRECT_HOST, next_hop, now, trigger="same_interface")

    def _not_forwardable(self, header: IPv4Header) -> str | None:
        source, destination = header.source, header.destination
        if destination in self._addresses.broadcasts:
            return "directed_broadcast"
        if destination >> 28 >= 0xE:
            return "multicast_or_broadcast_destination"
        if destination >> 24 in (0, 127) or destination >> 16 == _LINK_LOCAL:
            return "destination_not_forwardable"
        if source >> 24 == 0 or source >> 16 == _LINK_LOCAL:
            return "source_not_forwardable"
        return None

    def _refuse(
        self,
        interface: Interface,
        header: IPv4Header,
        packet: memoryview,
        kind: int,
        code: int,
        rest: int,
        reason: str,
        now: int,
    ) -> None:
        """Drops a packet and tells its source."""
        self._drop(interface, header, reason, now)
        self._icmp.error(packet, kind, code, rest, now, trigger=reason)

    def _drop(self, interface: Interface, header: IPv4Header, reason: str, now: int) -> None:
        self._tracer(now, packet_events.dropped(interface.name, header, reason))


def _build(header: IPv4Header, payload: memoryview) -> bytes:
    return ipv4.build(
        header.source,
        header.destination,
        header.protocol,
        payload,
        ttl=header.ttl,
        identification=header.identification,
        dont_fragment=header.dont_fragment,
        more_fragments=header.more_fragments,
        fragment_offset=header.fragment_offset,
        traffic_class=header.traffic_class,
        options=header.options,
    )
