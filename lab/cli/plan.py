"""`lab plan`: what would be built."""

from __future__ import annotations

from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_table
from lab.cli.topology_file import SeedOption, TopologyArgument, plan_of
from lab.plan.render import plan_to_dict
from lab.plan.values import Plan


def main(topology: TopologyArgument, seed: SeedOption = None, json: JsonOption = False) -> None:
    """Print every decision for a topology file: interfaces, addresses, routes, links. Touches nothing."""
    plan = plan_of(topology, seed)
    if json:
        print_json(plan_to_dict(plan))
        return
    print(f"lab {plan.lab}, seed {plan.seed}: {len(plan.nodes)} nodes, {len(plan.links)} links")
    print()
    _interfaces(plan)
    _routes(plan)
    print()
    print_table(
        ["LINK", "ENDS", ">MTU", "STATE"],
        [(link.name, f"{link.a} -- {link.b}", link.mtu, "up" if link.up else "down") for link in plan.links],
    )
    print()
    print_table(
        ["SEGMENT", "PREFIX", "MEMBERS"],
        [(segment.name, segment.prefix or "-", " ".join(map(str, segment.ends))) for segment in plan.segments],
    )


def _interfaces(plan: Plan) -> None:
    rows = []
    for node in plan.nodes:
        kind = node.kind if node.stack == "layerlab" else f"{node.kind} (kernel)"
        rows += [
            (node.name, kind, interface.name, " ".join(interface.addresses) or "-", interface.mac)
            for interface in node.interfaces
        ]
        if not node.interfaces:
            rows.append((node.name, kind, "-", "-", "-"))
    print_table(["NODE", "KIND", "INTERFACE", "ADDRESS", "MAC"], rows)


def _routes(plan: Plan) -> None:
    rows = [(node.name, route.destination, route.via, route.interface) for node in plan.nodes for route in node.routes]
    if rows:
        print()
        print_table(["NODE", "ROUTE TO", "VIA", "INTERFACE"], rows)
