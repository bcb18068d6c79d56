"""`lab events`: what happened in the nodes and to the links, merged in the order of time."""

from __future__ import annotations

import contextlib
import fnmatch
import json as json_module
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, find_run, open_lab
from lab.cli.output import print_note, terminal_width, wrapped
from lab.engine.client import AgentClient, LabClient
from lab.engine.event_names import check_pattern
from lab.engine.recorded import Row, of_links, recorded_events
from lab.errors import NodeError, UserInputError
from nodes.io.control import ControlError


def main(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Only these nodes, or links.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="PATTERN", help="Only events named so: `link:arp_*`.")
    ] = None,
    last: Annotated[int, typer.Option("--last", metavar="N", min=0, help="Only the newest so many; 0 is all.")] = 0,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Show new events as they happen.")] = False,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="A run's folder.", show_default="the latest")
    ] = None,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Show the events of a run, or with --follow those of a lab that is up, until Ctrl-C."""
    if name is not None:
        check_pattern(name)
    rows = _live(open_lab(lab), nodes) if follow else recorded_events(find_run(run, lab), nodes)
    wanted: Iterable[Row] = (row for row in rows if name is None or fnmatch.fnmatchcase(row[2]["name"], name))
    if last and not follow:
        wanted = list(wanted)[-last:]
    width = None if json else terminal_width(sys.stdout)
    try:
        for row in wanted:
            print(wrapped(_line(row, json), width, indent=22), flush=follow)
    except KeyboardInterrupt:
        if not follow:
            raise
        raise typer.Exit(130) from None  # the usual way to end it, no mistake


def _line(row: Row, json: bool) -> str:
    time, node, event = row
    if json:
        return json_module.dumps({"node": node, **event})
    return f"{time / 1000:12.6f} {node:<8} {event['name']:<28} {_details(event['data'])}".rstrip()


def _details(data: dict[str, Any]) -> str:
    """`eth0 10.0.0.2 incomplete -> reachable mac=... (reply)`: changes as arrows, the cause last."""
    words = []
    for key, value in data.items():
        if key.startswith("old") and "new" + key[3:] in data:
            words.append(f"{value} -> {data['new' + key[3:]]}")
        elif key == "trigger":
            continue
        elif not (key.startswith("new") and "old" + key[3:] in data):
            words.append(f"{key}={value}")
    if "trigger" in data:
        words.append(f"({data['trigger']})")
    return " ".join(words)


def _live(client: LabClient, nodes: list[str] | None) -> Iterator[Row]:
    status = client.nodes()
    links = [link["name"] for link in client.status()["links"]]
    for node in nodes or ():
        if node not in status and node not in links:
            hint = f"its nodes: {', '.join(status)}"
            raise UserInputError(f"no node or link {node!r} in lab {client.lab}", hint=hint)
    agents = [row.name for row in status.values() if row.agent and row.state == "running"]
    chosen = [name for name in agents if not nodes or name in nodes] + [name for name in links if name in (nodes or ())]
    streams: list[Iterator[Row]] = []
    with ExitStack() as stack:
        heard = [node for node in agents if not nodes or node in nodes]
        streams += [_of_agent(stack.enter_context(client.agent(node))) for node in heard]
        if not nodes or any(name in links for name in nodes):
            streams.append(row for row in of_links(client.follow_links()) if not nodes or row[1] in nodes)
        print_note(f"following {', '.join(chosen)}; Ctrl-C ends")
        yield from _interleave(streams)


def _of_agent(agent: AgentClient) -> Iterator[Row]:
    for event in agent.stream("follow", {}):
        yield float(event["time"]), agent.node, event


def _interleave(streams: Iterable[Iterator[Row]]) -> Iterator[Row]:
    """Events of several streams as they come: one thread waits for each."""
    rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
    threads = [threading.Thread(target=_forward, args=(stream, rows), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    left = len(threads)
    while left:
        row = rows.get()
        if row is None:
            left -= 1
        else:
            yield row


def _forward(stream: Iterator[Row], rows: queue.SimpleQueue[Row | None]) -> None:
    """Until the node or the lab ends, which is no error of this command."""
    with contextlib.suppress(NodeError, ControlError):
        for row in stream:
            rows.put(row)
    rows.put(None)
