"""A node of a lab, as a script sees it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lab.api.backend import Backend, Exited, Function, Program, Report
from lab.api.times import nanoseconds
from lab.errors import NodeError, UserInputError
from nodes.contract import NodeConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec, TypeVar

    Parameters = ParamSpec("Parameters")
    Result = TypeVar("Result")


class Node:
    """From `lab.node(name)`."""

    def __init__(self, backend: Backend, config: NodeConfig) -> None:
        self._backend = backend
        self._config = config

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} of lab {self._config.lab}>"

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def kind(self) -> str:
        """host, router, switch, hub."""
        return self._config.kind

    @property
    def stack(self) -> str:
        """Whose it has: layerlab, kernel."""
        return self._config.stack

    @property
    def address(self) -> str:
        """Its first IPv4 address. Raises UserInputError for one that has none."""
        found = self._backend.plan.address_of(self.name)
        if found is None:
            raise UserInputError(f"{self.name} has no address: it is a {self.kind}")
        return found

    @property
    def addresses(self) -> list[str]:
        """All of them, without prefix lengths."""
        return [text.partition("/")[0] for text in self._backend.plan.addresses_of(self.name)]

    @property
    def mac(self) -> str:
        """Of its first interface. Raises UserInputError for a node without any."""
        if not self._config.interfaces:
            raise UserInputError(f"{self.name} has no interface: no link leads to it")
        return self._config.interfaces[0].mac

    async def run(
        self, function: Callable[Parameters, Awaitable[Result]], *args: Parameters.args, **keywords: Parameters.kwargs
    ) -> Result:
        """Run a coroutine function inside the node to its end, and return what it returns. Its sockets are those of
        the node's stack, its names the lab's. Raises what it raises; NodeError where the node crashes meanwhile. Who
        stops waiting cancels it.

        With processes the function must be at the top level of a file, and what goes in and out must be picklable."""
        self._must_run_programs()
        _must_be_function(function)
        program = self._backend.start(self.name, function, args, keywords, restart=False)
        try:
            return await program.wait()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            program.cancel()
            raise

    def start(self, function: Function, *args: Any, restart: bool = False, **keywords: Any) -> Program:
        """The same, in the background. `restart`: again, from its beginning, whenever the node comes back. What it
        raises is raised at the end of the lab, where nobody has waited for it."""
        self._must_run_programs()
        _must_be_function(function)
        return self._backend.start(self.name, function, args, keywords, restart=restart)

    async def connect(self, host: str | Node, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection of the node, for the script outside to read and write. Raises the OSError that
        `asyncio.open_connection` would raise in the node."""
        self._must_run_programs()
        return await self._backend.connect(self.name, host.name if isinstance(host, Node) else host, port)

    async def exec(self, *command: str, timeout: float | None = None) -> Exited:
        """Run a Linux command in the node's network namespace: status, stdout, stderr. Raises UserInputError where the
        driver cannot, TimeoutError after `timeout` s."""
        if not command:
            raise UserInputError("no command given", hint='`await node.exec("ip", "address")`')
        return await self._backend.exec(self.name, command, timeout)

    async def copy_in(self, source: str | Path, target: str | PurePosixPath) -> None:
        """Copy a file or folder of this machine to an absolute path in the node, as `lab cp`. Raises UserInputError for
        wrong paths, NodeError where the node's file system refuses, EnvironmentLackError where this machine's does, or
        the driver."""
        await self._backend.copy(self.name, "in", str(source), str(target))

    async def copy_out(self, source: str | PurePosixPath, target: str | Path) -> None:
        """The same, the other way."""
        await self._backend.copy(self.name, "out", str(source), str(target))

    async def application(self, kind: str, report: Report | None = None, /, **options: Any) -> dict[str, Any]:
        """Run one of the lab's own (docs/api.md lists them) to its end: its result. `report` is called with what it
        tells meanwhile, as each reply of a ping."""
        plain = {key: value.name if isinstance(value, Node) else value for key, value in options.items()}
        return await self._backend.application(self.name, kind, plain, report)

    async def ping(self, to: str | Node, count: int = 3, **options: Any) -> dict[str, Any]:
        """What `lab ping` does: sent, received, round trip times in ns."""
        return await self.application("ping", to=to, count=count, **options)

    async def state(self) -> dict[str, Any]:
        """All that it knows of itself, as `lab state --json`."""
        state = await self._backend.state(self.name)
        device: dict[str, Any] = state.pop("device", {})
        return state | device

    async def kill(self) -> None:
        """Let it crash: what it knew is lost, its neighbors see no carrier."""
        await self._backend.kill(self.name)

    async def restart(self) -> None:
        """Switch it on again; programs that were started with `restart` begin anew."""
        await self._backend.restart(self.name)

    async def pause(self) -> None:
        """Let it stand still; frames wait for it, its timers come late."""
        await self._backend.pause(self.name)

    async def resume(self) -> None:
        """Let it go on."""
        await self._backend.resume(self.name)

    def _must_run_programs(self) -> None:
        if self.kind not in ("host", "router") or self.stack != "layerlab":
            what = f"has the {self.stack}'s stack" if self.kind in ("host", "router") else f"is a {self.kind}"
            raise NodeError(f"{self.name} {what}: no programs run in it", hint="hosts and routers with our stack do")

    def set_clock(self, *, offset: str | float | None = None, drift_ppm: float | None = None) -> None:
        """Put the clock that its programs see wrong: by `offset` (s, or with a unit: "-3s"), and gaining `drift_ppm`
        microseconds in a second. In virtual time only: UserInputError elsewhere."""
        ppb = None if drift_ppm is None else round(drift_ppm * 1000)
        self._backend.set_clock(self.name, None if offset is None else nanoseconds(offset, signed=True), ppb)

    async def send_frame(self, frame: bytes | bytearray | memoryview, interface: str | None = None) -> None:
        """Send octets as they are, as a program with a packet socket would: an Ethernet frame with its header and
        without its check sequence, or a bare IP packet on an interface of that kind. The stack knows nothing of it, and
        nobody checks what it says of its source. `interface` may be left out where there is only one.

        Raises UserInputError for what is too short and for an interface that does not exist, NodeError where the link
        does not take it, and for nodes and switches of a kernel, whose stack is not ours."""
        if self.stack != "layerlab":
            what = f"has the {self.stack}'s stack" if self.kind in ("host", "router") else f"is a {self.stack} switch"
            raise NodeError(
                f"{self.name} {what}: frames of others go through ours only",
                hint='run a Linux program there that sends them: `await node.exec("hping3", ...)`',
            )
        if not isinstance(frame, bytes | bytearray | memoryview):
            raise UserInputError(f"a frame is octets, not {type(frame).__name__}", hint="bytes of the whole frame")
        await self._backend.send_frame(self.name, bytes(frame), interface)

    async def start_capture(self) -> str:
        """Record frames as pcapng; the path of the file."""
        return str((await self._backend.capture(self.name, start=True))["path"])

    async def stop_capture(self) -> Mapping[str, Any]:
        return await self._backend.capture(self.name, start=False)


def _must_be_function(function: object) -> None:
    if inspect.iscoroutine(function):
        function.close()
        name = function.__name__
        raise UserInputError(
            f"{name}(...) has been called already, here and not in the node",
            hint=f"`run({name}, ...)`: its arguments apart",
        )
    if not callable(function):
        raise UserInputError(f"{function!r} is no function", hint="`run` takes a coroutine function and its arguments")
