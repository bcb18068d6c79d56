"""What the kernel has: the state of a bridge and of a node's namespace, as values of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drivers.kernel.layout import Bridge
from lab.errors import StateError
from lab.host import link_state
from lab.host.netlink import Netlink

if TYPE_CHECKING:
    from lab.host.open_vswitch import OpenVSwitch
    from lab.host.switch_port import Port


def bridge_state(netlink: Netlink, bridge: Bridge, names: dict[int, str]) -> dict[str, object]:
    """A bridge's ports, forwarding database and spanning tree. `names` are the plan's, by index. Raises StateError
    where the bridge is not there."""
    links = link_state.read_links(netlink)
    device = next((link for link in links if link.index == bridge.index), None)
    if device is None:
        raise StateError(f"{bridge.node.name} is stopped")
    ports = [link for link in links if link.master == bridge.index]
    numbers = {link_state.port_number(link): names.get(link.index, link.name) for link in ports}
    return {
        "kernel_name": bridge.name,
        "mac": device.mac,
        "up": device.up,
        "ageing_time": link_state.ageing_time(device),
        "ports": [
            link_state.bridge_port(link) | {"name": names.get(link.index, link.name), "kernel_name": link.name}
            for link in ports
        ],
        "fdb": link_state.read_forwarding_database(netlink, bridge.index, names),
        "spanning_tree": link_state.spanning_tree(device, numbers),
    }


def open_vswitch_state(
    netlink: Netlink, bridge: Bridge, names: dict[Port, str], switch: OpenVSwitch
) -> dict[str, object]:
    """The same of a switch of Open vSwitch, which has no spanning tree here. `names` are the plan's."""
    links = {link.name: link for link in link_state.read_links(netlink)}
    by_number = {port.number: name for port, name in names.items()}
    return {
        "kernel_name": bridge.name,
        "mac": links[bridge.name].mac,
        "up": True,
        "ageing_time": bridge.node.ageing_time,
        "ports": [
            links[port.name].to_json() | {"name": name, "kernel_name": port.name} for port, name in names.items()
        ],
        "fdb": [
            {"mac": mac, "port": by_number.get(number, str(number)), "kind": "learned", "age": float(age)}
            for number, _vlan, mac, age in switch.learned(bridge.name)
        ],
        "spanning_tree": None,
    }


def kernel_state(netlink: Netlink) -> dict[str, object]:
    """Interfaces with counters, addresses, routes and neighbors of the namespace that `netlink` is in."""
    links = link_state.read_links(netlink)
    names = {link.index: link.name for link in links}
    return {
        "interfaces": [link.to_json() for link in links],
        "addresses": link_state.read_addresses(netlink, names),
        "routes": link_state.read_routes(netlink, names),
        "neighbors": link_state.read_neighbors(netlink, names),
    }
