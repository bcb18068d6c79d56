"""The way out of the node: interface, next hop and source of a datagram (RFC 1122 sections 3.3.1 and 3.3.4.3)."""

from __future__ import annotations

import errno
from typing import NamedTuple

from nodes.datalink.interface import Interface
from nodes.errors import MisuseError, UnreachableError
from nodes.network.counters import IpCounters
from nodes.network.local_addresses import LOOPBACK, LocalAddresses
from nodes.network.routes import RouteTable
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, format_ip4, is_loopback, is_multicast


class Way(NamedTuple):
    """`interface` is None where the destination is this node itself."""

    interface: Interface | None
    next_hop: Ip4


class Egress:
    """Chooses ways and sources; knows neither packets nor time."""

    __slots__ = ("_addresses", "_counters", "_table")

    def __init__(self, addresses: LocalAddresses, table: RouteTable, counters: IpCounters) -> None:
        self._addresses = addresses
        self._table = table
        self._counters = counters

    def way(self, destination: Ip4, index: int | None) -> Way:
        """Groups and broadcasts are on the link itself, whatever route leads there; without a route they leave by the
        first interface that is up and has an address. Raises UnreachableError without a route, MisuseError where
        there is no interface `index`."""
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
        if wanted is None:
            return self._choose(destination, way)
        if is_loopback(wanted) and way.interface is None:
            return wanted
        if wanted != ANY and wanted not in self._addresses.owner:
            raise MisuseError(f"{format_ip4(wanted)} is not an address of this node", errno=errno.EADDRNOTAVAIL)
        return wanted

    def _choose(self, destination: Ip4, way: Way) -> Ip4:
        if way.interface is None:
            return LOOPBACK if is_loopback(destination) else destination
        source = self._addresses.source_on(way.interface, way.next_hop)
        if source == ANY and not (is_multicast(destination) or destination == LIMITED_BROADCAST):
            raise UnreachableError(f"{way.interface.name} has no address yet", errno=errno.EADDRNOTAVAIL)
        return source
