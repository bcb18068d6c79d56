"""A lab of processes, in real time: its supervisor and its agents, asked over their control sockets.

The script has an event loop of its own, and what it asks of the lab waits in threads: one connection for each question,
so that any number of programs can be waited for at once. A user's coroutine function runs inside the node's agent
(lab/engine/program_calls.py tells how it gets there).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lab.api.backend import Action, Cancellable, Exited, Function
from lab.engine.client import AgentClient, LabClient
from lab.engine.launch import bring_down, bring_up, own_python
from lab.engine.program_calls import outcome, program_params
from lab.engine.runs import Run
from lab.errors import LabError, NodeError, UserInputError
from lab.plan.values import Plan
from nodes import impairment as values
from nodes.impairment import Direction, Patch
from nodes.units import SECOND

Result = TypeVar("Result")

THREADS = 512
"""Questions that may wait for their answers at once."""

RUN_TIME = 10 * 365 * 86_400.0
"""Seconds that an application may take: as long as it likes."""


class ProcessProgram:
    def __init__(self, lab: ProcessLab, node: str, params: dict[str, Any], *, restart: bool) -> None:
        self.node = node
        self.name = str(params["name"])
        self.number: int | None = None
        self.crashed = False
        self._lab = lab
        self._params = params
        self._restart = restart
        self._cancelled = False
        self._state = "running"
        self._task = asyncio.get_running_loop().create_task(self._live(), name=f"{self.name} in {node}")
        self._task.add_done_callback(_heard)

    @property
    def state(self) -> str:
        return self._state

    async def wait(self) -> Any:
        """Until it ends: its result, or what it raised."""
        return await asyncio.shield(self._task)

    async def wait_or_cancel(self) -> Any:
        """As `wait`; whoever gives up waiting cancels it."""
        try:
            return await self.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Harmless where it has ended."""
        self._cancelled = True
        if self.number is not None and self._state == "running":
            self._lab.spawn(self._lab.ask(self.node, "program_cancel", program=self.number))

    async def _live(self) -> Any:
        """Through all lives of its node, where it is to be started again in each."""
        while True:
            try:
                result = await self._lab.thread(self._run)
            except asyncio.CancelledError:
                self._state = "cancelled"
                raise
            except NodeError as error:
                if not await self._lab.node_ended(self.node):
                    self._state = "failed"
                    raise
                self._state = "crashed"
                if not self._restart or self._cancelled:
                    raise NodeError(f"{self.node} crashed, and {self.name} with it") from error
                self.number = None
                await self._lab.node_is_back(self.node)
                self._state = "running"
            except BaseException:
                self._state = "failed"
                raise
            else:
                self._state = "done"
                return result

    def _run(self) -> Any:
        params = dict(self._params)
        pickled = params.pop("call_bytes", None)
        with contextlib.ExitStack() as stack:
            if pickled is not None:
                file = stack.enter_context(tempfile.NamedTemporaryFile(dir=self._lab.run.folder))
                file.write(pickled)
                file.flush()
                params["call_file"] = file.name
            agent = self._lab.agent(self.node)
            stack.callback(agent.close)
            return outcome(*agent.program(params, self._show))

    def _show(self, event: dict[str, Any]) -> None:
        if "program" in event:
            self.number = int(event["program"])
            if self._cancelled:
                self._lab.from_thread(self.cancel)
        elif "stream" in event:
            stream = sys.stderr if event["stream"] == "stderr" else sys.stdout
            stream.write(event["text"])
            stream.flush()


class ProcessLab:
    """A lab that was brought up by `open`."""

    def __init__(self, plan: Plan, run: Run, driver: str) -> None:
        self.driver = driver
        self.plan = plan
        self.run = run
        self.troubles: list[BaseException] = []
        self._loop = asyncio.get_running_loop()
        self._begun = time.monotonic_ns()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"lab {plan.lab}")
        self._programs: list[ProcessProgram] = []
        self._spawned: set[asyncio.Task[Any]] = set()
        self._blocked: dict[str, list[str]] = {}
        self._back: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(cls, plan: Plan, source: str, driver: str, runs: Path | None) -> ProcessLab:
        """Bring it up. Raises the LabError that made it fail; then everything is undone."""
        run = await asyncio.to_thread(bring_up, plan, source, lambda *_: None, driver=driver, runs=runs)
        return cls(plan, run, driver)

    # Of the surface of backends

    def now(self) -> int:
        return time.monotonic_ns() - self._begun

    async def sleep(self, duration: int) -> None:
        await asyncio.sleep(duration / SECOND)

    def at(self, instant: int, action: Action) -> Cancellable:
        delay = max(instant - self.now(), 0) / SECOND
        return self._loop.call_later(delay, self._act, action)

    def start(
        self, node: str, function: Function, arguments: Sequence[Any], keywords: Mapping[str, Any], *, restart: bool
    ) -> ProcessProgram:
        program = ProcessProgram(self, node, program_params(function, arguments, keywords), restart=restart)
        self._programs.append(program)
        return program

    async def connect(self, node: str, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        def ask() -> socket.socket:
            agent = self.agent(node)
            try:
                return agent.connect(host, port)[0]
            finally:
                agent.close()

        link = await self.thread(ask)
        link.setblocking(False)
        return await asyncio.open_unix_connection(sock=link)

    async def exec(self, node: str, command: Sequence[str], timeout: float | None) -> Exited:
        line, environment = own_python("lab", "exec", "--lab", self.plan.lab, node, "--", *command)
        process = await asyncio.create_subprocess_exec(
            *line,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Exited(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    async def application(self, node: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return await self.ask(node, "run", within=RUN_TIME, application=kind, options=dict(options))

    async def state(self, node: str) -> dict[str, Any]:
        return await self.ask(node, "state")

    async def kill(self, node: str) -> None:
        await self._supervisor(lambda client: client.stop(node, kill=True))

    async def restart(self, node: str) -> None:
        await self._supervisor(lambda client: client.start(node))
        if self._blocked.get(node):
            await self.ask(node, "barrier", addresses=self._blocked[node])
        event = self._back.pop(node, None)
        if event is not None:
            event.set()

    async def pause(self, node: str) -> None:
        await self._supervisor(lambda client: client.pause(node))

    async def resume(self, node: str) -> None:
        await self._supervisor(lambda client: client.resume(node))

    def set_clock(self, node: str, offset: int | None, drift_ppb: int | None) -> None:  # noqa: ARG002
        raise UserInputError(
            f"{node}: the driver {self.driver} cannot put clocks wrong: all processes have the machine's",
            hint="`--driver sim` can",
        )

    async def block(self, node: str, addresses: Sequence[str]) -> None:
        self._blocked[node] = list(addresses)
        states = await self._supervisor(lambda client: client.nodes())
        if states[node].state == "running":
            await self.ask(node, "barrier", addresses=list(addresses))

    async def impair(self, link: str, patch: Patch, directions: Sequence[Direction], *, replace: bool) -> None:
        encoded = values.encode_patch(patch)
        await self._supervisor(lambda client: client.impair(link, encoded, directions=directions, replace=replace))

    async def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> None:
        await self._supervisor(lambda client: client.set_link(link, up=up, mtu=mtu))

    async def flap(self, link: str, down: int, every: int, times: int) -> None:
        await self._supervisor(lambda client: client.flap_link(link, down=down, every=every, times=times))

    async def link_state(self, link: str) -> dict[str, Any]:
        told = await self._supervisor(lambda client: client.links([link]))
        return dict(told["links"][link])

    async def capture(self, node: str, *, start: bool) -> dict[str, Any]:
        return await self.ask(node, "capture_start" if start else "capture_stop")

    def flush(self) -> None:
        """Agents do so every second; what is newer may be missing."""

    async def close(self) -> list[str]:
        """End all programs, and the lab."""
        running = [program for program in self._programs if program.state == "running"]
        for program in running:
            program.cancel()
        try:
            await self.thread(lambda: bring_down(self.plan.lab))
        finally:
            for task in [*self._spawned, *(program._task for program in self._programs)]:
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
        return []

    # For programs, and inside

    async def thread(self, call: Callable[[], Result]) -> Result:
        return await self._loop.run_in_executor(self._threads, call)

    def from_thread(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(call)

    def spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        task.add_done_callback(_heard)

    def agent(self, node: str) -> AgentClient:
        """A connection to a node's agent, in the calling thread."""
        client = LabClient(self.plan.lab)
        try:
            return client.open_agent(node)
        finally:
            client.close()

    async def ask(self, node: str, method: str, /, within: float = 30.0, **params: Any) -> dict[str, Any]:
        def call() -> dict[str, Any]:
            agent = self.agent(node)
            try:
                return agent.call(method, within=within, **params)
            finally:
                agent.close()

        return await self.thread(call)

    async def node_ended(self, node: str) -> bool:
        """Whether a node that does not answer was stopped, or died."""
        try:
            states = await self._supervisor(lambda client: client.nodes())
        except LabError:
            return True
        return states[node].state in ("stopped", "dead") or node in self._back

    async def node_is_back(self, node: str) -> None:
        await self._back.setdefault(node, asyncio.Event()).wait()

    async def _supervisor(self, ask: Callable[[LabClient], Result]) -> Result:
        def call() -> Result:
            client = LabClient(self.plan.lab)
            try:
                return ask(client)
            finally:
                client.close()

        return await self.thread(call)

    def _act(self, action: Action) -> None:
        try:
            result = action()
        except Exception as error:  # noqa: BLE001 (a script's)
            self.troubles.append(error)
            return
        if inspect.isawaitable(result):
            self.spawn(self._watched(result))

    async def _watched(self, awaitable: Any) -> None:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 (a script's)
            self.troubles.append(error)


def _heard(task: asyncio.Task[Any]) -> None:
    """What nobody waited for must not be told by the garbage collector."""
    if not task.cancelled():
        task.exception()
