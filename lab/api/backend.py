"""What the parts of a lab's API ask of what runs it: processes, or virtual time.

Times are nanoseconds, those of `now` since the lab was up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from lab.engine.runs import Run
from lab.plan.values import Plan
from nodes.impairment import Direction, Patch

Function = Callable[..., Awaitable[Any]]
Action = Callable[..., Any]
Report = Callable[[dict[str, Any]], object]


class Exited(NamedTuple):
    """How a command in a node ended."""

    status: int
    stdout: str
    stderr: str


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Program(Protocol):
    """A coroutine function that runs in a node."""

    name: str
    node: str

    @property
    def state(self) -> str:
        """running, done, failed, cancelled, crashed."""
        ...

    async def wait(self) -> Any:
        """Until it ends: its result. Raises what it raised, and CancelledError where it was cancelled."""
        ...

    def cancel(self) -> None: ...


class Backend(Protocol):
    driver: str
    plan: Plan
    run: Run
    troubles: list[BaseException]
    """What went wrong in actions and, once the lab is closed, in programs that nobody waited for."""
    zero: float
    """When `now` was 0, in the time of the traces (ms)."""

    def now(self) -> int: ...

    async def sleep(self, duration: int) -> None: ...

    def at(self, instant: int, action: Action) -> Cancellable: ...

    def start(
        self, node: str, function: Function, arguments: Sequence[Any], keywords: Mapping[str, Any], *, restart: bool
    ) -> Program: ...

    async def connect(self, node: str, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...

    async def exec(self, node: str, command: Sequence[str], timeout: float | None) -> Exited: ...

    async def copy(self, node: str, direction: Literal["in", "out"], source: str, target: str) -> None: ...

    async def application(
        self, node: str, kind: str, options: Mapping[str, Any], report: Report | None
    ) -> dict[str, Any]: ...

    async def state(self, node: str) -> dict[str, Any]: ...

    async def kill(self, node: str) -> None: ...

    async def restart(self, node: str) -> None: ...

    async def pause(self, node: str) -> None: ...

    async def resume(self, node: str) -> None: ...

    def set_clock(self, node: str, offset: int | None, drift_ppb: int | None) -> None: ...

    async def block(self, node: str, addresses: Sequence[str]) -> None: ...

    async def send_frame(self, node: str, frame: bytes, interface: str | None) -> None: ...

    async def impair(self, link: str, patch: Patch, directions: Sequence[Direction], *, replace: bool) -> None: ...

    async def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> None: ...

    async def flap(self, link: str, down: int, every: int, times: int) -> None: ...

    async def link_state(self, link: str) -> dict[str, Any]: ...

    async def capture(self, node: str, *, start: bool) -> dict[str, Any]: ...

    def flush(self, node: str | None) -> None:
        """Before the trace of a node, or those of all, are read."""
        ...

    async def flushed(self, node: str | None) -> None:
        """The same, without keeping the event loop waiting."""
        ...

    async def waiting(self) -> list[str]:
        """Who waits for what in the nodes, a line for each task of a program."""
        ...

    async def close(self) -> list[str]:
        """End the lab. Returns what its programs left behind."""
        ...

    def end(self, left: Sequence[str], outcome: str, reason: str) -> None:
        """After `close`: the last files of the run are written."""
        ...

    def dispose(self) -> None:
        """Let go of what it runs in. Not from inside that."""
        ...
