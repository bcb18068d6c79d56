"""`lab down`: end a lab."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import LAB_VARIABLE, which_lab
from lab.cli.output import print_note
from lab.engine import registry
from lab.engine.launch import bring_down


def main(
    lab: Annotated[
        str | None, typer.Argument(metavar="LAB", envvar=LAB_VARIABLE, help="The lab; not needed while one is up.")
    ] = None,
    all_labs: Annotated[bool, typer.Option("--all", help="Every lab of yours.")] = False,
) -> None:
    """End a lab: every node writes its state, then everything is taken away."""
    names = registry.running() if all_labs else [which_lab(lab, "`lab down NAME`, `lab down --all`")]
    for name in names:
        run = bring_down(name)
        print_note(f"lab {name} is down; its run is {run}")
