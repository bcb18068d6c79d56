"""What is asked of the kernel for one bridge, one namespace, one cable: no state, no order."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from lab.drivers.kernel.layout import Attachment, Bridge, Layout, Pair
from lab.host import links as rt
from lab.host.namespaces import KERNEL_HOST, KERNEL_ROUTER, NO_IPV6, PASSIVE, write_sysctls
from lab.host.netlink import NetlinkError, Request
from nodes.contract import NodeConfig
from nodes.wire.addresses import parse_mac


def prepare_namespace(node: NodeConfig) -> None:
    """Settings of a new node namespace, from inside."""
    as_host = KERNEL_ROUTER if node.kind == "router" else KERNEL_HOST
    write_sysctls(NO_IPV6 | (as_host if node.stack == "kernel" else PASSIVE))


def ordered_ends(pair: Pair) -> tuple[Attachment, Attachment | None]:
    """The end that the kernel sets up at creation first: one in a node's namespace where there is one."""
    if pair.second is not None and pair.first.bridge is not None and pair.second.bridge is None:
        return pair.second, pair.first
    return pair.first, pair.second


def bridge_request(bridge: Bridge, layout: Layout) -> Request:
    node = bridge.node
    tree = node.spanning_tree
    settings = rt.BridgeSettings(ageing_time=node.ageing_time)
    if tree is not None:
        settings = rt.BridgeSettings(
            node.ageing_time, True, tree.priority, tree.hello_time, tree.max_age, tree.forward_delay
        )
    mac = parse_mac(node.interfaces[0].mac) if node.interfaces else None
    mtu = min((end.mtu for end in layout.by_node[node.name]), default=1500)
    return rt.create_bridge(bridge.name, settings, f"create bridge {node.name}", index=bridge.index, mac=mac, mtu=mtu)


@contextmanager
def unless_gone() -> Iterator[None]:
    """What is done to an interface that may not be there any more, and is then done already."""
    try:
        yield
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
