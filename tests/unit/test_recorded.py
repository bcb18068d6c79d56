"""The events of a run, all at once and as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.recorded import Newest, epoch_of, recorded_events
from lab.engine.runs import Run
from lab.errors import UserInputError
from lab.model.load import loads
from lab.plan.planner import make_plan
from nodes.trace.events import NodeStarted
from nodes.trace.link_events import CarrierUpdated
from nodes.trace.sqlog import SqlogWriter

WALL = 1_700_000_000_123_456_789
TOPOLOGY = "name: pair\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], name: wire}]\n"


class Recorded:
    """A run with the traces of two nodes and of the links."""

    def __init__(self, parent: Path) -> None:
        self.run = Run.create(make_plan(loads(TOPOLOGY)), driver="sim", parent=parent)
        self.writers = {name: self._writer(self.run.node_folder(name), name) for name in ("a", "b")}
        self.links = self._writer(self.run.folder / "links", "links")

    @staticmethod
    def _writer(folder: Path, name: str) -> SqlogWriter:
        return SqlogWriter(folder / "trace.sqlog", node=name, title=name, start=0, wall_ns=WALL)

    def flush(self) -> None:
        for writer in (*self.writers.values(), self.links):
            writer.flush()

    def close(self) -> None:
        for writer in (*self.writers.values(), self.links):
            writer.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    found = Recorded(tmp_path)
    yield found
    found.close()


def names(rows: object) -> list[tuple[float, str, str]]:
    return [(time, where, record["name"]) for time, where, record in rows]  # type: ignore[attr-defined]


def test_all_in_the_order_of_time(recorded: Recorded) -> None:
    recorded.writers["b"](3_000_000, NodeStarted("host", "started"))
    recorded.writers["a"](1_000_000, NodeStarted("host", "started"))
    recorded.links(2_000_000, CarrierUpdated("wire", "up", "down", "command"))
    recorded.flush()
    expected = [(1.0, "a", "node:node_started"), (2.0, "wire", "link:carrier_updated"), (3.0, "b", "node:node_started")]
    assert names(recorded_events(recorded.run, None)) == expected
    assert names(recorded_events(recorded.run, ["b"])) == expected[2:]
    assert names(recorded_events(recorded.run, ["wire"])) == expected[1:2]
    assert names(Newest(recorded.run, None).read()) == expected
    assert names(Newest(recorded.run, ["b", "wire"]).read()) == expected[1:]


def test_the_newest_are_told_once(recorded: Recorded) -> None:
    newest = Newest(recorded.run, None)
    assert newest.read() == []
    recorded.writers["a"](1_000_000, NodeStarted("host", "started"))
    assert newest.read() == []
    recorded.flush()
    assert names(newest.read()) == [(1.0, "a", "node:node_started")]
    assert newest.read() == []
    recorded.writers["a"](2_000_000, NodeStarted("host", "again"))
    recorded.close()
    assert names(newest.read()) == [(2.0, "a", "node:node_started")]
    assert newest.read() == []


def test_a_record_that_is_being_written_is_left_for_later(recorded: Recorded) -> None:
    path = recorded.run.node_folder("a") / "trace.sqlog"
    newest = Newest(recorded.run, ["a"])
    assert newest.read() == []
    record = b'\x1e{"time":1.0,"name":"node:x","data":{}}\n'
    for octet in record[:-1]:
        with path.open("ab") as file:
            file.write(bytes([octet]))
        assert newest.read() == []
    with path.open("ab") as file:
        file.write(record[-1:] + record[:5])
    assert names(newest.read()) == [(1.0, "a", "node:x")]
    with path.open("ab") as file:
        file.write(record[5:])
    assert names(newest.read()) == [(1.0, "a", "node:x")]


def test_a_name_of_nobody(recorded: Recorded) -> None:
    for look in (lambda: Newest(recorded.run, ["c"]), lambda: list(recorded_events(recorded.run, ["c"]))):
        with pytest.raises(UserInputError, match="no trace of a node or link 'c'"):
            look()


def test_the_epoch_of_a_trace(recorded: Recorded) -> None:
    assert epoch_of(recorded.run.folder / "links" / "trace.sqlog") == WALL
