"""`lab start`: a stopped node, or an application in a node."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.common import LabOption, NodeArgument, open_lab, require_our_stack
from lab.cli.output import print_note
from lab.errors import UserInputError
from nodes.application import catalogue


def main(
    node: NodeArgument,
    application: Annotated[str | None, typer.Argument(metavar="APPLICATION", help="What to start in it.")] = None,
    options: Annotated[list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="Its options.")] = None,
    lab: LabOption = None,
) -> None:
    """Start a node that was stopped or died; or start an application in a running node.

    Example: `lab start b udp_echo port=7`."""
    client = open_lab(lab)
    if application is None:
        client.start(node)
        print_note(f"node {node} is running")
        return
    require_our_stack(client, node, f"lab exec {node} -- COMMAND")
    with client.agent(node) as agent:
        number = agent.call("start", application=application, options=_typed(application, options or []))
    print_note(f"{application} runs in {node} as number {number['id']}")


def _typed(application: str, options: list[str]) -> dict[str, str | int | float | bool]:
    """Words of a command line as the types that the application's options have."""
    known = catalogue.find(application).options
    values: dict[str, str | int | float | bool] = {}
    for text in options:
        name, separator, word = text.partition("=")
        if not separator or not name:
            raise UserInputError(f"{text!r} is not an option", hint="options are written NAME=VALUE, such as port=7")
        values[name] = _value(known[name].type if name in known else str, word)
    return values


def _value(kind: type, word: str) -> str | int | float | bool:
    """The node checks ranges and names; a word that is not of the type goes as it is, and is refused there."""
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(word, word)
    try:
        return kind(word)  # type: ignore[no-any-return]
    except ValueError:
        return word
