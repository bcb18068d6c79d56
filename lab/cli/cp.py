"""`lab cp`: files into a node, or out of it."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import JsonOption, LabOption, open_lab
from lab.cli.output import counted, print_json, print_note
from lab.engine.copy_inside import Direction, copy
from lab.errors import UserInputError

EXAMPLE = "`lab cp a:/etc/hosts .` or `lab cp page.html a:/tmp/`"


def main(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A file or folder: PATH here, or NODE:/PATH.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; one of the two is of a node.")],
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a file or a folder into a node, or out of it.

    Example: `lab cp page.html web:/srv/`. The node's file system is the one that commands of `lab exec` see: on docker
    the container's own, on netns and mininet this machine's. Modes are kept; owners and times are not."""
    node, direction, here, there = _sides(source, target)
    client = open_lab(lab)
    first, second = (here, there) if direction == "in" else (there, here)
    outcome = copy(client, node, direction, first, second)
    if json:
        print_json({"node": node, "direction": direction, "files": outcome.files, "octets": outcome.octets})
        return
    print_note(f"{counted(outcome.files, 'file')}, {counted(outcome.octets, 'octet')}, {source} to {target}")


def _sides(source: str, target: str) -> tuple[str, Direction, str, str]:
    """The node, the direction, the path here and the path there."""
    (from_node, from_path), (to_node, to_path) = _split(source), _split(target)
    if from_node and to_node:
        raise UserInputError("both are of nodes", hint="copy out of the one first, and then into the other")
    if from_node:
        return from_node, "out", to_path, from_path
    if to_node:
        return to_node, "in", from_path, to_path
    raise UserInputError("neither is of a node", hint=f"{EXAMPLE}; `./a:b` is a file here")


def _split(text: str) -> tuple[str, str]:
    """Node and path; no node where a slash comes before the first colon, or there is none."""
    node, colon, path = text.partition(":")
    return (node, path) if colon and node and "/" not in node else ("", text)
