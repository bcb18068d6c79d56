"""`lab link`: change a link while the lab runs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lab.cli.common import LabOption, open_lab
from lab.cli.output import print_note
from lab.errors import UserInputError


def main(
    link: Annotated[str, typer.Argument(metavar="LINK", help="A link's name, as `lab plan` shows it.")],
    state: Annotated[Literal["up", "down"] | None, typer.Argument(metavar="up|down", help="Its carrier.")] = None,
    mtu: Annotated[
        int | None, typer.Option("--mtu", metavar="N", help="Its MTU in octets.", show_default=False)
    ] = None,
    lab: LabOption = None,
) -> None:
    """Take a link down, as if its cable were pulled, or up again; or change the MTU of both ends."""
    if state is None and mtu is None:
        raise UserInputError(
            "nothing to change", hint="`lab link LINK up`, `lab link LINK down` or `lab link LINK --mtu N`"
        )
    client = open_lab(lab)
    client.set_link(link, up=None if state is None else state == "up", mtu=mtu)
    if state is not None:
        print_note(f"link {link} is {state}")
    if mtu is not None:
        print_note(f"link {link} has an MTU of {mtu}")
