"""The plan as JSON, to be stored in a run, and as tables, to be read.

In JSON the names and addresses of all nodes (`hosts`) stand once, not in every node: a lab of n nodes has n of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from lab.errors import UserInputError
from lab.plan.values import End, LinkPlan, Plan, SegmentPlan
from nodes import contract
from nodes.contract import InterfaceConfig, NodeConfig

FORMAT = 1
"""Version of the stored form."""


class Table(NamedTuple):
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as values of JSON."""
    return {
        "format": FORMAT,
        "lab": plan.lab,
        "seed": plan.seed,
        "description": plan.description,
        "source": plan.source,
        "warnings": list(plan.warnings),
        "hosts": dict(plan.nodes[0].hosts) if plan.nodes else {},
        "nodes": [_node_to_dict(node) for node in plan.nodes],
        "links": [_without_tuples(asdict(link)) for link in plan.links],
        "segments": [_without_tuples(asdict(segment)) for segment in plan.segments],
    }


def plan_from_dict(data: Mapping[str, Any]) -> Plan:
    """The reverse of `plan_to_dict`. Raises UserInputError for what is not a plan, or one of another version."""
    if data.get("format") != FORMAT:
        raise UserInputError(f"plan format {data.get('format')!r}, {FORMAT} expected", hint="plan the topology again")
    try:
        hosts = {str(name): str(address) for name, address in data["hosts"].items()}
        return Plan(
            lab=data["lab"],
            seed=data["seed"],
            nodes=tuple(replace(contract.from_json({**node, "hosts": {}}), hosts=hosts) for node in data["nodes"]),
            links=tuple(LinkPlan(**{**link, "a": End(**link["a"]), "b": End(**link["b"])}) for link in data["links"]),
            segments=tuple(_segment_from_dict(segment) for segment in data["segments"]),
            description=data["description"],
            source=data["source"],
            warnings=tuple(data["warnings"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserInputError(f"not a plan: {type(error).__name__} {error}", hint="plan the topology again") from None


def plan_rows(plan: Plan) -> list[Table]:
    """The plan as tables: nodes, links, segments, routes."""
    return [
        Table("Nodes", ("node", "kind", "stack", "interface", "address", "MAC", "MTU"), tuple(_node_rows(plan))),
        *_tcp_table(plan),
        Table(
            "Links",
            ("link", "a", "b", "MTU", "offload", "state"),
            tuple(_link_row(link) for link in plan.links),
        ),
        Table(
            "Segments",
            ("segment", "prefix", "interfaces", "switches and hubs"),
            tuple((x.name, x.prefix or "-", " ".join(map(str, x.ends)), " ".join(x.switches)) for x in plan.segments),
        ),
        Table(
            "Routes",
            ("node", "destination", "via", "interface"),
            tuple((node.name, x.destination, x.via, x.interface) for node in plan.nodes for x in node.routes),
        ),
    ]


def _tcp_table(plan: Plan) -> Iterator[Table]:
    """Only where a file has settings of TCP."""
    rows = [
        (node.name, " ".join(f"{key}={_setting(node.tcp[key])}" for key in node.tcp)) for node in plan.nodes if node.tcp
    ]
    if rows:
        yield Table("TCP", ("node", "settings"), tuple(rows))


def _setting(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _link_row(link: LinkPlan) -> tuple[str, ...]:
    offload, state = "on" if link.offload else "off", "up" if link.up else "down"
    return (link.name, str(link.a), str(link.b), str(link.mtu), offload, state)


def _node_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    for node in plan.nodes:
        for interface in node.interfaces:
            address = address_text(node, interface) or "-"
            where = (node.name, node.kind, node.stack, interface.name)
            yield (*where, address, interface.mac, str(interface.mtu))


def address_text(node: NodeConfig, interface: InterfaceConfig) -> str:
    """An interface's addresses as people read them."""
    if interface.address_source == "rarp":
        return f"{node.hosts.get(node.name, '?')} by RARP"
    return " ".join(interface.addresses)


def _node_to_dict(node: NodeConfig) -> dict[str, Any]:
    data = _without_tuples(contract.to_json(replace(node, hosts={})))
    del data["hosts"]
    return data


def _without_tuples(data: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, so that a plan compares equal to itself read back from JSON."""
    return {key: _plain(value) for key, value in data.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_tuples(dict(value))
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _segment_from_dict(data: Mapping[str, Any]) -> SegmentPlan:
    ends = tuple(End(**end) for end in data["ends"])
    return SegmentPlan(data["name"], data["prefix"], ends, tuple(data["switches"]))
