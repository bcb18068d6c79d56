"""`lab traceroute`: the path from one node to another, by the stack inside the first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from lab.cli.common import JsonOption, LabOption, open_lab, require_our_stack
from lab.cli.output import milliseconds, print_json, print_table
from lab.engine.client import follow
from lab.errors import VerdictError


def main(
    source: Annotated[str, typer.Argument(metavar="NODE", help="The node that asks.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="A node, or an address.")],
    max_hops: Annotated[int, typer.Option("-m", "--max-hops", metavar="N", min=1, max=255, help="Hops to try.")] = 30,
    probes: Annotated[int, typer.Option("-q", "--probes", metavar="N", min=1, max=10, help="Probes for each hop.")] = 3,
    method: Annotated[Literal["udp", "icmp"], typer.Option("--method", help="What the probes are.")] = "udp",
    timeout: Annotated[
        float, typer.Option("-W", "--timeout", metavar="SECONDS", min=0.001, help="Seconds to wait for a reply.")
    ] = 2.0,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """List the routers on the way. Ends with 7 when the destination is not reached."""
    client = open_lab(lab)
    require_our_stack(client, source, f"lab exec {source} -- traceroute {destination}")
    options = {"to": destination, "max_hops": max_hops, "probes": probes, "method": method, "timeout": timeout}
    hops: list[dict[str, Any]] = []
    with client.agent(source) as agent:
        result = follow(agent.stream("run", {"application": "traceroute", "options": options}), hops.append)
    names = client.owners()
    if json:
        print_json({"source": source, **result, "events": hops})
    else:
        print_table([">HOP", "ROUTER", "NODE", "TIMES"], [_row(hop, names) for hop in hops if hop["event"] == "hop"])
    if not result["reached"]:
        raise VerdictError(f"{destination} was not reached", hint="`lab events` shows what was dropped, and where")


def _row(hop: dict[str, Any], names: dict[str, str]) -> tuple[object, ...]:
    """One line of a hop: the routers that answered, whose they are, and the time of each probe."""
    addresses = list(dict.fromkeys(probe["address"] for probe in hop["probes"] if probe["address"]))
    nodes = [names.get(address, "-") for address in addresses]
    return hop["hop"], " ".join(addresses) or "*", " ".join(nodes) or "-", _times(hop["probes"])


def _times(probes: list[dict[str, Any]]) -> str:
    """The time of each probe, and what a router said; once, where all were told the same."""
    marks = [probe.get("mark", "").replace("_", " ") for probe in probes]
    times = ["*" if probe["rtt"] is None else f"{milliseconds(probe['rtt'])} ms" for probe in probes]
    if len(set(marks)) == 1:
        return f"{'  '.join(times)}  {marks[0]}".rstrip()
    return "  ".join(f"{time} {mark}".rstrip() for time, mark in zip(times, marks, strict=True))
