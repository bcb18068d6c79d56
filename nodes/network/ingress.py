"""Which packets from the wire are for this node (RFC 1122 sections 3.2.1 and 3.3.4.2, RFC 1812 section 5.2).

The first packet from a source to one of our addresses is looked at from all sides; the answer is remembered by both
addresses, and the plain packets that follow (no options, no fragments, no broadcast below) cost one look. An answer
holds while the routing table's version is the one it was made with: routes, addresses and carriers all count that up.
"""

from __future__ import annotations

from nodes.datalink.interface import Interface
from nodes.errors import WireError
from nodes.network import options as ip_options
from nodes.network import packet_events
from nodes.network.counters import IpCounters
from nodes.network.datagram import Datagram
from nodes.network.icmp import IcmpLayer
from nodes.network.igmp import IgmpHost
from nodes.network.local_addresses import LocalAddresses
from nodes.network.routes import RouteTable
from nodes.trace.events import Tracer
from nodes.wire import icmp
from nodes.wire.addresses import LIMITED_BROADCAST, Ip4, is_loopback, is_multicast
from nodes.wire.ipv4 import IPv4Header

KNOWN_PAIRS = 4096
"""Pairs of a source and one of our addresses that were found in order; as with the routing table's cache, a full one is
emptied."""


class Ingress:
    """Shares addresses, counters, IGMP and ICMP with the internet layer. `router`: see the host models of
    `nodes.network.local_addresses`."""

    def __init__(
        self,
        addresses: LocalAddresses,
        table: RouteTable,
        igmp: IgmpHost,
        icmp_layer: IcmpLayer,
        counters: IpCounters,
        tracer: Tracer,
        *,
        router: bool,
    ) -> None:
        self._addresses = addresses
        self._table = table
        self._igmp = igmp
        self._icmp = icmp_layer
        self._counters = counters
        self._tracer = tracer
        self._router = router
        self._known: dict[int, int] = {}  # source and destination -> index of the interface
        self._version = table.version

    def is_known(self, header: IPv4Header, index: int) -> bool:
        """Whether a plain packet is like one that came by the same interface and was for us."""
        if self._version != self._table.version:
            self._known.clear()
            self._version = self._table.version
        return self._known.get(header.source << 32 | header.destination) == index

    def is_for_us(self, interface: Interface, datagram: Datagram) -> bool:
        """A directed broadcast is ours on its own link only."""
        header = datagram.header
        destination = header.destination
        owner = self._addresses.owner.get(destination)
        if owner is not None:
            ours = self._router or owner == interface.index
            if ours:  # of a link broadcast, `is_acceptable` has refused it
                self._remember(header.source << 32 | destination, interface.index)
            return ours
        if is_multicast(destination):
            return self._igmp.is_member(interface.index, destination)
        return destination == LIMITED_BROADCAST or self._addresses.broadcasts.get(destination) == interface.index

    def is_acceptable(self, interface: Interface, datagram: Datagram, now: int) -> bool:
        """False for a sound packet that must not even be looked at: dropped, counted, and answered where a rule says
        so."""
        reason = self._refusal(datagram)
        if reason is not None:
            self._counters.in_addr_errors += 1
            self._drop(interface, datagram.header, reason, now)
            return False
        return not datagram.header.options or self._options_accepted(interface, datagram, now)

    def _remember(self, pair: int, index: int) -> None:
        if len(self._known) >= KNOWN_PAIRS:
            self._known.clear()
        self._known[pair] = index

    def _refusal(self, datagram: Datagram) -> str | None:
        source, destination = datagram.header.source, datagram.header.destination
        reason = self._addresses.bad_source(source)
        if reason is not None:
            return reason
        if is_loopback(destination):
            return "loopback_destination"
        if datagram.link_broadcast and not self._is_group(destination):
            return "link_broadcast_of_unicast"  # RFC 1122 section 3.3.6
        return None

    def _is_group(self, destination: Ip4) -> bool:
        return is_multicast(destination) or self._addresses.is_broadcast(destination)

    def _options_accepted(self, interface: Interface, datagram: Datagram, now: int) -> bool:
        header = datagram.header
        try:
            source_routed = ip_options.check(header.options)
        except WireError as error:
            self._counters.in_hdr_errors += 1
            self._drop(interface, header, str(error), now)
            pointer = error.offset << 24
            self._icmp.error(datagram, icmp.PARAMETER_PROBLEM, 0, pointer, now, trigger=error.reason)
            return False
        if source_routed:  # RFC 7126 section 4.3: they serve to get around filters
            self._counters.in_discards += 1
            self._drop(interface, header, "source_route", now)
            self._icmp.error(datagram, icmp.UNREACHABLE, icmp.SOURCE_ROUTE_FAILED, 0, now, trigger="source_route")
        return not source_routed

    def _drop(self, interface: Interface, header: IPv4Header, reason: str, now: int) -> None:
        self._tracer(now, packet_events.dropped(interface.name, header, reason))
