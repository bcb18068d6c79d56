"""`lab capture`: record a node's frames."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import LabOption, NodeArgument, open_lab
from lab.cli.output import print_note, print_warning


def main(
    node: NodeArgument,
    stop: Annotated[bool, typer.Option("--stop", help="End the running capture.")] = False,
    lab: LabOption = None,
) -> None:
    """Record every frame that a node sends and receives, as pcapng, into the run. `--stop` ends it."""
    with open_lab(lab).agent(node) as agent:
        if not stop:
            print(agent.call("capture_start")["path"])
            return
        result = agent.call("capture_stop")
    print_note(f"the capture of {node} is complete")
    if result["failed"] or result["lost"] or result["dropped"]:
        print_warning(
            f"{result['lost'] + result['dropped']} frames are missing: {result['failed'] or 'the file is full'}"
        )
