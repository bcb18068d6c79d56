"""`lab validate`: check topology files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.output import counted, print_error, print_note
from lab.cli.topology_file import plan_of
from lab.errors import LabError


def main(
    topologies: Annotated[
        list[Path], typer.Argument(metavar="TOPOLOGY", help="Topology files (YAML).", readable=False)
    ],
) -> None:
    """Check topology files and say everything that is wrong with them. Nothing is created."""
    code = 0
    for topology in topologies:
        try:
            plan = plan_of(topology)
        except LabError as error:
            print_error(error.message, error.hint)
            code = error.exit_code
        else:
            print_note(f"{topology}: valid, {counted(len(plan.nodes), 'node')}, {counted(len(plan.links), 'link')}")
    if code:
        raise typer.Exit(code)
