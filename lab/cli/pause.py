"""`lab pause`: a node stands still."""

from __future__ import annotations

from lab.cli.common import LabOption, NodeArgument, open_lab
from lab.cli.output import print_note


def main(node: NodeArgument, lab: LabOption = None) -> None:
    """Let a node stand still: its programs, its timers and its stack. What arrives meanwhile waits, up to the buffers
    of its interfaces."""
    open_lab(lab).pause(node)
    print_note(f"node {node} is paused")
