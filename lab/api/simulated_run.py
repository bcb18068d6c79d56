"""What a simulated run leaves behind: the same folder as a real one, with virtual times.

The wall clock of traces and captures is that of the nodes: EPOCH, and the virtual time since. Nothing in the files of
nodes and links depends on when or how fast the simulation ran.
"""

from __future__ import annotations

from typing import Any

from lab.engine.links_series import LinksSeries
from lab.engine.links_trace import FOLDER
from lab.engine.runs import Run
from lab.model.impairment_text import describe
from lab.plan.values import LinkPlan, Plan
from nodes.contract import NodeConfig
from nodes.impairment import DIRECTIONS, Direction, encode
from nodes.io.recorder import Recorder, Recording
from nodes.simulation.network import Network
from nodes.simulation.surroundings import EPOCH
from nodes.trace.sqlog import SqlogWriter
from nodes.units import SECOND


class SimulatedRun:
    """`recorder_for` and `link_trace` are for the network; then `begin` is told of it, and `close` ends it all."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan = plan
        self.run = run
        self.recorders: dict[str, Recorder] = {}
        self.link_trace = SqlogWriter(
            run.folder / FOLDER / "trace.sqlog", node=FOLDER, title=f"{plan.lab}/{FOLDER}", start=0, wall_ns=EPOCH
        )
        self._series: LinksSeries | None = None
        self._watching = False
        self._links = {link.name: link for link in plan.links}

    def recorder_for(self, config: NodeConfig) -> Recorder:
        found = self.recorders[config.name] = Recorder(config, Recording(self.run.node_folder(config.name), 0, EPOCH))
        return found

    def begin(self, network: Network) -> None:
        """Look at impaired links every second, as soon as there is one."""
        self._network = network
        self.watch()

    def watch(self) -> None:
        """A link may have been impaired for the first time."""
        if not self._watching and any(link.impaired for link in self._network.links.values()):
            self._watching = True
            self._network.call_at(self._network.now + SECOND, self._look)

    def flush(self) -> None:
        """Hand what was recorded to the operating system, for whoever reads it now."""
        for recorder in self.recorders.values():
            recorder.flush()
        self.link_trace.flush()

    def close(self, outcome: str, **facts: object) -> None:
        """The end of the run: last states, measurements, the outcome and more `facts`."""
        self._sample()
        states = {name: self.link_state(name) for name in self._network.links if self._network.links[name].impaired}
        if states:
            self.run.write_links({"links": states, "verdict": {"trustworthy": True, "reasons": []}})
        now = self._network.now
        self._network.close()
        self.link_trace.close(now)
        if self._series is not None:
            self._series.close()
        self.run.finish(outcome, virtual_seconds=now / SECOND, **facts)

    def link_state(self, name: str) -> dict[str, Any]:
        """What a link is asked to do, and what it did: as `lab impair --json` has it."""
        link, plan = self._network.links[name], self._links[name]
        told = link.state()
        return {
            "link": name,
            "ends": [str(plan.a), str(plan.b)],
            "up": link.up,
            "mtu": link.mtu,
            "executor": "simulation" if link.impaired else None,
            "reason": "virtual time" if link.impaired else "",
            "emulator": None,
            "directions": [self._side(link.asked, told, plan, direction) for direction in DIRECTIONS],
        }

    @staticmethod
    def _side(asked: Any, told: Any, plan: LinkPlan, direction: Direction) -> dict[str, Any]:
        source, destination = _ends(plan, direction)
        return {
            "direction": direction,
            "from": source,
            "to": destination,
            "asked": encode(asked[direction]),
            "asked_text": describe(asked[direction]),
            **told[direction],
        }

    def _look(self) -> None:
        self._sample()
        self._network.call_at(self._network.now + SECOND, self._look)

    def _sample(self) -> None:
        samples = {name: found for name, link in self._network.links.items() if (found := link.samples()) is not None}
        if not samples:
            return
        if self._series is None:
            self._series = LinksSeries(self.run.folder, 0, lambda link, direction: _ends(self._links[link], direction))
        self._series.add(self._network.now, samples)


def _ends(link: LinkPlan, direction: Direction) -> tuple[str, str]:
    ends = str(link.a), str(link.b)
    return ends if direction == "ab" else ends[::-1]
