"""The plan as JSON, to be stored in a run, and as tables, to be read.

In JSON the names and addresses of all nodes (`hosts`) stand once, not in every node: a lab of n nodes has n of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from lab.errors import UserInputError
from lab.model.impairment_text import describe, describe_change
from lab.plan.values import End, LinkPlan, Plan, SegmentPlan
from nodes import contract, impairment, json_values
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.impairment import Change, LinkImpairment
from nodes.quantities import format_duration

FORMAT = 1
"""Version of the stored form."""
CHANGES_SHOWN = 20
"""Of a schedule, which a file may give thousands of."""


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
        "links": [_link_to_dict(link) for link in plan.links],
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
            links=tuple(_link_from_dict(link) for link in data["links"]),
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
        *_arq_table(plan),
        *_impairment_table(plan),
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


def _arq_table(plan: Plan) -> Iterator[Table]:
    """Only where a link has it. Both ends have the same, but for the rate of their direction."""
    rows = []
    configs = {End(node.name, each.name): each.arq for node in plan.nodes for each in node.interfaces}
    for link in plan.links:
        arq = configs[link.a]
        if arq is not None:
            numbers = (str(arq.window), str(arq.bits), format_duration(arq.timeout), str(arq.retries))
            rows.append((link.name, arq.kind, *numbers, str(arq.queue), str(arq.buffer)))
    if rows:
        titles = ("link", "kind", "window", "bits", "timeout", "retries", "queue", "buffer")
        yield Table("ARQ", titles, tuple(rows))


def _impairment_table(plan: Plan) -> Iterator[Table]:
    """Only where a link is impaired."""
    rows = [
        row for link in plan.links if link.impairment is not None for row in _impairment_rows(link, link.impairment)
    ]
    if rows:
        yield Table("Impairments", ("link", "from", "to", "does"), tuple(rows))


def _impairment_rows(link: LinkPlan, asked: LinkImpairment) -> Iterator[tuple[str, ...]]:
    for source, destination, does in ((link.a, link.b, asked.ab), (link.b, link.a, asked.ba)):
        yield link.name, source.node, destination.node, describe(does)
    for change in asked.changes[:CHANGES_SHOWN]:
        ends = (link.a.node, link.b.node) if change.directions[0] == "ab" else (link.b.node, link.a.node)
        who = ends if len(change.directions) == 1 else ("", "")
        yield link.name, *who, f"at {format_duration(change.at)}: {describe_change(change)}"
    if len(asked.changes) > CHANGES_SHOWN:
        yield link.name, "", "", f"and {len(asked.changes) - CHANGES_SHOWN} more changes"


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


def _link_to_dict(link: LinkPlan) -> dict[str, Any]:
    data = _without_tuples(asdict(replace(link, impairment=None)))
    plan = link.impairment
    if plan is not None:
        data["impairment"] = {
            "ab": impairment.encode(plan.ab),
            "ba": impairment.encode(plan.ba),
            "changes": [json_values.encode(change) for change in plan.changes],
            "by": plan.by,
        }
    return data


def _link_from_dict(data: Mapping[str, Any]) -> LinkPlan:
    ends = {"a": End(**data["a"]), "b": End(**data["b"])}
    asked = data["impairment"]
    plan = None
    if asked is not None:
        changes = tuple(json_values.decode(Change, change, "change") for change in asked["changes"])
        plan = LinkImpairment(impairment.decode(asked["ab"]), impairment.decode(asked["ba"]), changes, asked["by"])
    return LinkPlan(**{**data, **ends, "impairment": plan})


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
