"""The kernel switches of a fabric: Linux bridges, and those of Open vSwitch.

Their ports are ends of cables in the lab's namespace, which the fabric lays. A Linux bridge is there first, and a port
joins it in the message that sets the port up. A switch of Open vSwitch (lab/host/open_vswitch.py) is told of ports that
are there already, by a program of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drivers.kernel import reading
from lab.drivers.kernel.layout import Attachment, Bridge, Layout
from lab.drivers.kernel.requests import bridge_request
from lab.errors import DriverError
from lab.host import links as rt
from lab.host.netlink import Netlink, Request
from lab.host.switch_port import Port

if TYPE_CHECKING:
    from lab.host.open_vswitch import OpenVSwitch


class Switches:
    """Without an `open_vswitch`, a plan that has such a switch raises DriverError. So does every method."""

    def __init__(self, layout: Layout, netlink: Netlink, open_vswitch: OpenVSwitch | None) -> None:
        self._layout = layout
        self._netlink = netlink
        foreign = [bridge for bridge in layout.bridges.values() if not bridge.is_linux]
        if foreign and open_vswitch is None:
            names = ", ".join(bridge.node.name for bridge in foreign)
            hint = "`--driver netns` and `--driver mininet` have"
            raise DriverError(f"this driver has no Open vSwitch: {names} cannot be made", hint=hint)
        self._foreign: dict[str, OpenVSwitch] = {
            bridge.node.name: open_vswitch for bridge in foreign if open_vswitch is not None
        }

    def create(self) -> None:
        """All that are there before their ports."""
        bridges = [bridge for bridge in self._layout.bridges.values() if bridge.is_linux]
        self._netlink.batch([bridge_request(bridge, self._layout) for bridge in bridges])

    def connect(self, ports: list[Request]) -> None:
        """Connect all ports, by requests that set them up, and make the switches that are told of them."""
        self._netlink.batch(ports)
        for name in self._foreign:
            self._make(self._layout.bridges[name])

    def restore(self, bridge: Bridge, ports: list[Request]) -> None:
        """Make one again that was removed, with its ports."""
        create = [bridge_request(bridge, self._layout)] if bridge.is_linux else []
        self._netlink.batch([*create, *ports])
        if not bridge.is_linux:
            self._make(bridge)

    def remove(self, bridge: Bridge, ports: list[Request]) -> None:
        """Disconnect the ports by these requests, and take the switch away."""
        delete = [rt.delete_link(bridge.index, f"delete bridge {bridge.node.name}")] if bridge.is_linux else []
        self._netlink.batch([*ports, *delete])
        if not bridge.is_linux:
            self._foreign[bridge.node.name].remove_switch(bridge.name)

    def plug(self, end: Attachment, request: Request) -> None:
        """Connect a port whose interface is new, of a switch that is there."""
        self._netlink.request(request)
        switch = self._foreign.get(end.end.node)
        if switch is not None and end.bridge is not None:
            switch.add_port(end.bridge.name, self._port(end))

    def unplug(self, end: Attachment) -> None:
        """Before the interface of a port goes."""
        switch = self._foreign.get(end.end.node)
        if switch is not None and end.bridge is not None:
            switch.remove_port(end.bridge.name, self._port(end))

    def state(self, bridge: Bridge) -> dict[str, object]:
        """Ports, forwarding database and spanning tree, with the plan's names. Raises StateError where it is away."""
        ends = self._layout.by_node[bridge.node.name]
        if not bridge.is_linux:
            names = {self._port(end): end.end.interface for end in ends}
            return reading.open_vswitch_state(self._netlink, bridge, names, self._foreign[bridge.node.name])
        indexes = {end.index: end.end.interface for end in ends} | {bridge.index: bridge.node.name}
        return reading.bridge_state(self._netlink, bridge, indexes)

    def _make(self, bridge: Bridge) -> None:
        ports = [self._port(end) for end in self._layout.by_node[bridge.node.name]]
        self._foreign[bridge.node.name].add_switch(bridge.name, ports, ageing_time=bridge.node.ageing_time)

    def _port(self, end: Attachment) -> Port:
        """Numbered from 1 in the order of the links."""
        return Port(end.name, self._layout.by_node[end.end.node].index(end) + 1)
