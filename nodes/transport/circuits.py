"""Virtual circuits in a stack: `CircuitLayer` between Ethernet interfaces below and sockets above.

    sockets ── CircuitSockets ── CircuitLayer ── EtherType 0x88B6 ── EthernetInterface
                                    |
                                 the routes and addresses of IP

A hello goes to all stations of the link, of which there is one besides us; everything else to the neighbour that said
hello. Calls follow the routes of IP as they are at the time of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from nodes.datalink.interface import EthernetInterface, Interface
from nodes.errors import MisuseError, UnreachableError
from nodes.network.circuits import CircuitLayer
from nodes.network.datagram import LOCAL_INTERFACE
from nodes.network.ip import InternetLayer
from nodes.trace.events import Tracer
from nodes.transport.circuit_socket import CircuitSockets
from nodes.transport.endpoint import Endpoint
from nodes.wire.addresses import Ip4, Mac, format_endpoint, format_mac


class StackCircuits:
    """The circuits of a node. Raises MisuseError for an interface without Ethernet."""

    def __init__(
        self,
        interfaces: Sequence[Interface],
        ip: InternetLayer,
        random: Random,
        ready: Callable[[Endpoint], None],
        tracer: Tracer,
        now: int,
    ) -> None:
        self._ip = ip
        self._interfaces: list[EthernetInterface] = []
        macs: list[Mac] = []
        for interface in interfaces:
            if not isinstance(interface, EthernetInterface):
                raise MisuseError(f"{interface.name}: virtual circuits need Ethernet")
            self._interfaces.append(interface)
            macs.append(interface.mac)
        instance = random.getrandbits(32)  # who comes back is another one
        self.layer = CircuitLayer(macs, ip.is_local, self._lookup, instance, now, tracer)
        self.sockets = CircuitSockets(self.layer, ip, random, ready)
        for link, interface in zip(self.layer.links, self._interfaces, strict=True):
            link.name, link.up, link.mtu = interface.name, interface.up, interface.mtu
            interface.circuits = partial(self.layer.receive, interface.index)

    def timeout(self, now: int) -> None:
        self.layer.timeout(now)

    def deadline(self) -> int | None:
        return self.layer.deadline()

    def set_port(self, port: int, up: bool, now: int) -> None:
        self.layer.set_port(port, up, now)

    def set_mtu(self, port: int, mtu: int) -> None:
        self.layer.links[port].mtu = mtu

    def flush(self) -> None:
        """Hands what waits to the interfaces."""
        for port, packet in self.layer.transmit():
            interface, link = self._interfaces[port], self.layer.links[port]
            if link.up:
                neighbour = link.neighbour
                interface.send_circuit(packet, None if neighbour is None else neighbour[0], self.layer.now)

    def snapshot(self) -> dict[str, object]:
        """`table` is the VCI table, `onward` the other link and its VCI, null where the circuit ends here."""
        return {
            "table": self.layer.snapshot(),
            "neighbors": [
                {"interface": link.name, "mac": format_mac(link.neighbour[0]), "instance": link.neighbour[1]}
                for link in self.layer.links
                if link.neighbour is not None
            ],
            "sockets": [
                {"local": format_endpoint(*each.local), "remote": format_endpoint(*each.remote), "state": each.state}
                for each in self.sockets.sockets()
            ],
        }

    def _lookup(self, address: Ip4) -> int | None:
        try:
            port = self._ip.interface_for(address)
        except UnreachableError:
            return None
        return None if port == LOCAL_INTERFACE else port
