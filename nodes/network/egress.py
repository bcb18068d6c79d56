"""The way out of the node: interface, next hop and source of a datagram (RFC 1122 sections 3.3.1 and 3.3.4.3)."""

from __future__ import annotations

import errno
from typing import NamedTuple

from nodes.datalink.interface import Interface
from nodes.errors import MisuseError, UnreachableError, WireError
from nodes.network import options as ip_options
from nodes.network.counters import IpCounters
from nodes.network.local_addresses import LOOPBACK, LocalAddresses
from nodes.network.routes import RouteTable
from nodes.wire import ipv4
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, format_ip4, is_loopback, is_multicast
from nodes.wire.checksum import Buffer


class Way(NamedTuple):
    """`interface` is None where the destination is this node itself."""

    interface: Interface | None
    next_hop: Ip4


KNOWN_WAYS = 4096
"""Destinations whose way is remembered; as with the routing table's cache, a full one is emptied."""


class Egress:
    """Chooses ways and sources; knows neither packets nor time. Ways are remembered until the routing table's version
    changes, which routes, addresses and carriers all bring about."""

    __slots__ = ("_addresses", "_counters", "_known", "_table", "_version")

    def __init__(self, addresses: LocalAddresses, table: RouteTable, counters: IpCounters) -> None:
        self._addresses = addresses
        self._table = table
        self._counters = counters
        self._known: dict[Ip4, Way] = {}
        self._version = table.version

    def way(self, destination: Ip4, index: int | None = None) -> Way:
        """The way to `destination`; with `index`, by that interface. Raises UnreachableError without a route,
        MisuseError where there is no interface `index`."""
        if index is not None:
            return self._find(destination, index)
        if self._version != self._table.version or len(self._known) >= KNOWN_WAYS:
            self._known.clear()
            self._version = self._table.version
        way = self._known.get(destination)
        if way is None:
            way = self._known[destination] = self._find(destination, None)
        return way

    def _find(self, destination: Ip4, index: int | None) -> Way:
        """Groups and broadcasts are on the link itself, whatever route leads there; without a route they leave by the
        first interface that is up and has an address."""
        if self._addresses.is_own(destination):
            return Way(None, destination)
        interfaces = self._addresses.interfaces
        if index is not None and not 0 <= index < len(interfaces):
            raise MisuseError(f"there is no interface {index}")
        on_link = is_multicast(destination) or self._addresses.is_broadcast(destination)
        if on_link and index is not None:
            if not interfaces[index].up:
                raise UnreachableError(f"{interfaces[index].name} is down", errno=errno.ENETDOWN)
            return Way(interfaces[index], destination)
        route = None if destination in (LIMITED_BROADCAST, ANY) else self._table.lookup(destination, index)
        if route is not None:
            return Way(interfaces[route.interface], destination if on_link else route.next_hop(destination))
        usable = [interface for interface in interfaces if interface.up]
        if on_link and usable:
            return Way(next((interface for interface in usable if interface.addresses), usable[0]), destination)
        self._counters.out_no_routes += 1
        raise UnreachableError(f"no route to {format_ip4(destination)}", errno=errno.ENETUNREACH)

    def source(self, destination: Ip4, way: Way, wanted: Ip4 | None = None) -> Ip4:
        """`wanted` if this node may use it, else our choice. Raises MisuseError for a source that is not ours,
        UnreachableError where there is no address yet; both with EADDRNOTAVAIL."""
        if wanted in self._addresses.owner:
            return wanted
        if wanted is None:
            return self._choose(destination, way)
        if is_loopback(wanted) and way.interface is None:
            return wanted
        if wanted != ANY:
            raise MisuseError(f"{format_ip4(wanted)} is not an address of this node", errno=errno.EADDRNOTAVAIL)
        return wanted

    def _choose(self, destination: Ip4, way: Way) -> Ip4:
        if way.interface is None:
            return LOOPBACK if is_loopback(destination) else destination
        source = self._addresses.source_on(way.interface, way.next_hop)
        if source == ANY and not (is_multicast(destination) or destination == LIMITED_BROADCAST):
            raise UnreachableError(f"{way.interface.name} has no address yet", errno=errno.EADDRNOTAVAIL)
        return source


def check_fields(payload: Buffer, ttl: int, traffic_class: int, options: bytes) -> None:
    """Raises MisuseError for what an IPv4 header cannot carry. TTL 0 is never sent (RFC 1122 section 3.2.1.7)."""
    if not 1 <= ttl <= 255:
        raise MisuseError(f"time to live {ttl} is outside 1 to 255")
    if not 0 <= traffic_class <= 255:
        raise MisuseError(f"traffic class {traffic_class} is outside 0 to 255")
    if options:
        try:
            ip_options.check(options)
        except WireError as error:
            raise MisuseError(str(error)) from None
    padded = len(options) + -len(options) % 4
    if padded > ipv4.MAXIMUM_HEADER_LENGTH - ipv4.HEADER_LENGTH:
        raise MisuseError(f"{len(options)} octets of IPv4 options, at most 40 fit")
    total = ipv4.HEADER_LENGTH + padded + len(payload)
    if total > ipv4.MAXIMUM_LENGTH:
        raise MisuseError(f"an IPv4 packet of {total} octets, at most 65535 fit", errno=errno.EMSGSIZE)
