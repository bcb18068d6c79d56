"""What an agent answers on its control socket: one function per method (docs/control-protocol.md lists them).

Methods that take time answer with events as things happen, and with their result at the end; a client that goes away,
or cancels, ends what it began. Applications that are started with `start` belong to the node and go on alone.
"""

from __future__ import annotations

import base64
import errno
import importlib
from collections.abc import Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol

from nodes.agent_sockets import OutsideSocket, SocketTable
from nodes.agent_streams import Bridge, BridgeTable
from nodes.application.runner import ApplicationRunner
from nodes.contract import NodeConfig
from nodes.device import Device
from nodes.errors import MisuseError
from nodes.io.control import Methods, Request, dispatch
from nodes.io.reactor import Reactor
from nodes.io.recorder import Recorder
from nodes.network.barrier import Barrier
from nodes.stack import Stack
from nodes.trace.sqlog import SqlogWriter
from nodes.transport.endpoint import Endpoint

if TYPE_CHECKING:
    from nodes.agent_programs import Programs

Parameters = Mapping[str, Any]


class Served(Protocol):
    """What the methods ask of their agent; `nodes.agent.Agent` has it. In a node with the kernel's stack there is no
    device, and only stacks have a runner."""

    barrier: Barrier
    config: NodeConfig
    device: Device | None
    reactor: Reactor
    recorder: Recorder
    runner: ApplicationRunner | None
    trace: SqlogWriter

    def state(self, now: int) -> dict[str, object]: ...

    def pump(self, now: int) -> None: ...

    def start_capture(self) -> str: ...

    def stop_capture(self) -> dict[str, object]: ...

    def send_frame(self, interface: str | None, frame: bytes, now: int) -> None: ...

    def end(self, reason: str) -> None: ...


class AgentMethods:
    """Serves one agent's control socket."""

    def __init__(self, agent: Served) -> None:
        self._agent = agent
        self._watched: dict[int, Request] = {}
        self._sockets: SocketTable | None = None
        self._bridges: BridgeTable | None = None
        self.programs: Programs | None = None
        """Those of users; None before the first."""
        self._methods: Methods = {
            "state": self._state,
            "run": self._run,
            "start": self._start,
            "stop": self._stop,
            "applications": self._applications,
            "open": self._open,
            "send": self._send,
            "receive": self._receive,
            "close": self._close,
            "connect": self._connect,
            "connection": self._connection,
            "abort": self._abort,
            "program": self._program,
            "programs": self._describe_programs,
            "program_cancel": self._cancel_program,
            "barrier": self._block,
            "send_frame": self._send_frame,
            "follow": self._follow,
            "flush": self._flush,
            "capture_start": self._capture_start,
            "capture_stop": self._capture_stop,
            "shutdown": self._shutdown,
        }

    def handle(self, request: Request) -> None:
        """Answer a request. A StackError goes through: the server answers with it. A defect of ours is not hidden."""
        try:
            dispatch(self._methods, request)
        finally:
            self._agent.pump(monotonic_ns())

    def report(self) -> None:
        """Hand on what watched applications have to say; called after each turn of the stack."""
        if not self._watched:
            return
        runner = self._runner()
        for number, request in list(self._watched.items()):
            for output in runner.outputs(number):
                request.event(output)
            state = runner.state(number)
            if state == "running":
                continue
            del self._watched[number]
            result = runner.result(number)
            if state == "failed":
                request.error(str(result["errno"]), str(result["error"]), str(result["hint"]))
            else:
                request.result(result)

    def ring(self, endpoint: Endpoint, now: int) -> None:
        """Something happened to a socket that belongs to no application: to one of a client's, or of a program's."""
        if isinstance(endpoint.owner, OutsideSocket | Bridge):
            endpoint.owner.ready(now)
        elif self.programs is not None:
            self.programs.ring(endpoint, now)

    def state(self) -> dict[str, object]:
        """Of what clients began: the programs that run, and what they left behind."""
        return {} if self.programs is None else self.programs.snapshot()

    def close(self) -> None:
        """The node ends."""
        programs, self.programs = self.programs, None
        if programs is not None:
            programs.close()
        if self._bridges is not None:
            self._bridges.close()

    def _runner(self) -> ApplicationRunner:
        runner = self._agent.runner
        if runner is None:
            kind = f"{self._agent.config.kind} with the {self._agent.config.stack} stack"
            raise MisuseError(
                f"this node is a {kind}: it runs no applications", hint="hosts and routers with our stack do"
            )
        return runner

    def _state(self, request: Request, _: Parameters) -> None:
        request.result(self._agent.state(monotonic_ns()))

    def _run(self, request: Request, params: Parameters) -> None:
        """Start an application, report as it goes, answer with its result."""
        runner = self._runner()
        number = runner.start(params["application"], params.get("options", {}), monotonic_ns())
        self._watched[number] = request
        request.on_cancel = lambda: self._cancel(number)

    def _cancel(self, number: int) -> None:
        self._runner().stop(number, monotonic_ns())
        self._agent.pump(monotonic_ns())

    def _start(self, request: Request, params: Parameters) -> None:
        runner = self._runner()
        number = runner.start(params["application"], params.get("options", {}), monotonic_ns())
        if runner.state(number) == "failed":  # at once: its port is taken
            result = runner.result(number)
            request.error(str(result["errno"]), str(result["error"]), str(result["hint"]))
        else:
            request.result({"id": number})

    def _stop(self, request: Request, params: Parameters) -> None:
        runner = self._runner()
        number = params["id"]
        runner.stop(number, monotonic_ns())
        request.result(runner.result(number))

    def _applications(self, request: Request, _: Parameters) -> None:
        request.result({"applications": self._runner().snapshot()})

    def _stack(self) -> Stack:
        device = self._agent.device
        if not isinstance(device, Stack):
            raise MisuseError("this node has no sockets of ours", hint="hosts and routers with our stack have")
        return device

    def _table(self) -> SocketTable:
        if self._sockets is None:
            self._sockets = SocketTable(self._stack(), self._agent.reactor)
        return self._sockets

    def _open(self, request: Request, params: Parameters) -> None:
        request.result(self._table().open(params, monotonic_ns()))

    def _send(self, request: Request, params: Parameters) -> None:
        data = base64.b64decode(params["data"], validate=True)
        self._table().send(params["socket"], data, params, monotonic_ns())
        request.result({"octets": len(data)})

    def _receive(self, request: Request, params: Parameters) -> None:
        self._table().receive(params["socket"], request, float(params.get("timeout", 10.0)), monotonic_ns())

    def _close(self, request: Request, params: Parameters) -> None:
        self._table().close(params["socket"], monotonic_ns())
        request.result({})

    def _streams(self) -> BridgeTable:
        if self._bridges is None:
            self._bridges = BridgeTable(self._stack(), self._agent.reactor, self._agent.pump)
        return self._bridges

    def _connect(self, request: Request, params: Parameters) -> None:
        """Answer when the connection is there, with a descriptor for it."""
        self._streams().connect(request, params, monotonic_ns())

    def _connection(self, request: Request, params: Parameters) -> None:
        request.result(self._streams().describe(params["connection"]))

    def _abort(self, request: Request, params: Parameters) -> None:
        self._streams().abort(params["connection"], monotonic_ns())
        request.result(self._streams().describe(params["connection"]))

    def _program(self, request: Request, params: Parameters) -> None:
        """Run a user's coroutine, report what it prints, answer when it ends."""
        if self.programs is None:
            stack, agent = self._stack(), self._agent
            # With the first program, because every node is a fork of a process that should not have asyncio in memory.
            programs = importlib.import_module("nodes.agent_programs").Programs
            self.programs = programs(agent.config.name, stack, agent.reactor, lambda: agent.pump(monotonic_ns()))
        assert self.programs is not None
        self.programs.start(request, params)

    def _describe_programs(self, request: Request, _: Parameters) -> None:
        request.result({"programs": [], "tasks": []} | self.state())

    def _cancel_program(self, request: Request, params: Parameters) -> None:
        if self.programs is None:
            raise MisuseError("no program runs in this node", errno=errno.ESRCH)
        self.programs.cancel(params["program"])
        request.result({})

    def _block(self, request: Request, params: Parameters) -> None:
        """From now on neither hear from nor send to these addresses."""
        if self._agent.device is None:
            raise MisuseError("this node's stack is the kernel's: nothing stands between it and its links")
        self._agent.barrier.block(params["addresses"], monotonic_ns())
        request.result(self._agent.barrier.snapshot())

    def _send_frame(self, request: Request, params: Parameters) -> None:
        """Send a frame as it is, as a program with a packet socket would."""
        frame = base64.b64decode(params["frame"], validate=True)
        self._agent.send_frame(params.get("interface"), frame, monotonic_ns())
        request.result({"octets": len(frame)})

    def _follow(self, request: Request, _: Parameters) -> None:
        """Every event from now on, until the client cancels."""
        trace = self._agent.trace
        trace.follow(request.event)
        request.on_cancel = lambda: trace.unfollow(request.event)

    def _flush(self, request: Request, _: Parameters) -> None:
        """Answer when all events so far can be read in the trace."""
        self._agent.recorder.flush()
        request.result({})

    def _capture_start(self, request: Request, _: Parameters) -> None:
        request.result({"path": self._agent.start_capture()})

    def _capture_stop(self, request: Request, _: Parameters) -> None:
        request.result(self._agent.stop_capture())

    def _shutdown(self, request: Request, _: Parameters) -> None:
        """Answer when everything is written."""
        self._agent.end("asked to end")
        request.result({})
