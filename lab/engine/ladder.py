"""A run's captures as a ladder diagram: nodes side by side, time downwards, one arrow per frame.

Every node with our stack records what it sends and what it receives, so a frame shows up once where it left and once
at each node that it reached. Records are matched by their octets: a reception belongs to the latest departure of the
same octets from another node. What left, and did not arrive at a node that went on recording, ends in an x.

    TIME ms   a        r1       b         FRAME
      0.000   ├───────▶│        │         ARP who has 10.0.1.1? tell 10.0.1.2
      0.391   │◀───────┤        │         ARP 10.0.1.1 is at 02:...
      0.412   ├──────x │        │         ICMP echo request ...

A node that recorded nothing, because the kernel's stack runs in it or its capture was off, is known by its MAC address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.engine.runs import Run
from lab.errors import UserInputError
from lab.plan.values import Plan
from nodes.trace.pcapng_reader import read
from nodes.wire.addresses import is_group_mac, parse_mac
from nodes.wire.summary import Summary, summarize

LANE = 8
"""Columns from one node to the next: the longest name that is not cut is one shorter."""


@dataclass(slots=True)
class Crossing:
    """One frame on its way: from a node to those that it reached."""

    time: int
    source: str
    frame: bytes
    targets: list[str] = field(default_factory=list)
    lost: bool = False


@dataclass(frozen=True, slots=True)
class _Record:
    time: int
    node: str
    frame: bytes
    inbound: bool


def crossings(run: Run) -> list[Crossing]:
    """All frames between the hosts and routers of a run, in order of time. Raises UserInputError without captures."""
    plan = run.plan()
    stations = {node.name for node in plan.nodes if node.kind in ("host", "router")}
    files = [path for name in stations for path in sorted(run.node_folder(name).glob("capture*.pcapng"))]
    if not files:
        raise UserInputError(
            f"run {run.name} has no captures", hint="`capture: true` in the topology, or `lab capture NODE`, makes some"
        )
    records = sorted((record for path in files for record in _records(path)), key=lambda row: (row.time, row.inbound))
    recorded_until = {path.parent.name: 0 for path in files} | {record.node: record.time for record in records}
    return _match(records, _Stations(plan, recorded_until))


def _records(path: Path) -> Iterator[_Record]:
    for captured in read(path):
        yield _Record(captured.wall_ns, path.parent.name, bytes(captured.frame), bool(captured.inbound))


class _Stations:
    """Whose a MAC address is, and until when each node that records has recorded."""

    def __init__(self, plan: Plan, recorded_until: dict[str, int]) -> None:
        self.recorded_until = recorded_until
        self._by_mac = {
            bytes(parse_mac(interface.mac)): node.name
            for node in plan.nodes
            if node.kind in ("host", "router")
            for interface in node.interfaces
        }

    def sender(self, frame: bytes) -> str | None:
        return self._by_mac.get(frame[6:12])

    def target(self, frame: bytes) -> str | None:
        return None if is_group_mac(frame[:6]) else self._by_mac.get(frame[:6])


def _match(records: Iterable[_Record], stations: _Stations) -> list[Crossing]:
    found: list[Crossing] = []
    under_way: dict[bytes, list[Crossing]] = defaultdict(list)
    for record in records:
        if not record.inbound:
            crossing = Crossing(record.time, record.node, record.frame)
        else:
            sent = _latest(under_way[record.frame], record.node)
            if sent is not None:
                sent.targets.append(record.node)
                continue
            sender = stations.sender(record.frame)
            if sender is None or sender == record.node or sender in stations.recorded_until:
                continue  # a switch's own frames, or a copy that a hub or a loop made
            crossing = Crossing(record.time, sender, record.frame, [record.node])
        found.append(crossing)
        under_way[record.frame].append(crossing)
    for crossing in found:
        target = stations.target(crossing.frame)
        if target is not None and not is_group_mac(crossing.frame[:6]):
            heard_later = stations.recorded_until.get(target, 0) > crossing.time
            crossing.lost = heard_later and target not in crossing.targets
            crossing.targets = [target]
    return found


def _latest(sent: Sequence[Crossing], node: str) -> Crossing | None:
    """The newest departure that has not reached `node` yet."""
    for crossing in reversed(sent):
        if crossing.source != node and node not in crossing.targets:
            return crossing
    return None


def draw(found: Sequence[Crossing], nodes: Sequence[str], width: int) -> Iterator[str]:
    """The lines of the diagram, none wider than `width` where it is at least 60."""
    lanes = {name: index * LANE for index, name in enumerate(nodes)}
    lanes_width = len(nodes) * LANE
    room = max(width - 11 - lanes_width - 1, 20)
    heads = "".join(name[: LANE - 1].ljust(LANE) for name in nodes)
    yield f"{'TIME ms':>9}  {heads} FRAME"
    start = found[0].time if found else 0
    for crossing in found:
        info = _words(summarize(crossing.frame))
        label = info if len(info) <= room else info[: room - 1] + "…"
        yield f"{(crossing.time - start) / 1e6:9.3f}  {_arrows(crossing, lanes, lanes_width)} {label}"


def _arrows(crossing: Crossing, lanes: dict[str, int], width: int) -> str:
    """The lanes of one line, with an arrow from the source to each target."""
    cells = [" "] * width
    for position in lanes.values():
        cells[position] = "│"
    source = lanes[crossing.source]
    targets = [lanes[name] for name in crossing.targets if name in lanes]
    for target in targets:
        step = 1 if target > source else -1
        for position in range(source + step, target, step):
            cells[position] = "┼" if cells[position] in "│┼" else "─"
    for target in targets:
        cells[target - 1 if target > source else target + 1] = "x" if crossing.lost else "▶" if target > source else "◀"
    if targets:
        right, left = any(target > source for target in targets), any(target < source for target in targets)
        cells[source] = "┼" if right and left else "├" if right else "┤"
    else:
        cells[source] = "●"  # sent, and heard by nobody who records
    return "".join(cells)


def _words(summary: Summary) -> str:
    """Protocol and meaning; of TCP also the ports, since connections of the same two nodes stand between each other."""
    ports = ""
    if summary.protocol == "TCP":
        ports = f"{summary.source.rpartition(':')[2]}>{summary.destination.rpartition(':')[2]}"
    return " ".join(part for part in (summary.protocol, ports, summary.info) if part)
