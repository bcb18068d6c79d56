"""`lab impair`: what a link does to frames, while the lab runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, open_lab
from lab.cli.links_report import report
from lab.cli.output import print_json, print_note, print_warning
from lab.engine.client import LabClient
from lab.errors import UserInputError
from lab.lint.impairments import errors_of, warnings_of
from lab.model.settings import parse_settings
from nodes import impairment
from nodes.impairment import NOTHING, Patch

EXAMPLE = "lab impair a--b delay=20ms loss=1%"


def main(
    link: Annotated[
        str | None, typer.Argument(metavar="LINK", help="A link's name, as `lab plan` shows it.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys and values as in a topology: delay=20ms loss=1%."),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="NODE", help="Only frames that this end sends.", show_default="both"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of all that is in force.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Nothing more: the link only carries.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only print what is asked, applied and measured.")] = False,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Change what a link does to frames, or show it.

    What is not named stays as it is. `lab impair` alone shows all impaired links."""
    client = open_lab(lab)
    changing = bool(settings or clear or replace)
    if changing and link is None:
        links = ", ".join(each["name"] for each in client.status()["links"])
        raise UserInputError("which link?", hint=f"name one of {links}")
    if changing and show:
        raise UserInputError("nothing to change together with --show", hint=f"`{EXAMPLE}`")
    if link is None or not changing:
        _show(client, link, json)
        return
    if clear and settings:
        raise UserInputError("--clear takes no settings", hint="`--replace KEY=VALUE` puts some in the place of all")
    patch: Patch = {} if clear else parse_settings(settings or []).patch()
    state = client.links([link])["links"][link]
    directions = _directions(state, sender)
    whole = replace or clear
    _check(state, directions, patch, whole)
    state = client.impair(link, impairment.encode_patch(patch), directions=directions, replace=whole)
    if json:
        print_json(state)
        return
    for side in state["directions"]:
        print_note(f"{link}, {side['from']} to {side['to']}: {side['asked_text']}")
    print_note(f"carried by {state['executor']}: {state['reason']}")


def _show(client: LabClient, link: str | None, json: bool) -> None:
    told = client.links([] if link is None else [link])
    if json:
        print_json(told)
        return
    for state in told["links"].values():
        for line in report(state):
            print(line)
    if not told["links"]:
        print_note("no link is impaired")
        return
    for reason in told["verdict"]["reasons"]:
        print_warning(f"not trustworthy: {reason}")


def _directions(state: dict[str, Any], sender: str | None) -> list[str]:
    """The directions that are meant; `sender` is a node, or an interface where both ends are of one node."""
    chosen = [
        side["direction"]
        for side, end in zip(state["directions"], state["ends"], strict=True)
        if sender in (None, side["from"], end)
    ]
    if not chosen:
        raise UserInputError(f"{sender!r} is not an end of link {state['link']}", hint=" or ".join(state["ends"]))
    return chosen


def _check(state: dict[str, Any], directions: list[str], patch: Patch, whole: bool) -> None:
    """The same checks that a topology passes, on what will be in force."""
    told: set[str] = set()
    for side in state["directions"]:
        if side["direction"] not in directions:
            continue
        before = NOTHING if whole else impairment.decode(side["asked"])
        after = impairment.merged(before, patch)
        for field, message, hint in errors_of(after, state["mtu"]):
            raise UserInputError(f"{field}: {message}", hint=hint)
        for field, message, hint in warnings_of(after, state["mtu"]):
            text = f"{field}: {message}" + (f"; {hint}" if hint else "")
            if text not in told:
                told.add(text)
                print_warning(text)
