"""`lab ping`: echo requests from one node to another, by the stack inside the first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, open_lab, require_our_stack
from lab.cli.output import milliseconds, print_json
from lab.engine.client import follow
from lab.errors import VerdictError


def main(
    source: Annotated[str, typer.Argument(metavar="NODE", help="The node that asks.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="A node, or an address.")],
    count: Annotated[
        int, typer.Option("-c", "--count", metavar="N", min=1, max=100_000, help="How many requests.")
    ] = 4,
    interval: Annotated[
        float, typer.Option("-i", "--interval", metavar="SECONDS", min=0.001, help="Seconds between requests.")
    ] = 1.0,
    size: Annotated[
        int, typer.Option("-s", "--size", metavar="N", min=0, max=65_507, help="Octets of data in each.")
    ] = 56,
    ttl: Annotated[int, typer.Option("-t", "--ttl", metavar="N", min=1, max=255, help="Time to live.")] = 64,
    dont_fragment: Annotated[bool, typer.Option("-D", "--dont-fragment", help="Forbid fragmentation.")] = False,
    broadcast: Annotated[bool, typer.Option("-b", "--broadcast", help="Allow a broadcast address.")] = False,
    timeout: Annotated[
        float, typer.Option("-W", "--timeout", metavar="SECONDS", min=0.001, help="Seconds to wait for a reply.")
    ] = 2.0,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Send ICMP echo requests from a node with our stack. Ends with 7 when no reply comes."""
    client = open_lab(lab)
    require_our_stack(client, source, f"lab exec {source} -- ping {destination}")
    options = {
        "to": destination,
        "count": count,
        "interval": interval,
        "size": size,
        "ttl": ttl,
        "dont_fragment": dont_fragment,
        "broadcast": broadcast,
        "timeout": timeout,
    }
    events: list[dict[str, Any]] = []
    show = events.append if json else _show
    with client.agent(source) as agent:
        result = follow(agent.stream("run", {"application": "ping", "options": options}), show)
    if json:
        print_json({"source": source, **result, "events": events})
    else:
        _summary(destination, result)
    if not result["received"]:
        raise VerdictError(f"no reply from {destination}", hint="`lab events` shows what was dropped, and where")


def _show(event: dict[str, Any]) -> None:
    match event["event"]:
        case "reply":
            damage = f", data differ at octet {event['corrupted_at']}" if "corrupted_at" in event else ""
            print(
                f"{event['octets']} octets from {event['source']}: seq={event['sequence']} ttl={event['ttl']} "
                f"time={milliseconds(event['rtt'])} ms{damage}"
            )
        case "error":
            mtu = f" (mtu {event['mtu']})" if "mtu" in event else ""
            print(f"from {event['source']}: seq={event['sequence']} {event['error'].replace('_', ' ')}{mtu}")
        case "timeout":
            print(f"seq={event['sequence']} no reply in time")


def _summary(destination: str, result: dict[str, Any]) -> None:
    more = "".join(f", {result[name]} {name}" for name in ("duplicates", "corrupted", "late", "errors") if result[name])
    print(
        f"{destination}: {result['transmitted']} sent, {result['received']} received, {result['loss']:.0%} lost{more}"
    )
    if result["received"]:
        times = " / ".join(milliseconds(result[f"rtt_{name}"]) for name in ("min", "avg", "max", "mdev"))
        print(f"round trip min / avg / max / mdev: {times} ms")
