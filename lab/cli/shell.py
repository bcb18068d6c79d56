"""`lab shell`: a shell inside a node."""

from __future__ import annotations

import os

import typer

from lab.cli.common import LabOption, NodeArgument, open_lab
from lab.engine.inside import run_inside


def main(node: NodeArgument, lab: LabOption = None) -> None:
    """Open a shell ($SHELL, or /bin/sh) in a node's network namespace."""
    client = open_lab(lab)
    namespaces = client.enter(node)
    raise typer.Exit(run_inside(namespaces, node, [os.environ.get("SHELL") or "/bin/sh"]))
