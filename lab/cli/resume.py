"""`lab resume`: a paused node goes on."""

from __future__ import annotations

from lab.cli.common import LabOption, NodeArgument, open_lab
from lab.cli.output import print_note


def main(node: NodeArgument, lab: LabOption = None) -> None:
    """Let a paused node go on: it finds what has arrived, and its timers are late."""
    open_lab(lab).resume(node)
    print_note(f"node {node} is running")
