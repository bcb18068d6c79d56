"""A network in virtual time: nodes, links, and the order in which things happen.

                      ┌──────────── agenda: alarms of nodes, lines and schedules, by time
    run ─▶ the next ──┤
                      └──────────── wires: what nodes sent, each one hop later, in the order of sending
             │
             ▼
    receive, timeout ─▶ touched nodes ─▶ sockets ring, applications run, transmit ─▶ wires, lines
                                              │
                                              └─▶ a program of the event loop wants to run: `run` returns

Time jumps from one event to the next; nothing is done for the time between, so an idle network costs nothing. All wires
take equally long (HOP), hence what is on them leaves in the order in which it entered: a queue, without the cost of a
heap. What a node sends in one turn stays together on the way, at most FRAMES_PER_TURN frames.

Everything that happens, does so in the order of (time, order in which it was set). No clock is read, and all randomness
comes from the seeds in the configurations: the same network with the same calls does the same, to the octet.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop

from nodes.contract import NodeConfig
from nodes.errors import MisuseError
from nodes.impairment import Impairment, encode
from nodes.simulation.agenda import Agenda, Timer
from nodes.simulation.link import Describe, Lane, SimulatedLink
from nodes.simulation.node import SimulatedNode
from nodes.simulation.values import FRAMES_PER_TURN, HOP, NodeRecorder, Wire
from nodes.trace.events import NullTracer, Tracer
from nodes.units import earliest

EVENTS_PER_LOOK = 1024
"""After so many events `ready` is asked in any case: other threads make things ready without a ring."""

FOREVER = 1 << 62

Frames = list[tuple[int, bytes]]


def as_json(impairment: Impairment) -> str:
    """An impairment in words, where nobody gave better ones."""
    return json.dumps(encode(impairment), sort_keys=True)


class Network:
    """All nodes are on from `start` (ns) on, and the schedules of links count from there. `recorder_for` is asked once
    for each node; `link_tracer` is told what happens to links, in the words of `describe`. `seed` is the run's, for
    those who need one; nodes and links have theirs in their configurations. Raises StackError for
    configurations that contradict themselves, and MisuseError for what needs a kernel."""

    def __init__(
        self,
        configs: Iterable[NodeConfig],
        wires: Iterable[Wire],
        *,
        seed: int = 0,
        recorder_for: Callable[[NodeConfig], NodeRecorder],
        link_tracer: Tracer | None = None,
        describe: Describe = as_json,
        start: int = 0,
    ) -> None:
        self.now = start
        """The time of what happens (ns)."""
        self.seed = seed
        self.hops = 0
        """Frames that came out of a link, since the beginning."""
        self.events = 0
        self.agenda = Agenda()
        self._wires: deque[tuple[int, int, SimulatedNode, Frames]] = deque()
        self._touched: list[SimulatedNode] = []
        self._rang = False
        self.nodes: dict[str, SimulatedNode] = {}
        for config in configs:
            if config.name in self.nodes:
                raise MisuseError(f"two nodes are called {config.name}")
            self.nodes[config.name] = SimulatedNode(config, recorder_for(config), self)
        tracer = link_tracer if link_tracer is not None else NullTracer()
        self.links = {wire.name: SimulatedLink(wire, self._ends(wire), self, tracer, describe) for wire in wires}
        for node in self.nodes.values():
            node.boot()
        for node in self.nodes.values():
            node.plug()
        for link in self.links.values():
            link.begin()

    # ------------------------------------------------------------------------------------------------------ who is in

    def node(self, name: str) -> SimulatedNode:
        """Raises MisuseError for a name of nobody."""
        if name not in self.nodes:
            raise MisuseError(f"there is no node {name!r}", hint=f"there are {', '.join(self.nodes)}")
        return self.nodes[name]

    def link(self, name: str | tuple[str, str]) -> SimulatedLink:
        """By its name, or by the nodes at its ends in either order. Raises MisuseError where there is none, or where
        several join the two."""
        if isinstance(name, str):
            if name not in self.links:
                raise MisuseError(f"there is no link {name!r}", hint=f"there are {', '.join(self.links)}")
            return self.links[name]
        found = [link for link in self.links.values() if link.ends in (name, name[::-1])]
        if not found:
            raise MisuseError(f"no link joins {name[0]} and {name[1]}", hint=f"there are {', '.join(self.links)}")
        if len(found) > 1:
            hint = f"name one of them: {', '.join(link.name for link in found)}"
            raise MisuseError(f"several links join {name[0]} and {name[1]}", hint=hint)
        return found[0]

    # ----------------------------------------------------------------------------------------------------------- time

    def clock(self) -> int:
        """`now`, as a function."""
        return self.now

    def call_at(self, at: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` at the instant `at`; at once, but not from here, where that has passed."""
        timer = Timer(lambda: self._call(callback))
        self.agenda.arm(timer, max(at, self.now))
        return timer

    def next_event(self) -> int | None:
        """When something may happen next (ns), once all has been sent that is left to send; None where nothing ever
        will, unless somebody calls."""
        self._settle()
        return earliest(self.agenda.next(), self._wires[0][0] if self._wires else None)

    def run(self, until: int | None = None, ready: Callable[[], bool] = bool) -> None:
        """Send what is left to send; then let happen what happens, up to the instant `until` (None: until nothing can
        happen any more). Returns as soon as `ready()`, which is asked when an endpoint rang, a callback was called, or
        many events have passed. With `until` in the past, only what is due now happens."""
        limit = FOREVER if until is None else max(until, self.now)
        wires, heap = self._wires, self.agenda.heap
        self._settle()
        self._rang = False
        if ready():
            return
        while True:
            if wires and (
                not heap
                or (first := wires[0])[0] < (alarm := heap[0])[0]
                or (first[0] == alarm[0] and first[1] < alarm[1])
            ):
                if wires[0][0] > limit:
                    break
                self.now, _, node, frames = wires.popleft()
                self._deliver(node, frames)
            elif heap:
                at, _, part = heap[0]
                if at > limit:
                    break
                heappop(heap)
                if part.armed != at:
                    continue
                self.now = at
                part.armed = None
                part.due(at)
            else:
                break
            if self._touched:
                self._settle()
            self.events += 1
            if self._rang or not self.events % EVENTS_PER_LOOK:
                self._rang = False
                if ready():
                    return
        if until is not None:
            self.now = limit

    def close(self, trigger: str = "asked to end") -> None:
        """The end: every node writes its last state and closes its recording."""
        for node in self.nodes.values():
            node.stop(trigger)

    # -------------------------------------------------------------------------- what nodes and links ask of it (Engine)

    def touch(self, node: SimulatedNode) -> None:
        """Something happened in a node from outside: before time goes on, see what it has to send."""
        if not node.touched:
            node.touched = True
            self._touched.append(node)

    def carry(self, node: SimulatedNode, frames: Frames) -> None:
        """Frames that a node put on its wires: they arrive one hop later."""
        agenda, at = self.agenda, self.now + HOP
        for first in range(0, len(frames), FRAMES_PER_TURN):
            agenda.order += 1
            self._wires.append((at, agenda.order, node, frames[first : first + FRAMES_PER_TURN]))

    def cut(self, node: SimulatedNode, port: int) -> None:
        """What this node put on that wire is lost."""
        for _, _, sender, frames in self._wires:
            if sender is node:
                frames[:] = [(number, frame) for number, frame in frames if number != port]

    # --------------------------------------------------------------------------------------------------------- inside

    def _deliver(self, node: SimulatedNode, frames: Frames) -> None:
        """Frames come out at the other ends of their sender's wires."""
        now, ports, touched = self.now, node.ports, self._touched
        for number, frame in frames:
            port = ports[number]
            if (len(frame) > port.limit and port.refuse(frame)) or port.peer is None:
                continue
            port.carried += 1
            peer, arrival = port.peer
            peer.receive(arrival, frame, now)
            if not peer.touched:
                peer.touched = True
                touched.append(peer)
        self.hops += len(frames)

    def _settle(self) -> None:
        """Touched nodes, in the order of the touch: ring, send, set the alarm."""
        now, touched = self.now, self._touched
        for node in touched:  # grows where one touches another
            node.touched = False
            device = node.device
            if device is None or node.paused:
                continue
            stack, runner = node.stack, node.runner
            at = None
            if stack is not None and runner is not None:
                stack.tcp.now = now  # programs may have read from it since its last input
                if stack.has_ready:
                    runner.poll(now)
                    self._rang = True
                at = runner.deadline()
            frames = device.transmit()
            if frames:
                self.send(node, frames)
            if stack is not None and stack.has_ready:
                self.agenda.arm(node, now + HOP)  # it talks to itself
            due = device.deadline()
            if due is not None and (at is None or due < at):
                at = due
            if at is not None and (node.armed is None or at < node.armed):
                node.arm(at, now)
        touched.clear()

    def send(self, node: SimulatedNode, frames: Frames) -> None:
        """What a node has to send: on its wires, or into the lines of its links."""
        if node.direct:
            if len(frames) <= FRAMES_PER_TURN:
                agenda = self.agenda
                agenda.order += 1
                self._wires.append((self.now + HOP, agenda.order, node, frames))
            else:
                self.carry(node, frames)
            return
        now = self.now
        plain: Frames = []
        lanes: list[Lane] = []
        for number, frame in node.outgoing(frames, now):
            port = node.ports[number]
            lane = port.lane
            if lane is None:
                plain.append((number, frame))
            elif len(frame) <= port.limit or not port.refuse(frame):
                port.entered += 1
                lane.line.receive(frame, now)
                if lane not in lanes:
                    lanes.append(lane)
        if plain:
            self.carry(node, plain)
        for lane in lanes:
            lane.drain()

    def _call(self, callback: Callable[[], None]) -> None:
        self._rang = True
        callback()

    def _ends(self, wire: Wire) -> tuple[SimulatedNode, SimulatedNode]:
        for name, _ in (wire.a, wire.b):
            if name not in self.nodes:
                raise MisuseError(f"link {wire.name} leads to {name}, which is no node")
        return self.nodes[wire.a[0]], self.nodes[wire.b[0]]
