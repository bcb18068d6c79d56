"""`lab stop`: a node, or an application in a node."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import JsonOption, LabOption, NodeArgument, open_lab
from lab.cli.output import print_json, print_note
from lab.cli.state import show


def main(
    node: NodeArgument,
    number: Annotated[int | None, typer.Argument(metavar="NUMBER", help="An application, by its number.")] = None,
    kill: Annotated[bool, typer.Option("--kill", help="End the node's agent by SIGKILL.")] = False,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Stop a node: its agent writes its state and ends, its interfaces go down. With a number, stop an application."""
    client = open_lab(lab)
    if number is None:
        client.stop(node, kill=kill)
        print_note(f"node {node} is stopped")
        return
    with client.agent(node) as agent:
        result = agent.call("stop", id=number)
    if json:
        print_json(result)
        return
    show("result", result)
