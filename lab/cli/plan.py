"""`lab plan`: what would be built."""

from __future__ import annotations

from lab.cli.common import JsonOption, SeedOption, TopologyArgument
from lab.cli.output import counted, print_json, print_table
from lab.cli.topology_file import plan_of
from lab.plan.render import plan_rows, plan_to_dict


def main(topology: TopologyArgument, seed: SeedOption = None, json: JsonOption = False) -> None:
    """Print every decision for a topology file: interfaces, addresses, routes, links. Touches nothing."""
    plan = plan_of(topology, seed)
    if json:
        print_json(plan_to_dict(plan))
        return
    print(f"lab {plan.lab}, seed {plan.seed}: {counted(len(plan.nodes), 'node')}, {counted(len(plan.links), 'link')}")
    for table in plan_rows(plan):
        if table.rows:
            print()
            columns = [name.upper() for name in table.columns]
            print_table([">MTU" if name == "MTU" else name for name in columns], table.rows)
