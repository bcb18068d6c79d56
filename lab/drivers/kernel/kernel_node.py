"""What a `stack: kernel` node is told: its loopback up, addresses, then routes, as rtnetlink requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lab.errors import DriverError
from lab.host import links as rt
from lab.host.netlink import Request
from nodes.contract import NodeConfig
from nodes.wire.addresses import Prefix, parse_ip4


def configuration(node: NodeConfig, indexes: Mapping[str, int], up: Collection[str], *, replace: bool) -> list[Request]:
    """The requests for one node, to be sent inside its namespace. `indexes` are those of its interfaces by name, `up`
    the names of those that are up: Linux refuses a route over another. `replace` accepts what is there already.
    Raises DriverError for a route over an interface that does not exist."""
    requests = [rt.change_link(rt.LOOPBACK_INDEX, f"set {node.name}:lo up", up=True)]
    for interface in node.interfaces:
        if interface.address_source != "static":
            hint = "say `address_source: static`, or `stack: layerlab`"
            raise DriverError(f"{node.name}:{interface.name}: Linux has no RARP client", hint=hint)
        for address in interface.addresses:
            doing = f"add address {address} to {node.name}:{interface.name}"
            requests.append(rt.add_address(indexes[interface.name], Prefix.parse(address), doing, replace=replace))
    for route in node.routes:
        doing = f"add route {route.destination} via {route.via or 'the link'} to {node.name}"
        if route.interface not in indexes:
            raise DriverError(f"{doing}: there is no interface {route.interface!r}")
        if route.interface not in up:
            continue
        via = parse_ip4(route.via) if route.via else None
        destination = Prefix.parse(route.destination)
        index = indexes[route.interface]
        requests.append(rt.add_route(index, destination, via, doing, metric=route.metric, replace=replace))
    return requests
