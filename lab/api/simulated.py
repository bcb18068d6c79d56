"""A lab in virtual time.

The script that drives it may live in the simulation's own event loop (`lab run`, `Lab.run`), where all its time is
virtual, or in one of its own (`async with Lab.open(...)` under `asyncio.run`, pytest, a notebook): then virtual time
goes on while it waits for something of the lab, and only then.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from lab.api.backend import Action, Cancellable, Exited, Function, Report
from lab.api.simulated_run import SimulatedRun
from lab.drivers.abilities import refusal
from lab.drivers.sim.network import make_network
from lab.engine.client import agent_error
from lab.engine.program_calls import ProgramError
from lab.engine.runs import Run
from lab.errors import NodeError, StateError, UserInputError
from lab.plan.values import Plan
from nodes.errors import NodeCrashedError, StackError
from nodes.impairment import Direction, Patch
from nodes.io.control import ControlError
from nodes.simulation import programs
from nodes.simulation.node import SimulatedNode
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
        self.awaited = False
        """Somebody waits or has waited for it: what it raises is told."""

    @property
    def state(self) -> str:
        return self._inner.state

    @property
    def failure(self) -> BaseException | None:
        """What it raised, where it failed."""
        return self._inner.exception if self._inner.state == "failed" else None

    async def wait(self) -> Any:
        """Until it ends: its result, or what it raised."""
        self.awaited = True
        try:
            return await self._simulation.wait(self._inner)
        except NodeCrashedError as error:
            if error is not self._inner.exception:
                raise
            raise NodeError(error.message, hint=error.hint) from None

    def cancel(self) -> None:
        """Harmless where it has ended."""
        self._inner.cancel()


class SimulatedLab:
    """For a plan that `lab.drivers.sim.network.check` has passed."""

    driver = "sim"
    zero = 0.0

    def __init__(self, plan: Plan, run: Run, **settings: Any) -> None:
        self.plan = plan
        self.run = run
        self.troubles: list[BaseException] = []
        self.record = SimulatedRun(plan, run)
        self.network = make_network(plan, self.record.recorder_for, self.record.link_trace)
        self.simulation = Simulation(self.network, **settings)
        self.record.begin(self.network)
        self._programs: list[SimulatedProgram] = []
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
        self._that_is_on(node)
        inner = self._do(
            node, lambda: self.simulation.start(node, function_of, tuple(arguments), dict(keywords), restart=restart)
        )
        program = SimulatedProgram(self.simulation, inner)
        self._programs.append(program)
        return program

    async def connect(self, node: str, host: str, port: int) -> tuple[Any, Any]:
        program = self.start(node, asyncio.open_connection, (host, port), {}, restart=False)
        reader, writer = await program.wait()
        if asyncio.get_running_loop() is self.simulation.loop:
            return reader, writer
        return _GuestReader(reader, self.simulation), _Guest(writer, self.simulation)

    async def exec(self, node: str, command: Sequence[str], timeout: float | None) -> Exited:  # noqa: ARG002
        hint = "`run` a coroutine function there, or use `--driver netns`"
        raise refusal("sim", "exec", node, hint=hint)

    async def copy(self, node: str, direction: str, source: str, target: str) -> None:  # noqa: ARG002
        hint = "programs in nodes read and write the files of this machine"
        raise refusal("sim", "copy", node, hint=hint)

    async def application(
        self, node: str, kind: str, options: Mapping[str, Any], report: Report | None
    ) -> dict[str, Any]:
        found = self._that_is_on(node)
        runner = found.runner
        if runner is None:
            raise UserInputError(
                f"{node} is a {found.config.kind}: it runs no applications", hint="hosts and routers do"
            )
        number = self._do(node, lambda: runner.start(kind, options, self.network.now))
        found.touch()
        running = True
        while running:
            running = runner.state(number) == "running"
            for output in runner.outputs(number):
                if report is not None:
                    report(output)
            if running:
                await self.sleep(REPORTS)
                if found.runner is not runner:
                    raise NodeError(f"node {node} crashed, and {kind} with it")
        result = runner.result(number)
        if runner.state(number) == "failed":
            error = ControlError(*(str(result[key]) for key in ("errno", "error", "hint")))
            raise agent_error(node, error)
        return result

    async def state(self, node: str) -> dict[str, Any]:
        return self._that_is_on(node).state(self.network.now)

    async def kill(self, node: str) -> None:
        self._must_run(node)
        self._do(node, lambda: self.simulation.crash(node, "killed"))

    async def restart(self, node: str) -> None:
        if self.network.node(node).on:
            raise StateError(f"node {node!r} is already running")
        self._do(node, lambda: self.simulation.restart(node))

    async def pause(self, node: str) -> None:
        self._must_run(node)
        self._do(node, lambda: self.simulation.pause(node))

    async def resume(self, node: str) -> None:
        self._must_run(node)
        self._do(node, lambda: self.simulation.resume(node))

    def set_clock(self, node: str, offset: int | None, drift_ppb: int | None) -> None:
        self._that_is_on(node)
        try:
            self._do(node, lambda: self.simulation.set_clock(node, offset=offset, drift_ppb=drift_ppb))
        except ValueError as error:
            raise UserInputError(str(error)) from None

    async def block(self, node: str, addresses: Sequence[str]) -> None:
        self._do(node, lambda: self.network.node(node).block(addresses))

    async def send_frame(self, node: str, frame: bytes, interface: str | None) -> None:
        found = self._that_is_on(node)
        self._do(node, lambda: found.send_frame(interface, frame))

    async def impair(self, link: str, patch: Patch, directions: Sequence[Direction], *, replace: bool) -> None:
        self._do(link, lambda: self.network.link(link).impair(patch, directions, replace=replace))
        self.record.watch()

    async def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> None:
        found = self.network.link(link)
        if up is not None:
            found.end_flaps()
            found.set_up(up)
        if mtu is not None:
            self._do(link, lambda: found.set_mtu(mtu))

    async def flap(self, link: str, down: int, every: int, times: int) -> None:
        self.network.link(link).flap(down, every, times)

    async def link_state(self, link: str) -> dict[str, Any]:
        return self.record.link_state(link)

    async def capture(self, node: str, *, start: bool) -> dict[str, Any]:
        found = self._that_is_on(node)
        return {"path": self._do(node, found.start_capture)} if start else self._do(node, found.stop_capture)

    def flush(self, node: str | None) -> None:  # noqa: ARG002
        self.record.flush()

    async def flushed(self, node: str | None) -> None:
        self.flush(node)

    async def waiting(self) -> list[str]:
        return self.simulation.situation(script=False).splitlines()

    async def close(self) -> list[str]:
        """End the programs. The recording ends with `end`, when nothing runs any more."""
        self._stop_actions()
        left = [str(each) for each in await self.simulation.finish()]
        for program in self._programs:
            failure = program.failure
            if failure is not None and not program.awaited:
                failure.add_note(f"The program {program.name} in {program.node}, for which nobody waited.")
                self.troubles.append(failure)
        return left

    def end(self, left: Sequence[str], outcome: str, reason: str) -> None:
        self.record.close(outcome=outcome, left_behind=list(left), **({"reason": reason} if reason else {}))

    def dispose(self) -> None:
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

    def _that_is_on(self, node: str) -> SimulatedNode:
        found = self.network.node(node)
        if not found.on:
            raise NodeError(f"{node} is off", hint="restart it first")
        return found

    def _must_run(self, node: str) -> None:
        if not self.network.node(node).on:
            raise StateError(f"node {node!r} is not running, it is stopped")

    @staticmethod
    def _do(name: str, call: Callable[[], Any]) -> Any:
        """Errors are those that an agent would answer with."""
        try:
            return call()
        except StackError as error:
            code = errno.errorcode.get(error.errno, "EIO")
            raise agent_error(name, ControlError(code, error.message, error.hint)) from error


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


class _GuestReader(_Guest):
    def __aiter__(self) -> _GuestReader:
        return self

    async def __anext__(self) -> bytes:
        line: bytes = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_coroutine_function(function: Function) -> Any:
    async def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            made = function(*arguments, **keywords)
            if not inspect.isawaitable(made):
                raise TypeError(f"{function!r} is no coroutine function: it returned {type(made).__name__}")
            return await made
        except (SystemExit, KeyboardInterrupt) as error:  # it would end the whole simulation
            raise ProgramError(f"{call.__name__} ended with {error!r}") from error

    call.__name__ = getattr(function, "__name__", "program")
    call.__qualname__ = getattr(function, "__qualname__", call.__name__)
    return call
