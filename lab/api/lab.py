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
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from lab.api.backend import Action, Backend, Cancellable
from lab.api.links import Link
from lab.api.nodes import Node
from lab.api.opening import (
    Driver,
    Options,
    Topology,
    Virtual,
    check_driver,
    plan_of,
    reason_of,
    settings_of,
    simulated,
    told_of,
)
from lab.api.processes import ProcessLab
from lab.api.times import nanoseconds
from lab.engine.event_names import check_pattern
from lab.engine.recorded import Newest, Row, recorded_events
from lab.errors import UserInputError
from lab.model.errors import did_you_mean
from nodes.impairment import Executor
from nodes.units import MILLISECOND, SECOND

Result = TypeVar("Result")
LOOKS = 50 * MILLISECOND
"""How often `wait_until` looks at first."""

SLOWER, SELDOM = 100, SECOND
"""Later after each hundredth of the time that it has waited, and after a second at the latest."""


class Lab:
    """Made by `Lab.open` and `Lab.run`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._nodes = {node.name: Node(backend, node) for node in backend.plan.nodes}
        self._links = {link.name: Link(backend, link) for link in backend.plan.links}
        self._blocked: dict[str, list[str]] = {}
        self.left_behind: list[str] = []
        """What programs had not ended or closed at the end of the lab."""
        self.waiting: list[str] = []
        """Where the script was cancelled, as by Ctrl-C: what the programs in the nodes waited for then."""

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
        **virtual: Unpack[Virtual],
    ) -> AsyncIterator[Lab]:
        """Bring a lab up, and take it down at the end. Raises LabError."""
        plan, source = plan_of(topology, driver, seed=seed, name=name, impair=impair)
        folder = None if runs is None else Path(runs)
        settings = settings_of(virtual)
        if driver == "sim":
            backend: Backend = simulated(plan, source, folder, settings)
        else:
            backend = await ProcessLab.open(plan, source, driver, folder)
        lab = cls(backend)
        with lab._recorded():
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
        **options: Unpack[Options],
    ) -> Result:
        """Open a lab (`options` are those of `open`), run `main(lab)` to its end, and return what it returns. In
        virtual time `main` lives there too: `asyncio.sleep` takes no time. `told` is given the lab when it is up."""
        if _in_a_loop():
            raise UserInputError(
                "Lab.run has an event loop of its own, and one runs already", hint="`async with Lab.open(...)` in it"
            )
        check_driver(driver)
        if driver != "sim":
            return asyncio.run(cls._run_here(main, topology, driver, told, options))
        chosen: Any = {key: options.get(key) for key in ("seed", "name", "impair")}
        plan, source = plan_of(topology, driver, **chosen)
        runs = options.get("runs")
        backend = simulated(plan, source, None if runs is None else Path(runs), settings_of(options))
        lab = cls(backend)
        if told is not None:
            told(lab)

        async def whole() -> Result:
            async with lab._whole():
                return await main(lab)

        with lab._recorded():
            return backend.simulation.run(whole())

    @classmethod
    async def _run_here(
        cls,
        main: Callable[[Lab], Awaitable[Result]],
        topology: Topology,
        driver: Driver,
        told: Callable[[Lab], None] | None,
        options: Options,
    ) -> Result:
        async with cls.open(topology, driver=driver, **options) as lab:
            if told is not None:
                told(lab)
            return await main(lab)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """How it ended stands in the run."""
        outcome, reason = "failed", ""
        try:
            yield
            outcome = "down"
        except BaseException as error:
            reason = reason_of(error)
            raise
        finally:
            self._backend.end(self.left_behind, outcome, reason)
            self._backend.dispose()

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[Lab]:
        """What went wrong unheard is raised at the end; where the script itself failed, it is a note to that."""
        troubles = self._backend.troubles
        try:
            yield self
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self.waiting = await self._backend.waiting()
            self.left_behind = await self._backend.close()
            for trouble in troubles:
                if trouble is not error:
                    error.add_note(f"Besides: {told_of(trouble)}")
            raise
        self.left_behind = await self._backend.close()
        if troubles:
            for trouble in troubles[1:]:
                troubles[0].add_note(f"Besides: {told_of(trouble)}")
            raise troubles[0]

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
        """Until a function (or coroutine function) returns something true, or an event of this name (`link:arp_*`) and
        with these fields has happened, now or before: what it returned, or the event. Raises TimeoutError, and
        UserInputError where no event can be so."""
        look = self._event_like(condition, node, fields) if isinstance(condition, str) else condition
        begin, limit = self._backend.now(), nanoseconds(timeout)
        while True:
            found = look()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            waited = self._backend.now() - begin
            if waited >= limit:
                raise TimeoutError(f"{_name_of(condition)} did not come true within {timeout}")
            pause = max(LOOKS, min(waited // SLOWER, SELDOM))
            await self._backend.sleep(min(pause, limit - waited))

    def _event_like(self, name: str, node: str | None, fields: Mapping[str, Any]) -> Callable[[], Any]:
        check_pattern(name, fields)
        newest = Newest(self._backend.run, None if node is None else [node])

        async def look() -> dict[str, Any] | None:
            await self._backend.flushed(node)
            return next((self._event(row) for row in newest.read() if _is_like(row, name, fields)), None)

        return look

    # -------------------------------------------------------------------------------------------------------- the whole

    async def partition(self, *groups: Iterable[str | Node]) -> None:
        """Cut the network into groups of nodes that do not hear each other, whatever links there are; nodes in no group
        hear all. Another partition takes the place of the one before."""
        parts = [[self.node(each.name if isinstance(each, Node) else each) for each in group] for group in groups]
        blocked: dict[str, list[str]] = {name: [] for name in self._nodes}
        for part in parts:
            others = [node for other in parts if other is not part for node in other]
            for node in part:
                self._check_parted(node, others)
                if node.stack != "kernel":  # it is parted by what the others do
                    blocked[node.name] = [address for other in others for address in other.addresses]
        await self._block(blocked)

    @staticmethod
    def _check_parted(node: Node, others: Iterable[Node]) -> None:
        if not node.addresses:
            raise UserInputError(
                f"{node.name} is a {node.kind}: it has no address to be parted by", hint="take its links down"
            )
        for other in others:
            if other.name == node.name:
                raise UserInputError(f"{node.name}: in two groups of a partition")
            if node.stack == other.stack == "kernel":
                raise UserInputError(
                    f"{node.name} and {other.name} cannot be parted: both have the kernel's stack",
                    hint="take a link down",
                )

    async def heal(self) -> None:
        """All hear each other again."""
        await self._block({name: [] for name in self._nodes})

    async def _block(self, blocked: Mapping[str, list[str]]) -> None:
        changed = {name: addresses for name, addresses in blocked.items() if addresses != self._blocked.get(name, [])}
        self._blocked |= changed
        await asyncio.gather(*(self._backend.block(name, addresses) for name, addresses in changed.items()))

    def events(
        self, node: str | None = None, name: str | None = None, since: str | float | None = None, **fields: Any
    ) -> list[dict[str, Any]]:
        """What has happened so far, in the order of time: `{"time": ms, "node": ..., "name": ..., "data": {...}}`. Of
        a node or link, named like `link:*`, since a time, with these values in `data`. Times are those of `now`; what
        happened while the lab came up was before 0. Raises UserInputError where no event can be like that."""
        check_pattern("*" if name is None else name, fields)
        begin = nanoseconds(since) / MILLISECOND if since is not None else -math.inf
        self._backend.flush(node)
        rows = recorded_events(self._backend.run, None if node is None else [node])
        found = (self._event(row) for row in rows if _is_like(row, name, fields))
        return [event for event in found if event["time"] >= begin]

    def _event(self, row: Row) -> dict[str, Any]:
        time, where, record = row
        return {"node": where, **record, "time": round(time - self._backend.zero, 6)}


def _is_like(row: Row, name: str | None, fields: Mapping[str, Any]) -> bool:
    record = row[2]
    if name is not None and not fnmatch.fnmatchcase(record["name"], name):
        return False
    return all(key in record["data"] and record["data"][key] == value for key, value in fields.items())


def _names_by_ends(link: Link) -> set[str]:
    return {f"{a}{dash}{b}" for a, b in (link.ends, link.ends[::-1]) for dash in ("-", "--")}


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _name_of(condition: object) -> str:
    return condition if isinstance(condition, str) else getattr(condition, "__qualname__", repr(condition))
