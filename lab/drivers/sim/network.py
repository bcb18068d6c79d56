"""From a plan to a network in virtual time.

What the plan decided holds here too: names, addresses, routes, seeds, impairments. Three things differ. Links carry no
segments that a wire would not (offload). A switch of the kernel is a learning switch of ours. And there is no kernel: a
host or a router that wants its stack is refused, unless who runs it lets ours stand in for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from lab.drivers.abilities import refusal
from lab.model.impairment_text import describe
from lab.plan.seeds import link_seed
from lab.plan.values import LinkPlan, Plan
from nodes.contract import NodeConfig
from nodes.impairment import DIRECTIONS
from nodes.simulation.network import Network
from nodes.simulation.values import NodeRecorder, Wire
from nodes.trace.events import Tracer


def make_network(plan: Plan, recorder_for: Callable[[NodeConfig], NodeRecorder], link_tracer: Tracer) -> Network:
    """Raises StackError for a configuration that contradicts itself."""
    return Network(
        [config_of(node) for node in plan.nodes],
        [wire_of(plan, link) for link in plan.links],
        seed=plan.seed,
        recorder_for=recorder_for,
        link_tracer=link_tracer,
        describe=describe,
    )


def check(plan: Plan) -> None:
    """Raises EnvironmentLackError for nodes that need a kernel."""
    kernels = [node.name for node in plan.nodes if node.stack == "kernel" and not node.is_bridge]
    if kernels:
        hint = "`--stand-in` lets our stack take its place; `--driver netns` has a kernel"
        raise refusal("sim", "kernel", ", ".join(kernels), hint=hint)


def with_stand_ins(plan: Plan) -> Plan:
    """The plan with our stack in every host and router that wants the kernel's: same names, addresses and routes."""
    return dataclasses.replace(plan, nodes=tuple(_standing_in(node) for node in plan.nodes))


def _standing_in(node: NodeConfig) -> NodeConfig:
    return node if node.is_bridge else dataclasses.replace(node, stack="layerlab")


def config_of(node: NodeConfig) -> NodeConfig:
    interfaces = tuple(dataclasses.replace(interface, offload=False) for interface in node.interfaces)
    return dataclasses.replace(node, interfaces=interfaces)


def wire_of(plan: Plan, link: LinkPlan) -> Wire:
    seeds = tuple(link_seed(plan.seed, link.name, direction) for direction in DIRECTIONS)
    return Wire(
        link.name,
        (link.a.node, link.a.interface),
        (link.b.node, link.b.interface),
        mtu=link.mtu,
        up=link.up,
        impairment=link.impairment,
        seeds=(seeds[0], seeds[1]),
        least_mtu=link.least_mtu,
    )
