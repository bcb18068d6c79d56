"""A link in virtual time: a plain wire until something is asked of it, then two lines of the link engine.

    a ──▶ Port ─────────────── HOP ──▶ b          plain: it only carries
    a ──▶ Port ──▶ Line(ab) ── HOP ──▶ b          once impaired, for the rest of the simulation

What is told of it, and when, is what the supervisor of a lab tells (`links/trace.sqlog`): carrier, MTU, impairments,
and that it was opened. Schedules and flaps are those of nodes.physical.schedule; here they are never late.

A link has a carrier while it is up and both its nodes are on. What is inside when that ends is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from nodes.errors import MisuseError
from nodes.impairment import DIRECTIONS, NOTHING, Change, Direction, Impairment, Patch, encode, merged
from nodes.physical.line import Line
from nodes.physical.schedule import Schedule
from nodes.physical.statistics import Sample
from nodes.simulation.agenda import Alarmed
from nodes.simulation.node import Engine, SimulatedNode
from nodes.simulation.values import Wire
from nodes.simulation.wiring import Port
from nodes.trace.events import Tracer
from nodes.trace.link_events import CarrierUpdated, ExecutorUpdated, ImpairmentUpdated, MtuUpdated
from nodes.units import earliest
from nodes.wire import ipv4

EXECUTOR = "simulation"
"""Who carries the frames of an impaired link, where a lab says `kernel` or `relay`."""

Describe = Callable[[Impairment], str]
"""An impairment in words, for the trace."""


class Lane(Alarmed):
    """One direction of an impaired link: its line, and where it ends."""

    __slots__ = ("_engine", "_node", "_port", "line")

    def __init__(self, line: Line, node: SimulatedNode, port: int, engine: Engine) -> None:
        super().__init__()
        self.line = line
        self._node = node
        self._port = port
        self._engine = engine

    def due(self, now: int) -> None:
        self.line.timeout(now)
        self.drain()

    def drain(self) -> None:
        """Carry on what has left the line; wait for the rest."""
        line, port = self.line, self._port
        out = line.transmit()
        if out:
            line.statistics.lateness.add(0, len(out))
            self._engine.carry(self._node, [(port, frame) for _, _, frame in out])
        at = line.deadline()
        if at is not None:
            self._engine.agenda.arm(self, at)


class SimulatedLink(Alarmed):
    """`asked` is what is in force in each direction. `nodes` and `ports` are of its ends a and b."""

    __slots__ = ("_describe", "_engine", "_flaps", "_lanes", "_schedules", "_trace", "asked", "mtu", "name", "nodes",
                 "ports", "up", "wire")  # fmt: skip

    def __init__(
        self, wire: Wire, nodes: tuple[SimulatedNode, SimulatedNode], engine: Engine, tracer: Tracer, describe: Describe
    ) -> None:
        super().__init__()
        self.wire = wire
        self.name = wire.name
        self.nodes = nodes
        self.ports = _port(nodes[0], wire.a[1]), _port(nodes[1], wire.b[1])
        self.up = wire.up
        self.mtu = wire.mtu
        self.asked: dict[Direction, Impairment] = {"ab": NOTHING, "ba": NOTHING}
        self._engine = engine
        self._trace = tracer
        self._describe = describe
        self._lanes: dict[Direction, Lane] = {}
        self._schedules: list[Schedule] = []
        self._flaps: list[Schedule] = []
        self._join()
        if wire.impairment is not None:
            self.asked = {"ab": wire.impairment.ab, "ba": wire.impairment.ba}
            self._open("plan")

    def begin(self) -> None:
        """The network is up: its schedule starts."""
        if self.wire.impairment is not None and self.wire.impairment.changes:
            self._schedules.append(Schedule(self.wire.impairment.changes, self._engine.now))
            self._wait()

    @property
    def impaired(self) -> bool:
        return bool(self._lanes)

    @property
    def ends(self) -> tuple[str, str]:
        """The names of its nodes, a and b."""
        return self.nodes[0].name, self.nodes[1].name

    # Changes from outside

    def impair(
        self,
        patch: Patch,
        directions: Iterable[Direction] = DIRECTIONS,
        *,
        replace: bool = False,
        trigger: str = "command",
    ) -> None:
        """Merge `patch` (values) into what is in force, or put it in its place; ramps of the same values end there.
        Raises TypeError for a field that does not exist; then nothing has changed."""
        chosen = tuple(directions)
        self._merge(patch, chosen, replace=replace, trigger=trigger)
        for schedule in self._schedules:
            schedule.supersede(chosen, None if replace else patch)

    def set_up(self, up: bool, trigger: str = "command") -> None:
        """Plug it in, or pull it out."""
        if up == self.up:
            return
        self.up = up
        old, new = ("down", "up") if up else ("up", "down")
        self._trace(self._engine.now, CarrierUpdated(self.name, old, new, trigger))
        self.refresh()

    def set_mtu(self, mtu: int, trigger: str = "command") -> None:
        """Of both its ends. Raises MisuseError outside 68 to 65535 octets; with ARQ, 68 and what that takes."""
        least = self.wire.least_mtu
        if not least <= mtu <= ipv4.MAXIMUM_LENGTH:
            raise MisuseError(f"an MTU of {mtu} octets, {least} to {ipv4.MAXIMUM_LENGTH} expected")
        if mtu == self.mtu:
            return
        now = self._engine.now
        self._trace(now, MtuUpdated(self.name, self.mtu, mtu, trigger))
        self.mtu = mtu
        for direction, lane in self._lanes.items():
            lane.line.change(self.asked[direction], mtu, now)
            lane.drain()
        self.refresh()

    def flap(self, down: int, every: int, times: int) -> None:
        """Down at once for `down` ns, and again each `every` ns, `times` times in all (0: without end). Raises
        ValueError for times that make no sense."""
        changes = (
            Change(at=0, up=False, every=every, times=times, origin="command, flap"),
            Change(at=down, up=True, every=every, times=times, origin="command, flap"),
        )
        flap = Schedule(changes, self._engine.now)
        self._schedules.append(flap)
        self._flaps.append(flap)
        self.due(self._engine.now)

    def end_flaps(self) -> bool:
        """Forget the flaps that were asked for; whether there were any."""
        ended = [flap for flap in self._flaps if flap in self._schedules]
        self._schedules = [schedule for schedule in self._schedules if schedule not in ended]
        self._flaps.clear()
        return bool(ended)

    # What is known

    def state(self) -> Mapping[str, object]:
        """`ab` and `ba`: each `applied` (an encoded impairment) and `measured` (Statistics.snapshot), both None on a
        plain link; as the executors of a lab have it."""
        now = self._engine.now
        state: dict[str, object] = {
            direction: {"applied": encode(lane.line.impairment), "measured": lane.line.snapshot(now)}
            for direction, lane in self._lanes.items()
        }
        for lane in self._lanes.values():
            lane.drain()
        empty = {"applied": None, "measured": None}
        return {direction: state.get(direction, empty) for direction in DIRECTIONS} | {"emulator": None}

    def samples(self) -> dict[Direction, Sample] | None:
        """What has passed in each direction; None on a plain link, where nobody counts."""
        if not self._lanes:
            return None
        return {direction: lane.line.statistics.sample() for direction, lane in self._lanes.items()}

    # What happens by itself

    def due(self, now: int) -> None:
        """Changes of its schedules."""
        for schedule in self._schedules:
            for due in schedule.due(now, self.asked.__getitem__):
                if due.patch is not None:
                    self._merge(due.patch, due.directions, replace=due.replace, trigger=due.trigger)
                if due.up is not None:
                    self.set_up(due.up, due.trigger)
        self._schedules = [schedule for schedule in self._schedules if schedule.deadline() is not None]
        self._wait()

    def refresh(self) -> None:
        """Carrier and MTU, as both ends see them: when the link changed, or a node was switched on or off."""
        up = self.up and all(node.on for node in self.nodes)
        for lane in self._lanes.values():
            lane.line.set_up(up, self._engine.now)
            lane.drain()
        for node, port in zip(self.nodes, self.ports, strict=True):
            if port.up and not up:
                self._engine.cut(node, port.number)
            port.set_carrier(up, self.mtu)
        for node, port in zip(self.nodes, self.ports, strict=True):
            node.carrier(port.number, up=up, mtu=self.mtu)

    def _wait(self) -> None:
        at = earliest(*(schedule.deadline() for schedule in self._schedules))
        if at is not None:
            self._engine.agenda.arm(self, max(at, self._engine.now))

    def _merge(self, patch: Patch, directions: Iterable[Direction], *, replace: bool, trigger: str) -> None:
        before, asked = self.asked, dict(self.asked)
        for direction in directions:
            asked[direction] = merged(NOTHING if replace else asked[direction], patch)
        if asked == before:
            return
        self.asked = asked
        if not self._lanes:
            self._open(trigger)
            return
        for direction, lane in self._lanes.items():
            if asked[direction] != before[direction]:
                lane.line.change(asked[direction], self.mtu, self._engine.now)
                lane.drain()
        self._tell(before, trigger)

    def _open(self, trigger: str) -> None:
        """Put lines into the plain wire."""
        now = self._engine.now
        for index, direction in enumerate(DIRECTIONS):
            node, port = self.nodes[index], self.ports[index]
            line = Line(self.asked[direction], self.mtu, self.wire.seeds[index], now)
            line.set_up(port.up, now)
            port.lane = self._lanes[direction] = Lane(line, node, port.number, self._engine)
            node.refresh()
        self._trace(now, ExecutorUpdated(self.name, "none", EXECUTOR, "virtual time"))
        self._tell({"ab": NOTHING, "ba": NOTHING}, trigger)

    def _tell(self, before: Mapping[Direction, Impairment], trigger: str) -> None:
        for direction in DIRECTIONS:
            old, new = before[direction], self.asked[direction]
            if old != new:
                ends = self.ends if direction == "ab" else self.ends[::-1]
                event = ImpairmentUpdated(self.name, *ends, self._describe(old), self._describe(new), trigger)
                self._trace(self._engine.now, event)

    def _join(self) -> None:
        for own, other in ((0, 1), (1, 0)):
            port = self.ports[own]
            if port.peer is not None:
                raise MisuseError(f"{self.nodes[own].name}:{port.name} has two links, {self.name} is one of them")
            port.peer = self.nodes[other], self.ports[other].number
            self.nodes[own].links.append(self)


def _port(node: SimulatedNode, interface: str) -> Port:
    for port in node.ports:
        if port.name == interface:
            return port
    raise MisuseError(f"{node.name} has no interface {interface!r}")
