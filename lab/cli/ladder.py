"""`lab ladder`: a run's frames as a ladder diagram."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lab.cli.common import LabOption, find_run
from lab.cli.output import print_note
from lab.engine.ladder import Crossing, crossings, draw
from lab.errors import UserInputError


def main(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE...]", help="These nodes, in this order.")] = None,
    last: Annotated[int, typer.Option("--last", min=0, help="Only the newest so many frames; 0 is all.")] = 60,
    run: Annotated[Path | None, typer.Option("--run", help="A run's folder.", show_default="the latest")] = None,
    lab: LabOption = None,
) -> None:
    """Draw the captures of a run: nodes side by side, time downwards, an arrow for each frame."""
    found = crossings(find_run(run, lab))
    known = list(dict.fromkeys(name for crossing in found for name in (crossing.source, *crossing.targets)))
    for node in nodes or ():
        if node not in known:
            raise UserInputError(f"no frame of a node {node!r} in this run", hint=f"it has {', '.join(sorted(known))}")
    print_ladder(found, nodes or sorted(known), last)


def print_ladder(found: list[Crossing], nodes: list[str], last: int) -> None:
    chosen = [crossing for crossing in found if crossing.source in nodes and _has_part(crossing, nodes)]
    if last and len(chosen) > last:
        print_note(f"the newest {last} of {len(chosen)} frames; --last 0 shows all")
        chosen = chosen[-last:]
    console = Console()
    for line in draw(chosen, nodes, console.width if console.is_terminal else 120):
        print(line)


def _has_part(crossing: Crossing, nodes: list[str]) -> bool:
    return not crossing.targets or any(name in nodes for name in crossing.targets)
