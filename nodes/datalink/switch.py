"""A learning switch: a transparent bridge without a wire to configure (IEEE 802.1D-2004 clause 7).

The forwarding table is learned from what passes: a frame from station A on port 1 proves that A is behind port 1.

    frame from A to B on port 1      A → port 1                 learned, or seen again, or moved
                                     B → port 2?                forward to port 2 only
                                     B → port 1?                filter: B has heard it already
                                     B unknown, or a group      flood: all ports but 1

An entry is forgotten after the ageing time without a frame from its station, when its port goes down, and when the
spanning tree changes. Until a station speaks again, frames to it are flooded: forgetting costs bandwidth, never
reachability.

What a switch never does: learn a group address (no station sends from one; the frame is dropped), and forward the
reserved addresses 01:80:c2:00:00:00 to 0F (table 7-10), which mean "my neighbor on this wire": BPDUs end here and
go to the spanning tree. VLAN tags are not looked at.

The path of a frame between two known stations is the hot one: two look-ups in a dictionary with slices of the frame as
keys, and an append. Everything else is one call away from it. Ageing writes one integer per frame; expiry is noticed
when an entry is used, and a coarse sweep, a few times per ageing time, removes those that nobody uses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from nodes.datalink.spanning_tree import SpanningTree
from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch_port import Station, SwitchPort
from nodes.errors import MisuseError
from nodes.trace.events import (
    ForwardingTableUpdated,
    FrameDropped,
    FrameReceived,
    FrameSent,
    InterfaceUpdated,
    Tracer,
)
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ethernet
from nodes.wire.addresses import ZERO_MAC, Mac, format_mac
from nodes.wire.bpdu import BRIDGE_GROUP

MAXIMUM_STATIONS = 8192
"""Entries of the forwarding table, as in a common access switch. A station that makes up source addresses would
otherwise fill the memory (2 MB here); once full, new stations are not learned, and frames to them are flooded."""

QUEUE_LIMIT = 65_536
"""Frames waiting for `transmit`: a flood of 64 frames to 1,023 ports. Only a caller that never drains gets there."""

SWEEPS_PER_AGEING_TIME = 4  # an unused entry lives at most 1.25 ageing times
SHORTEST_SWEEP = 100 * MILLISECOND  # whatever the ageing time, sweeping stays cheap
RESERVED_PREFIX = BRIDGE_GROUP[:5]
HIGHEST_RESERVED = 0x0F


class LearningSwitch:
    """A bridge of `ports` (their names). Ports are down until `set_port` says that they have a carrier.

    `mac` is the bridge's own address: the source of its BPDUs and part of its identifier. `ageing_time` in
    nanoseconds. Without `spanning_tree`, a loop of cables is a loop of frames. `shared_ports` and `edge_ports`: see
    `SpanningTree`. Raises MisuseError."""

    def __init__(
        self,
        ports: Sequence[str],
        mac: Mac,
        random: Random,  # noqa: ARG002  (every device gets one; no choice of a switch is random)
        tracer: Tracer,
        *,
        ageing_time: int,
        spanning_tree: SpanningTreeSettings | None,
        shared_ports: Collection[int] = (),
        edge_ports: Collection[int] = (),
    ) -> None:
        if ageing_time <= 0:
            raise MisuseError(f"ageing time {ageing_time / SECOND:g} s", hint="a positive number of seconds is needed")
        self._ports = [SwitchPort(index, name) for index, name in enumerate(ports)]
        self._mac = mac
        self._tracer = tracer
        self._ageing_time = ageing_time
        self._sweep_interval = max(ageing_time // SWEEPS_PER_AGEING_TIME, SHORTEST_SWEEP)
        self._sweep_at: int | None = None
        self._table: dict[bytes, Station] = {}
        self._full = False
        self._not_learned = 0
        self._moves = 0
        self._out: list[tuple[int, bytes]] = []
        self._tree: SpanningTree | None = None
        if spanning_tree is not None:
            self._tree = SpanningTree(
                ports, mac, tracer, spanning_tree, shared_ports=shared_ports, edge_ports=edge_ports
            )

    def receive(self, port: int, frame: bytes | memoryview, now: int) -> None:
        """Switch one frame that arrived on `port`. Whatever it contains, nothing is raised."""
        arrival = self._ports[port]
        length = len(frame)
        arrival.in_frames += 1
        arrival.in_octets += length
        if self._tracer.packets:
            self._trace(FrameReceived, arrival, frame, now)
        source = self._table.get(bytes(frame[6:12]))
        target = self._table.get(bytes(frame[:6]))
        if (
            source is None
            or target is None
            or source.port is not arrival
            or not arrival.forwarding
            or now - target.seen > self._ageing_time
            or length < ethernet.HEADER_LENGTH
        ):
            self._receive_slowly(arrival, frame, now)
            return
        source.seen = now
        self._forward_to(target.port, arrival, bytes(frame), now)

    def timeout(self, now: int) -> None:
        """Sweep the table and run the spanning tree, where they are due."""
        if self._sweep_at is not None and self._sweep_at <= now:
            self._sweep(now)
        if self._tree is not None:
            self._tree.timeout(now)
            self._follow_tree(now)

    def deadline(self) -> int | None:
        """When `timeout` is due, or None."""
        tree = self._tree.deadline() if self._tree is not None else None
        if self._sweep_at is None or tree is None:
            return tree if self._sweep_at is None else self._sweep_at
        return min(self._sweep_at, tree)

    def transmit(self) -> list[tuple[int, bytes]]:
        """The frames to send since the last call, as (port, frame)."""
        drained, self._out = self._out, []
        return drained

    def set_port(self, port: int, up: bool, now: int) -> None:
        """Carrier on `port` came or went."""
        changed = self._ports[port]
        if changed.up is up:
            return
        changed.up = up
        self._tracer(now, InterfaceUpdated(changed.name, "down" if up else "up", "up" if up else "down", "carrier"))
        if not up:
            self._flush(changed, "port_down", now)
        if self._tree is None:
            changed.learning = changed.forwarding = up
        else:
            self._tree.set_port(port, up, now)
            self._follow_tree(now)

    def snapshot(self, now: int) -> dict[str, object]:
        """The forwarding table (ages in seconds), the ports and the spanning tree."""
        table = [
            {"mac": format_mac(mac), "port": station.port.name, "age": (now - station.seen) / SECOND}
            for mac, station in sorted(self._table.items())
            if now - station.seen <= self._ageing_time
        ]
        return {
            "mac": format_mac(self._mac),
            "ageing_time": self._ageing_time / SECOND,
            "table": table,
            "table_limit": MAXIMUM_STATIONS,
            "not_learned": self._not_learned,
            "moves": self._moves,
            "ports": [port.snapshot() for port in self._ports],
            "spanning_tree": None if self._tree is None else self._tree.snapshot(now),
        }

    # --- everything but known unicast ---------------------------------------------------------------------------

    def _receive_slowly(self, arrival: SwitchPort, frame: bytes | memoryview, now: int) -> None:
        reason = self._refusal(arrival, frame)
        if reason:
            self._drop(arrival, reason, len(frame), now)
            return
        destination, source = bytes(frame[:6]), bytes(frame[6:12])
        if destination[:5] == RESERVED_PREFIX and destination[5] <= HIGHEST_RESERVED:
            self._receive_reserved(arrival, destination, frame, now)
            return
        if arrival.learning:
            self._learn(source, arrival, now)
        if not arrival.forwarding:
            arrival.blocked += 1
        elif destination == self._mac:
            arrival.filtered += 1  # for this bridge, which has no stack that could want it
        else:
            self._forward(arrival, destination, frame, now)

    @staticmethod
    def _refusal(arrival: SwitchPort, frame: bytes | memoryview) -> str:
        if not arrival.up:
            return "port is down"
        if len(frame) < ethernet.HEADER_LENGTH:
            return f"ethernet header: {len(frame)} octets, at least 14 expected"
        if frame[6] & 1:
            return "source is a group address"
        return "source is all zero" if frame[6:12] == ZERO_MAC else ""

    def _receive_reserved(self, arrival: SwitchPort, destination: bytes, frame: bytes | memoryview, now: int) -> None:
        arrival.reserved += 1
        if self._tree is not None and destination == BRIDGE_GROUP:
            self._tree.receive(arrival.index, frame, now)
            self._follow_tree(now)

    def _forward(self, arrival: SwitchPort, destination: bytes, frame: bytes | memoryview, now: int) -> None:
        target = self._table.get(destination)
        if target is not None and now - target.seen > self._ageing_time:
            self._forget(destination, "aged", now)
            target = None
        kept = bytes(frame)  # the caller may reuse its buffer
        if target is None:
            arrival.flooded += 1
            for port in self._ports:
                if port.forwarding and port is not arrival:
                    self._send(port, kept, now)
        else:
            self._forward_to(target.port, arrival, kept, now)

    def _forward_to(self, target: SwitchPort, arrival: SwitchPort, frame: bytes, now: int) -> None:
        if target is arrival:
            arrival.filtered += 1
        elif target.forwarding:
            self._send(target, frame, now)
        else:
            arrival.blocked += 1  # learned there before the port was closed, or while it only learns

    def _send(self, port: SwitchPort, frame: bytes, now: int) -> None:
        if len(self._out) >= QUEUE_LIMIT:
            port.out_discards += 1
            self._tracer(now, FrameDropped(port.name, "transmit queue is full", len(frame)))
            return
        port.out_frames += 1
        port.out_octets += len(frame)
        self._out.append((port.index, frame))
        if self._tracer.packets:
            self._trace(FrameSent, port, frame, now)

    def _drop(self, port: SwitchPort, reason: str, length: int, now: int) -> None:
        port.in_discards += 1
        self._tracer(now, FrameDropped(port.name, reason, length))

    def _trace(
        self, kind: type[FrameReceived | FrameSent], port: SwitchPort, frame: bytes | memoryview, now: int
    ) -> None:
        if len(frame) >= ethernet.HEADER_LENGTH:
            header = ethernet.parse(frame)[0]
            self._tracer(now, kind(port.name, header.source, header.destination, header.ethertype, len(frame)))

    # --- the forwarding table -----------------------------------------------------------------------------------

    def _learn(self, source: bytes, port: SwitchPort, now: int) -> None:
        station = self._table.get(source)
        if station is not None and now - station.seen > self._ageing_time:
            self._forget(source, "aged", now)
            station = None
        if station is None:
            self._learn_new(source, port, now)
            return
        station.seen = now
        if station.port is not port:
            self._moves += 1
            old, station.port = station.port, port
            self._tracer(now, ForwardingTableUpdated(Mac(source), old.name, port.name, "moved"))

    def _learn_new(self, source: bytes, port: SwitchPort, now: int) -> None:
        if source == self._mac:
            return  # somebody else has our address, or our own frame came back
        if len(self._table) >= MAXIMUM_STATIONS:
            self._not_learned += 1
            if not self._full:  # once, not for every frame of a flood
                self._full = True
                self._tracer(now, ForwardingTableUpdated(Mac(source), None, None, "table_full"))
            return
        self._table[source] = Station(port, now)
        if self._sweep_at is None:
            self._sweep_at = now + self._sweep_interval
        self._tracer(now, ForwardingTableUpdated(Mac(source), None, port.name, "learned"))

    def _forget(self, mac: bytes, trigger: str, now: int) -> None:
        old = self._table.pop(mac).port
        self._full = False
        self._tracer(now, ForwardingTableUpdated(Mac(mac), old.name, None, trigger))

    def _sweep(self, now: int) -> None:
        oldest = now - self._ageing_time
        for mac in [mac for mac, station in self._table.items() if station.seen < oldest]:
            self._forget(mac, "aged", now)
        self._sweep_at = now + self._sweep_interval if self._table else None

    def _flush(self, port: SwitchPort, trigger: str, now: int) -> None:
        for mac in [mac for mac, station in self._table.items() if station.port is port]:
            self._forget(mac, trigger, now)

    # --- the spanning tree --------------------------------------------------------------------------------------

    def _follow_tree(self, now: int) -> None:
        """Take over what the tree decided: states, forgotten stations, BPDUs."""
        tree = self._tree
        if tree is None:
            return
        for port in self._ports:
            port.learning = tree.is_learning(port.index)
            port.forwarding = tree.is_forwarding(port.index)
        for index in set(tree.flushes()):
            self._flush(self._ports[index], "topology_change", now)
        for index, frame in tree.transmit():
            self._send(self._ports[index], frame, now)
