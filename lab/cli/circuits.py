"""`lab circuits`: the virtual circuits of nodes, as each of them knows them.

    NODE        LINK    VCI    STATE     ONWARD
    r1          eth0    2      open      eth2 1
    r1          eth2    1      open      eth0 2
    b           eth0    1      open      -

What comes from a link with a label goes on by another link with another label, or ends in the node (`-`).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, open_lab, status_of
from lab.cli.output import print_json
from lab.engine.client import LabClient
from lab.errors import UserInputError


def main(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Nodes; all that run if left out.")] = None,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Show the virtual circuits of nodes: where each link and label leads. --json has neighbors and sockets, too.

    A topology with `circuits: true` has them."""
    client = open_lab(lab)
    found = {name: _circuits(client, name) for name in nodes or _candidates(client)}
    if json:
        print_json(found)
        return
    print(_row("NODE", "LINK", "VCI", "STATE", "ONWARD"))
    for node, state in found.items():
        for leg in state["table"]:
            onward = "-" if leg["onward"] is None else " ".join(map(str, leg["onward"]))
            print(_row(node, leg["interface"], str(leg["vci"]), leg["state"], onward))


def _candidates(client: LabClient) -> list[str]:
    """The nodes that run: in a lab with circuits each of them has some."""
    return [name for name, node in client.nodes().items() if node.state == "running"]


def _circuits(client: LabClient, node: str) -> dict[str, Any]:
    """Raises UserInputError for a node that has none."""
    status = status_of(client, node)
    state: dict[str, Any] | None = None
    if status.kind in ("host", "router") and status.stack == "layerlab":
        with client.agent(node) as agent:
            state = agent.call("state")["device"].get("circuits")
    if state is None:
        hint = "`circuits: true` at the top of a topology gives them to its hosts and routers"
        raise UserInputError(f"{node!r} has no virtual circuits", hint=hint)
    return state


def _row(node: str, link: str, vci: str, state: str, onward: str) -> str:
    return f"{node:<15} {link:<15} {vci:<6} {state:<9} {onward}"
