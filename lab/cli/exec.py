"""`lab exec`: a Linux command inside a node."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import LabOption, NodeArgument, open_lab
from lab.engine.inside import run_inside
from lab.errors import UserInputError

SETTINGS = {"context_settings": {"allow_interspersed_args": False}}


def main(
    node: NodeArgument,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments, after `--`.")],
    lab: LabOption = None,
) -> None:
    """Run a Linux command in a node's network namespace, on this terminal, and end with its exit code.

    Example: `lab exec k -- ping -c 3 a`.

    The names of the lab's nodes resolve there. In a node with our stack the kernel has no addresses: commands see the
    interfaces, `tcpdump` for one, but the network is the stack's."""
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise UserInputError("no command given", hint="`lab exec NODE -- COMMAND ARGUMENTS...`")
    client = open_lab(lab)
    namespaces = client.enter(node)
    raise typer.Exit(run_inside(namespaces, node, command))
