"""`lab up`: from a file to a running network."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.cli.common import DriverOption, JsonOption, SeedOption, TopologyArgument
from lab.cli.output import counted, print_json, print_note
from lab.cli.progress import progress_bar
from lab.drivers.abilities import refusal
from lab.engine.client import LabClient
from lab.engine.launch import SpareSupervisor, bring_up
from lab.plan.values import Plan


def main(
    topology: TopologyArgument,
    seed: SeedOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name for the lab.", show_default=False)
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="FOLDER", help="Folder for the run.", show_default="./runs")
    ] = None,
    impair: Annotated[
        Literal["auto", "kernel", "relay"] | None,
        typer.Option(
            "--impair",
            metavar="auto|kernel|relay",
            help="Who carries impaired links: the kernel's netem, or our relay.",
            show_default="the file's",
        ),
    ] = None,
    driver: DriverOption = "netns",
    json: JsonOption = False,
) -> None:
    """Build the network of a topology file and start every node.

    Returns when all nodes answer. `lab down` ends it."""
    if driver == "sim":
        raise refusal("sim", "up", hint="`lab run SCRIPT --driver sim` runs a script in one")
    begun = time.monotonic()
    with SpareSupervisor(driver) as spare, progress_bar() as progress:
        # The supervisor's process imports meanwhile, since `lab.cli.entry` or the line above has started it.
        plan: Plan
        plan, source = importlib.import_module("lab.cli.topology_file").plan_and_source(
            topology, seed, name=name, impair_by=impair, driver=driver
        )
        run = bring_up(plan, source, progress, driver=driver, runs=runs, spare=spare)
        impaired = _impaired(plan.lab) if any(link.impairment for link in plan.links) else []
    seconds = time.monotonic() - begun
    if json:
        print_json(
            {
                "lab": plan.lab,
                "run": str(run.folder),
                "nodes": len(plan.nodes),
                "seconds": round(seconds, 3),
                "impaired": impaired,
            }
        )
        return
    print_note(
        f"lab {plan.lab} is up: {counted(len(plan.nodes), 'node')}, {counted(len(plan.links), 'link')}, {seconds:.1f} s"
    )
    for by, reason, count in impaired:
        print_note(f"{counted(count, 'impaired link')} carried by {by}: {reason}")
    print_note(f"it records to {run.folder}")


def _impaired(lab: str) -> list[tuple[str, str, int]]:
    """Who carries the impaired links, why, and how many."""
    client = LabClient(lab)
    links = client.status()["links"]
    client.close()
    found = Counter((link["impaired_by"], link["reason"]) for link in links if link["impaired_by"])
    return [(by, reason, count) for (by, reason), count in found.items()]
