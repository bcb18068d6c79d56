"""A node that configures itself: the program of a container that a Compose file starts.

Docker has made the interfaces, one for each network of the service, in an order and with names, MACs and addresses of
its own. The container knows from its settings which address each has, and by that finds them:

    eth0  172.28.4.2 ─┐                               ┌─ eth1  no address   the node's stack, by a packet socket
    eth1  172.28.0.3 ─┤  take over, rename, strip, up ├─ eth0  no address
                      └───────────────────────────────┘

From then on Docker's addresses mean nothing and the kernel has none, so that it answers nobody. A node with the
kernel's stack gets the plan's addresses and routes instead. Everything needs NET_ADMIN and NET_RAW, and nothing else.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic_ns

from nodes.agent import Agent
from nodes.container_settings import ContainerSettings, PortSettings
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.impairment import DIRECTIONS
from nodes.io.impaired_socket import Asked, ImpairedSocket
from nodes.io.kernel_interfaces import KernelInterfaces
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.io.recorder import Recording
from nodes.physical.line import Line
from nodes.physical.schedule import Schedule

CONTROL_ADDRESS = "\0layerlab/node"
"""Abstract, in the container's network namespace: seen by whatever is executed in the container, by nobody else."""
CONTROL_BACKLOG = 64
INTERFACE_SECONDS = 20.0
"""Docker connects all networks before it starts a container; this ends a wait that has no other end."""


def run(settings: ContainerSettings) -> None:
    """Take the interfaces over, and be the node until SIGTERM. Raises TakeoverError, and OSError where the folder for
    what it records cannot be made or the kernel refuses a socket."""
    node, ports = settings.node, {port.interface: port for port in settings.ports}
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(CONTROL_ADDRESS)
    with KernelInterfaces() as kernel:
        take_over(kernel, node, ports)
        epoch, wall = monotonic_ns(), time.time_ns()
        folder = Path(settings.recordings) / node.name
        folder.mkdir(parents=True, exist_ok=True)
        open_port = partial(_open_port, kernel, ports, epoch)
        agent = Agent(node, Recording(folder, epoch, wall), listener, open_port)
        listener.listen(CONTROL_BACKLOG)
        agent.run()


def take_over(kernel: KernelInterfaces, node: NodeConfig, ports: dict[str, PortSettings]) -> None:
    """Make Docker's interfaces those of the plan."""
    kernel.take_over({port.address: port.interface for port in ports.values()}, INTERFACE_SECONDS)
    as_kernel = node.stack == "kernel"
    for interface in node.interfaces:
        name = interface.name
        kernel.set_mac(name, interface.mac)
        kernel.set_mtu(name, interface.mtu)
        _check_ipv6(name)
        if as_kernel:
            kernel.offloads_off(name)
            for address in interface.addresses:
                kernel.set_address(name, address)
        # an address on an interface that is down takes it up, so this comes last
        kernel.set_up(name, up=ports[name].up)
    if as_kernel:
        for route in node.routes:
            if ports[route.interface].up:
                kernel.add_route(route.interface, route.destination, route.via, route.metric)


def _open_port(
    kernel: KernelInterfaces,
    ports: dict[str, PortSettings],
    start: int,
    interface: InterfaceConfig,
    reactor: Reactor,
    wake: Callable[[], None],
) -> PacketSocket:
    asked = ports[interface.name].impairment
    if asked is None:
        return PacketSocket(interface.name)
    impairments = {direction: asked.of(direction) for direction in DIRECTIONS}
    lines = {
        direction: Line(impairments[direction], asked.mtu, asked.seed(direction), start)
        for direction in DIRECTIONS
        if asked.both or direction == asked.out
    }
    schedule = Schedule(asked.changes, start) if asked.changes else None
    told = Asked(asked.out, lines, impairments, asked.mtu, schedule)
    return ImpairedSocket(interface.name, told, reactor, wake, partial(_set_up, kernel))


def _set_up(kernel: KernelInterfaces, name: str, up: bool) -> None:
    kernel.set_up(name, up=up)


def _check_ipv6(name: str) -> None:
    """Docker turns IPv6 off on interfaces that get no such address; if it did not, the kernel speaks it there."""
    setting = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if setting.exists() and setting.read_text().strip() == "0":
        print(f"warning: the kernel speaks IPv6 on {name}, and others on its link hear it", file=sys.stderr)
