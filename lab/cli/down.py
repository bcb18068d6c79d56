"""`lab down`: end a lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import LAB_VARIABLE, which_lab
from lab.cli.output import print_note, print_warning
from lab.engine import registry
from lab.engine.launch import bring_down
from lab.engine.runs import Run


def main(
    lab: Annotated[
        str | None, typer.Argument(metavar="LAB", envvar=LAB_VARIABLE, help="The lab; not needed while one is up.")
    ] = None,
    all_labs: Annotated[bool, typer.Option("--all", help="Every lab of yours.")] = False,
) -> None:
    """End a lab: every node writes its state, then everything is taken away."""
    names = registry.running() if all_labs else [which_lab(lab, "`lab down NAME`, `lab down --all`")]
    for name in names:
        run = Run(Path(bring_down(name)))
        print_note(f"lab {name} is down; its run is {run.folder}")
        for reason in _doubts(run):
            print_warning(f"what was measured on links is not trustworthy: {reason}")


def _doubts(run: Run) -> list[str]:
    """Of the links' verdict. A run's folder may have been moved away while the lab ran."""
    return list(run.facts().get("links", {}).get("reasons", ())) if run.folder.exists() else []
