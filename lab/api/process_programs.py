"""A program in a node of a lab of processes, as the script that started it sees it.

    running ──▶ done, failed, cancelled
       │  ▲
       ▼  │ the node is switched on again, and it was started with `restart`
     crashed

A user's coroutine function runs inside the node's agent; lab/engine/program_calls.py tells how it gets there.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from lab.api.channel import Answer, Heard
from lab.engine.client import agent_error
from lab.engine.program_calls import ProgramError, outcome
from lab.engine.runs import Run
from lab.errors import NodeError
from nodes.io.control import ControlError

LOOKS = 0.1
"""Seconds between two looks whether a node is on again."""

ENDING = 2.0
"""Seconds until the end of a node is known everywhere. Who is connected to it hears of it first."""


class Nodes(Protocol):
    """What programs ask of their lab. A node's `life` is another one after each restart."""

    run: Run

    def life(self, node: str) -> int: ...

    async def has_ended(self, node: str, life: int) -> bool: ...

    async def is_on(self, node: str) -> bool: ...

    async def ask_agent(self, node: str, method: str, params: Mapping[str, Any], heard: Heard | None) -> Answer: ...

    def spawn(self, coroutine: Any) -> None: ...


class _Crashed(Exception):  # noqa: N818 - nobody sees it
    pass


class ProcessProgram:
    def __init__(self, lab: Nodes, node: str, params: dict[str, Any], *, restart: bool) -> None:
        self.node = node
        self.name = str(params["name"])
        self.awaited = False
        """Somebody waits or has waited for it: what it raises is told."""
        self._lab = lab
        self._params = params
        self._restart = restart
        self._number: int | None = None
        self._given_up = False
        self._state = "running"
        self._task = asyncio.get_running_loop().create_task(self._lives(), name=f"{self.name} in {node}")
        self._task.add_done_callback(heard)

    @property
    def state(self) -> str:
        return self._state

    @property
    def ended(self) -> asyncio.Future[Any]:
        """Done when it is."""
        return self._task

    @property
    def failure(self) -> BaseException | None:
        """What it raised, where it failed."""
        return self._task.exception() if self._state == "failed" and self._task.done() else None

    async def wait(self) -> Any:
        """Until it ends: its result, or what it raised."""
        self.awaited = True
        return await asyncio.shield(self._task)

    def cancel(self) -> None:
        """Harmless where it has ended. One whose node is off will not be started again."""
        self._given_up = True
        if self._number is not None and self._state == "running":
            self._lab.spawn(self._lab.ask_agent(self.node, "program_cancel", {"program": self._number}, None))

    async def _lives(self) -> Any:
        """One for each of its node, where it is to be started again."""
        while True:
            try:
                result = await self._life()
            except asyncio.CancelledError:
                self._state = "cancelled"
                raise
            except _Crashed:
                self._state = "crashed"
                if not (self._restart and await self._comes_back()):
                    raise NodeError(
                        f"node {self.node} crashed, and with it the program {self.name}",
                        hint="start it with restart=True to have it run again when the node does",
                    ) from None
                self._state, self._number = "running", None
            except BaseException:
                self._state = "failed"
                raise
            else:
                self._state = "done"
                return result

    async def _life(self) -> Any:
        life = self._lab.life(self.node)
        try:
            with self._request() as params:
                answer = await self._lab.ask_agent(self.node, "program", params, self._hear)
        except ControlError as error:
            if error.code == "closed" and await self._is_over(life):
                raise _Crashed from None
            raise agent_error(self.node, error) from error
        try:
            return outcome(answer.result, answer.fds)
        except (SystemExit, KeyboardInterrupt) as error:
            raise ProgramError(f"{self.name} ended with {error!r}") from error

    async def _is_over(self, life: int) -> bool:
        for _ in range(round(ENDING / LOOKS)):
            if await self._lab.has_ended(self.node, life):
                return True
            await asyncio.sleep(LOOKS)
        return False

    async def _comes_back(self) -> bool:
        while not await self._lab.is_on(self.node):
            if self._given_up:
                return False
            await asyncio.sleep(LOOKS)
        return not self._given_up

    @contextmanager
    def _request(self) -> Iterator[dict[str, Any]]:
        """A call that is longer than a line of the protocol goes through a file."""
        params = dict(self._params)
        pickled = params.pop("call_bytes", None)
        if pickled is None:
            yield params
            return
        with tempfile.NamedTemporaryFile(dir=self._lab.run.folder) as file:
            file.write(pickled)
            file.flush()
            yield {**params, "call_file": file.name}

    def _hear(self, event: dict[str, Any]) -> None:
        """Its number, and what it prints."""
        if "program" in event:
            self._number = int(event["program"])
            if self._given_up:
                self.cancel()
        elif "stream" in event:
            stream = sys.stderr if event["stream"] == "stderr" else sys.stdout
            stream.write(event["text"])
            stream.flush()


def heard(task: asyncio.Future[Any]) -> None:
    """What nobody waited for must not be told by the garbage collector."""
    if not task.cancelled():
        task.exception()
