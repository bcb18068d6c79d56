"""Simulated networks from the text of topologies, with what they did kept in lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.seeds import link_seed
from lab.plan.values import LinkPlan, Plan
from nodes.contract import NodeConfig
from nodes.simulation.network import Network
from nodes.simulation.values import QuietRecorder, Wire
from nodes.trace.events import Event, ListTracer
from nodes.units import SECOND


class Capture(QuietRecorder):
    """A recorder that keeps (time, port, inbound, frame) of each frame, once asked to."""

    def __init__(self, tracer: ListTracer) -> None:
        super().__init__(tracer)
        self.frames: list[tuple[int, int, bool, bytes]] = []
        self.capturing = False
        self.closed: list[tuple[int, int]] | None = None

    def start_capture(self) -> object:
        self.capturing = True
        return "frames"

    def stop_capture(self, statistics: list[tuple[int, int]]) -> dict[str, object]:
        self.capturing = False
        return {"lost": 0}

    def frame(self, port: int, frame: bytes, now: int, *, inbound: bool) -> None:
        assert self.capturing
        self.frames.append((now, port, inbound, frame))

    def close(self, now: int, statistics: list[tuple[int, int]]) -> None:
        self.closed = statistics


class Simulated:
    """`text` is a topology; what a simulation has not, offload and kernels' switches, becomes what it has."""

    def __init__(self, text: str, seed: int = 1, *, packets: bool = False, start: int = 0) -> None:
        self.plan = make_plan(loads(text, "t.yml"), seed)
        self.traces: dict[str, ListTracer] = {}
        self.recorders: dict[str, Capture] = {}
        self.links = ListTracer(packets=False)
        self._packets = packets
        self.network = Network(
            configs(self.plan),
            [wire(self.plan, link) for link in self.plan.links],
            seed=seed,
            recorder_for=self._recorder,
            link_tracer=self.links,
            start=start,
        )

    def _recorder(self, config: NodeConfig) -> Capture:
        tracer = self.traces[config.name] = ListTracer(self._packets)
        recorder = self.recorders[config.name] = Capture(tracer)
        return recorder

    @property
    def now(self) -> float:
        """Seconds."""
        return self.network.now / SECOND

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + round(seconds * SECOND))

    def start(self, node: str, kind: str, **options: object) -> int:
        """Start an application; returns its number."""
        found = self.network.node(node)
        assert found.runner is not None
        number = found.runner.start(kind, options, self.network.now)
        found.touch()
        return number

    def result(self, node: str, number: int) -> Mapping[str, Any]:
        runner = self.network.node(node).runner
        assert runner is not None
        return runner.result(number)

    def ping(self, node: str, to: str, seconds: float = 3.0, **options: object) -> Mapping[str, Any]:
        """Start a ping, let it end, and return what it found."""
        number = self.start(node, "ping", to=to, **options)
        self.run(seconds)
        return self.result(node, number)

    def events(self, node: str, kind: type[Event]) -> list[tuple[int, Event]]:
        return [(now, event) for now, event in self.traces[node].events if isinstance(event, kind)]


def configs(plan: Plan) -> list[NodeConfig]:
    return [
        replace(node, interfaces=tuple(replace(interface, offload=False) for interface in node.interfaces))
        for node in plan.nodes
    ]


def wire(plan: Plan, link: LinkPlan) -> Wire:
    return Wire(
        link.name,
        (link.a.node, link.a.interface),
        (link.b.node, link.b.interface),
        link.mtu,
        link.up,
        link.impairment,
        (link_seed(plan.seed, link.name, "ab"), link_seed(plan.seed, link.name, "ba")),
    )
