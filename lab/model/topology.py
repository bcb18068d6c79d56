"""The topology: what a person writes, as strict values.

Each class is one mapping of the file, each field one key; nothing is converted silently and no other key is allowed.
Many values have a short form (`a: host`, `a -- s1`, `stp: true`), which is expanded before its fields are checked:

    nodes:  a: host                      ->  a: {kind: host}
    links:  - a:eth0 -- s1               ->  - {ends: [a:eth0, s1]}
    routes: - 10.9.0.0/16 via 10.0.1.2   ->  - {to: 10.9.0.0/16, via: 10.0.1.2}
    start:  - udp_sink: {port: 9}        ->  - {kind: udp_sink, options: {port: 9}}

Fields that are None were not written: the plan decides them, from `defaults` or by its own rules.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, PrivateAttr, model_validator

from lab.model.addresses import Destination, HostAddress, InterfaceAddress, MacAddress, SegmentPrefix, StaticAddress
from lab.model.arq import ArqField
from lab.model.container import ContainerDefaults, ContainerNode
from lab.model.impairment import Impair, LinkImpairField
from lab.model.names import InterfaceName, LinkEnd, NodeName, split_link, wrong
from lab.model.schedule import Entry
from lab.model.tcp import Tcp
from lab.model.yaml_source import Document
from nodes.contract import NodeKind, TraceLevel
from nodes.impairment import Executor

MIN_MTU = 68
"""RFC 791 section 3.2: every node must forward 68 octets without fragmentation."""
MAX_MTU = 65535
"""The largest IPv4 datagram, and the largest MTU of a veth pair."""

Impl: TypeAlias = Literal["kernel", "stack", "ovs"]
Stack: TypeAlias = Literal["layerlab", "kernel"]
Offload: TypeAlias = Literal["on", "off"]
AddressCheck: TypeAlias = Literal["none", "announce", "probe"]
Mtu = Annotated[int, Field(ge=MIN_MTU, le=MAX_MTU, description="Largest IP packet of the interface, in octets")]
OptionValue: TypeAlias = str | int | float | bool


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


TcpForm = Annotated[Tcp, BeforeValidator(_none_is_empty, json_schema_input_type=Tcp | None)]


class Defaults(ContainerDefaults):
    """What holds for every node and link that does not say otherwise."""

    mtu: Mtu = 1500
    addresses: SegmentPrefix = Field(default="10.0.0.0/8", description="The pool of automatic prefixes")
    trace: TraceLevel = Field(default="state", description="Which events nodes record")
    capture: bool = Field(default=False, description="Record every frame of every interface as pcapng")
    stack: Stack = Field(default="layerlab", description="The stack of hosts and routers: ours, or the kernel's")
    impl: Impl = Field(default="kernel", description="Switches: a Linux bridge, our learning switch, or Open vSwitch")
    offload: Offload = Field(default="on", description="Whether links carry TCP segments of 64 KiB without checksums")
    address_check: AddressCheck | None = Field(
        default=None,
        description="How our stack takes an address (RFC 5227); where nothing is said, it announces it on segments of "
        "up to 32 interfaces",
    )
    tcp: TcpForm = Field(default_factory=Tcp, description="Settings of TCP in our hosts and routers")
    impair: Impair | None = Field(default=None, description="What links do to frames")
    impair_by: Executor = Field(default="auto", description="Who does it: kernel (netem), relay (ours), or auto")


def _interface_form(value: object) -> object:
    return {"address": value} if isinstance(value, str) else _none_is_empty(value)


class Interface(_Model):
    """Settings of one interface. Short form: its address."""

    address: InterfaceAddress | None = Field(default=None, description="Address and prefix length, or `rarp`")
    mac: MacAddress | None = Field(default=None, description="MAC address; derived from the names where it is left out")
    mtu: Mtu | None = Field(default=None, description="Largest IP packet, in octets")
    address_check: AddressCheck | None = Field(default=None, description="`probe` asks first whether it is in use")


def _route_form(value: object) -> object:
    if not isinstance(value, str):
        return value
    words = value.split()
    if len(words) != 3 or words[1] != "via":
        raise wrong(f"{value!r} is not a route", "write PREFIX via ADDRESS, or default via ADDRESS")
    return {"to": words[0], "via": words[2]}


class Route(_Model):
    """A static route. Short form: `10.9.0.0/16 via 10.0.1.2`."""

    to: Destination = Field(description="The destination: a prefix, an address, or `default`")
    via: HostAddress = Field(description="The next hop, an address on a link of the node")


def _application_form(value: object) -> object:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and "kind" in value:
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, options),) = value.items()
        return {"kind": kind, "options": _none_is_empty(options)}
    raise wrong("an application is its kind, or one key with its options", "write udp_echo, or udp_sink: {port: 9}")


def _option_value(value: object) -> OptionValue:
    if isinstance(value, str | int | float | bool):
        return value
    raise wrong("an option is text, a number, true or false")


OptionField = Annotated[OptionValue, PlainValidator(_option_value, json_schema_input_type=OptionValue)]


class Application(_Model):
    """An application that starts with its node. Short form: its kind, or `kind: {option: value}`."""

    kind: str = Field(min_length=1, description="The kind of application, such as udp_echo")
    options: dict[str, OptionField] = Field(default_factory=dict, description="The application's options by name")


def _spanning_tree_form(value: object) -> object:
    return ({} if value else None) if isinstance(value, bool) else value


class SpanningTree(_Model):
    """Spanning tree parameters, with the ranges of IEEE 802.1D-2004 table 17-1. Short form: true or false."""

    priority: int = Field(default=32768, ge=0, le=61440, multiple_of=4096, description="The lowest becomes root")
    hello_time: float = Field(default=2.0, ge=1, le=2, description="Seconds between the root's messages")
    max_age: float = Field(default=20.0, ge=6, le=40, description="Seconds for which a message is believed")
    forward_delay: float = Field(default=15.0, ge=4, le=30, description="Seconds in listening, and again in learning")

    @model_validator(mode="after")
    def _check_times(self) -> SpanningTree:
        """IEEE 802.1D-2004 section 17.14: messages must live long enough, and die before ports forward."""
        if not 2 * (self.hello_time + 1) <= self.max_age <= 2 * (self.forward_delay - 1):
            times = f"hello_time {self.hello_time:g} and forward_delay {self.forward_delay:g}"
            hint = "2 * (hello_time + 1) <= max_age <= 2 * (forward_delay - 1)"
            raise wrong(f"max_age {self.max_age:g} does not fit {times}", hint)
        return self


StpSetting = Annotated[
    SpanningTree | None, BeforeValidator(_spanning_tree_form, json_schema_input_type=SpanningTree | bool | None)
]
RouteForm = Annotated[Route, BeforeValidator(_route_form, json_schema_input_type=Route | str)]
ApplicationForm = Annotated[
    Application,
    BeforeValidator(
        _application_form, json_schema_input_type=Application | str | dict[str, dict[str, OptionValue] | None]
    ),
]
InterfaceForm = Annotated[Interface, BeforeValidator(_interface_form, json_schema_input_type=Interface | str | None)]


DefaultsForm = Annotated[Defaults, BeforeValidator(_none_is_empty, json_schema_input_type=Defaults | None)]


class _Node(_Model):
    trace: TraceLevel | None = Field(default=None, description="Which events the node records")
    capture: bool | None = Field(default=None, description="Record every frame of every interface as pcapng")


class _InternetNode(_Node, ContainerNode):
    """What hosts and routers have in common."""

    stack: Stack | None = Field(default=None, description="Ours, or the kernel's: a plain Linux host")
    interfaces: dict[InterfaceName, InterfaceForm] = Field(default_factory=dict, description="Interfaces by name")
    routes: list[RouteForm] = Field(default_factory=list, description="Static routes; they win over computed ones")
    start: list[ApplicationForm] = Field(default_factory=list, description="Applications that start with the node")
    address_check: AddressCheck | None = Field(default=None, description="`probe` asks first whether it is in use")
    rarp_server: bool = Field(default=False, description="Answer the RARP requests of the node's segments (RFC 903)")
    tcp: TcpForm = Field(default_factory=Tcp, description="Settings of the node's TCP")


class Host(_InternetNode):
    """A host: one address, and a default route to a router of its segment."""

    kind: Literal["host"] = Field(default="host", description="host")
    address: InterfaceAddress | None = Field(default=None, description="Address of the first interface, or `rarp`")
    gateway: HostAddress | None = Field(default=None, description="Address of the default router")


class Router(_InternetNode):
    """A router: forwards between its interfaces along shortest paths."""

    kind: Literal["router"] = Field(description="router")


class Switch(_Node):
    """A learning switch (IEEE 802.1D)."""

    kind: Literal["switch"] = Field(description="switch")
    impl: Impl | None = Field(default=None, description="A Linux bridge, our learning switch, or Open vSwitch")
    stp: StpSetting = Field(default=None, description="Spanning tree, needed where links form a loop")
    ageing_time: float = Field(
        default=300.0, gt=0, le=1_000_000, description="Seconds until a silent station is forgotten"
    )


class Hub(_Node):
    """A repeater: every frame goes out of every other port. Always our own."""

    kind: Literal["hub"] = Field(description="hub")


def _node_form(value: object) -> object:
    if value is None or isinstance(value, str):
        return {"kind": value or "host"}
    return {"kind": "host", **value} if isinstance(value, dict) else value


_AnyNode = Annotated[Host | Router | Switch | Hub, Field(discriminator="kind")]
Node: TypeAlias = Host | Router | Switch | Hub
NodeForm = Annotated[_AnyNode, BeforeValidator(_node_form, json_schema_input_type=_AnyNode | NodeKind | None)]


def _link_form(value: object) -> object:
    if isinstance(value, str):
        return {"ends": split_link(value)[1]}
    return {"ends": value} if isinstance(value, list) else value


class Link(_Model):
    """A link between two interfaces. Short forms: `a -- s1`, `a:eth0 -- s1:p1`, `[a, s1]`."""

    ends: list[LinkEnd] = Field(min_length=2, max_length=2, description="Two of `node` or `node:interface`")
    name: NodeName | None = Field(default=None, description="Name of the link")
    mtu: Mtu | None = Field(default=None, description="Largest IP packet of both ends, in octets")
    offload: Offload | None = Field(default=None, description="Whether it carries long TCP segments without checksums")
    addresses: dict[LinkEnd, StaticAddress] = Field(default_factory=dict, description="Addresses of its ends")
    up: bool = Field(default=True, description="false starts the link without carrier")
    impair: LinkImpairField = Field(default=None, description="What it does to frames; false is nothing at all")
    impair_by: Executor | None = Field(default=None, description="Who does it: kernel, relay, or auto")
    schedule: list[Entry] = Field(default_factory=list, description="What changes while the lab runs")
    arq: ArqField = Field(default=None, description="Sending again what the link loses: a kind, or settings")


LinkForm = Annotated[Link, BeforeValidator(_link_form, json_schema_input_type=Link | str | list[str])]


class Network(_Model):
    """Chooses the prefix of a segment, which is named by a switch or hub of it, or by nodes that share it."""

    prefix: SegmentPrefix = Field(description="The prefix of the segment")
    name: NodeName | None = Field(default=None, description="Name of the segment")
    on: NodeName | None = Field(default=None, description="A switch or hub of the segment")
    of: list[NodeName] = Field(default_factory=list, description="Nodes that share the segment, and no other")

    @model_validator(mode="after")
    def _check_place(self) -> Network:
        if (self.on is None) == (not self.of):
            raise wrong("a network needs either 'on' or 'of'", "on: s1 (a switch), or of: [r1, r2] (its nodes)")
        return self


class Topology(_Model):
    """A network: its nodes and the links between them."""

    name: NodeName = Field(description="Name of the lab; the file's name where it is left out")
    description: str = Field(default="", description="What the lab shows")
    seed: int = Field(default=1, ge=0, lt=1 << 64, description="Start of every random choice: same seed, same run")
    circuits: bool = Field(
        default=False,
        description="Virtual circuits beside IP: hosts and routers say hello to the other end of each link",
    )
    defaults: DefaultsForm = Field(default_factory=Defaults, description="What holds where nodes and links say nothing")
    nodes: dict[NodeName, NodeForm] = Field(min_length=1, description="Nodes by name")
    links: list[LinkForm] = Field(default_factory=list, description="Links")
    networks: list[Network] = Field(default_factory=list, description="Segments with a chosen prefix")

    _document: Document = PrivateAttr(default_factory=lambda: Document("topology", None, {}, {}))

    @property
    def document(self) -> Document:
        """Where everything stands in the file."""
        return self._document

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, Document):
            self._document = context
