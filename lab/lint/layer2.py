"""Layer 2: loops and spanning trees, MTUs, the limits of a bridge, parts without a connection."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from lab.lint.findings import Check, Finding
from lab.model.layout import Layout, Port, Segment, is_switching
from lab.model.topology import Hub, Switch, Topology

MAX_BRIDGE_PORTS = 1023
"""A Linux bridge numbers its ports with 10 bits, and 0 is none (BR_MAX_PORTS)."""
OVS_SHORTEST_AGEING, OVS_LONGEST_AGEING = 15, 3600
"""ovs-vswitchd.conf.db(5), mac-aging-time."""
MAX_SHOWN = 8
"""A loop of more nodes is shown shortened."""


def _bridge_ports(layout: Layout) -> Iterator[Finding]:
    for name, node in layout.topology.nodes.items():
        kernel = isinstance(node, Switch) and (node.impl or layout.topology.defaults.impl) == "kernel"
        count = len(layout.ports[name])
        if kernel and count > MAX_BRIDGE_PORTS:
            message = f"{name!r} has {count} ports, a Linux bridge has at most {MAX_BRIDGE_PORTS}"
            yield Finding(("nodes", name), message, "impl: stack, or two switches", key=True)


def _open_vswitch(layout: Layout) -> Iterator[Finding]:
    """What this lab does not have Open vSwitch do, or what it does otherwise than was written."""
    for name, node in layout.topology.nodes.items():
        if not isinstance(node, Switch) or (node.impl or layout.topology.defaults.impl) != "ovs":
            continue
        if node.stp:
            message = f"{name!r}: no spanning tree is set up in Open vSwitch"
            yield Finding(("nodes", name), message, "impl: kernel, or impl: stack", key=True)
        if not OVS_SHORTEST_AGEING <= node.ageing_time <= OVS_LONGEST_AGEING:
            message = f"{name!r}: Open vSwitch forgets stations after {OVS_SHORTEST_AGEING} to {OVS_LONGEST_AGEING} s"
            yield Finding(("nodes", name, "ageing_time"), message, "impl: kernel, or impl: stack")


def _loops(layout: Layout) -> Iterator[Finding]:
    for segment in layout.segments:
        blamed: set[str] = set()
        for index, loop in _closing_links(layout, segment):
            hubs = [name for name in loop if isinstance(layout.topology.nodes[name], Hub)]
            without = [name for name in loop if not _has_spanning_tree(layout.topology, name)]
            if set(without) <= blamed:
                continue
            blamed.update(without)
            message = f"a loop of switches: {_shown(loop)}"
            if hubs:
                hint = f"remove a link: the hub {hubs[0]!r} repeats every frame for ever"
            else:
                hint = f"stp: true on {', '.join(without)}; else one broadcast circles for ever"
            yield Finding(("links", index), message, hint)


def _closing_links(layout: Layout, segment: Segment) -> Iterator[tuple[int, list[str]]]:
    """Each link that closes a loop, with the loop's nodes. Links are added one by one to a spanning forest; a link
    between two nodes that are connected already closes a loop over the path between them."""
    tree: dict[str, list[str]] = defaultdict(list)
    for index in segment.links:
        a, b = (port.node for port in layout.links[index])
        if a == b or not (is_switching(layout.topology, a) and is_switching(layout.topology, b)):
            continue
        path = _path(tree, a, b)
        if path:
            yield index, path
        else:
            tree[a].append(b)
            tree[b].append(a)


def _path(tree: dict[str, list[str]], start: str, end: str) -> list[str]:
    """The nodes from `start` to `end`, or nothing."""
    before: dict[str, str] = {start: start}
    waiting = deque([start])
    while waiting and end not in before:
        node = waiting.popleft()
        for neighbor in tree.get(node, ()):
            if neighbor not in before:
                before[neighbor] = node
                waiting.append(neighbor)
    path = [end] if end in before else []
    while path and path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]


def _spanning_tree_mix(layout: Layout) -> Iterator[Finding]:
    for segment in layout.segments:
        switches = [name for name in segment.switches if isinstance(layout.topology.nodes[name], Switch)]
        without = [name for name in switches if not _has_spanning_tree(layout.topology, name)]
        for name in without if len(without) < len(switches) else ():
            message = f"{name!r} has no spanning tree, other switches of its segment have"
            yield Finding(("nodes", name), message, "stp: true on all of them", key=True, warning=True)


def _slow_spanning_trees(layout: Layout) -> Iterator[Finding]:
    """Linux bridges know the protocol of 802.1D-1998 only, which waits before a port forwards, also towards hosts."""
    defaults = layout.topology.defaults
    slow = {
        name: node.stp.forward_delay
        for name, node in layout.topology.nodes.items()
        if isinstance(node, Switch) and node.stp and (node.impl or defaults.impl) == "kernel"
    }
    if slow:
        name = max(slow, key=lambda name: slow[name])
        others = f" and {len(slow) - 1} more" if len(slow) > 1 else ""
        message = f"{name!r}{others}: a Linux bridge with a spanning tree passes no frame for {2 * slow[name]:g} s"
        hint = "impl: stack passes them at once; or stp: {forward_delay: 4}, the shortest"
        yield Finding(("nodes", name), message, hint, key=True, warning=True)


def _has_spanning_tree(topology: Topology, name: str) -> bool:
    node = topology.nodes[name]
    return isinstance(node, Switch) and node.stp is not None


def _mtus(layout: Layout) -> Iterator[Finding]:
    for segment in layout.segments:
        ports = [port for index in segment.links for port in layout.links[index]]
        smallest, largest = min(ports, key=layout.mtu), max(ports, key=layout.mtu)
        if layout.mtu(smallest) != layout.mtu(largest):
            message = f"MTU {layout.mtu(smallest)} here, {layout.mtu(largest)} at {largest} of the same segment"
            hint = "longer frames are lost without a word: only routers fragment"
            yield Finding(smallest.path, message, hint, warning=True)


def _same_segment(layout: Layout) -> Iterator[Finding]:
    """Two interfaces of a node in one subnet: only the first of them is ever sent from."""
    for segment in layout.segments:
        first: dict[str, Port] = {}
        for port in segment.ports:
            other = first.setdefault(port.node, port)
            if other is not port:
                message = f"{other} and {port} are on the same segment"
                yield Finding(port.path, message, "a node sends from the first of them only", warning=True)


def _parts(layout: Layout) -> Iterator[Finding]:
    neighbors: dict[str, list[str]] = defaultdict(list)
    for a, b in layout.links.values():
        neighbors[a.node].append(b.node)
        neighbors[b.node].append(a.node)
    names = [name for name in layout.topology.nodes if name in neighbors]
    seen = _reachable(neighbors, names[0]) if names else set()
    for name in names:
        if name not in seen:
            part = _reachable(neighbors, name)
            seen |= part
            others = "" if len(part) == 1 else f" and {len(part) - 1} more"
            message = f"{name!r}{others} cannot reach {names[0]!r}: no links lead there"
            yield Finding(("nodes", name), message, "add a link between the parts", key=True, warning=True)


def _reachable(neighbors: dict[str, list[str]], start: str) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        fresh = [name for name in neighbors[waiting.pop()] if name not in seen]
        seen.update(fresh)
        waiting += fresh
    return seen


def _shown(loop: Sequence[str]) -> str:
    names = [*loop, loop[0]]
    if len(loop) > MAX_SHOWN:
        names = [*loop[:MAX_SHOWN], f"({len(loop) - MAX_SHOWN} more)", loop[0]]
    return " - ".join(names)


CHECKS: tuple[Check, ...] = (
    _bridge_ports,
    _open_vswitch,
    _loops,
    _spanning_tree_mix,
    _slow_spanning_trees,
    _mtus,
    _same_segment,
    _parts,
)
