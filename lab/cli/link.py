"""`lab link`: change a link while the lab runs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lab.cli.common import LabOption, open_lab
from lab.cli.output import print_note
from lab.engine.client import LabClient
from lab.errors import UserInputError
from nodes.physical.schedule import MINIMUM_PERIOD
from nodes.quantities import format_duration, parse_duration


def main(
    link: Annotated[str, typer.Argument(metavar="LINK", help="A link's name, as `lab plan` shows it.")],
    state: Annotated[
        Literal["up", "down", "flap"] | None, typer.Argument(metavar="up|down|flap", help="Its carrier.")
    ] = None,
    mtu: Annotated[
        int | None, typer.Option("--mtu", metavar="N", help="Its MTU in octets.", show_default=False)
    ] = None,
    down: Annotated[str, typer.Option("--down", metavar="TIME", help="flap: how long it is down.")] = "1s",
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="flap: from one to the next.")] = "5s",
    times: Annotated[int, typer.Option("--times", metavar="N", min=1, help="flap: how often.")] = 1,
    lab: LabOption = None,
) -> None:
    """Take a link down, as if its cable were pulled, or up again; or change the MTU of both ends.

    `flap` takes it down again and again, until it is done or until `up` or `down`."""
    if state is None and mtu is None:
        raise UserInputError(
            "nothing to change", hint="`lab link LINK up`, `down` or `flap`, or `lab link LINK --mtu N`"
        )
    client = open_lab(lab)
    if state != "flap":
        if client.set_link(link, up=None if state is None else state == "up", mtu=mtu):
            print_note(f"link {link} flaps no more")
    else:
        if mtu is not None:
            client.set_link(link, mtu=mtu)
        _flap(client, link, _duration("--down", down), _duration("--every", every), times)
        return
    if state is not None:
        print_note(f"link {link} is {state}")
    if mtu is not None:
        print_note(f"link {link} has an MTU of {mtu}")


def _flap(client: LabClient, link: str, down: int, every: int, times: int) -> None:
    if every <= down:
        raise UserInputError("--every is not longer than --down", hint="the link would never be up")
    if every < MINIMUM_PERIOD:
        raise UserInputError(f"--every: {format_duration(every)}, at least {format_duration(MINIMUM_PERIOD)} is needed")
    client.flap_link(link, down=down, every=every, times=times)
    often = "once" if times == 1 else f"{times} times, every {format_duration(every)}"
    print_note(f"link {link} goes down for {format_duration(down)}, {often}")


def _duration(option: str, text: str) -> int:
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise UserInputError(f"{option}: {error}") from None
    if value <= 0:
        raise UserInputError(f"{option}: {text!r} is no time", hint="such as 500ms or 2s")
    return value
