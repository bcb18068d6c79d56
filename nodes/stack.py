"""Layers 2 to 4 of a host or a router, composed: the one object that an agent or a simulation drives.

    receive(port, frame)                                        transmit() -> (port, frame)
          |                                                            ^
      interface  -- ARP, RARP end here                             interface
          | IPv4 packet                                                ^
      internet layer -- forwarded, kept, dropped; not ours ------------+
          | datagram for this node                                     |
          |  protocol 1  ICMP: replies; echo replies, errors --> the sockets they concern
          |  protocol 2  IGMP                                          |
          |  handlers    UDP ... nobody there: ICMP port unreachable --+
          |  no handler: ICMP protocol unreachable --------------------+
          v
      sockets -- the ready ones wait in `drain_ready`

What the node sends to itself is delivered before `receive`, `timeout` or `transmit` return. Nothing happens at any
other time: no clock, no thread, no socket of the operating system is behind this object.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Iterable, Mapping
from typing import Protocol

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.datalink.arp import ArpSettings
from nodes.datalink.arq.settings import ArqSettings
from nodes.datalink.arq_interface import ArqInterface
from nodes.datalink.interface import EthernetInterface, Interface, PointToPointInterface
from nodes.datalink.port import Delivery
from nodes.datalink.rarp import RarpServer
from nodes.errors import MisuseError
from nodes.network.datagram import Datagram, IcmpError
from nodes.network.fragmentation import MINIMUM_MTU
from nodes.network.hosts import HostTable
from nodes.network.ip import InternetLayer
from nodes.network.routes import Route
from nodes.trace.events import InterfaceUpdated, Tracer
from nodes.transport.circuits import StackCircuits
from nodes.transport.echo import EchoLayer
from nodes.transport.endpoint import Endpoint, ReadyQueue
from nodes.transport.tcp.layer import TcpLayer
from nodes.transport.tcp.settings import DEFAULTS, TcpSettings, settings_from
from nodes.transport.udp import UdpLayer
from nodes.units import earliest
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, Prefix, format_ip4, parse_ip4, parse_mac
from nodes.wire.checksum import Buffer

LOCAL_TURN = 4096
"""Datagrams from the node to itself that are delivered in one turn; more wait for the next, so that nothing in the node
can keep the pump for ever."""


LOCAL_ROUNDS = 64
"""Answers to answers within the node, in one turn."""


class TransportHandler(Protocol):
    """What takes the datagrams of a protocol. `receive` returns False where nobody wants one, which calls for a port
    unreachable; `error` takes ICMP errors about datagrams that the handler sent."""

    def receive(self, datagram: Datagram, now: int) -> bool: ...

    def error(self, error: IcmpError, now: int) -> None: ...


class Stack:
    """A node's stack. `interfaces[i]` is port `i`; `hosts` maps names of nodes to addresses; `handlers` maps IP
    protocol numbers to transports, and takes more of them."""

    def __init__(
        self,
        interfaces: Iterable[Interface],
        random: random_module.Random,
        tracer: Tracer,
        *,
        forwarding: bool,
        hosts: Mapping[str, Ip4] | None = None,
        now: int = 0,
        tcp: TcpSettings = DEFAULTS,
    ) -> None:
        self.interfaces = tuple(interfaces)
        self._arq = tuple(each for each in self.interfaces if isinstance(each, ArqInterface))
        self.ip = InternetLayer(self.interfaces, random, tracer, forwarding=forwarding, now=now)
        self._ready = ReadyQueue()
        self.udp = UdpLayer(self.ip, random, tracer, self._ready)
        self.echo = EchoLayer(self.ip, random, tracer, self._ready)
        self.tcp = TcpLayer(self.ip, random, tracer, self._ready, tcp)
        self.handlers: dict[int, TransportHandler] = {ipv4.PROTOCOL_UDP: self.udp, ipv4.PROTOCOL_TCP: self.tcp}
        self.ip.icmp.is_ours = self._is_ours
        self.hosts: Mapping[str, Ip4] = hosts or {}
        self._tracer = tracer
        self.circuits: StackCircuits | None = None
        self._local_turn: int | None = None  # when local datagrams that were too many for one turn go on

    @classmethod
    def from_config(cls, config: NodeConfig, random: random_module.Random, tracer: Tracer, now: int) -> Stack:
        """The stack of a host or a router, its addresses and routes set. Raises MisuseError for a configuration that
        contradicts itself."""
        if config.kind not in ("host", "router"):
            raise MisuseError(f"a {config.kind} has no IP stack")
        try:
            rarp_table = {parse_mac(mac): parse_ip4(address) for mac, address in config.rarp_table.items()}
            interfaces = [_interface(index, item, random, tracer) for index, item in enumerate(config.interfaces)]
            hosts = HostTable(config.hosts)
            settings = settings_from(config.tcp)
            router = config.kind == "router"
            stack = cls(interfaces, random, tracer, forwarding=router, hosts=hosts, now=now, tcp=settings)
            for interface, item in zip(interfaces, config.interfaces, strict=True):
                if rarp_table and isinstance(interface, EthernetInterface):
                    interface.rarp_server = RarpServer(rarp_table)
                _assign(interface, item, now)
            stack.ip.refresh(now)
            if config.circuits:
                stack.circuits = StackCircuits(stack.interfaces, stack.ip, random, stack._ready, tracer, now)
            names = {item.name: index for index, item in enumerate(config.interfaces)}
            for route in config.routes:
                via = parse_ip4(route.via) if route.via else None
                stack.add_route(Route(Prefix.parse(route.destination), via, names[route.interface], route.metric), now)
        except ValueError as error:
            raise MisuseError(f"{config.name}: {error}") from None
        except KeyError as error:
            raise MisuseError(f"{config.name}: a route over {error}, which is no interface") from None
        return stack

    # ------------------------------------------------------------------------------------------------------- the pump

    def receive(self, port: int, frame: Buffer, now: int) -> None:
        """A frame came in by `port`."""
        interface = self.interfaces[port]
        delivery = interface.receive(frame, now)
        if delivery is None:
            self.ip.refresh(now)  # ARP and RARP give and take addresses
        else:
            self._take(interface, delivery, now)
        if self._arq:
            self._take_held(now)
        self._settle(now)

    def _take(self, interface: Interface, delivery: Delivery, now: int) -> None:
        packet, link_broadcast, checksum_valid = delivery
        datagram = self.ip.receive(interface, packet, link_broadcast, now, checksum_valid)
        if datagram is not None:
            self._deliver(datagram, now)

    def _take_held(self, now: int) -> None:
        """What links with ARQ had to keep until now."""
        for interface in self._arq:
            while (delivery := interface.next_delivery(now)) is not None:
                self._take(interface, delivery, now)

    def timeout(self, now: int) -> None:
        """Does what is due."""
        for interface in self.interfaces:
            interface.timeout(now)
        if self._arq:
            self._take_held(now)
        self.ip.refresh(now)
        self.ip.timeout(now)
        self.tcp.timeout(now)
        if self.circuits is not None:
            self.circuits.timeout(now)
        self._local_turn = None
        self._settle(now)

    def deadline(self) -> int | None:
        """When `timeout` is to be called next, in the past where that is overdue."""
        links = [interface.deadline() for interface in self.interfaces]
        if self.circuits is not None:
            links.append(self.circuits.deadline())
        return earliest(self.ip.deadline(), self.tcp.deadline(), self._local_turn, *links)

    def transmit(self) -> list[tuple[int, bytes]]:
        """The frames to send since the last call, by port."""
        now = max(self.ip.last_sent, self.tcp.now)
        self._settle(now)  # what sockets sent since the last input
        if self.tcp.has_pending:
            self.tcp.flush(now)
            for _ in range(LOCAL_ROUNDS):  # connections of the node with itself
                if not self.ip.has_local:
                    break
                self._settle(now)
                self.tcp.flush(now)
        if self.circuits is not None:
            self.circuits.flush()
        return [(interface.index, frame) for interface in self.interfaces for frame in interface.transmit()]

    @property
    def has_ready(self) -> bool:
        """Whether `drain_ready` would return any."""
        return bool(self._ready)

    def drain_ready(self) -> list[Endpoint]:
        """The sockets that something happened to since the last call."""
        return self._ready.drain()

    # -------------------------------------------------------------------------------------------------------- changes

    def set_port(self, port: int, up: bool, now: int) -> None:
        """The carrier of a port came or went."""
        interface = self.interfaces[port]
        if interface.up == up:
            return
        interface.set_up(up, now)
        self.ip.refresh(now)
        self.ip.set_interface(interface, up, now)
        if self.circuits is not None:
            self.circuits.set_port(port, up, now)
        self._settle(now)

    def set_mtu(self, interface: int, mtu: int, now: int) -> None:
        """The MTU of the medium, of which the interface may need a part for itself. On a medium too short for that,
        IP keeps its 68 octets, and long frames are lost there. Raises MisuseError outside 68 to 65535 (RFC 791 section
        3.2)."""
        if not MINIMUM_MTU <= mtu <= ipv4.MAXIMUM_LENGTH:
            raise MisuseError(f"an MTU of {mtu} octets, {MINIMUM_MTU} to {ipv4.MAXIMUM_LENGTH} expected")
        port = self.interfaces[interface]
        mtu = max(mtu - port.overhead, MINIMUM_MTU)
        old, port.mtu = port.mtu, mtu
        if self.circuits is not None:
            self.circuits.set_mtu(interface, mtu)
        if mtu != old:
            self._tracer(now, InterfaceUpdated(port.name, f"mtu {old}", f"mtu {mtu}", "configuration"))

    def add_address(self, interface: int, prefix: Prefix, now: int, *, probe: bool = False) -> None:
        """See `EthernetInterface.add_address`. Its subnet becomes a route as soon as the address is in use."""
        self.interfaces[interface].add_address(prefix, now, probe=probe)
        self.ip.refresh(now)

    def remove_address(self, interface: int, prefix: Prefix, now: int) -> None:
        """Raises MisuseError where the interface does not have it."""
        self.interfaces[interface].remove_address(prefix, now)
        self.ip.refresh(now)

    def add_route(self, route: Route, now: int) -> None:
        """Raises MisuseError for an interface that does not exist or a next hop that is our own."""
        if not 0 <= route.interface < len(self.interfaces):
            raise MisuseError(f"there is no interface {route.interface}")
        if route.via is not None and self.ip.is_local(route.via):
            raise MisuseError(f"the next hop {format_ip4(route.via)} is this node itself")
        self.ip.add_route(route, now)

    def remove_route(self, prefix: Prefix, via: Ip4 | None, interface: int, now: int) -> bool:
        """False where there is no such route."""
        return self.ip.remove_route(prefix, via, interface, now)

    def snapshot(self, now: int) -> dict[str, object]:
        """The whole state as values of JSON. ARP caches are with their interfaces."""
        return {
            "interfaces": [interface.snapshot(now) for interface in self.interfaces],
            **self.ip.snapshot(now),
            "udp": self.udp.snapshot(now),
            "tcp": self.tcp.snapshot(now),
            "echo": self.echo.snapshot(now),
            **({} if self.circuits is None else {"circuits": self.circuits.snapshot()}),
        }

    # ------------------------------------------------------------------------------------------------------- dispatch

    def _deliver(self, datagram: Datagram, now: int) -> None:
        protocol = datagram.header.protocol
        handler = self.handlers.get(protocol)
        if handler is not None:
            if not handler.receive(datagram, now):
                self._refuse(datagram, icmp.PORT_UNREACHABLE, "no_port", now)
        elif protocol == ipv4.PROTOCOL_ICMP:
            self._deliver_icmp(datagram, now)
        elif protocol == ipv4.PROTOCOL_IGMP:
            self.ip.igmp.receive(datagram, now)
        else:
            self.ip.counters.in_unknown_protocols += 1
            self._refuse(datagram, icmp.PROTOCOL_UNREACHABLE, "no_protocol", now)

    def _deliver_icmp(self, datagram: Datagram, now: int) -> None:
        message = self.ip.icmp.receive(datagram, now)
        if isinstance(message, IcmpError):
            self._report(message, now)
        elif message is not None:
            self.echo.receive(datagram, message, now)

    def _report(self, error: IcmpError, now: int) -> None:
        """Hands an error to the transport whose datagram it is about."""
        protocol = error.header.protocol
        if protocol == ipv4.PROTOCOL_ICMP:
            self.echo.error(error, now)
        elif protocol in self.handlers:
            self.handlers[protocol].error(error, now)

    def _is_ours(self, error: IcmpError) -> bool:
        """TCP can tell forged news of a path MTU (RFC 5927 section 7.2)."""
        return error.header.protocol != ipv4.PROTOCOL_TCP or self.tcp.is_in_flight(error)

    def _refuse(self, datagram: Datagram, code: int, trigger: str, now: int) -> None:
        self.ip.icmp.error(datagram, icmp.UNREACHABLE, code, 0, now, trigger=trigger)

    def _settle(self, now: int) -> None:
        """What an input brought about inside the node: neighbours that did not answer, datagrams to itself."""
        for interface in self.interfaces:
            if interface.given_up:
                for error in self.ip.undeliverable(interface, interface.failed(), now):
                    self._report(error, now)
        if self.ip.has_local:
            self._deliver_local(now)

    def _deliver_local(self, now: int) -> None:
        for _ in range(LOCAL_TURN):
            datagram = self.ip.next_local()
            if datagram is None:
                return
            self._deliver(datagram, now)
        self._local_turn = now + 1


def _interface(index: int, config: InterfaceConfig, random: random_module.Random, tracer: Tracer) -> Interface:
    least = MINIMUM_MTU + (ArqInterface.overhead if config.arq else 0)
    if not least <= config.mtu <= ipv4.MAXIMUM_LENGTH:
        raise MisuseError(f"{config.name}: an MTU of {config.mtu} octets, {least} to 65535 expected")
    if config.kind == "ip":
        if config.offload:
            raise MisuseError(f"{config.name}: a point-to-point interface has no offload")
        if config.arq:
            raise MisuseError(f"{config.name}: a point-to-point interface has no ARQ")
        return PointToPointInterface(index, config.name, config.mtu, tracer)
    settings = ArpSettings(announcements=0) if config.address_check == "none" else ArpSettings()
    mac = parse_mac(config.mac)
    if config.arq is not None:
        if config.offload:
            raise MisuseError(f"{config.name}: ARQ numbers single frames, and has no offload")
        arq = ArqSettings.from_config(config.arq)
        return ArqInterface(index, config.name, mac, config.mtu, random, tracer, settings, arq)
    return EthernetInterface(index, config.name, mac, config.mtu, random, tracer, settings, offload=config.offload)


def _assign(interface: Interface, config: InterfaceConfig, now: int) -> None:
    """Gives an interface its addresses, or sets out to get them."""
    prefixes = [Prefix.parse(text) for text in config.addresses]
    if config.address_source == "static":
        for prefix in prefixes:
            interface.add_address(prefix, now, probe=config.address_check == "probe")
        return
    if not prefixes:
        raise MisuseError(f"{config.name}: RARP tells no prefix length", hint="give one address with its prefix length")
    interface.request_address(prefixes[0].length, now)
