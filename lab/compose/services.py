"""Nodes as services: what each container is told (nodes/container_settings.py), and what Docker is asked for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.compose.networks import Attachment, Network
from lab.compose.refusals import has_lines
from lab.errors import UserInputError
from lab.host.namespaces import KERNEL_HOST, KERNEL_ROUTER, PASSIVE
from lab.plan.seeds import link_seed
from lab.plan.values import LinkPlan, Plan
from nodes import impairment
from nodes.container_settings import ContainerSettings, PortImpairment, PortSettings, to_json
from nodes.contract import NodeConfig

LONGEST_VARIABLE = 128 * 1024 - 64
"""Octets of an environment variable with its name (MAX_ARG_STRLEN of Linux)."""


@dataclass(frozen=True, slots=True)
class Service:
    """One node. `networks` are (name, Docker's address); `hosts` are entries of /etc/hosts, which only programs on the
    kernel's stack read."""

    name: str
    settings: str
    networks: tuple[tuple[str, str], ...]
    sysctls: dict[str, str]
    hosts: tuple[tuple[str, str], ...] = ()


def services_of(plan: Plan, networks: list[Network]) -> list[Service]:
    """All nodes but kernel switches, which are networks. Raises UserInputError for what is too long to be told."""
    return [_service(plan, node, networks) for node in plan.nodes if not node.is_bridge]


def _service(plan: Plan, node: NodeConfig, networks: list[Network]) -> Service:
    own = {
        attachment.end.interface: (network, attachment)
        for network in networks
        for attachment in network.attachments
        if attachment.end.node == node.name
    }
    # in the order of the node's interfaces, which is the order of its ports
    ordered = [own[interface.name] for interface in node.interfaces]
    # a frame passes a Docker network as it is: nobody there finishes what a sender left undone
    plain = replace(node, interfaces=tuple(replace(interface, offload=False) for interface in node.interfaces))
    ports = tuple(_port(plan, attachment) for _, attachment in ordered)
    settings = to_json(ContainerSettings(plain, ports))
    if len(settings) > LONGEST_VARIABLE:
        raise UserInputError(
            f"{node.name}: its settings have {len(settings)} octets, and a container takes {LONGEST_VARIABLE}",
            hint="a recorded rate that long, or a schedule, needs another driver",
        )
    return Service(
        node.name,
        settings,
        tuple((network.name, attachment.address) for network, attachment in ordered),
        _sysctls(node),
        tuple(node.hosts.items()) if node.stack == "kernel" else (),
    )


def _sysctls(node: NodeConfig) -> dict[str, str]:
    if node.stack == "layerlab":
        return dict(PASSIVE)
    return dict(KERNEL_ROUTER if node.kind == "router" else KERNEL_HOST)


def _port(plan: Plan, attachment: Attachment) -> PortSettings:
    end, link = attachment.end, attachment.link
    return PortSettings(end.interface, attachment.address, link.up, _impairment(plan, attachment, link))


def _impairment(plan: Plan, attachment: Attachment, link: LinkPlan) -> PortImpairment | None:
    asked = link.impairment
    if asked is None or not has_lines(plan, attachment.end.node):
        return None
    at_a = attachment.end == link.a
    return PortImpairment(
        out="ab" if at_a else "ba",
        both=not has_lines(plan, (link.b if at_a else link.a).node),
        mtu=link.mtu,
        ab=impairment.encode(asked.ab),
        ba=impairment.encode(asked.ba),
        seed_ab=link_seed(plan.seed, link.name, "ab"),
        seed_ba=link_seed(plan.seed, link.name, "ba"),
        changes=asked.changes,
    )
