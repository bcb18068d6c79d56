"""`lab export`: a topology for another program."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import TopologyArgument
from lab.cli.output import print_warning
from lab.cli.topology_file import plan_and_source
from lab.errors import UserInputError
from lab.exchange.mininet_script import mininet_script


def main(
    topology: TopologyArgument,
    mininet: Annotated[bool, typer.Option("--mininet", help="A Python script with a Mininet Topo.")] = False,
    yaml: Annotated[bool, typer.Option("--yaml", help="A topology file of ours, also of a Mininet Topo.")] = False,
) -> None:
    """Print a topology for another program: `lab export --mininet demo.yml > demo_topo.py`.

    What it cannot say is left out, with a comment and a warning."""
    if mininet == yaml:
        raise UserInputError("export to what?", hint=f"`lab export --mininet {topology}`, or --yaml")
    plan, source = plan_and_source(topology)
    if yaml:
        print(source, end="")
        return
    script = mininet_script(plan)
    for remark in script.left_out:
        print_warning(f"left out: {remark}")
    print(script.text, end="")
