"""What can happen in a node: one frozen value per kind of event, each with its cause.

An event says what changed, from what to what, and which input made it change (`trigger`). The names follow qlog
(draft-ietf-quic-qlog-main-schema): `category:event_name`, taken from the class, so `ArpUpdated` of category `link` is
`link:arp_updated`. Fields hold the stack's own values (a `Mac`, an `Ip4`); text is made when an event is written.

`packets` events happen for every frame or packet and are only created when the tracer asks for them; the others mark
changes of state and errors, and are always recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from nodes.trace.arq_events import ArqEvent
from nodes.trace.circuit_events import CircuitEvent
from nodes.trace.datagram_events import DatagramEvent
from nodes.trace.link_events import LinkEvent
from nodes.trace.tcp_events import TcpEvent
from nodes.wire.addresses import Ip4, Mac, Prefix


@dataclass(frozen=True, slots=True)
class NodeStarted:
    category: ClassVar[str] = "node"
    kind: str
    trigger: str


@dataclass(frozen=True, slots=True)
class NodeStopped:
    category: ClassVar[str] = "node"
    trigger: str


@dataclass(frozen=True, slots=True)
class ExtensionUpdated:
    """Code of another package. `new` is `loaded` or `failed`, `trigger` its place or what went wrong."""

    category: ClassVar[str] = "node"
    extension: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class ApplicationUpdated:
    """`old` and `new` are of: none, running, done, failed, stopped."""

    category: ClassVar[str] = "application"
    application: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class PartitionUpdated:
    """`old` and `new` are the addresses that the node neither hears from nor sends to, or none."""

    category: ClassVar[str] = "node"
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class InterfaceUpdated:
    """`old` and `new` are `up` or `down`."""

    category: ClassVar[str] = "link"
    interface: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class FrameSent:
    category: ClassVar[str] = "link"
    packets: ClassVar[bool] = True
    interface: str
    source: Mac
    destination: Mac
    ethertype: int
    length: int


@dataclass(frozen=True, slots=True)
class FrameReceived:
    category: ClassVar[str] = "link"
    packets: ClassVar[bool] = True
    interface: str
    source: Mac
    destination: Mac
    ethertype: int
    length: int


@dataclass(frozen=True, slots=True)
class FrameDropped:
    category: ClassVar[str] = "link"
    interface: str
    reason: str
    length: int


@dataclass(frozen=True, slots=True)
class ArpUpdated:
    """States of a cache entry: none, incomplete, reachable, stale, probe, failed."""

    category: ClassVar[str] = "link"
    interface: str
    address: Ip4
    mac: Mac | None
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class AddressUpdated:
    """States of an interface's own address (RFC 5227): none, probing, announced, assigned, defended, conflict; and
    requesting (with 0.0.0.0) while a RARP client asks for one."""

    category: ClassVar[str] = "link"
    interface: str
    address: Ip4
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class AddressConflict:
    category: ClassVar[str] = "link"
    interface: str
    address: Ip4
    mac: Mac
    trigger: str


@dataclass(frozen=True, slots=True)
class ForwardingTableUpdated:
    """A learning switch learned, moved or forgot a station. A port is None where there was or is none."""

    category: ClassVar[str] = "link"
    mac: Mac
    old_port: str | None
    new_port: str | None
    trigger: str


@dataclass(frozen=True, slots=True)
class SpanningTreePortUpdated:
    """Roles and states of IEEE 802.1D-2004 clause 17."""

    category: ClassVar[str] = "link"
    port: str
    old_role: str
    new_role: str
    old_state: str
    new_state: str
    trigger: str


@dataclass(frozen=True, slots=True)
class SpanningTreeRootUpdated:
    category: ClassVar[str] = "link"
    old_root: str
    new_root: str
    root_port: str | None
    path_cost: int
    trigger: str


@dataclass(frozen=True, slots=True)
class PacketSent:
    category: ClassVar[str] = "network"
    packets: ClassVar[bool] = True
    interface: str
    source: Ip4
    destination: Ip4
    protocol: int
    length: int
    identification: int


@dataclass(frozen=True, slots=True)
class PacketReceived:
    category: ClassVar[str] = "network"
    packets: ClassVar[bool] = True
    interface: str
    source: Ip4
    destination: Ip4
    protocol: int
    length: int
    identification: int


@dataclass(frozen=True, slots=True)
class PacketForwarded:
    category: ClassVar[str] = "network"
    packets: ClassVar[bool] = True
    interface_in: str
    interface_out: str
    source: Ip4
    destination: Ip4
    next_hop: Ip4
    ttl: int


@dataclass(frozen=True, slots=True)
class PacketDropped:
    category: ClassVar[str] = "network"
    interface: str
    source: Ip4
    destination: Ip4
    protocol: int
    reason: str


@dataclass(frozen=True, slots=True)
class PacketFragmented:
    category: ClassVar[str] = "network"
    source: Ip4
    destination: Ip4
    identification: int
    length: int
    fragments: int
    mtu: int


@dataclass(frozen=True, slots=True)
class ReassemblyUpdated:
    """States of a datagram under reassembly: none, waiting, complete, timed_out, discarded."""

    category: ClassVar[str] = "network"
    source: Ip4
    destination: Ip4
    protocol: int
    identification: int
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class RouteUpdated:
    """`old` and `new` say where the prefix leads (`via 10.0.0.1 eth0`), or `none`."""

    category: ClassVar[str] = "network"
    prefix: Prefix
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class PathMtuUpdated:
    category: ClassVar[str] = "network"
    destination: Ip4
    old: int
    new: int
    trigger: str


@dataclass(frozen=True, slots=True)
class IcmpSent:
    category: ClassVar[str] = "network"
    destination: Ip4
    type: int
    code: int
    trigger: str


@dataclass(frozen=True, slots=True)
class IcmpReceived:
    category: ClassVar[str] = "network"
    source: Ip4
    type: int
    code: int


@dataclass(frozen=True, slots=True)
class IcmpSuppressed:
    """An ICMP error that a rule forbids to send (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2)."""

    category: ClassVar[str] = "network"
    destination: Ip4
    type: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class GroupUpdated:
    """IGMPv2 host states of a group (RFC 2236 section 6): non-member, delaying, idle."""

    category: ClassVar[str] = "network"
    interface: str
    group: Ip4
    old: str
    new: str
    trigger: str


Event: TypeAlias = (
    NodeStarted
    | NodeStopped
    | ExtensionUpdated
    | ApplicationUpdated
    | PartitionUpdated
    | InterfaceUpdated
    | FrameSent
    | FrameReceived
    | FrameDropped
    | ArpUpdated
    | AddressUpdated
    | AddressConflict
    | ForwardingTableUpdated
    | SpanningTreePortUpdated
    | SpanningTreeRootUpdated
    | PacketSent
    | PacketReceived
    | PacketForwarded
    | PacketDropped
    | PacketFragmented
    | ReassemblyUpdated
    | RouteUpdated
    | PathMtuUpdated
    | IcmpSent
    | IcmpReceived
    | IcmpSuppressed
    | GroupUpdated
    | ArqEvent
    | CircuitEvent
    | DatagramEvent
    | LinkEvent
    | TcpEvent
)

_Kind = TypeVar("_Kind", bound=Event)


class Tracer(Protocol):
    """Where a stack says what happens. `packets` tells whether events of every frame and packet are wanted, so that
    the hot path creates none that nobody reads."""

    packets: bool

    def __call__(self, now: int, event: Event) -> None:
        """Record `event` at `now`, nanoseconds of the caller's clock."""
        ...


class NullTracer:
    """Records nothing."""

    packets = False

    def __call__(self, now: int, event: Event) -> None:
        pass


class ListTracer:
    """Keeps events as (now, event) pairs: for tests and for a simulation."""

    def __init__(self, packets: bool = True) -> None:
        self.packets = packets
        self.events: list[tuple[int, Event]] = []

    def __call__(self, now: int, event: Event) -> None:
        self.events.append((now, event))

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The events of one class, oldest first."""
        return [event for _, event in self.events if isinstance(event, kind)]
