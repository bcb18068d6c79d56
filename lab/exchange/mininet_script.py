"""A plan as a Python script with a Mininet `Topo`: to be run as it is, used by `mn --custom`, or brought back by
`lab up SCRIPT.py:NAME`.

Every address, route and MAC of the plan is written out, since Mininet would choose others. Hosts and routers are Linux
hosts and routers there. `stack`, `impl` and `kind` are words of ours among the parameters, which Mininet's classes pass
over; they are for the way back.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from lab.exchange.mininet_links import Arguments, left_out, link_arguments, python
from lab.plan.values import End, Plan
from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig, SpanningTreeConfig

LONGEST_LINE = 110
MAX_INTERFACE_NAME = 15
DEFAULT_ROUTE = "0.0.0.0/0"

_PORT = re.compile(r"p(0|[1-9][0-9]{0,3})")

_HEAD = '''"""A Mininet topology, written by `lab export --mininet`.

Run by python3 as root, it starts Linux bridges and gives Mininet's command line. `lab up THIS_FILE.py` starts the same
in Layerlab.
"""

from mininet.cli import CLI
from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
{imports}from mininet.nodelib import LinuxBridge
from mininet.topo import Topo

'''
_ROUTED_HOST = '''
class RoutedHost(Node):
    """A host with static routes."""

    def config(self, routes=(), **params):
        result = super().config(**params)
        for destination, via in routes:
            self.cmd("ip route replace", destination, "via", via)
        return result

'''
_ROUTER = '''
class Router(RoutedHost):
    """Forwards, along static routes."""

    def config(self, **params):
        result = super().config(**params)
        self.cmd("sysctl -w net.ipv4.ip_forward=1")
        return result

'''
_HUB = '''
class Hub(LinuxBridge):
    """A bridge that learns nothing: each frame leaves by every other port."""

    def start(self, controllers):
        super().start(controllers)
        self.cmd("brctl setageing", self, 0)

'''
_TAIL = """

topos = {{{name}: {cls}}}

if __name__ == "__main__":
    setLogLevel("info")
    net = Mininet(topo={cls}(), link=TCLink, switch=LinuxBridge, controller=None)
    net.start()
    CLI(net)
    net.stop()
"""


@dataclass
class Script:
    """`left_out` is what Mininet has no words for; it stands in comments, too."""

    text: str
    left_out: list[str] = field(default_factory=list)


def mininet_script(plan: Plan) -> Script:
    """The same network for Mininet."""
    writer = _Writer(plan)
    body = writer.body()
    cls = _class_name(plan.lab)
    nodes = plan.nodes
    parts = [_HEAD.format(imports="from mininet.node import Node\n" if writer.routed else "")]
    parts += [_ROUTED_HOST] if writer.routed else []
    parts += [_ROUTER] if any(node.kind == "router" for node in nodes) else []
    parts += [_HUB] if any(node.kind == "hub" for node in nodes) else []
    parts.append(f"\nclass {cls}(Topo):\n    def build(self):\n{body}")
    parts.append(_TAIL.format(name=python(plan.lab), cls=cls))
    return Script("".join(parts), writer.left_out)


def _class_name(lab: str) -> str:
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^a-zA-Z0-9]+", lab)) + "Topo"
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"Lab{name}"


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.subjects: dict[str, list[str]] = {}
        self.ports = {node.name: _ports(node) for node in plan.nodes if node.kind in ("switch", "hub")}
        self.routed = any(node.kind == "router" or len(_static(node)) for node in plan.nodes)

    def body(self) -> str:
        lines = [*self.comments("the lab", self.about_lab())]
        for node in self.plan.nodes:
            lines += self.comments(node.name, self.about_node(node))
            lines += self.node(node)
        for link in self.plan.links:
            lines += self.comments(f"link {link.name}", left_out(link))
            first, second = (self.interface(end) for end in (link.a, link.b))
            own = self.end(link.a, first), self.end(link.b, second)
            arguments = link_arguments(link, (first, second), own)
            lines += _call("addLink", [python(link.a.node), python(link.b.node)], arguments)
        return "\n".join(f"        {line}" if line else "" for line in lines) + "\n"

    def comments(self, subject: str, remarks: Iterator[str]) -> Iterator[str]:
        for remark in remarks:
            self.subjects.setdefault(remark, []).append(subject)
            yield f"# left out: {' '.join(remark.split())}"

    @property
    def left_out(self) -> list[str]:
        """Each thing once."""
        more = {
            words: f" and {len(found) - 1} more" if len(found) > 1 else "" for words, found in self.subjects.items()
        }
        return [f"{found[0]}{more[words]}: {words}" for words, found in self.subjects.items()]

    # What Mininet has no words for

    def about_lab(self) -> Iterator[str]:
        if self.plan.seed != 1:
            yield f"seed {self.plan.seed}"

    def about_node(self, node: NodeConfig) -> Iterator[str]:
        yield from _programs(node)
        tree = node.spanning_tree
        if tree is not None and tree != SpanningTreeConfig(priority=tree.priority):
            yield f"hello time {tree.hello_time:g} s, max age {tree.max_age:g} s"
            yield f"forward delay {tree.forward_delay:g} s"
        if node.kind == "switch" and node.ageing_time != 300:
            yield f"ageing time {node.ageing_time:g} s"
        for name, port in self.ports.get(node.name, {}).items():
            if name != f"p{port}":
                yield f"the name {name} of port {port}"
        longest = max((len(_bridge_port(node, port)) for port in self.ports.get(node.name, {}).values()), default=0)
        if longest > MAX_INTERFACE_NAME:
            yield f"Mininet's interfaces {node.name}-eth1 ... have names of {longest} characters, which Linux refuses"

    # Nodes

    def node(self, node: NodeConfig) -> list[str]:
        if node.kind in ("switch", "hub"):
            return self.switch(node)
        arguments: Arguments = {}
        if node.kind == "router":
            arguments["cls"] = _Name("Router")
        elif _static(node):
            arguments["cls"] = _Name("RoutedHost")
        first = node.interfaces[0] if node.interfaces else None
        arguments["ip"] = _address(self.plan, node, first) if first is not None else None
        default = [route for route in node.routes if route.destination == DEFAULT_ROUTE]
        if default:
            arguments["defaultRoute"] = f"via {default[0].via}"
        if _static(node):
            arguments["routes"] = [(route.destination, route.via) for route in _static(node)]
        if node.stack == "kernel":
            arguments["stack"] = "kernel"
        return _call("addHost", [python(node.name)], arguments)

    def switch(self, node: NodeConfig) -> list[str]:
        arguments: Arguments = {}
        if node.kind == "hub":
            arguments |= {"cls": _Name("Hub"), "kind": "hub"}
        elif node.stack != "kernel":
            arguments["impl"] = "stack"
        if node.spanning_tree is not None:
            arguments["stp"] = True
            if node.spanning_tree.priority != SpanningTreeConfig().priority:
                arguments["prio"] = node.spanning_tree.priority
        if not re.search(r"\d", node.name):
            number = list(self.ports).index(node.name) + 1
            arguments["dpid"] = f"{number:x}"  # Mininet takes it from the digits of a name
        return _call("addSwitch", [python(node.name)], arguments)

    # Links

    def interface(self, end: End) -> InterfaceConfig:
        return next(each for each in self.plan.by_name[end.node].interfaces if each.name == end.interface)

    def end(self, end: End, interface: InterfaceConfig) -> Arguments:
        """Mininet finds a bridge's ports by their names, so those are its own."""
        node = self.plan.by_name[end.node]
        if end.node in self.ports:
            return {"port": self.ports[end.node][end.interface]}
        number = node.interfaces.index(interface)
        own: Arguments = {"port": number, "intfName": end.interface}
        if number:
            own["params"] = {"ip": _address(self.plan, node, interface)}
        return own


class _Name(str):
    """A name of the script, which stands without quotes."""


def _call(method: str, words: list[str], arguments: Arguments) -> list[str]:
    words = [*words, *(f"{key}={v if isinstance(v, _Name) else python(v)}" for key, v in arguments.items())]
    line = f"self.{method}({', '.join(words)})"
    if len(line) <= LONGEST_LINE:
        return [line]
    lines = [f"    {words[0]},"]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < LONGEST_LINE:
            lines[-1] += f" {word},"
        else:
            lines.append(f"    {word},")
    return [f"self.{method}(", *lines, ")"]


def _ports(node: NodeConfig) -> dict[str, int]:
    """A number for each interface of a switch: that of its name, as in `p3`, else the next one that is free."""
    found: dict[str, int] = {}
    for interface in node.interfaces:
        match = _PORT.fullmatch(interface.name)
        if match and int(match[1]) not in found.values():
            found[interface.name] = int(match[1])
    free = iter(number for number in range(1, 2 * len(node.interfaces) + 2) if number not in set(found.values()))
    return {each.name: found[each.name] if each.name in found else next(free) for each in node.interfaces}


def _bridge_port(node: NodeConfig, port: int) -> str:
    return f"{node.name}-eth{port}"


def _static(node: NodeConfig) -> list[RouteConfig]:
    return [route for route in node.routes if route.destination != DEFAULT_ROUTE]


def _address(plan: Plan, node: NodeConfig, interface: InterfaceConfig) -> str | None:
    """For RARP, the address that the server would give."""
    if not interface.addresses:
        return None
    if interface.address_source != "rarp":
        return interface.addresses[0]
    length = IPv4Interface(interface.addresses[0]).network.prefixlen
    return f"{plan.by_name[node.name].hosts[node.name]}/{length}"


def _programs(node: NodeConfig) -> Iterator[str]:
    """What only our own nodes do."""
    for application in node.applications:
        options = " ".join(f"{key}={value}" for key, value in application.options.items())
        yield f"the application {application.kind} {options}".rstrip()
    if node.tcp:
        yield "tcp: " + ", ".join(f"{key} {value}" for key, value in node.tcp.items())
    if node.rarp_table:
        yield "it is a RARP server"
    for interface in node.interfaces:
        if interface.address_source == "rarp":
            yield f"{interface.name} asks for its address by RARP; here it is written"
        if interface.address_check == "probe":
            yield f"{interface.name} probes its address"
        if interface.arq is not None:
            yield f"{interface.name} repeats what its link loses ({interface.arq.kind})"
    if node.circuits:
        yield "virtual circuits"
    if node.capture:
        yield "capture"
    if node.trace != "state":
        yield f"trace {node.trace}"
