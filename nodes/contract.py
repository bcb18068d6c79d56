"""The values that a lab and its nodes exchange: what a node is told at its start.

Everything here is plain text, numbers and tuples, so that a plan can be printed, stored in a run and sent to an agent
as JSON. Addresses are text (`10.0.0.1/24`, `02:5a:00:00:00:01`); an agent parses them once, at its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

from nodes import json_values

PROTOCOL_VERSION = 1
"""Version of this contract and of the agent's control protocol (docs/control-protocol.md)."""

NodeKind = Literal["host", "router", "switch", "hub"]
StackKind = Literal["layerlab", "kernel", "ovs"]
"""Who moves a node's frames: we, Linux, or (a switch only) Open vSwitch."""
TraceLevel = Literal["off", "state", "packets"]
ArqKind = Literal["stop-and-wait", "go-back-n", "selective-repeat"]


@dataclass(frozen=True, slots=True)
class ArqConfig:
    """ARQ between the two ends of a link, the same at both. Times in ns. Numbers have `bits` bits; `window` frames may
    be unacknowledged; after `retries` transmissions in vain a frame is given up. `queue` frames wait for the window.
    The receiver takes `processing` for each frame, and has room for `buffer` of them. Without `flow_control` it does
    not say so. Without `reject` only the timer repeats. `rate` (bit/s) is that of the line, 0 where there is none: the
    sender is its transmitter, and begins a frame when the last one has left."""

    kind: ArqKind = "stop-and-wait"
    bits: int = 1
    window: int = 1
    timeout: int = 200_000_000
    retries: int = 10
    queue: int = 1000
    buffer: int = 2
    processing: int = 0
    flow_control: bool = True
    reject: bool = True
    rate: int = 0


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One interface of a node. `kind: ip` is a point-to-point interface that carries bare IP packets, without ARP.
    `address_source: rarp` asks a RARP server for the address (RFC 903), whose prefix length is then taken from
    `addresses`. `address_check: probe` uses an address only after the probes of RFC 5227, `none` neither probes nor
    announces it; it is defended in any case. `offload` lets the interface take and give frames that are longer than
    the MTU and whose checksum is not made yet, each behind a virtio-net header; only hosts of ours and the kernel's
    nodes can. `arq` repeats on the link what the link loses. `peer` says what is at the other end, `peer_kind` of which
    kind it is."""

    name: str
    mac: str
    addresses: tuple[str, ...] = ()
    mtu: int = 1500
    kind: Literal["ethernet", "ip"] = "ethernet"
    address_source: Literal["static", "rarp"] = "static"
    address_check: Literal["none", "announce", "probe"] = "announce"
    offload: bool = False
    arq: ArqConfig | None = None
    link: str = ""
    peer: str = ""
    peer_kind: Literal["", "host", "router", "switch", "hub"] = ""


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """A route: `destination` is a prefix (`0.0.0.0/0` is the default route), `via` the next hop."""

    destination: str
    via: str
    interface: str
    metric: int = 0


@dataclass(frozen=True, slots=True)
class SpanningTreeConfig:
    """A bridge's spanning tree parameters (IEEE 802.1D-2004 table 17-1). Times in seconds."""

    priority: int = 32768
    hello_time: float = 2.0
    max_age: float = 20.0
    forward_delay: float = 15.0


@dataclass(frozen=True, slots=True)
class ApplicationConfig:
    """An application that a node starts: its kind and its options by name."""

    kind: str
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MountConfig:
    """A file or folder of the machine, seen in a container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class HealthcheckConfig:
    """How a container's program tells that it is ready: a command that ends with 0. Times in seconds."""

    command: tuple[str, ...] = ()
    interval: float = 1.0
    timeout: float = 5.0
    retries: int = 30
    start_period: float = 0.0


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a node's container is made of, where a driver has containers. Empty text and 0: the driver's own choice.
    `image` is the node's own, `node_image` that of all Layerlab's nodes. `memory` in octets, `pids` processes."""

    image: str = ""
    node_image: str = ""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[MountConfig, ...] = ()
    healthcheck: HealthcheckConfig | None = None
    memory: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All that a node has to know.

    `hosts` maps the names of the lab's nodes to an address of each. `rarp_table` maps MAC addresses to IPv4 addresses
    on a RARP server, and is empty elsewhere. `seed` (64 bits) makes the node's random choices repeatable. `tcp` are
    settings of `nodes.transport.tcp.settings.TcpSettings` by name, times in seconds. `circuits`: the node takes part
    in virtual circuits. `container` is for drivers that have containers, and never told to the node."""

    lab: str
    name: str
    kind: NodeKind = "host"
    stack: StackKind = "layerlab"
    seed: int = 0
    interfaces: tuple[InterfaceConfig, ...] = ()
    routes: tuple[RouteConfig, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    rarp_table: Mapping[str, str] = field(default_factory=dict)
    spanning_tree: SpanningTreeConfig | None = None
    ageing_time: float = 300.0
    tcp: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    applications: tuple[ApplicationConfig, ...] = ()
    trace: TraceLevel = "state"
    capture: bool = False
    circuits: bool = False
    container: ContainerConfig | None = None
    version: int = PROTOCOL_VERSION

    def at_start(self, number: int) -> NodeConfig:
        """As it is for the n-th start of the node, the first being 0. One that comes back draws other random numbers
        than before: those that others have seen must not tell them what follows (RFC 6528 section 3)."""
        if not number:
            return self
        text = f"{self.seed}/start {number}"
        return replace(self, seed=int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big"))

    @property
    def is_bridge(self) -> bool:
        """Whether the node is a Linux bridge or an Open vSwitch one, in which nothing of ours runs."""
        return self.kind == "switch" and self.stack != "layerlab"


def to_json(config: NodeConfig) -> dict[str, Any]:
    """The configuration as values of JSON."""
    return dict(json_values.encode(config))


def from_json(data: object) -> NodeConfig:
    """The reverse of `to_json`. Raises ValueError for unknown or missing fields, wrong types and another version."""
    if isinstance(data, Mapping) and data.get("version") != PROTOCOL_VERSION:
        raise ValueError(f"contract version {data.get('version')}, this node speaks {PROTOCOL_VERSION}")
    return json_values.decode(NodeConfig, data, "node")
