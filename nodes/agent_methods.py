"""What an agent answers on its control socket: one function per method (docs/control-protocol.md lists them).

Methods that take time answer with events as things happen, and with their result at the end; a client that goes away,
or cancels, ends what it began. Applications that are started with `start` belong to the node and go on alone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from time import monotonic_ns
from typing import Any, Protocol

from nodes.agent_sockets import OutsideSocket, SocketTable
from nodes.application.runner import ApplicationRunner
from nodes.contract import NodeConfig
from nodes.device import Device
from nodes.errors import MisuseError
from nodes.io.control import Methods, Request, dispatch
from nodes.io.reactor import Reactor
from nodes.stack import Stack
from nodes.trace.sqlog import SqlogWriter
from nodes.transport.endpoint import Endpoint

Parameters = Mapping[str, Any]


class Served(Protocol):
    """What the methods ask of their agent; `nodes.agent.Agent` has it. In a node with the kernel's stack there is no
    device, and only stacks have a runner."""

    config: NodeConfig
    device: Device | None
    reactor: Reactor
    runner: ApplicationRunner | None
    trace: SqlogWriter

    def state(self, now: int) -> dict[str, object]: ...

    def pump(self, now: int) -> None: ...

    def start_capture(self) -> str: ...

    def stop_capture(self) -> dict[str, object]: ...

    def end(self, reason: str) -> None: ...


class AgentMethods:
    """Serves one agent's control socket."""

    def __init__(self, agent: Served) -> None:
        self._agent = agent
        self._watched: dict[int, Request] = {}
        self._sockets: SocketTable | None = None
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
            "follow": self._follow,
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
        """Something happened to a socket that belongs to no application: to one of a client's."""
        if isinstance(endpoint.owner, OutsideSocket):
            endpoint.owner.ready(now)

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

    def _table(self) -> SocketTable:
        if self._sockets is None:
            device = self._agent.device
            if not isinstance(device, Stack):
                raise MisuseError("this node has no sockets of ours", hint="hosts and routers with our stack have")
            self._sockets = SocketTable(device, self._agent.reactor)
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

    def _follow(self, request: Request, _: Parameters) -> None:
        """Every event from now on, until the client cancels."""
        trace = self._agent.trace
        trace.follow(request.event)
        request.on_cancel = lambda: trace.unfollow(request.event)

    def _capture_start(self, request: Request, _: Parameters) -> None:
        request.result({"path": self._agent.start_capture()})

    def _capture_stop(self, request: Request, _: Parameters) -> None:
        request.result(self._agent.stop_capture())

    def _shutdown(self, request: Request, _: Parameters) -> None:
        """Answer when everything is written."""
        self._agent.end("asked to end")
        request.result({})
