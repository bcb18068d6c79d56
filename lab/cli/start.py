"""`lab start`: a stopped node, or an application in a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from lab.cli import transfer
from lab.cli.common import JsonOption, LabOption, NodeArgument, open_lab, require_our_stack
from lab.cli.output import counted, print_json, print_note
from lab.engine.client import AgentClient
from lab.errors import UserInputError, VerdictError
from nodes.application import catalogue

SETTINGS = {"context_settings": {"ignore_unknown_options": True}}

Value = str | int | float | bool
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def main(
    node: NodeArgument,
    application: Annotated[str | None, typer.Argument(metavar="APPLICATION", help="What to start in it.")] = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTION", help="Its options: --to b:80, or to=b:80.")
    ] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--background", help="Show what it reports, and wait for its end."),
    ] = None,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Start a node that was stopped or died; or start an application in a running node.

    Example: `lab start b sink`, then `lab start a source --to b --bytes 100MB`.

    What sends to somebody (`source`, and `chat` with `to`) is followed to its end, and Ctrl-C ends it; other
    applications go on in the background until `lab stop`. Ends with 7 when a connection of a source fails."""
    client = open_lab(lab)
    if application is None:
        client.start(node)
        print_note(f"node {node} is running")
        return
    require_our_stack(client, node, f"lab exec {node} -- COMMAND")
    values = parse_options(application, options or [])
    if follow is None:
        follow = catalogue.find(application).awaited and "to" in values
    with client.agent(node) as agent:
        if follow:
            _follow(agent, application, values, json)
            return
        number = agent.call("start", application=application, options=values)["id"]
    if json:
        print_json({"node": node, "application": application, "id": number})
    else:
        print_note(f"{application} runs in {node} as number {number}")


def _follow(agent: AgentClient, application: str, options: Mapping[str, Value], json: bool) -> None:
    events: list[dict[str, Any]] = []
    view = transfer.view_of(application, options)
    result, interrupted = agent.run(application, options, events.append if json else view.show)
    if json:
        print_json({"node": agent.node, "application": application, **result, "events": events})
    else:
        view.sum_up(result)
    if interrupted:
        raise typer.Exit(130)
    failed = result.get("failed", 0)
    if failed:
        tried = int(options.get("connections", 1)) if application == "source" else failed
        why = f": {result['reason']}" if "reason" in result else ""
        raise VerdictError(
            f"{failed} of {counted(tried, 'connection')} failed{why}",
            hint=f"`lab events {agent.node}` shows what happened",
        )


def parse_options(application: str, words: Sequence[str]) -> dict[str, Value]:
    """`--to b --nodelay bytes=1MB` as values of the types that the application's options have. Raises UserInputError
    for words that are no options."""
    known = catalogue.find(application).options
    values: dict[str, Value] = {}
    waiting = list(reversed(words))
    while waiting:
        text = waiting.pop()
        name, separator, word = text.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        kind = known[name].type if name in known else str
        if not separator and text.startswith("--"):
            word = _word_of(text, kind, waiting)
        elif not separator or not name:
            raise UserInputError(f"{text!r} is not an option", hint="options are written --port 7, or port=7")
        values[name] = _value(kind, word)
    return values


def _word_of(text: str, kind: type, waiting: list[str]) -> str:
    """The word that belongs to an option; what is true or false needs none."""
    if kind is bool and (not waiting or waiting[-1] not in _TRUTH):
        return "true"
    if not waiting or waiting[-1].startswith("--"):
        raise UserInputError(f"{text} needs a value", hint=f"{text} VALUE")
    return waiting.pop()


def _value(kind: type, word: str) -> Value:
    """The node checks ranges and names; a word that is not of the type goes as it is, and is refused there."""
    if kind is bool:
        return _TRUTH.get(word, word)
    try:
        return kind(word)  # type: ignore[no-any-return]
    except ValueError:
        return word
