"""A Mininet topology, as it was told, as the values of a topology file of ours.

What Mininet decides is decided as there: interfaces of hosts are `h1-eth0` and so on (ports of switches have our names,
`p1`); hosts get 10.0.0.1/8, 10.0.0.2/8 ... in the natural order of their names, each counted, also those that have an
address of their own; a host's address is that of its interface with the lowest port; what one end of a TCLink is given
holds for the frames that it sends.

What Mininet leaves to a controller is decided here: switches are learning bridges, and where they form a loop and none
says anything of a spanning tree, they are our own switches with one. Routes that no one writes are the planner's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, ip_network
from typing import Any

from lab.exchange.library import is_library
from lab.exchange.link_parameters import HARMLESS, IGNORED, KNOWN, impairment_of
from lab.exchange.recording import LinkTold, Told
from lab.exchange.rehearsal import Rehearsed, rehearse
from lab.exchange.switch_loops import switches_in_loops
from lab.model.errors import Problem, TopologyError
from lab.model.names import MAX_INTERFACE_NAME
from lab.model.yaml_source import Document, KeyPath, Mark

HOST_PREFIX = 8
"""Of Mininet's automatic addresses, and of those that are written without a length."""
FIRST_ADDRESS = 0x0A000000
POOLS = ("172.16.0.0/12", "100.64.0.0/10", "10.0.0.0/8")
"""For interfaces to which Mininet gives no address; the first that the file does not use."""

_LINK_KEYS = {f"{name}{side}" for side in (1, 2) for name in ("node", "port", "intfName", "addr", "params", "cls")}
_LINK_KEYS |= {"cls", "intf", "fast", "key"}
_LINK_CLASSES = frozenset(("Link", "TCLink", "TCULink", "OVSLink", "Intf", "TCIntf", "OVSIntf"))
_HOST_KEYS = frozenset(("ip", "mac", "defaultRoute", "cls", "stack", "isSwitch", "isHost", "lo", "name"))
_NAT_KEYS = frozenset(("subnet", "inetIntf", "localIntf", "flush"))
_SWITCH_KEYS = frozenset(
    ("isSwitch", "cls", "name", "stp", "prio", "impl", "kind", "failMode", "datapath", "batch", "dpid")
)
_NO_EFFECT = {
    "cpu": "nothing limits a node's share of the processor",
    "cores": "nodes are not bound to processors",
    "sched": "nothing limits a node's share of the processor",
    "period_us": "nothing limits a node's share of the processor",
    "privateDirs": "nodes share the file system",
    "controller": "switches learn by themselves",
    "controllers": "switches learn by themselves",
    "protocols": "switches speak no OpenFlow",
    "listenPort": "switches speak no OpenFlow",
    "dpopts": "switches speak no OpenFlow",
    "inband": "switches speak no OpenFlow",
    "reconnectms": "switches speak no OpenFlow",
    "verbose": "switches speak no OpenFlow",
    "server": "all nodes are on this machine",
    "user": "all nodes are on this machine",
}


@dataclass
class _Interface:
    """One end of a link."""

    node: str
    port: int
    name: str
    link: int
    params: dict[str, Any]
    mac: Any = None
    address: str | None = None


@dataclass
class _Remarks:
    """Errors and warnings. The same warning on many nodes or links is one, at the first of them."""

    told: Told
    errors: list[Problem] = field(default_factory=list)
    grouped: dict[tuple[str, str], tuple[Mark, list[str]]] = field(default_factory=dict)

    def error(self, mark: Mark, message: str, hint: str = "") -> None:
        self.errors.append(self.told.problem(mark, message, hint))

    def warn(self, mark: Mark, subject: str, message: str, hint: str = "") -> None:
        subjects = self.grouped.setdefault((message, hint), (mark, []))[1]
        if subject not in subjects:
            subjects.append(subject)

    def warnings(self) -> Iterator[Problem]:
        for (message, hint), (mark, subjects) in self.grouped.items():
            more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
            yield self.told.problem(mark, f"{subjects[0]}{more}: {message}", hint)


def translate(told: Told) -> Document:
    """Raises TopologyError for what Mininet would not build either, or only halfway."""
    return _Translation(told).document()


class _Translation:
    def __init__(self, told: Told) -> None:
        self.told = told
        self.remarks = _Remarks(told)
        self.switches = [name for name, params in told.nodes.items() if params.get("isSwitch")]
        self.interfaces: dict[str, list[_Interface]] = {name: [] for name in told.nodes}
        for index, link in enumerate(told.links):
            for side in (1, 2):
                self.add_interface(index, link, side)

    def document(self) -> Document:
        if not self.told.nodes:
            hint = "self.addHost('h1')"
            raise TopologyError([self.told.problem(Mark(1, 1), f"{self.told.name!r} adds no node", hint)])
        nodes = {name: self.node(name, params) for name, params in self.told.nodes.items()}
        links = [self.link(index, link) for index, link in enumerate(self.told.links)]
        self.span_loops(nodes)
        self.check_gateways(nodes)
        data: dict[str, Any] = {"name": self.told.name, "nodes": nodes, "links": links}
        pool = self.pool(nodes)
        if pool:
            data["defaults"] = {"addresses": pool}
        if self.remarks.errors:
            raise TopologyError(self.remarks.errors)
        marks: dict[KeyPath, Mark] = {("nodes", name): self.mark(name) for name in nodes}
        marks |= {("links", index): link.mark for index, link in enumerate(self.told.links)}
        warnings = (*self.told.warnings, *self.remarks.warnings())
        return Document(self.told.file, data, marks, dict(marks), warnings=warnings)

    def mark(self, name: str) -> Mark:
        return self.told.marks.get(name, Mark(1, 1))

    # Interfaces

    def add_interface(self, index: int, link: LinkTold, side: int) -> None:
        info = link.info
        node, port = info[f"node{side}"], info[f"port{side}"]
        own = info.get(f"params{side}") or {}
        common = {key: value for key, value in info.items() if key not in _LINK_KEYS}
        params = {**own, **common}  # as in Mininet, what the link says wins over what an end says
        taken = [other for other in self.interfaces[node] if other.port == port]
        if taken:
            line = self.told.links[taken[0].link].mark.line
            self.remarks.error(link.mark, f"port {port} of {node!r} is on two links", f"line {line} uses it")
        name = info.get(f"intfName{side}") or self.interface_name(node, port)
        self.interfaces[node].append(_Interface(node, port, name, index, params, info.get(f"addr{side}")))

    def interface_name(self, node: str, port: int) -> str:
        """Mininet's, where the kernel can have it: programs in hosts name their interfaces."""
        if node in self.switches:
            return f"p{port}"
        name = f"{node}-eth{port}"
        return name if len(name) <= MAX_INTERFACE_NAME else f"eth{port}"

    # Nodes

    def node(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        params = dict(params)
        cls = params.get("cls")
        while isinstance(cls, functools.partial):
            params = {**params, **cls.keywords, "cls": cls.func}
            cls = cls.func
        switch = bool(params.get("isSwitch"))
        self.say_unknown(name, params, _SWITCH_KEYS if switch else _HOST_KEYS)
        if cls is not None and not isinstance(cls, type):
            what = "is made by a function, which is not called"
            self.remarks.warn(self.mark(name), name, what, "a class that is derived from Node can be tried")
        return self.switch(name, params) if switch else self.host(name, params)

    def say_unknown(self, name: str, params: dict[str, Any], known: frozenset[str]) -> None:
        for key, value in params.items():
            if key == "inNamespace" and not value and getattr(params.get("cls"), "__name__", "") != "NAT":
                hint = "each node has a network of its own; a plain Linux host is stack='kernel'"
                self.remarks.warn(self.mark(name), name, "inNamespace=False has no effect here", hint)
            elif key in _NAT_KEYS and getattr(params.get("cls"), "__name__", "") == "NAT":
                continue  # said of the class
            elif key not in known and key != "inNamespace" and value is not None:
                hint = _NO_EFFECT.get(key, "")
                if hint or not self.takes(params.get("cls"), key):
                    self.remarks.warn(self.mark(name), name, f"{key} has no effect here", hint)

    def takes(self, cls: Any, key: str) -> bool:
        """Does a class of the file have a use for this parameter itself?"""
        own = [base for base in getattr(cls, "__mro__", ()) if not is_library(base.__module__) and base is not object]
        codes = [getattr(base.__dict__.get(name), "__code__", None) for base in own for name in ("config", "__init__")]
        return any(code is not None and key in (*code.co_varnames, *code.co_consts) for code in codes)

    def switch(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("kind") == "hub":
            return {"kind": "hub"}
        data: dict[str, Any] = {"kind": "switch"}
        if params.get("impl") is not None:
            data["impl"] = params["impl"]
        cls = params.get("cls")
        if isinstance(cls, type) and not is_library(cls.__module__):
            hint = "switches are learning bridges; their parameters stp, prio and impl count"
            self.remarks.warn(self.mark(name), name, f"the class {cls.__name__} is not used", hint)
        if params.get("stp"):
            data["stp"] = {"priority": self.priority(name, params["prio"])} if params.get("prio") is not None else True
        elif params.get("stp") is not None:
            data["stp"] = False
        return data

    def priority(self, name: str, given: Any) -> Any:
        """IEEE 802.1D-2004 has steps of 4096; what is no number is the model's to refuse."""
        if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= 0xFFFF or given % 4096 == 0:
            return given
        step = given - given % 4096
        self.remarks.warn(self.mark(name), name, f"prio {given} is {step} here", "priorities have steps of 4096")
        return step

    def host(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        given = {key: value for key, value in params.items() if key not in ("cls", "isSwitch", "isHost")}
        cls = params.get("cls")
        rehearsed = rehearse(cls, name, given) if isinstance(cls, type) else Rehearsed()
        self.say_rehearsed(name, cls, rehearsed)
        if isinstance(cls, type) and cls.__name__ == "NAT" and is_library(cls.__module__):
            message = "it forwards, and translates no addresses"
            self.remarks.warn(self.mark(name), name, message, "no node of a lab reaches the network outside")
        data: dict[str, Any] = {"kind": "router" if rehearsed.forwards else "host"}
        if params.get("stack") is not None:
            data["stack"] = params["stack"]
        self.assign_addresses(name, params)
        interfaces = {each.name: self.settings(each) for each in self.interfaces[name]}
        if any(interfaces.values()):
            data["interfaces"] = {key: settings for key, settings in interfaces.items() if settings}
        routes = dict(rehearsed.routes)
        gateway = self.gateway(name, params.get("defaultRoute"))
        if gateway is not None and not rehearsed.forwards and "default" not in routes:
            data["gateway"] = gateway
        elif gateway is not None:
            routes = {"default": gateway} | routes
        if routes:
            data["routes"] = [f"{to} via {via}" for to, via in routes.items()]
        return data

    def say_rehearsed(self, name: str, cls: Any, rehearsed: Rehearsed) -> None:
        if rehearsed.failure:
            message = f"the class {cls.__name__} could not be tried: {rehearsed.failure}"
            self.remarks.warn(self.mark(name), name, message, "what its config() does is not known here")
        for command in rehearsed.other:
            hint = f"once the lab is up: lab exec {name} -- ..., on a node with stack='kernel'"
            self.remarks.warn(self.mark(name), name, f"{command!r} is not run", hint)

    def settings(self, interface: _Interface) -> dict[str, Any]:
        given = {"address": interface.address, "mac": None if interface.mac is None else str(interface.mac)}
        return {key: value for key, value in given.items() if value is not None}

    def gateway(self, name: str, route: Any) -> str | None:
        """`via 10.0.0.254`, with `dev h1-eth0` or without."""
        if route is None:
            return None
        words = str(route).split()
        if "via" in words[:-1]:
            return words[words.index("via") + 1]
        message = f"defaultRoute {str(route)!r} has no effect here"
        self.remarks.warn(self.mark(name), name, message, "a default route leads to a router: 'via ADDRESS'")
        return None

    # Addresses

    def assign_addresses(self, name: str, params: dict[str, Any]) -> None:
        """Host parameters count for the interface with the lowest port, over what its link says."""
        ends = sorted(self.interfaces[name], key=lambda end: end.port)
        for end in ends:
            end.address = self.link_address(end)
        if not ends:
            return
        first = ends[0]
        first.mac = params["mac"] if params.get("mac") is not None else first.mac
        written = "ip" in params
        address = params["ip"] if written else self.automatic(name)
        if address is None:
            return
        if not written and first.address is not None:
            message = f"the automatic address {address} replaces {first.address} of its link, as in Mininet"
            self.remarks.warn(self.mark(name), name, message, f"ip={first.address!r} or ip=None at the host")
        first.address = str(address) if "/" in str(address) else f"{address}/{HOST_PREFIX}"

    def automatic(self, name: str) -> str:
        return str(IPv4Interface((FIRST_ADDRESS + 1 + self.told.hosts.index(name), HOST_PREFIX)))

    def link_address(self, end: _Interface) -> str | None:
        address = end.params.get("ip")
        if address is None:
            return None
        if "/" not in str(address):
            mark = self.told.links[end.link].mark
            self.remarks.error(mark, f"the address {address} of {end.name} has no prefix length", f"{address}/24")
        return str(address)

    def pool(self, nodes: dict[str, dict[str, Any]]) -> str | None:
        """For interfaces without an address, which Mininet would leave so."""
        without = [end for name in nodes for end in self.interfaces[name] if self.has_none(name, end)]
        for end in without:
            self.remarks.warn(self.told.links[end.link].mark, end.name, "Mininet gives it no address; here it gets one")
        if not without:
            return None
        used = [prefix for ends in self.interfaces.values() for end in ends if (prefix := _network(end.address))]
        free = (pool for pool in POOLS if not any(ip_network(pool).overlaps(prefix) for prefix in used))
        return next(free, POOLS[0])

    def has_none(self, name: str, end: _Interface) -> bool:
        return name not in self.switches and end.address is None

    def check_gateways(self, nodes: dict[str, dict[str, Any]]) -> None:
        """A host with several interfaces that others take for their router, and that does not forward."""
        owners = {str(end.address).partition("/")[0]: name for name in nodes for end in self.interfaces[name]}
        for name, data in nodes.items():
            owner = owners.get(data.get("gateway", ""))
            if owner is not None and nodes[owner]["kind"] == "host":
                hint = "a class whose config() runs sysctl net.ipv4.ip_forward=1 makes it a router"
                message = f"the default router of {name!r} does not forward"
                self.remarks.warn(self.mark(owner), owner, message, hint)

    # Links

    def link(self, index: int, link: LinkTold) -> dict[str, Any]:
        info = link.info
        subject = f"{info['node1']} -- {info['node2']}"
        self.say_link(link, subject)
        ends = [self.end(index, side) for side in (1, 2)]
        data: dict[str, Any] = {"ends": [f"{end.node}:{end.name}" for end in ends]}
        impairs = []
        for end in ends:
            impair, remarks = impairment_of(end.params)
            impairs.append(impair)
            for message, hint, is_error in remarks:
                if is_error:
                    if self.told.problem(link.mark, message, hint) not in self.remarks.errors:
                        self.remarks.error(link.mark, message, hint)
                else:
                    self.remarks.warn(link.mark, subject, message, hint)
        if impairs[0] == impairs[1]:
            return {**data, "impair": impairs[0]} if impairs[0] else data
        parts = {name: impair for name, impair in zip(data["ends"], impairs, strict=True) if impair}
        return {**data, "impair": {"from": parts}}

    def end(self, index: int, side: int) -> _Interface:
        info = self.told.links[index].info
        name, port = info[f"node{side}"], info[f"port{side}"]
        return next(end for end in self.interfaces[name] if end.link == index and end.port == port)

    def say_link(self, link: LinkTold, subject: str) -> None:
        for key in ("cls", "cls1", "cls2", "intf"):
            cls = link.info.get(key)
            name = getattr(cls, "__name__", str(cls))
            if cls is not None and name not in _LINK_CLASSES:
                self.remarks.warn(link.mark, subject, f"the class {name} is not used", "its parameters count")
        for params in (link.info, link.info.get("params1") or {}, link.info.get("params2") or {}):
            for key, value in params.items():
                if value is not None and key not in _LINK_KEYS | KNOWN | HARMLESS | IGNORED.keys():
                    self.remarks.warn(link.mark, subject, f"{key} has no effect here")

    def span_loops(self, nodes: dict[str, dict[str, Any]]) -> None:
        pairs = [(link.info["node1"], link.info["node2"]) for link in self.told.links]
        for group in switches_in_loops(pairs, self.switches):
            if any("stp" in nodes[name] for name in group):
                continue  # the person has thought of it; what is missing is lint's to say
            for name in group:
                nodes[name] = {**nodes[name], "impl": nodes[name].get("impl", "stack"), "stp": True}
            message = "switches form a loop: they get a spanning tree, and are our own, whose trees are up at once"
            self.remarks.warn(self.mark(group[0]), group[0], message, "stp=True at each makes Linux bridges of them")


def _network(address: str | None) -> IPv4Network | None:
    """None for none, and for what is no address: that is the model's to say."""
    try:
        return IPv4Interface(address).network if address else None
    except ValueError:
        return None
