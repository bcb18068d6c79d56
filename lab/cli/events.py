"""`lab events`: what happened in the nodes, merged in the order of time."""

from __future__ import annotations

import contextlib
import fnmatch
import heapq
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
from lab.engine.runs import Run
from lab.errors import NodeError, UserInputError
from nodes.trace.sqlog import read

Row = tuple[float, str, dict[str, Any]]


def main(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Only these nodes.")] = None,
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
    rows = _live(open_lab(lab), nodes) if follow else _recorded(find_run(run, lab), nodes)
    wanted: Iterable[Row] = (row for row in rows if name is None or fnmatch.fnmatch(row[2]["name"], name))
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


def _recorded(run: Run, nodes: list[str] | None) -> Iterator[Row]:
    folders = sorted((run.folder / "nodes").glob("*/trace.sqlog"))
    known = [path.parent.name for path in folders]
    if not known:
        raise UserInputError(f"run {run.name} has no traces", hint="`trace: state` in the topology makes nodes record")
    for node in nodes or ():
        if node not in known:
            raise UserInputError(f"run {run.name} has no trace of a node {node!r}", hint=f"it has {', '.join(known)}")
    chosen = [path for path in folders if not nodes or path.parent.name in nodes]
    return heapq.merge(*(_of_file(path) for path in chosen), key=lambda row: row[0])


def _of_file(path: Path) -> Iterator[Row]:
    for record in read(path):
        if not str(record.get("name", "trace:")).startswith("trace:"):  # the header and the end are not events
            yield float(record["time"]), path.parent.name, record  # type: ignore[arg-type]


def _live(client: LabClient, nodes: list[str] | None) -> Iterator[Row]:
    status = client.nodes()
    for node in nodes or ():
        if node not in status:
            raise UserInputError(f"no node {node!r} in lab {client.lab}", hint=f"its nodes: {', '.join(status)}")
    chosen = nodes or [row.name for row in status.values() if row.agent and row.state == "running"]
    with ExitStack() as stack:
        agents = [stack.enter_context(client.agent(node)) for node in chosen]
        print_note(f"following {', '.join(chosen)}; Ctrl-C ends")
        yield from _interleave(agents)


def _interleave(agents: Iterable[AgentClient]) -> Iterator[Row]:
    """Events of several agents as they come: one thread waits for each."""
    rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
    threads = [threading.Thread(target=_forward, args=(agent, rows), daemon=True) for agent in agents]
    for thread in threads:
        thread.start()
    left = len(threads)
    while left:
        row = rows.get()
        if row is None:
            left -= 1
        else:
            yield row


def _forward(agent: AgentClient, rows: queue.SimpleQueue[Row | None]) -> None:
    """Until the node ends, which is no error of this command."""
    with contextlib.suppress(NodeError):
        for event in agent.stream("follow", {}):
            rows.put((float(event["time"]), agent.node, event))
    rows.put(None)
