"""Routes: shortest paths over routers, all links equal.

A router gets a route to the prefix of every segment that it is not on. Breadth-first search from it, over segments
and the routers on them, finds the nearest router behind which a prefix lies; the first hop of that path is the next
hop. Among paths of equal length, the first hop with the first name wins, so that the same file gives the same routes.

A host gets a default route to the router with the lowest address on its segments. Where it can hear several routers,
prefixes that are strictly nearer through another get a route of their own: without it, the default router would send
the packet back over the segment it came from, or around.

Routes that the file gives win: to a destination that it names, none is computed, and a host with a default route of
its own gets no others.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from lab.model.addresses import DEFAULT_ROUTE
from lab.model.layout import Layout, written_routes
from lab.model.topology import Host, Router
from lab.plan.addressing import Addressing
from nodes.contract import RouteConfig


class Hop(NamedTuple):
    """The first step to a segment: out of `interface` to `via`. `distance` counts the routers on the path."""

    interface: str
    via: IPv4Address
    distance: int


class Neighbor(NamedTuple):
    """A router on a segment. Sorts by name, then interface, as ties are decided."""

    name: str
    interface: str
    address: IPv4Address


@dataclass(frozen=True)
class Routing:
    layout: Layout
    addressing: Addressing
    routers: dict[int, list[Neighbor]]
    """The routers on each segment."""
    _cache: dict[tuple[tuple[str, int], ...], dict[int, Hop]]

    def routes_of(self, name: str) -> Iterator[RouteConfig]:
        node = self.layout.topology.nodes[name]
        if not isinstance(node, Host | Router):
            return
        written = {to: self._written(name, to, via) for _, to, via in written_routes(name, node)}
        yield from written.values()
        if isinstance(node, Router):
            yield from self._specific(self.hops(name), written)
        elif DEFAULT_ROUTE not in written:
            yield from self._host_routes(name, written)

    def hops(self, name: str) -> dict[int, Hop]:
        """The first hop from a node to each segment that it is not on."""
        ports = self.layout.ports[name]
        excluded = name if isinstance(self.layout.topology.nodes[name], Router) else ""
        attached = tuple((port.interface, self.layout.segment_of[port]) for port in ports)
        key = (*attached, (excluded, -1))
        if key not in self._cache:
            self._cache[key] = self._search(attached, excluded)
        return self._cache[key]

    def _search(self, attached: tuple[tuple[str, int], ...], origin: str) -> dict[int, Hop]:
        seen_segments = {segment for _, segment in attached}
        seen_routers = {origin}
        found: dict[int, Hop] = {}
        first = sorted((neighbor, interface) for interface, segment in attached for neighbor in self.routers[segment])
        waiting = deque((neighbor.name, Hop(interface, neighbor.address, 1)) for neighbor, interface in first)
        while waiting:
            router, hop = waiting.popleft()
            if router in seen_routers:
                continue
            seen_routers.add(router)
            for segment in sorted({self.layout.segment_of[port] for port in self.layout.ports[router]} - seen_segments):
                seen_segments.add(segment)
                found[segment] = hop
                farther = hop._replace(distance=hop.distance + 1)
                waiting.extend((neighbor.name, farther) for neighbor in self.routers[segment])
        return found

    def _written(self, name: str, to: str, via: str) -> RouteConfig:
        address = IPv4Address(via)
        port = next(port for port in self.layout.ports[name] if address in self.addressing.addresses[port].network)
        return RouteConfig(to, via, port.interface)

    def _specific(self, hops: dict[int, Hop], written: dict[str, RouteConfig]) -> Iterator[RouteConfig]:
        for segment, hop in sorted(hops.items()):
            if segment in self.addressing.prefixes:
                prefix = str(self.addressing.prefixes[segment])
                if prefix not in written:
                    yield RouteConfig(prefix, str(hop.via), hop.interface)

    def _host_routes(self, name: str, written: dict[str, RouteConfig]) -> Iterator[RouteConfig]:
        near = [
            (neighbor.address, neighbor.name, port.interface)
            for port in self.layout.ports[name]
            for neighbor in self.routers[self.layout.segment_of[port]]
        ]
        if not near:
            return
        address, router, interface = min(near)
        yield RouteConfig(DEFAULT_ROUTE, str(address), interface)
        if len(near) > 1:
            attached = {self.layout.segment_of[port] for port in self.layout.ports[router]}
            beyond = self.hops(router)
            default = dict.fromkeys(attached, 1) | {segment: hop.distance + 1 for segment, hop in beyond.items()}
            nearer = {s: hop for s, hop in self.hops(name).items() if hop.distance < default.get(s, hop.distance + 1)}
            yield from self._specific(nearer, written)


def make_routing(layout: Layout, addressing: Addressing) -> Routing:
    routers: dict[int, list[Neighbor]] = defaultdict(list)
    for port, interface in addressing.addresses.items():
        if isinstance(layout.topology.nodes[port.node], Router):
            routers[layout.segment_of[port]].append(Neighbor(port.node, port.interface, interface.ip))
    for neighbors in routers.values():
        neighbors.sort()
    return Routing(layout, addressing, routers, {})


def unowned_next_hops(layout: Layout, addressing: Addressing) -> Iterator[str]:
    """Warnings about written next hops that no node of the segment has as its address."""
    by_segment: dict[int, set[IPv4Address]] = defaultdict(set)
    for port, interface in addressing.addresses.items():
        by_segment[layout.segment_of[port]].add(interface.ip)
    for name, node in layout.topology.nodes.items():
        for path, _, via in written_routes(name, node) if isinstance(node, Host | Router) else ():
            if not any(IPv4Address(via) in by_segment[layout.segment_of[port]] for port in layout.ports[name]):
                message = f"the gateway {via} is the address of no node"
                yield str(layout.topology.document.problem(path, message, "give a router of the segment this address"))
