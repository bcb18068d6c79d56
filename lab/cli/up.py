"""`lab up`: from a file to a running network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import JsonOption
from lab.cli.output import counted, print_json, print_note
from lab.cli.progress import progress_bar
from lab.cli.topology_file import SeedOption, TopologyArgument, plan_of
from lab.engine.launch import bring_up


def main(
    topology: TopologyArgument,
    seed: SeedOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name for the lab.", show_default=False)
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="FOLDER", help="Folder for the run.", show_default="./runs")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the network of a topology file and start every node.

    Returns when all nodes answer. `lab down` ends it."""
    begun = time.monotonic()
    plan = plan_of(topology, seed, name=name)
    with progress_bar() as progress:
        run = bring_up(plan, topology.read_text(), progress, runs=runs)
    seconds = time.monotonic() - begun
    if json:
        print_json({"lab": plan.lab, "run": str(run.folder), "nodes": len(plan.nodes), "seconds": round(seconds, 3)})
        return
    print_note(
        f"lab {plan.lab} is up: {counted(len(plan.nodes), 'node')}, {counted(len(plan.links), 'link')}, {seconds:.1f} s"
    )
    print_note(f"it records to {run.folder}")
