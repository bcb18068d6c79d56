"""What a Compose file cannot express, each with its place in the topology file: refused, never left out silently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lab.compose.networks import Network
from lab.model.errors import TopologyError
from lab.model.layout import layout_of
from lab.model.topology import Topology
from lab.model.yaml_source import KeyPath
from lab.plan.values import LinkPlan, Plan
from nodes.contract import NodeConfig

_DEFAULT_AGEING = NodeConfig("", "").ageing_time


def check(topology: Topology, plan: Plan, networks: list[Network]) -> None:
    """Raises TopologyError with everything that is in the way."""
    links = {plan.links[number].name: index for number, index in enumerate(layout_of(topology).links)}
    findings = [*_links(plan, links), *_switches(plan), *_twice(networks, links), *_containers(plan)]
    if findings:
        document = topology.document
        raise TopologyError([document.problem(path, message, hint) for path, message, hint in findings])


def has_lines(plan: Plan, node: str) -> bool:
    """Whether the node itself can do something to frames: our stack, switch or hub."""
    return plan.by_name[node].stack == "layerlab"


_Found = tuple[KeyPath, str, str]


def _links(plan: Plan, indexes: dict[str, int]) -> Iterator[_Found]:
    for link in plan.links:
        if link.impairment is None:
            continue
        path: KeyPath = ("links", indexes[link.name])
        if link.impairment.by == "kernel":
            message = f"link {link.name}: in a Compose file a node impairs its links itself, not the kernel's netem"
            yield path, message, "leave out `impair_by: kernel`"
        elif not _ours(plan, link):
            message = f"link {link.name}: nobody can impair it, for both of its ends are the kernel's"
            yield path, message, "give one of them our stack; a switch `impl: stack`"


def _ours(plan: Plan, link: LinkPlan) -> bool:
    return has_lines(plan, link.a.node) or has_lines(plan, link.b.node)


def _switches(plan: Plan) -> Iterator[_Found]:
    for node in plan.nodes:
        if not node.is_bridge:
            continue
        path: KeyPath = ("nodes", node.name)
        if node.spanning_tree is not None:
            yield path, f"switch {node.name}: a Docker network runs no spanning tree", "say `impl: stack`"
        if node.ageing_time != _DEFAULT_AGEING:
            yield path, f"switch {node.name}: a Docker network forgets addresses when it likes", "say `impl: stack`"


def _containers(plan: Plan) -> Iterator[_Found]:
    """Every service is a node of ours, which configures itself: another image would not."""
    for node in plan.nodes:
        if node.container is not None:
            message = f"{node.name}: what is said of its container is for the docker driver, not for a Compose file"
            yield ("nodes", node.name), message, "leave it out, or run `lab up --driver docker`"


def _twice(networks: list[Network], indexes: dict[str, int]) -> Iterator[_Found]:
    for network in networks:
        seen: dict[str, int] = defaultdict(int)
        for attachment in network.attachments:
            node = attachment.end.node
            seen[node] += 1
            if seen[node] == 2:
                path: KeyPath = ("links", indexes[attachment.link.name])
                message = f"{node} has two links to one segment, and Docker connects a container to a network once"
                yield path, message, "make the switch between them one of ours: `impl: stack`"
