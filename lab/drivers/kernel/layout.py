"""How a plan's nodes and links are called in the kernel: names and numbers, decided before anything is created.

    node (host, router, hub, stack switch)   a network namespace of its own, with the interface names of the plan
    kernel switch                            a bridge in the lab's namespace, named as the switch, or `br<index>`
                                             where that is no interface name or could be mistaken for one of these
    port of a kernel switch                  in the lab's namespace `p<index>`; its alias says `s1:p1`
    loose end                                an interface without a link: a veth whose other end, `x<index>`, stays
                                             down in the lab's namespace, so that the interface exists, without carrier
    end of a stopped node                    while the node is away, `e<index>` in the lab's namespace, down
    inner ends of an opened link             `m<index>` in the lab's namespace, see below

A link is one veth pair, or two where something is to stand in the middle: an opened link. Its outer ends are as those
of any other, its inner ends are for whoever carries the frames between them:

    node a  eth0 ═════ m7   (executor)   m8 ═════ eth0  node b

Every interface has an index that no other interface of the lab has, in whichever namespace it is. So an end keeps its
index when it moves, requests need no look-up, and `index` alone finds it in any list. Bridges are numbered from 2 in
the order of the plan (1 is `lo`), then ends, link by link, two outer and two inner ones, whether the link is opened or
not, then loose ends and their counterparts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lab.errors import DriverError
from lab.host.links import LOOPBACK_INDEX, Interface, is_interface_name
from lab.plan.values import End, LinkPlan, Plan
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.wire.addresses import Mac, parse_mac

AFTER_OPEN_VSWITCH = 4096
"""Open vSwitch makes an interface for itself and one for each switch, each time that one is switched on. The kernel
numbers them, from the lowest number up."""

_RESERVED = re.compile(r"lo|(br|p|x|e|m)[0-9]+")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A kernel switch. Of one of Open vSwitch only the name counts."""

    node: NodeConfig
    index: int
    name: str

    @property
    def is_linux(self) -> bool:
        return self.node.stack == "kernel"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One end as the kernel has it. `name` is its interface name where it belongs: in the node's namespace, or for
    the port of a `bridge` in the lab's."""

    end: End
    node: NodeConfig
    index: int
    name: str
    mac: Mac
    mtu: int
    bridge: Bridge | None = None
    takes_offload: bool = False
    """Whether long segments without checksums may be sent to it."""

    @property
    def parked_name(self) -> str:
        return f"e{self.index}"

    @property
    def is_kernel(self) -> bool:
        """Whether the Linux kernel sends and receives here, as a bridge or as a host."""
        return self.node.stack != "layerlab"


@dataclass(frozen=True, slots=True)
class Pair:
    """The two ends of a link, and the inner ends that face them while it is opened; `second` is None for a loose end,
    whose counterpart has `loose_index`."""

    link: LinkPlan | None
    first: Attachment
    second: Attachment | None
    inner: tuple[Interface, ...] = ()
    loose_index: int = 0

    @property
    def ends(self) -> list[Attachment]:
        return [end for end in (self.first, self.second) if end is not None]


@dataclass(frozen=True)
class Layout:
    """The kernel's view of a plan. `hosted` are the nodes with a namespace, in the plan's order; `opened` the names of
    the opened links, which may become more, `mtus` those of links that have no longer the plan's."""

    bridges: dict[str, Bridge] = field(default_factory=dict)
    hosted: dict[str, NodeConfig] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    ends: dict[End, Attachment] = field(default_factory=dict)
    by_node: dict[str, list[Attachment]] = field(default_factory=dict)
    peers: dict[End, Attachment] = field(default_factory=dict)
    by_link: dict[str, Pair] = field(default_factory=dict)
    link_of: dict[End, Pair] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    mtus: dict[str, int] = field(default_factory=dict)

    def sends_offload(self, end: Attachment) -> bool:
        """Whether an end may send long segments without checksums: its peer takes them, and nothing is between."""
        peer = self.peers.get(end.end)
        return peer is not None and peer.takes_offload and not self.is_opened(self.link_of[end.end])

    def mtu_of(self, end: Attachment) -> int:
        """In octets, as it is now."""
        pair = self.link_of.get(end.end)
        return end.mtu if pair is None or pair.link is None else self.mtus.get(pair.link.name, end.mtu)

    def is_opened(self, pair: Pair) -> bool:
        return pair.link is not None and pair.link.name in self.opened

    @classmethod
    def of(cls, plan: Plan) -> Layout:
        """Raises DriverError for a plan that this driver cannot carry out."""
        layout = cls()
        index = AFTER_OPEN_VSWITCH if any(node.stack == "ovs" for node in plan.nodes) else LOOPBACK_INDEX
        for node in plan.nodes:
            layout.by_node[node.name] = []
            _check(node)
            if node.is_bridge:
                index += 1
                layout.bridges[node.name] = Bridge(node, index, _bridge_name(node.name, index))
            else:
                layout.hosted[node.name] = node
        interfaces = {End(node.name, i.name): (node, i) for node in plan.nodes for i in node.interfaces}
        for link in plan.links:
            first = layout._attach(link.a, interfaces, index + 1, link.mtu)
            second = layout._attach(link.b, interfaces, index + 2, link.mtu)
            inner = tuple(Interface(f"m{number}", number) for number in (index + 3, index + 4))
            index += 4
            pair = Pair(link, first, second, inner)
            layout.pairs.append(pair)
            layout.by_link[link.name] = pair
            layout.peers.update({first.end: second, second.end: first})
            layout.link_of.update({first.end: pair, second.end: pair})
            if link.impairment is not None:
                layout.opened.add(link.name)
        for end, (node, interface) in interfaces.items():
            if end not in layout.ends and not node.is_bridge:
                first = layout._attach(end, interfaces, index + 1, interface.mtu)
                layout.pairs.append(Pair(None, first, None, loose_index=index + 2))
                index += 2
        return layout

    def _attach(
        self, end: End, interfaces: dict[End, tuple[NodeConfig, InterfaceConfig]], index: int, mtu: int
    ) -> Attachment:
        if end in self.ends:
            raise DriverError(f"{end} is the end of two links")
        if end not in interfaces:
            raise DriverError(f"{end} is the end of a link, but {end.node!r} has no interface {end.interface!r}")
        node, interface = interfaces[end]
        bridge = self.bridges.get(end.node)
        name = end.interface if bridge is None else f"p{index}"
        mac = parse_mac(interface.mac)
        attachment = Attachment(end, node, index, name, mac, mtu, bridge, interface.offload)
        self.ends[end] = attachment
        self.by_node[end.node].append(attachment)
        return attachment


def _bridge_name(name: str, index: int) -> str:
    return name if is_interface_name(name) and not _RESERVED.fullmatch(name) else f"br{index}"


def _check(node: NodeConfig) -> None:
    if node.stack != "kernel":
        return
    if node.kind == "hub":
        raise DriverError(f"{node.name}: Linux has no hub", hint="say `stack: layerlab` for a hub")
    for interface in node.interfaces:
        if interface.kind == "ip":
            hint = "use an Ethernet interface, or `stack: layerlab`"
            raise DriverError(f"{node.name}:{interface.name}: a kernel node has no `kind: ip` interface", hint=hint)
