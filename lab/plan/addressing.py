"""Which prefix each segment has, and which address each interface.

A prefix that the file gives stands. Every other segment of hosts and routers takes the next free block of the pool:
a /24, or the smallest larger block that holds all of its interfaces. Larger blocks are taken first, so that aligned
blocks leave no gaps between them; among equals, the order of the links decides. Blocks in use are stepped over.

On a segment, routers take the lowest free addresses, hosts those after them, each in the order of the nodes in the
file. The same file gives the same addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lab.model.errors import Problem, TopologyError
from lab.model.layout import Layout, Port, Segment, written_routes
from lab.model.topology import Host, Router

DEFAULT_LENGTH = 24


@dataclass(frozen=True)
class Addressing:
    """`prefixes` by index of segment; a segment without hosts and routers has none."""

    prefixes: dict[int, IPv4Network]
    addresses: dict[Port, IPv4Interface]


def assign_addresses(layout: Layout) -> Addressing:
    """Addresses for a topology without lint errors. Raises TopologyError where the pool is too small."""
    prefixes = _prefixes(layout)
    gateways = _gateways(layout)
    order = {name: index for index, name in enumerate(layout.topology.nodes)}
    addresses: dict[Port, IPv4Interface] = {}
    for index, prefix in prefixes.items():
        addresses |= _addresses(layout, layout.segments[index], prefix, order, gateways)
    return Addressing(prefixes, addresses)


def _prefixes(layout: Layout) -> dict[int, IPv4Network]:
    given = {index: IPv4Network(given.text) for index, given in layout.prefixes.items()}
    pool = IPv4Network(layout.topology.defaults.addresses)
    needed = [index for index, segment in enumerate(layout.segments) if segment.ports and index not in given]
    lengths = {index: _length(len(layout.segments[index].ports), pool) for index in needed}
    free = _Pool(pool, given.values())
    taken: dict[int, IPv4Network] = {}
    for index in sorted(needed, key=lambda index: lengths[index]):
        prefix = free.take(lengths[index])
        if prefix is None:
            raise TopologyError([_exhausted(layout, pool, len(needed), len(taken), len(layout.segments[index].ports))])
        taken[index] = prefix
    return dict(sorted((given | taken).items()))


def _length(interfaces: int, pool: IPv4Network) -> int:
    """The prefix length for so many interfaces: room for them, the network and the broadcast address."""
    fitting = 32 - (interfaces + 1).bit_length()
    return min(fitting, max(DEFAULT_LENGTH, pool.prefixlen))


def _exhausted(layout: Layout, pool: IPv4Network, needed: int, taken: int, interfaces: int) -> Problem:
    message = f"the pool {pool} has prefixes for {taken} of {needed} segments"
    hint = f"the next segment has {interfaces} interfaces; choose a larger pool: defaults: {{addresses: 10.0.0.0/8}}"
    return layout.topology.document.problem(("defaults", "addresses"), message, hint)


class _Pool:
    """Hands out aligned blocks in rising order, past those in use."""

    def __init__(self, pool: IPv4Network, used: Iterable[IPv4Network]) -> None:
        self.next = int(pool.network_address)
        self.end = int(pool.broadcast_address) + 1
        self.used = sorted(((int(net.network_address), int(net.broadcast_address)) for net in used), reverse=True)

    def take(self, length: int) -> IPv4Network | None:
        size = 1 << (32 - length)
        start = _aligned(self.next, size)
        while self.used and self.used[-1][0] < start + size:
            _, last = self.used.pop()
            start = max(start, _aligned(last + 1, size))
        self.next = start + size
        return IPv4Network((start, length)) if self.next <= self.end else None


def _aligned(address: int, size: int) -> int:
    return -(-address // size) * size


def _addresses(
    layout: Layout, segment: Segment, prefix: IPv4Network, order: dict[str, int], gateways: set[int]
) -> dict[Port, IPv4Interface]:
    nodes = layout.topology.nodes
    found = {port: interface for port, interface, _ in layout.static_addresses(segment)}
    used = {int(interface.ip) for interface in found.values()}
    missing = sorted((port for port in segment.ports if port not in found), key=lambda port: order[port.node])
    routers = [port for port in missing if isinstance(nodes[port.node], Router)]
    hosts = [port for port in missing if not isinstance(nodes[port.node], Router)]
    found |= zip(routers, _free(prefix, used), strict=False)
    used |= {int(interface.ip) for interface in found.values()}
    # A gateway that a host names belongs to a router, even to one outside of the lab.
    spare = prefix.num_addresses - 2 - len(used) - len(hosts)
    found |= zip(hosts, _free(prefix, used | gateways if spare >= len(gateways) else used), strict=False)
    return found


def _free(prefix: IPv4Network, used: set[int]) -> Iterator[IPv4Interface]:
    """The addresses for nodes that are not in use; both of a /31 (RFC 3021)."""
    edge = 1 if prefix.prefixlen < 31 else 0
    first = int(prefix.network_address) + edge
    for address in range(first, first + prefix.num_addresses - 2 * edge):
        if address not in used:
            yield IPv4Interface((address, prefix.prefixlen))


def _gateways(layout: Layout) -> set[int]:
    return {
        int(IPv4Address(via))
        for name, node in layout.topology.nodes.items()
        if isinstance(node, Host | Router)
        for _, _, via in written_routes(name, node)
    }
