"""A lab, as a script drives it: the same on processes and in virtual time.

    from lab import Lab

    async with Lab.open("pair.yml", driver="sim", seed=1) as lab:
        lab.node("b").start(server)
        lab.at("5s", lab.link("a-b").down)
        print(await lab.node("a").run(client, "b"))

Under `asyncio.run` virtual time goes on while the script waits for something of the lab, and stands still while it does
not. `Lab.run` and `lab run` put the script itself into virtual time.
"""

from __future__ import annotations

import asyncio
import fnmatch
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic_core import PydanticCustomError

from lab.api.backend import Action, Backend, Cancellable
from lab.api.links import Link
from lab.api.nodes import Node
from lab.api.processes import ProcessLab
from lab.api.simulated import SimulatedLab
from lab.api.times import nanoseconds
from lab.drivers.sim.network import check
from lab.engine.recorded import recorded_events
from lab.engine.runs import Run
from lab.errors import NodeError, UserInputError
from lab.model.errors import did_you_mean
from lab.model.load import load, loads
from lab.model.names import node_name
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.errors import StackError
from nodes.impairment import Executor
from nodes.units import MILLISECOND, SECOND

Result = TypeVar("Result")
Driver = Literal["netns", "sim"]
DRIVERS: tuple[Driver, ...] = ("netns", "sim")
Topology = str | Path | Plan
"""The path of a file, the text of one (it has several lines), or a plan."""

LOOKS = 50 * MILLISECOND
"""How often `wait_until` looks."""


class Lab:
    """Made by `Lab.open` and `Lab.run`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._nodes = {node.name: Node(backend, node) for node in backend.plan.nodes}
        self._links = {link.name: Link(backend, link) for link in backend.plan.links}
        self._blocked: dict[str, list[str]] = {}
        self.left_behind: list[str] = []
        """What programs had not ended or closed at the end of the lab. In virtual time only."""

    # ------------------------------------------------------------------------------------------------ beginning and end

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        topology: Topology,
        *,
        driver: Driver = "netns",
        seed: int | None = None,
        name: str | None = None,
        runs: str | Path | None = None,
        impair: Executor | None = None,
        speed: float | None = None,
        **limits: Any,
    ) -> AsyncIterator[Lab]:
        """Bring a lab up, and take it down at the end. `speed` (virtual seconds per second; None: as fast as can be)
        and `limits` (`patience`, `idle`, `turns`: nodes/simulation/simulation.py) are for virtual time.
        Raises LabError."""
        plan, source = plan_of(topology, driver, seed=seed, name=name, impair=impair)
        folder = None if runs is None else Path(runs)
        if driver == "sim":
            simulated = _simulated(plan, source, folder, speed, limits)
            lab = cls(simulated)
            outcome = "failed"
            try:
                async with lab._whole():
                    yield lab
                outcome = "down"
            finally:
                simulated.end(lab.left_behind, outcome)
                simulated.dispose()
            return
        backend = await ProcessLab.open(plan, source, driver, folder)
        lab = cls(backend)
        async with lab._whole():
            yield lab

    @classmethod
    def run(
        cls,
        main: Callable[[Lab], Awaitable[Result]],
        topology: Topology,
        *,
        driver: Driver = "netns",
        told: Callable[[Lab], None] | None = None,
        **options: Any,
    ) -> Result:
        """Open a lab (`options` are those of `open`), run `main(lab)` to its end, and return what it returns. In
        virtual time `main` lives there too: `asyncio.sleep` takes no time. `told` is given the lab when it is up."""
        if driver != "sim":
            return asyncio.run(cls._run_here(main, topology, driver, told, options))
        known = {key: options.pop(key, None) for key in ("seed", "name", "impair", "runs", "speed")}
        plan, source = plan_of(topology, driver, seed=known["seed"], name=known["name"], impair=known["impair"])
        folder = None if known["runs"] is None else Path(known["runs"])
        simulated = _simulated(plan, source, folder, known["speed"], options)
        lab = cls(simulated)
        if told is not None:
            told(lab)

        async def whole() -> Result:
            async with lab._whole():
                return await main(lab)

        outcome, reason = "failed", ""
        try:
            result = simulated.simulation.run(whole())
            outcome = "down"
        except StackError as error:
            reason = error.message
            raise
        finally:
            simulated.end(lab.left_behind, outcome=outcome, reason=reason)
            simulated.dispose()
        return result

    @classmethod
    async def _run_here(
        cls,
        main: Callable[[Lab], Awaitable[Result]],
        topology: Topology,
        driver: Driver,
        told: Callable[[Lab], None] | None,
        options: dict[str, Any],
    ) -> Result:
        async with cls.open(topology, driver=driver, **options) as lab:
            if told is not None:
                told(lab)
            return await main(lab)

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[Lab]:
        try:
            yield self
        finally:
            self.left_behind = await self._backend.close()
        for trouble in self._backend.troubles:
            raise trouble

    # ------------------------------------------------------------------------------------------------------- what it is

    def __repr__(self) -> str:
        return f"<lab {self.name} on {self.driver}, {len(self._nodes)} nodes>"

    @property
    def name(self) -> str:
        return self._backend.plan.lab

    @property
    def driver(self) -> str:
        return self._backend.driver

    @property
    def seed(self) -> int:
        return self._backend.plan.seed

    @property
    def run_folder(self) -> Path:
        """What it leaves behind."""
        return self._backend.run.folder

    @property
    def nodes(self) -> Mapping[str, Node]:
        """By their names."""
        return self._nodes

    @property
    def links(self) -> Mapping[str, Link]:
        """By their names."""
        return self._links

    def node(self, name: str) -> Node:
        """Raises UserInputError for a name of nobody."""
        if name not in self._nodes:
            raise UserInputError(f"no node {name!r} in lab {self.name}", hint=did_you_mean(name, list(self._nodes)))
        return self._nodes[name]

    def link(self, name: str) -> Link:
        """By its name, or by its ends in either order: "a-b", "a--b". Raises UserInputError where there is none, or
        where several join the two."""
        if name in self._links:
            return self._links[name]
        found = [link for link in self._links.values() if name in _names_by_ends(link)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserInputError(f"several links join {name}", hint=f"name one of {', '.join(x.name for x in found)}")
        raise UserInputError(f"no link {name!r} in lab {self.name}", hint=did_you_mean(name, list(self._links)))

    # ------------------------------------------------------------------------------------------------------------- time

    @property
    def now(self) -> float:
        """Seconds since the lab was up."""
        return self._backend.now() / SECOND

    async def sleep(self, duration: str | float) -> None:
        """Wait in the lab's time: seconds, or text with a unit."""
        await self._backend.sleep(nanoseconds(duration))

    def at(self, time: str | float, action: Action, *arguments: Any, **keywords: Any) -> Cancellable:
        """Call a function, or run a coroutine function, when `now` is `time`; at once where that has passed. What it
        raises is raised at the end of the lab. Returns what can be cancelled."""
        return self._backend.at(nanoseconds(time), partial(action, *arguments, **keywords))

    async def wait_until(
        self, condition: Callable[[], Any] | str, *, timeout: str | float = 10, node: str | None = None, **fields: Any
    ) -> Any:
        """Until a function (or coroutine function) returns something true, or an event of this name (`tcp:*`) and with
        these fields has happened: what it returned, or the event. Raises TimeoutError."""
        give_up = self._backend.now() + nanoseconds(timeout)
        while True:
            if isinstance(condition, str):
                found: Any = next(iter(self.events(node=node, name=condition, **fields)), None)
            else:
                found = condition()
                if inspect.isawaitable(found):
                    found = await found
            if found:
                return found
            if self._backend.now() >= give_up:
                raise TimeoutError(f"{condition} did not come true within {timeout}")
            await self._backend.sleep(LOOKS)

    # -------------------------------------------------------------------------------------------------------- the whole

    async def partition(self, *groups: Iterable[str | Node]) -> None:
        """Cut the network into groups of nodes that do not hear each other, whatever links there are; nodes in no group
        hear all. Another partition takes the place of the one before."""
        names = [[each.name if isinstance(each, Node) else self.node(each).name for each in group] for group in groups]
        blocked: dict[str, list[str]] = {name: [] for name in self._nodes}
        for group in names:
            others = [name for other in names if other is not group for name in other]
            if shared := set(group) & set(others):
                raise UserInputError(f"{', '.join(sorted(shared))}: in two groups of a partition")
            for name in group:
                blocked[name] = [address for other in others for address in self.node(other).addresses]
        await self._block(blocked)

    async def heal(self) -> None:
        """All hear each other again."""
        await self._block({name: [] for name in self._nodes})

    async def _block(self, blocked: Mapping[str, list[str]]) -> None:
        for name, addresses in blocked.items():
            before = self._blocked.get(name, [])
            if addresses != before:
                await self._backend.block(name, addresses)
                self._blocked[name] = addresses

    def events(
        self, node: str | None = None, name: str | None = None, since: str | float = 0, **fields: Any
    ) -> list[dict[str, Any]]:
        """What has happened so far, in the order of time: `{"time": ms, "node": ..., "name": ..., "data": {...}}`, as
        `lab events --json`. Of a node or link, named like `tcp:*`, since a time, with these values in `data`."""
        self._backend.flush()
        begin = nanoseconds(since) / MILLISECOND
        return [
            {"node": where, **record}
            for time, where, record in recorded_events(self._backend.run, None if node is None else [node])
            if time >= begin
            and (name is None or fnmatch.fnmatch(record["name"], name))
            and all(record["data"].get(key) == value for key, value in fields.items())
        ]


def _names_by_ends(link: Link) -> set[str]:
    return {f"{a}{dash}{b}" for a, b in (link.ends, link.ends[::-1]) for dash in ("-", "--")}


def plan_of(
    topology: Topology,
    driver: str,
    *,
    seed: int | None = None,
    name: str | None = None,
    impair: Executor | None = None,
) -> tuple[Plan, str]:
    """The plan and the text that it was made from. Raises UserInputError."""
    if driver not in DRIVERS:
        raise UserInputError(f"there is no driver {driver!r}", hint=f"there are {', '.join(DRIVERS)}")
    if isinstance(topology, Plan):
        if (seed, name, impair) != (None, None, None):
            raise UserInputError("a plan has its seed, name and executors already")
        return topology, topology.source
    if isinstance(topology, str) and "\n" in topology:
        source, model = topology, loads(topology)
    else:
        model = load(topology)
        source = Path(topology).read_text(encoding="utf-8")
    if name is not None:
        try:
            model = model.model_copy(update={"name": node_name(name)})
        except PydanticCustomError as error:
            raise UserInputError(error.message()) from None
    return make_plan(model, seed, impair), source


def _simulated(
    plan: Plan, source: str, runs: Path | None, speed: float | None, limits: Mapping[str, Any]
) -> SimulatedLab:
    if speed is not None and speed <= 0:
        raise UserInputError(f"a speed of {speed}", hint="0.1 is slow motion, 1 real time, None as fast as can be")
    check(plan)
    run = Run.create(plan, driver="sim", source=source, parent=runs)
    try:
        return SimulatedLab(plan, run, speed=speed, **limits)
    except StackError as error:
        run.finish("failed", reason=error.message)
        raise NodeError(error.message, hint=error.hint) from error
    except BaseException:
        run.finish("failed")
        raise
