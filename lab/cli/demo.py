"""`lab demo`: a small network, and what it does."""

from __future__ import annotations

import collections
import os
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from lab.api.lab import Lab
from lab.api.opening import Options
from lab.cli.common import DriverOption
from lab.cli.ladder import print_ladder
from lab.cli.output import print_note, print_table
from lab.cli.topology_file import plan_of
from lab.engine.ladder import Crossing, crossings
from lab.engine.runs import Run
from lab.errors import EnvironmentLackError, VerdictError
from lab.experiments.demo import Verdict, judge_captures, run_steps
from nodes.trace.sqlog import read


def main(
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="FOLDER", help="Folder for the run.", show_default="./runs")
    ] = None,
    driver: DriverOption = "netns",
) -> None:
    """Build a network of every kind of node, try it, and show what happened. Ends with 7 where something is wrong."""
    topology = _topology()
    plan = plan_of(topology, name=f"demo-{os.getpid()}", quiet=True)
    print(f"1. Building {topology.name}: {len(plan.nodes)} nodes, {len(plan.links)} links", flush=True)
    options: Options = {"runs": runs}
    if driver == "sim":
        options["stand_in"] = True
    labs: list[Lab] = []
    verdicts = Lab.run(_try_it, plan, driver=driver, told=labs.append, **options)
    run = Run(labs[0].run_folder)
    verdicts.append(judge_captures(run))
    _print(verdicts[-1])
    _show_events(run)
    _show_ladder(run)
    print(f"\nThe lab is gone; its run stays: {run.folder}")
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        raise VerdictError(f"{len(failed)} of {len(verdicts)} verdicts failed")
    print_note(f"all {len(verdicts)} verdicts passed")


async def _try_it(lab: Lab) -> list[Verdict]:
    rows = [(node.name, node.kind, node.stack, " ".join(node.addresses)) for node in lab.nodes.values()]
    print_table(["NODE", "KIND", "STACK", "ADDRESSES"], rows)
    print("\n2. Trying it")
    verdicts = []
    async for verdict in run_steps(lab):
        verdicts.append(verdict)
        _print(verdict)
    return verdicts


def _topology() -> Path:
    """demo.yml, beside the package in a checkout and inside it when installed."""
    package = Path(str(resources.files("lab")))
    for folder in (package / "topologies", package.parent / "topologies"):
        if (folder / "demo.yml").is_file():
            return folder / "demo.yml"
    raise EnvironmentLackError("demo.yml is missing from this installation", hint="install layerlab again")


def _print(verdict: Verdict) -> None:
    print(f"  {'pass' if verdict.passed else 'FAIL'}  {verdict.claim}\n        {verdict.numbers}", flush=True)


def _show_events(run: Run) -> None:
    print("\n3. What the nodes recorded")
    rows = []
    for path in sorted(run.folder.glob("nodes/*/trace.sqlog")):
        counts = collections.Counter(str(record["name"]).partition(":")[2] for record in read(path) if "name" in record)
        counts.pop("closed", None)
        common = ", ".join(f"{name} {count}" for name, count in counts.most_common(4))
        rows.append((path.parent.name, sum(counts.values()), common))
    print_table(["NODE", ">EVENTS", "MOST OF THEM"], rows)


def _show_ladder(run: Run) -> None:
    print("\n4. How a packet too large for the way finds that out: a ladder")
    order = ["a", "r1", "r2", "b"]
    print_ladder(_around_discovery(crossings(run)), order, 0)


def _around_discovery(found: list[Crossing]) -> list[Crossing]:
    """From the packet that did not fit to the first that came back whole."""
    needed = bytes((3, 4))  # ICMP: destination unreachable, fragmentation needed (RFC 1191)
    for index, crossing in enumerate(found):
        if crossing.frame[12:14] == b"\x08\x00" and crossing.frame[23] == 1 and crossing.frame[34:36] == needed:
            return found[max(index - 1, 0) : index + 9]
    return found[:10]
