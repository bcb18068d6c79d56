"""`lab ladder`: a run's frames as a ladder diagram."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import LabOption, find_run
from lab.cli.output import print_note, terminal_width
from lab.engine.ladder import Crossing, crossings, draw
from lab.errors import UserInputError


def main(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="These nodes, in this order.")] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="Only the newest so many frames; 0 is all.")
    ] = 60,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="A run's folder.", show_default="the latest")
    ] = None,
    lab: LabOption = None,
) -> None:
    """Draw the captures of a run: nodes side by side, time downwards, an arrow for each frame."""
    chosen = find_run(run, lab)
    found = crossings(chosen)
    seen = {name for crossing in found for name in (crossing.source, *crossing.targets)}
    known = [node.name for node in chosen.plan().nodes if node.kind in ("host", "router")]
    if not seen:
        raise UserInputError(f"the captures of run {chosen.name} hold no frames yet", hint="try again in a second")
    for node in nodes or ():
        if node not in known:
            raise UserInputError(f"no host or router {node!r} in this run", hint=f"it has {', '.join(known)}")
    print_ladder(found, nodes or [name for name in known if name in seen], last)


def print_ladder(found: list[Crossing], nodes: list[str], last: int) -> None:
    chosen = [crossing for crossing in found if crossing.source in nodes and _has_part(crossing, nodes)]
    if found and not chosen:
        raise UserInputError(
            f"no frame went from one of {', '.join(nodes)} to another", hint="name the routers between them too"
        )
    if last and len(chosen) > last:
        print_note(f"the newest {last} of {len(chosen)} frames; --last 0 shows all")
        chosen = chosen[-last:]
    for line in draw(chosen, nodes, terminal_width(sys.stdout) or 120):
        print(in_encoding(line, sys.stdout.encoding))


def in_encoding(line: str, encoding: str) -> str:
    """The line, drawn with ASCII where the output's encoding has no lines and arrows."""
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return line.translate(_ASCII)
    return line


_ASCII = str.maketrans("│├┤┼─▶◀●…", "|||+-><o~")


def _has_part(crossing: Crossing, nodes: list[str]) -> bool:
    return not crossing.targets or any(name in nodes for name in crossing.targets)
