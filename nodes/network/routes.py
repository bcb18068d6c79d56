"""The routing table: longest prefix first, then the lowest metric (RFC 1812 section 5.2.4.3).

Routes are kept by prefix length, longest first, in one dictionary of networks for each length: a lookup masks the
destination once for every length in use, at most 33 times. Answers are cached by destination, and every change of
the table empties that cache, so what follows a change never sees the past:

    destination --> cache --hit---------------------------------> route or none
                      |
                      +-miss--> /32 {..} --> /24 {..} --> /0 {..} --> the best usable route, cached

A route over an interface that is down is not usable: the next best one, by metric and then by prefix, takes over, and
gives way when the interface returns. `version` counts the changes; whoever keeps a decision made from the table
compares it.
"""

from __future__ import annotations

from typing import NamedTuple

from nodes.errors import LimitError
from nodes.wire.addresses import Ip4, Prefix, format_ip4

CACHE_LIMIT = 4096
"""Destinations remembered: as many flows as a lab's router sees at a time. A full cache is emptied: filling it again
costs less than choosing a victim for each miss."""

ROUTE_LIMIT = 65536
"""Routes in a table: far more than a topology has, and about 20 MB."""


class Route(NamedTuple):
    """`prefix` has no host bits set. `via` is None where the destination is on the link itself. `interface` is an
    interface's index."""

    prefix: Prefix
    via: Ip4 | None
    interface: int
    metric: int = 0

    def next_hop(self, destination: Ip4) -> Ip4:
        return destination if self.via is None else self.via

    def describe(self, interface: str) -> str:
        """`via 10.0.0.1 eth0`, or `eth0` for a link's own prefix."""
        return interface if self.via is None else f"via {format_ip4(self.via)} {interface}"


class RouteTable:
    """Prefixes and where they lead. Not aware of time: nothing in it ages by itself."""

    __slots__ = ("_cache", "_count", "_down", "_tables", "version")

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, list[Route]]] = {}  # length -> network -> routes, best first
        self._cache: dict[int, Route | None] = {}
        self._down: set[int] = set()
        self._count = 0
        self.version = 0

    def __len__(self) -> int:
        return self._count

    def add(self, route: Route) -> Route | None:
        """Adds `route` and returns the one it replaced: that with the same prefix, next hop and interface. Host bits
        of the prefix are cleared. Raises LimitError where the table is full."""
        network, length = route.prefix.network, route.prefix.length
        route = route._replace(prefix=Prefix(network, length))
        replaced = self.remove(route.prefix, route.via, route.interface)
        if self._count >= ROUTE_LIMIT:
            raise LimitError(f"the routing table is full ({ROUTE_LIMIT} routes)")
        if length not in self._tables:
            self._tables[length] = {}
            self._tables = dict(sorted(self._tables.items(), reverse=True))
        routes = self._tables[length].setdefault(network, [])
        routes.append(route)
        routes.sort(key=lambda item: item.metric)
        self._count += 1
        self.changed()
        return replaced

    def remove(self, prefix: Prefix, via: Ip4 | None, interface: int) -> Route | None:
        """Removes and returns the route with exactly this prefix, next hop and interface; None where there is none."""
        table = self._tables.get(prefix.length, {})
        routes = table.get(prefix.network, [])
        found = next((route for route in routes if route.via == via and route.interface == interface), None)
        if found is None:
            return None
        routes.remove(found)
        if not routes:
            del table[prefix.network]
        if not table:
            del self._tables[prefix.length]
        self._count -= 1
        self.changed()
        return found

    def lookup(self, destination: Ip4, interface: int | None = None) -> Route | None:
        """The usable route with the longest prefix that contains `destination`; where `interface` is given, of those
        that leave by it (not cached)."""
        if interface is not None:
            return self._search(destination, interface)
        if destination in self._cache:
            return self._cache[destination]
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.clear()
        route = self._cache[destination] = self._search(destination, None)
        return route

    def best(self, prefix: Prefix) -> Route | None:
        """The usable route of exactly this prefix."""
        routes = self._tables.get(prefix.length, {}).get(prefix.network, [])
        return next((route for route in routes if route.interface not in self._down), None)

    def set_interface(self, interface: int, up: bool) -> None:
        """Routes over an interface that is down stay in the table and are passed over."""
        if up:
            self._down.discard(interface)
        else:
            self._down.add(interface)
        self.changed()

    def changed(self) -> None:
        """Drops all cached answers, here and at everybody who compares `version`."""
        self._cache.clear()
        self.version += 1

    def routes(self) -> list[Route]:
        """All routes, longest prefix first."""
        return [route for table in self._tables.values() for network in sorted(table) for route in table[network]]

    def _search(self, destination: Ip4, interface: int | None) -> Route | None:
        for length, table in self._tables.items():
            for route in table.get(destination & ((0xFFFF_FFFF << (32 - length)) & 0xFFFF_FFFF), ()):
                if route.interface not in self._down and interface in (None, route.interface):
                    return route
        return None
