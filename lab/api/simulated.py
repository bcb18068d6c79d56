"""A lab in virtual time.

The script that drives it may live in the simulation's own event loop (`lab run`, `Lab.run`), where all its time is
virtual, or in one of its own (`async with Lab.open(...)` under `asyncio.run`, pytest, a notebook): then virtual time
goes on while it waits for something of the lab, and only then.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from lab.api.backend import Action, Cancellable, Exited, Function
from lab.api.simulated_run import SimulatedRun
from lab.drivers.sim.network import make_network
from lab.engine.runs import Run
from lab.errors import NodeError, UserInputError
from lab.plan.values import Plan
from nodes.errors import StackError
from nodes.impairment import Direction, Patch
from nodes.simulation import programs
from nodes.simulation.simulation import Simulation
from nodes.units import MILLISECOND, SECOND

REPORTS = 10 * MILLISECOND
"""How often an application is asked whether it has ended."""


class SimulatedProgram:
    def __init__(self, simulation: Simulation, inner: programs.Program) -> None:
        self._simulation = simulation
        self._inner = inner
        self.name = inner.name
        self.node = inner.node

    @property
    def state(self) -> str:
        return self._inner.state

    async def wait(self) -> Any:
        """Until it ends: its result, or what it raised."""
        return await self._simulation.wait(self._inner)

    def cancel(self) -> None:
        """Harmless where it has ended."""
        self._inner.cancel()


class SimulatedLab:
    """For a plan that `lab.drivers.sim.network.check` has passed."""

    driver = "sim"

    def __init__(self, plan: Plan, run: Run, **settings: Any) -> None:
        self.plan = plan
        self.run = run
        self.troubles: list[BaseException] = []
        self.record = SimulatedRun(plan, run)
        self.network = make_network(plan, self.record.recorder_for, self.record.link_trace)
        self.simulation = Simulation(self.network, **settings)
        self.record.begin(self.network)
        self._actions: set[asyncio.Task[Any]] = set()

    def now(self) -> int:
        return self.network.now

    async def sleep(self, duration: int) -> None:
        await self.simulation.wait_for(asyncio.sleep(duration / SECOND))

    def at(self, instant: int, action: Action) -> Cancellable:
        return self.network.call_at(instant, lambda: self._act(action))

    def start(
        self, node: str, function: Function, arguments: Sequence[Any], keywords: Mapping[str, Any], *, restart: bool
    ) -> SimulatedProgram:
        function_of = _as_coroutine_function(function)
        inner = self._do(
            lambda: self.simulation.start(node, function_of, tuple(arguments), dict(keywords), restart=restart)
        )
        return SimulatedProgram(self.simulation, inner)

    async def connect(self, node: str, host: str, port: int) -> tuple[Any, Any]:
        program = self.start(node, asyncio.open_connection, (host, port), {}, restart=False)
        reader, writer = await program.wait()
        if asyncio.get_running_loop() is self.simulation.loop:
            return reader, writer
        return _Guest(reader, self.simulation), _Guest(writer, self.simulation)

    async def exec(self, node: str, command: Sequence[str], timeout: float | None) -> Exited:  # noqa: ARG002
        raise UserInputError(
            f"{node}: the driver sim runs no commands: there is no kernel to run them on",
            hint="`run` a coroutine function there, or use `--driver netns`",
        )

    async def application(self, node: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
        found = self.network.node(node)
        runner = found.runner
        if runner is None:
            raise NodeError(f"{node}: no applications run here, or it is off", hint="hosts and routers run them")
        number = self._do(lambda: runner.start(kind, options, self.network.now))
        found.touch()
        while runner.state(number) == "running":
            await self.sleep(REPORTS)
            if found.runner is not runner:
                raise NodeError(f"{node} crashed, and {kind} with it")
        if (failure := runner.failure(number)) is not None:
            raise NodeError(f"{node}: {failure}")
        return runner.result(number)

    async def state(self, node: str) -> dict[str, Any]:
        return self.network.node(node).state(self.network.now)

    async def kill(self, node: str) -> None:
        self._do(lambda: self.simulation.crash(node, "killed"))

    async def restart(self, node: str) -> None:
        self._do(lambda: self.simulation.restart(node))

    async def pause(self, node: str) -> None:
        self._do(lambda: self.simulation.pause(node))

    async def resume(self, node: str) -> None:
        self._do(lambda: self.simulation.resume(node))

    def set_clock(self, node: str, offset: int | None, drift_ppb: int | None) -> None:
        try:
            self._do(lambda: self.simulation.set_clock(node, offset=offset, drift_ppb=drift_ppb))
        except ValueError as error:
            raise UserInputError(str(error)) from None

    async def block(self, node: str, addresses: Sequence[str]) -> None:
        self._do(lambda: self.network.node(node).block(addresses))

    async def impair(self, link: str, patch: Patch, directions: Sequence[Direction], *, replace: bool) -> None:
        self._do(lambda: self.network.link(link).impair(patch, directions, replace=replace))
        self.record.watch()

    async def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> None:
        found = self.network.link(link)
        if up is not None:
            found.end_flaps()
            found.set_up(up)
        if mtu is not None:
            self._do(lambda: found.set_mtu(mtu))

    async def flap(self, link: str, down: int, every: int, times: int) -> None:
        self.network.link(link).flap(down, every, times)

    async def link_state(self, link: str) -> dict[str, Any]:
        return self.record.link_state(link)

    async def capture(self, node: str, *, start: bool) -> dict[str, Any]:
        found = self.network.node(node)
        return {"path": self._do(found.start_capture)} if start else self._do(found.stop_capture)

    def flush(self) -> None:
        self.record.flush()

    async def close(self) -> list[str]:
        """End the programs. The recording ends with `end`, when nothing runs any more."""
        self._stop_actions()
        return [str(each) for each in await self.simulation.finish()]

    def end(self, left: Sequence[str], outcome: str, reason: str = "") -> None:
        """The files are written, nothing runs any more."""
        self.record.close(outcome=outcome, left_behind=list(left), **({"reason": reason} if reason else {}))

    def dispose(self) -> None:
        """What `end` leaves: the event loop. Not from inside it."""
        self.simulation.close()

    def _stop_actions(self) -> None:
        for task in list(self._actions):
            task.cancel()

    def _act(self, action: Action) -> None:
        """An action of `at`, in the middle of what happens: what it raises is told at the end."""
        try:
            result = Context().run(action)
        except Exception as error:  # noqa: BLE001 (a script's)
            self.troubles.append(error)
            return
        if inspect.isawaitable(result):
            task = Context().run(self.simulation.loop.create_task, _awaited(result), name="action")
            self._actions.add(task)
            task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[Any]) -> None:
        self._actions.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.troubles.append(error)

    @staticmethod
    def _do(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except StackError as error:
            raise NodeError(error.message, hint=error.hint) from error


class _Guest:
    """A stream of the simulation, for a script that has an event loop of its own."""

    def __init__(self, inner: Any, simulation: Simulation) -> None:
        self._inner = inner
        self._simulation = simulation

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **keywords: Any) -> Any:
            return await self._simulation.wait_for(found(*arguments, **keywords))

        return call


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_coroutine_function(function: Function) -> Any:
    if not callable(function):
        raise UserInputError(f"{function!r} is no function", hint="`run` takes a coroutine function and its arguments")

    async def call(*arguments: Any, **keywords: Any) -> Any:
        return await function(*arguments, **keywords)

    call.__name__ = getattr(function, "__name__", "program")
    call.__qualname__ = getattr(function, "__qualname__", call.__name__)
    return call
