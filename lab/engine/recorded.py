"""The events of a run, as its files have them: of all nodes and links, in the order of time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lab.engine.runs import Run
from lab.errors import UserInputError
from nodes.trace.sqlog import RECORD_SEPARATOR, read

Row = tuple[float, str, dict[str, Any]]
"""When it happened (ms since the start of the run), the node or link, and the record."""


def recorded_events(run: Run, nodes: list[str] | None) -> Iterator[Row]:
    """Of these nodes and links; None: of all. Raises UserInputError for one that the run does not have."""
    of_nodes, links_trace = _files(run, nodes)
    rows = [_of_node(path) for path in of_nodes]
    if links_trace is not None:
        rows.append(row for row in of_links(_of_file(links_trace)) if not nodes or row[1] in nodes)
    return heapq.merge(*rows, key=lambda row: row[0])


class Newest:
    """The events of a run that is still recorded: each call of `read` gives those that have come since the last."""

    def __init__(self, run: Run, nodes: list[str] | None) -> None:
        """Of these nodes and links; None: of all. Raises UserInputError for one that the run does not have."""
        of_nodes, links = _files(run, nodes)
        self._files = [*of_nodes, *([] if links is None else [links])]
        self._links = links
        self._nodes = nodes
        self._offsets = dict.fromkeys(self._files, 0)

    def read(self) -> list[Row]:
        """In the order of time."""
        rows: list[Row] = []
        for path in self._files:
            records = (record for record in self._records(path) if _is_event(record))
            if path == self._links:
                rows += (row for row in of_links(records) if not self._nodes or row[1] in self._nodes)
            else:
                rows += ((float(record["time"]), path.parent.name, record) for record in records)
        return sorted(rows, key=lambda row: row[0])

    def _records(self, path: Path) -> Iterator[dict[str, Any]]:
        """Whole ones only: the last may not be written to its end yet."""
        if path.stat().st_size == self._offsets[path]:
            return
        with path.open("rb") as file:
            file.seek(self._offsets[path])
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._offsets[path] += end
        for text in data[:end].split(RECORD_SEPARATOR):
            if text:
                yield json.loads(text)


def epoch_of(trace: Path) -> int:
    """The wall clock (ns since 1970) at time 0 of a trace."""
    header: dict[str, Any] = next(read(trace))
    return int(header["trace"]["common_fields"]["reference_wall_ns"])


def _files(run: Run, nodes: list[str] | None) -> tuple[list[Path], Path | None]:
    """The traces of the nodes, and that of the links."""
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
    chosen = [path for path in folders if not nodes or path.parent.name in nodes]
    return chosen, links_trace if links_trace.exists() else None


def _of_file(path: Path) -> Iterator[dict[str, Any]]:
    return (record for record in read(path) if _is_event(record))


def _is_event(record: dict[str, Any]) -> bool:
    """The header and the end of a trace are none."""
    return not str(record.get("name", "trace:")).startswith("trace:")


def _of_node(path: Path) -> Iterator[Row]:
    for record in _of_file(path):
        yield float(record["time"]), path.parent.name, record


def of_links(records: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Events of links stand under the name of their link."""
    for record in records:
        data = dict(record["data"])
        name = data.pop("link", "links")
        yield float(record["time"]), str(name), {**record, "data": data}
