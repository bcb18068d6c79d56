"""The fabric: a plan's namespaces, bridges and cables in the Linux kernel.

Theory of operation. The fabric works inside the supervisor's own network namespace ("the lab's namespace"), where all
bridges are. Every other node has a network namespace that exists only as a file descriptor here and in its processes.
A link is a veth pair with each end where it belongs; layout.py tells names and numbers.

Building takes few steps, because a step costs more than what is in it:

    1. namespaces   unshare in a loop; in each, before any interface exists, IPv6 off, and forwarding as the node has it
    2. bridges      one message each; those of Open vSwitch come with step 5, see switches.py
    3. cables       one message per pair makes both ends in their namespaces, with MAC, MTU and index, the first end up;
                    the first is a node's where there is one, so that no namespace has to be visited for it. An opened
                    link is two pairs, each with its inner end in the lab's namespace
    4. offloads     off at every end that the kernel itself drives (bridge ports and kernel hosts), except TCP's where
                    the other end takes long segments: see host/ethtool.py. An end of a layerlab node keeps them all,
                    for only its agent sends there, unless that sends what its peer does not take
    5. ports        one message per port sets it up and joins it to its bridge
    6. far ends     the second end of a link between two nodes is set up from inside its namespace
    7. hosts        addresses and routes of kernel hosts, from inside their namespaces

The kernel of a layerlab node's namespace has no address, no IPv6 and no forwarding there: it hears every frame and
answers none.

A link that is down has no carrier, as with a cable pulled out: of its two ends, those at bridges are set down, else
those at layerlab nodes, else both. So a kernel host keeps its routes when its cable is pulled, unless its peer is one
too; then they are put back with the cable.

Of an opened link the inner ends are set down instead, both: then both nodes see no carrier. The one that faces a node
is down, too, while the node at the other end is stopped, for a carrier does not pass by itself through two cables.

A link can be opened while the lab runs: its pair is deleted and two are made, with the same names, indexes and MACs.
The nodes see the cable out and in again.

A node that is stopped loses its namespace. Its ends wait in the lab's namespace, down, and its neighbors keep their
interfaces: they see no carrier, as with a machine that is switched off. Once rebuilt, the ends are moved in again.

Destroying needs no code: when the last process of the lab is gone, the kernel removes all of it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from lab.drivers.kernel import reading
from lab.drivers.kernel.homes import BareHomes, Homes
from lab.drivers.kernel.kernel_node import configuration
from lab.drivers.kernel.layout import Attachment, Layout, Pair
from lab.drivers.kernel.requests import ordered_ends, unless_gone
from lab.drivers.kernel.switches import Switches
from lab.errors import DriverError, StateError
from lab.host import links as rt
from lab.host.ethtool import set_offloads
from lab.host.namespaces import (
    NO_BRIDGE_FILTER,
    NO_IPV6,
    PASSIVE,
    in_namespace,
    open_network_namespace,
    raise_file_limit,
    write_sysctls,
)
from lab.host.netlink import BATCH_MESSAGES, Netlink, Request
from lab.plan.values import Plan
from nodes.contract import NodeConfig

if TYPE_CHECKING:
    from lab.host.open_vswitch import OpenVSwitch

Progress = Callable[[str, int, int], None]

RESERVED_FILES = 64
"""File descriptors that a supervisor needs beside those of the node namespaces."""


class Fabric:
    """The kernel's part of one lab. All methods are called by one thread, in the lab's namespace.

    `namespaces` has the network namespace of every node except kernel switches and stopped nodes."""

    def __init__(self, homes: Homes | None = None, open_vswitch: OpenVSwitch | None = None) -> None:
        """Without an `open_vswitch`, which has to be started, there are no switches of that kind."""
        self.namespaces: dict[str, int] = {}
        self._homes = homes or BareHomes()
        self._open_vswitch = open_vswitch
        self._switches: Switches | None = None
        self._layout = Layout()
        self._down: set[str] = set()
        self._stopped: set[str] = set()
        self._netlink: Netlink | None = None
        self._home = -1

    @property
    def layout(self) -> Layout:
        """Names and numbers, once `create` was called."""
        return self._layout

    # Building

    def create(self, plan: Plan, progress: Progress) -> None:
        """Build everything. `progress` hears the stage (what `homes` calls its own, links, hosts), how much is done and
        how much there is. Raises DriverError; then nothing of the fabric is left but what goes with the calling
        process."""
        if self._netlink is not None:
            raise StateError("the fabric exists already")
        self._layout = layout = Layout.of(plan)
        self._down = {link.name for link in plan.links if not link.up}
        limit = raise_file_limit()
        if len(layout.hosted) + RESERVED_FILES > limit:
            needed = len(layout.hosted) + RESERVED_FILES
            hint = f"raise the hard limit: ulimit -Hn {needed}"
            raise DriverError(f"{len(layout.hosted)} nodes need {needed} open files, {limit} are allowed", hint=hint)
        try:
            self._home = open_network_namespace()
            self._netlink = Netlink()
            self._switches = Switches(layout, self._netlink, self._open_vswitch)
            write_sysctls(NO_IPV6 | PASSIVE | NO_BRIDGE_FILTER)
            self._make_namespaces(progress)
            self._make_links(progress)
            self._configure_hosts(progress)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the namespaces. What other processes do not hold, the kernel removes, with the interfaces in it;
        the bridges go with the lab's namespace."""
        for fd in self.namespaces.values():
            os.close(fd)
        self.namespaces.clear()
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def _make_namespaces(self, progress: Progress) -> None:
        nodes = list(self._layout.hosted.values())
        fds = self._homes.create(nodes, lambda done: progress(self._homes.stage, done, len(nodes)))
        self.namespaces = {node.name: fd for node, fd in zip(nodes, fds, strict=True)}
        progress(self._homes.stage, len(nodes), len(nodes))

    def _make_links(self, progress: Progress) -> None:
        netlink, pairs = self._open(), self._layout.pairs
        switches = self._open_switches()
        switches.create()
        for start in range(0, len(pairs), BATCH_MESSAGES):
            chunk = pairs[start : start + BATCH_MESSAGES]
            netlink.batch([request for pair in chunk for request in self._pair_requests(pair)])
            progress("links", min(start + BATCH_MESSAGES, len(pairs)), len(pairs))
        ends = self._layout.ends.values()
        set_offloads((end.name, self._layout.sends_offload(end)) for end in ends if end.bridge is not None)
        switches.connect([self._port_request(end) for end in ends if end.bridge is not None])
        inner: list[Request] = []
        inside: dict[str, list[Request]] = defaultdict(list)
        for pair in pairs:
            second = ordered_ends(pair)[1]
            if self._layout.is_opened(pair):
                inner += self._inner_requests(pair)
            elif second is not None and second.bridge is None and self._wants_up(second):
                inside[second.end.node].append(rt.change_link(second.index, f"set {second.end} up", up=True))
        netlink.batch(inner)
        for node, requests in inside.items():
            self._inside(node, requests)
        for node in self._layout.hosted:
            self._limit_agent(node)

    def _limit_agent(self, node: str) -> None:
        """Have the kernel finish and cut what an agent sends where the peer takes only what a wire carries."""
        ends = self._layout.by_node[node]
        limited = [end for end in ends if end.takes_offload and not self._layout.sends_offload(end)]
        if limited and not limited[0].is_kernel:
            with in_namespace(self._namespace(node)):
                set_offloads((end.name, False) for end in limited)

    def _configure_hosts(self, progress: Progress) -> None:
        hosts = [node for node in self._layout.hosted.values() if node.stack == "kernel"]
        for done, node in enumerate(hosts, 1):
            self._configure(node, replace=False)
            progress("hosts", done, len(hosts))

    def _configure(self, node: NodeConfig, *, replace: bool) -> None:
        """A kernel host's offloads, addresses and routes."""
        ends = self._layout.by_node[node.name]
        with in_namespace(self._namespace(node.name)):
            set_offloads((end.name, self._layout.sends_offload(end)) for end in ends)
            indexes = {end.name: end.index for end in ends}
            up = {end.name for end in ends if self._wants_up(end)}
            with Netlink() as netlink:
                netlink.batch(configuration(node, indexes, up, replace=replace))

    # Requests

    def _pair_requests(self, pair: Pair) -> list[Request]:
        if self._layout.is_opened(pair):
            mtu = self._layout.mtu_of(pair.first)
            return [
                self._veth_request(end, rt.VethEnd(inner.name, inner.index, None, mtu), f"create veth {end.end}")
                for end, inner in zip(pair.ends, pair.inner, strict=True)
            ]
        first, second = ordered_ends(pair)
        if second is None:
            other = rt.VethEnd(f"x{pair.loose_index}", pair.loose_index, None, first.mtu)
        else:
            other = self._veth_end(second)
        return [self._veth_request(first, other, f"create veth {first.end} -- {second.end if second else 'nothing'}")]

    def _veth_request(self, end: Attachment, other: rt.VethEnd, description: str) -> Request:
        up = end.bridge is None and self._wants_up(end)
        return rt.create_veth(self._veth_end(end), other, description, up=up)

    def _veth_end(self, end: Attachment) -> rt.VethEnd:
        mtu = self._layout.mtu_of(end)
        if end.bridge is not None:
            return rt.VethEnd(end.name, end.index, end.mac, mtu)
        if end.end.node in self._stopped:
            return rt.VethEnd(end.parked_name, end.index, end.mac, mtu)
        return rt.VethEnd(end.name, end.index, end.mac, mtu, self._namespace(end.end.node))

    def _inner_requests(self, pair: Pair) -> list[Request]:
        """The inner ends of an opened link, up or down as the link and the nodes behind it are."""
        up = pair.link is not None and pair.link.name not in self._down
        beyond = reversed(pair.ends)
        return [
            rt.change_link(inner.index, f"switch {inner.name}", up=up and far.end.node not in self._stopped)
            for inner, far in zip(pair.inner, beyond, strict=True)
        ]

    def _port_request(self, end: Attachment) -> Request:
        master = end.bridge.index if end.bridge is not None and end.bridge.is_linux else None
        up = self._wants_up(end)
        return rt.change_link(end.index, f"connect port {end.end}", up=up, master=master, alias=str(end.end))

    def _wants_up(self, end: Attachment) -> bool:
        """Whether an end is to be set up: its node runs, and its link up or switched at the other end."""
        if end.end.node in self._stopped:
            return False
        return not any(end in self._switching_ends(self._layout.by_link[name]) for name in self._down)

    def _switching_ends(self, pair: Pair) -> list[Attachment]:
        """The ends that are set down where the link is down."""
        if self._layout.is_opened(pair):
            return []
        at_bridges = [end for end in pair.ends if end.bridge is not None]
        return at_bridges or [end for end in pair.ends if not end.is_kernel] or pair.ends

    # Changing

    def set_link(self, name: str, up: bool) -> None:
        """Plug a link's cable in or pull it out. Raises DriverError."""
        pair = self._pair(name)
        (self._down.discard if up else self._down.add)(name)
        if self._layout.is_opened(pair):
            self._open().batch(self._inner_requests(pair))
            return
        for end in self._switching_ends(pair):
            if up == self._wants_up(end):  # else its node is stopped: it comes back as the link then is
                self._apply(end, [rt.change_link(end.index, f"switch {end.end}", up=up)])
                if up:
                    self._restore(end.node)

    def inner_ends(self, name: str) -> tuple[rt.Interface, rt.Interface] | None:
        """The inner ends of an opened link, those that face its first and its second end; None for another."""
        pair = self._pair(name)
        return (pair.inner[0], pair.inner[1]) if self._layout.is_opened(pair) else None

    def open_link(self, name: str, opened: bool = True) -> None:
        """Make a link an opened one, or the reverse. Raises DriverError, once it has laid again what was there."""
        pair = self._pair(name)
        if self._layout.is_opened(pair) == opened:
            return
        try:
            self._lay(name, pair, opened)
        except DriverError:
            self._lay(name, pair, not opened)
            raise

    def _lay(self, name: str, pair: Pair, opened: bool) -> None:
        """Take out what cables a link has, and lay others."""
        for end in pair.ends:
            if end.end.node not in self._stopped:
                self._open_switches().unplug(end)
            with unless_gone():  # with its other end
                self._apply(end, [rt.delete_link(end.index, f"take out the cable of {name}")])
        (self._layout.opened.add if opened else self._layout.opened.discard)(name)
        netlink = self._open()
        netlink.batch(self._pair_requests(pair))
        set_offloads((end.name, self._layout.sends_offload(end)) for end in pair.ends if end.bridge is not None)
        running = [end for end in pair.ends if end.end.node not in self._stopped]
        for end in running:
            if end.bridge is not None:
                self._open_switches().plug(end, self._port_request(end))
            else:
                self._apply(end, [rt.change_link(end.index, f"set {end.end} up", up=self._wants_up(end))])
                self._limit_agent(end.end.node)
        netlink.batch(self._inner_requests(pair) if opened else [])
        for end in running:
            self._restore(end.node)

    def _pair(self, link: str) -> Pair:
        pair = self._layout.by_link.get(link)
        if pair is None:
            known = ", ".join(sorted(self._layout.by_link)) or "none"
            raise DriverError(f"no link {link!r}", hint=f"links are {known}")
        return pair

    def _restore(self, node: NodeConfig) -> None:
        """Linux drops the routes over an interface that is set down: put those of a kernel host back."""
        if node.stack == "kernel" and node.name in self.namespaces:
            self._configure(node, replace=True)

    def set_mtu(self, link: str, mtu: int) -> None:
        """Change the MTU of both ends of a link, in octets of IP packet. Raises DriverError."""
        pair = self._pair(link)
        if self._layout.is_opened(pair):
            changes = [rt.change_link(end.index, f"set the MTU of {end.name} to {mtu}", mtu=mtu) for end in pair.inner]
            self._open().batch(changes)
        for end in pair.ends:
            self._apply(end, [rt.change_link(end.index, f"set the MTU of {end.end} to {mtu}", mtu=mtu)])
        self._layout.mtus[link] = mtu

    def destroy_node(self, name: str) -> None:
        """Switch a node off: its namespace goes (with the last process in it), its ends wait, down. Of a kernel switch
        the bridge goes. Raises DriverError."""
        if name in self._stopped:
            raise StateError(f"{name} is stopped already")
        ends = self._layout.by_node.get(name)
        if ends is None:
            raise DriverError(f"no node {name!r}")
        bridge = self._layout.bridges.get(name)
        if bridge is not None:
            downs = [rt.change_link(end.index, f"disconnect port {end.end}", up=False, master=0) for end in ends]
            self._open_switches().remove(bridge, downs)
        else:
            moves = [rt.move_link(end.index, self._home, end.parked_name, f"park {end.end}") for end in ends]
            self._inside(name, moves)
            self._homes.leave(self._layout.hosted[name])
            os.close(self.namespaces.pop(name))
        self._stopped.add(name)
        self._switch_inner_ends(ends)

    def rebuild_node(self, name: str) -> None:
        """Switch a node on again after `destroy_node`: a new namespace (or bridge) with the ends as they were, each up
        or down as its link is. Raises DriverError."""
        if name not in self._stopped:
            raise StateError(f"{name} is not stopped")
        ends = self._layout.by_node[name]
        bridge = self._layout.bridges.get(name)
        if bridge is not None:
            self._stopped.discard(name)
            self._open_switches().restore(bridge, [self._port_request(end) for end in ends])
            self._switch_inner_ends(ends)
            return
        node = self._layout.hosted[name]
        (fd,) = self._homes.create([node], lambda _done: None)
        try:
            self._open().batch([rt.move_link(end.index, fd, end.name, f"bring {end.end} back") for end in ends])
        except DriverError:
            os.close(fd)
            raise
        self.namespaces[name] = fd
        self._stopped.discard(name)
        wanted = [end for end in ends if self._wants_up(end)]
        self._inside(name, [rt.change_link(end.index, f"set {end.end} up", up=True) for end in wanted])
        self._limit_agent(name)
        self._restore(node)
        self._switch_inner_ends(ends)

    def _switch_inner_ends(self, ends: list[Attachment]) -> None:
        """After a node was stopped or started: its neighbors beyond opened links see the carrier go or come."""
        for end in ends:
            pair = self._layout.link_of.get(end.end)
            if pair is not None and self._layout.is_opened(pair):
                self._open().batch(self._inner_requests(pair))

    # Reading

    def bridge_state(self, switch: str) -> dict[str, object]:
        """A kernel switch's ports, forwarding database and spanning tree, with the plan's names. Raises DriverError."""
        bridge = self._layout.bridges.get(switch)
        if bridge is None:
            raise DriverError(f"{switch!r} is not a kernel switch")
        if switch in self._stopped:
            raise StateError(f"{switch} is stopped")
        return self._open_switches().state(bridge)

    def kernel_state(self, node: str) -> dict[str, object]:
        """What the kernel has in a node's namespace: interfaces with counters, addresses, routes, neighbors."""
        with in_namespace(self._namespace(node)), Netlink() as netlink:
            return reading.kernel_state(netlink)

    # Access

    def _open(self) -> Netlink:
        if self._netlink is None:
            raise StateError("the fabric is not built")
        return self._netlink

    def _open_switches(self) -> Switches:
        if self._switches is None:
            raise StateError("the fabric is not built")
        return self._switches

    def _namespace(self, node: str) -> int:
        fd = self.namespaces.get(node)
        if fd is None:
            reason = "is stopped" if node in self._stopped else "has no network namespace"
            raise StateError(f"{node} {reason}")
        return fd

    def _apply(self, end: Attachment, requests: list[Request]) -> None:
        """Send requests about an end to where it is at present."""
        if end.bridge is not None or end.end.node in self._stopped:
            self._open().batch(requests)
        else:
            self._inside(end.end.node, requests)

    def _inside(self, node: str, requests: list[Request]) -> None:
        with in_namespace(self._namespace(node)), Netlink() as netlink:
            netlink.batch(requests)
