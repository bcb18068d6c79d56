"""A lab of processes, in real time: its supervisor and its agents, asked over their control sockets.

The script has an event loop of its own, which also waits for what it asks of the lab (lab/api/channel.py). Building and
ending a lab, and reading what it recorded, are the command line's own blocking functions.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import inspect
import ipaddress
import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lab.api.backend import Action, Cancellable, Exited, Function, Report
from lab.api.channel import Answer, Door, Heard
from lab.api.connection import open_streams
from lab.api.process_programs import ProcessProgram, heard
from lab.drivers.abilities import refusal
from lab.engine import registry
from lab.engine.client import LabClient, agent_error, supervisor_error
from lab.engine.launch import bring_down, bring_up, error_of
from lab.engine.links_trace import FOLDER
from lab.engine.own_python import own_python
from lab.engine.program_calls import program_params
from lab.engine.recorded import epoch_of
from lab.engine.runs import Run
from lab.errors import LabError, NodeError
from lab.plan.values import Plan
from nodes import impairment as values
from nodes.impairment import Direction, Patch
from nodes.io.control import ControlError
from nodes.units import MILLISECOND, SECOND

ANSWER = 30.0
"""Seconds for an answer that is given at once: a node that computes, or a machine that is busy, may need some."""

FAREWELL = 2.0
"""Seconds that cancelled programs have at the end, to close their connections."""

SITUATION = 1.0
"""Seconds for a node to say what its programs wait for: one that says nothing is told of too."""

_ON = ("running", "paused")


class ProcessLab:
    """A lab that was brought up by `open`."""

    def __init__(self, plan: Plan, run: Run, driver: str) -> None:
        self.driver = driver
        self.plan = plan
        self.run = run
        self.troubles: list[BaseException] = []
        self._loop = asyncio.get_running_loop()
        self._begun = time.monotonic_ns()
        self.zero = (time.time_ns() - epoch_of(run.folder / FOLDER / "trace.sqlog")) / MILLISECOND
        self._supervisor = Door(self._to_supervisor)
        self._agents: dict[str, Door] = {}
        self._programs: list[ProcessProgram] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._spawned: set[asyncio.Task[Any]] = set()
        self._blocked: dict[str, list[str]] = {}
        self._off: set[str] = set()
        self._lives: dict[str, int] = {}

    @classmethod
    async def open(cls, plan: Plan, source: str, driver: str, runs: Path | None) -> ProcessLab:
        """Bring it up. Raises the LabError that made it fail; then, and when cancelled, everything is undone."""
        unwanted = threading.Event()

        def bring() -> tuple[Run, bool]:
            run = bring_up(plan, source, lambda *_: None, driver=driver, runs=runs, programs=True)
            undone = unwanted.is_set()
            if undone:  # here, because after a second Ctrl-C nobody waits for this thread
                bring_down(plan.lab)
            return run, undone

        coming = asyncio.ensure_future(asyncio.to_thread(bring))
        try:
            run, _ = await asyncio.shield(coming)
        except asyncio.CancelledError:
            unwanted.set()
            with contextlib.suppress(LabError):  # it did not come up: all the better
                _, undone = await coming
                if not undone:
                    await asyncio.to_thread(bring_down, plan.lab)
            raise
        return cls(plan, run, driver)

    # ------------------------------------------------------------------------------------------------------------ time

    def now(self) -> int:
        return time.monotonic_ns() - self._begun

    async def sleep(self, duration: int) -> None:
        await asyncio.sleep(duration / SECOND)

    def at(self, instant: int, action: Action) -> Cancellable:
        delay = max(instant - self.now(), 0) / SECOND
        handle = self._loop.call_later(delay, self._act, action)
        self._timers = [timer for timer in self._timers if timer.when() > self._loop.time()] + [handle]
        return handle

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

    # ----------------------------------------------------------------------------------------------------------- nodes

    def start(
        self, node: str, function: Function, arguments: Sequence[Any], keywords: Mapping[str, Any], *, restart: bool
    ) -> ProcessProgram:
        if node in self._off and self._status_now()[node] not in _ON:
            raise NodeError(f"{node} is off", hint="restart it first")
        program = ProcessProgram(self, node, program_params(function, arguments, keywords), restart=restart)
        self._programs.append(program)
        return program

    async def connect(self, node: str, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host not in self.plan.by_name[node].hosts and not _is_address(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        try:
            answer = await self._agent(node).ask("connect", {"to": host, "to_port": port})
        except ControlError as error:
            number = getattr(errno, error.code, None)
            if isinstance(number, int):
                raise OSError(number, error.message) from None
            raise agent_error(node, error) from error
        facts = answer.result
        ends = {"sockname": (facts["address"], facts["port"]), "peername": (facts["to"], facts["to_port"])}

        async def how_it_ended() -> tuple[str, str] | None:
            error = (await self._ask(node, "connection", {"connection": facts["connection"]}))["error"]
            return None if error is None else (error["code"], error["message"])

        return await open_streams(node, socket.socket(fileno=answer.fds[0]), ends, how_it_ended)

    async def copy(self, node: str, direction: Literal["in", "out"], source: str, target: str) -> None:
        line, environment = own_python("lab.engine.copy_inside", self.plan.lab, node, direction, source, target)
        done = await _ended(line, environment)
        if done.status != 0:
            raise NodeError(f"{node}: the copy failed: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
        if answer["error"]:
            raise error_of(answer)

    async def exec(self, node: str, command: Sequence[str], timeout: float | None) -> Exited:
        await self._may_enter(node)
        line, environment = own_python("lab", "exec", "--lab", self.plan.lab, node, "--", *command)
        return await _ended(line, environment, timeout)

    async def application(
        self, node: str, kind: str, options: Mapping[str, Any], report: Report | None
    ) -> dict[str, Any]:
        params = {"application": kind, "options": dict(options)}
        return await self._ask(node, "run", params, within=None, heard=report)

    async def state(self, node: str) -> dict[str, Any]:
        """Of a kernel's node also what the kernel says."""
        config = self.plan.by_name[node]
        found = {} if config.is_bridge else await self._ask(node, "state")
        if config.stack != "layerlab":
            found |= await self._supervise("node_state", node=node)
        return found

    async def kill(self, node: str) -> None:
        was_off = node in self._off
        self._off.add(node)  # its programs hear of it at once
        try:
            await self._supervise("stop", node=node, kill=True)
        except LabError:
            if not was_off:
                self._off.discard(node)
            raise

    async def restart(self, node: str) -> None:
        await self._supervise("start", node=node)
        self._off.discard(node)
        self._lives[node] = self.life(node) + 1
        if self._blocked.get(node):
            await self._ask(node, "barrier", {"addresses": self._blocked[node]})

    async def pause(self, node: str) -> None:
        await self._supervise("pause", node=node)

    async def resume(self, node: str) -> None:
        await self._supervise("resume", node=node)

    def set_clock(self, node: str, offset: int | None, drift_ppb: int | None) -> None:  # noqa: ARG002
        raise refusal(self.driver, "clock", node)

    async def block(self, node: str, addresses: Sequence[str]) -> None:
        self._blocked[node] = list(addresses)
        if (await self._status())[node] in _ON:
            await self._ask(node, "barrier", {"addresses": list(addresses)})

    async def send_frame(self, node: str, frame: bytes, interface: str | None) -> None:
        encoded = base64.b64encode(frame).decode("ascii")
        await self._ask(node, "send_frame", {"interface": interface, "frame": encoded})

    async def capture(self, node: str, *, start: bool) -> dict[str, Any]:
        return await self._ask(node, "capture_start" if start else "capture_stop")

    # ----------------------------------------------------------------------------------------------------------- links

    async def impair(self, link: str, patch: Patch, directions: Sequence[Direction], *, replace: bool) -> None:
        encoded = values.encode_patch(patch)
        await self._supervise("impair", link=link, patch=encoded, directions=list(directions), replace=replace)

    async def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> None:
        await self._supervise("link", link=link, up=up, mtu=mtu)

    async def flap(self, link: str, down: int, every: int, times: int) -> None:
        await self._supervise("flap", link=link, down=down, every=every, times=times)

    async def link_state(self, link: str) -> dict[str, Any]:
        return dict((await self._supervise("links", links=[link]))["links"][link])

    # ---------------------------------------------------------------------------------------------------------- events

    def flush(self, node: str | None) -> None:
        client = LabClient(self.plan.lab)
        try:
            client.flush(node)
        finally:
            client.close()

    async def flushed(self, node: str | None) -> None:
        await self._supervise("flush")
        names = self._that_record(await self._status(), node)
        for result in await asyncio.gather(*(self._ask(each, "flush") for each in names), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, NodeError):
                raise result

    def _that_record(self, states: Mapping[str, str], node: str | None) -> list[str]:
        """Nodes that could answer, and may have something new."""
        return [
            each.name
            for each in self.plan.nodes
            if node in (None, each.name) and states[each.name] == "running" and not each.is_bridge
        ]

    # ---------------------------------------------------------------------------------------------------- its programs

    def life(self, node: str) -> int:
        return self._lives.get(node, 0)

    async def has_ended(self, node: str, life: int) -> bool:
        if node in self._off or self.life(node) != life:
            return True
        return (await self._status())[node] not in _ON

    async def is_on(self, node: str) -> bool:
        """Also after somebody else has switched it on again."""
        if (await self._status())[node] not in _ON:
            return False
        self._off.discard(node)
        return True

    async def ask_agent(self, node: str, method: str, params: Mapping[str, Any], heard: Heard | None) -> Answer:
        return await self._agent(node).ask(method, params, heard=heard)

    def spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        task.add_done_callback(heard)

    # --------------------------------------------------------------------------------------------------------- the end

    async def close(self) -> list[str]:
        """End what the script began, and the lab."""
        for timer in self._timers:
            timer.cancel()
        for task in list(self._spawned):
            task.cancel()
        running = [program for program in self._programs if program.state == "running"]
        try:
            left = await self._left_behind({program.node for program in running})
            for program in self._programs:
                program.cancel()
            if running:
                await asyncio.wait([program.ended for program in running], timeout=FAREWELL)
            self._blame()
        finally:
            await asyncio.to_thread(bring_down, self.plan.lab)
            for door in [self._supervisor, *self._agents.values()]:
                door.close()
            for future in [*self._spawned, *(program.ended for program in self._programs)]:
                future.cancel()
        return left

    def end(self, left: Sequence[str], outcome: str, reason: str) -> None:
        """Add to what the supervisor has written when it went down."""
        if self.run.facts()["outcome"] == "down":
            self.run.finish(outcome, left_behind=list(left), **({"reason": reason} if reason else {}))

    def dispose(self) -> None:
        """Nothing is left after `close`."""

    async def waiting(self) -> list[str]:
        found = []
        for node in sorted({program.node for program in self._programs if program.state == "running"}):
            try:
                found += [f"  {line}" for line in await self._tasks(node, within=SITUATION)]
            except LabError as error:
                found.append(f"  {node}: {error.message}")
        return found

    async def _tasks(self, node: str, within: float = ANSWER) -> list[str]:
        """A line for each."""
        tasks = (await self._ask(node, "programs", within=within))["tasks"]
        return [
            f"{node}: {task['task']}, {task['place'] or task['coroutine']}, waits for {task['waits_for']}"
            for task in tasks
        ]

    async def _left_behind(self, busy: set[str]) -> list[str]:
        """Tasks of nodes in which programs ran and none does any more."""
        found = []
        states = await self._status()
        for node in self.plan.nodes:
            used = any(program.node == node.name for program in self._programs)
            if not used or node.name in busy or states[node.name] != "running":
                continue
            with contextlib.suppress(NodeError):  # it dies in this moment, and leaves nothing
                found += [line.replace(": ", ": a task: ", 1) for line in await self._tasks(node.name)]
        return found

    def _blame(self) -> None:
        """Programs that failed, and nobody heard of it."""
        for program in self._programs:
            failure = program.failure
            if failure is not None and not program.awaited:
                failure.add_note(f"The program {program.name} in {program.node}, for which nobody waited.")
                self.troubles.append(failure)

    # ---------------------------------------------------------------------------------------------------------- asking

    def _agent(self, node: str) -> Door:
        if node not in self._agents:
            self._agents[node] = Door(lambda: self._to_agent(node))
        return self._agents[node]

    async def _to_supervisor(self) -> socket.socket:
        return registry.connect(self.plan.lab)

    async def _to_agent(self, node: str) -> socket.socket:
        try:
            answer = await self._supervisor.ask("connect", {"node": node}, within=ANSWER)
        except ControlError as error:
            raise supervisor_error(self.plan.lab, error) from error
        return socket.socket(fileno=answer.fds[0])

    async def _ask(
        self,
        node: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        within: float | None = ANSWER,
        heard: Heard | None = None,
    ) -> dict[str, Any]:
        try:
            return (await self._agent(node).ask(method, params, within=within, heard=heard)).result
        except ControlError as error:
            raise agent_error(node, error) from error

    async def _may_enter(self, node: str) -> None:
        """Raises the error of a node that cannot be entered, which would otherwise look like a command that failed."""
        try:
            answer = await self._supervisor.ask("enter", {"node": node, "verb": "exec"}, within=ANSWER)
        except ControlError as error:
            raise supervisor_error(self.plan.lab, error) from error
        for descriptor in answer.fds:
            os.close(descriptor)

    async def _supervise(self, method: str, **params: Any) -> dict[str, Any]:
        try:
            return (await self._supervisor.ask(method, params, within=ANSWER)).result
        except ControlError as error:
            raise supervisor_error(self.plan.lab, error) from error

    async def _status(self) -> dict[str, str]:
        """The state of each node."""
        return {row["name"]: row["state"] for row in (await self._supervise("status"))["nodes"]}

    def _status_now(self) -> dict[str, str]:
        client = LabClient(self.plan.lab)
        try:
            return {name: row.state for name, row in client.nodes().items()}
        finally:
            client.close()


async def _ended(line: list[str], environment: Mapping[str, str], timeout: float | None = None) -> Exited:
    """Run a command of this machine; it is killed when nobody waits for it any more."""
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
    return Exited(await process.wait(), out.decode(errors="replace"), err.decode(errors="replace"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
