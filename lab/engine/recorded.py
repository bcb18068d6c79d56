"""The events of a run, as its files have them: of all nodes and links, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lab.engine.runs import Run
from lab.errors import UserInputError
from nodes.trace.sqlog import read

Row = tuple[float, str, dict[str, Any]]
"""When it happened (ms since the start of the run), the node or link, and the record."""


def recorded_events(run: Run, nodes: list[str] | None) -> Iterator[Row]:
    """Of these nodes and links; None: of all. Raises UserInputError for one that the run does not have."""
    folders = sorted((run.folder / "nodes").glob("*/trace.sqlog"))
    known = [path.parent.name for path in folders]
    links = [link.name for link in run.plan().links]
    links_trace = run.folder / "links" / "trace.sqlog"
    if not known and not links_trace.exists():
        raise UserInputError(f"run {run.name} has no traces", hint="`trace: state` in the topology makes nodes record")
    for node in nodes or ():
        if node not in known and node not in links:
            hint = f"it has {', '.join(known)}"
            raise UserInputError(f"run {run.name} has no trace of a node or link {node!r}", hint=hint)
    rows = [_of_node(path) for path in folders if not nodes or path.parent.name in nodes]
    if links_trace.exists():
        rows.append(row for row in of_links(_of_file(links_trace)) if not nodes or row[1] in nodes)
    return heapq.merge(*rows, key=lambda row: row[0])


def _of_file(path: Path) -> Iterator[dict[str, Any]]:
    for record in read(path):
        if not str(record.get("name", "trace:")).startswith("trace:"):  # the header and the end are not events
            yield record


def _of_node(path: Path) -> Iterator[Row]:
    for record in _of_file(path):
        yield float(record["time"]), path.parent.name, record


def of_links(records: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Events of links stand under the name of their link."""
    for record in records:
        data = dict(record["data"])
        name = data.pop("link", "links")
        yield float(record["time"]), str(name), {**record, "data": data}
