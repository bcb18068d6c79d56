"""Two nodes in this process, wired back to back, each with the methods of an agent: real time, no namespaces.

The reactor runs in the main thread, as in an agent; what a client does runs in a thread beside it:

    with World() as world:
        world.run(lambda: world.client("a").call("state"))
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from random import Random
from time import monotonic_ns
from typing import Any, Self, TypeVar

from nodes.agent_methods import AgentMethods
from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.device import Device
from nodes.io.control import ControlClient, ControlServer
from nodes.io.reactor import Reactor
from nodes.network.barrier import Barrier
from nodes.stack import Stack
from nodes.trace.events import ListTracer
from nodes.units import SECOND, earliest

ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2"}
PATIENCE = 20
Value = TypeVar("Value")


class Node:
    """What `nodes.agent.Agent` is, with a wire in memory in the place of packet sockets."""

    def __init__(self, name: str, world: World) -> None:
        interface = InterfaceConfig("eth0", f"02:00:00:00:00:0{ADDRESSES[name][-1]}", (f"{ADDRESSES[name]}/24",))
        route = RouteConfig("0.0.0.0/0", "10.0.0.254", "eth0")
        self.config = NodeConfig("pair", name, interfaces=(interface,), routes=(route,), hosts=ADDRESSES)
        self.tracer = ListTracer()
        self.trace: Any = self.tracer
        self.reactor = world.reactor
        self.barrier = Barrier(self.config.interfaces, self.tracer)
        now = monotonic_ns()
        self.stack = Stack.from_config(self.config, Random(name), self.tracer, now)
        self.stack.set_port(0, True, now)
        self.device: Device | None = self.stack
        self.methods = AgentMethods(self)
        self.runner: ApplicationRunner | None = ApplicationRunner(self.stack, self.tracer, self.methods.ring)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("")
        self.listener.listen()
        self.server = ControlServer(self.listener, self.reactor, self.methods.handle, name=name)
        self._world = world

    def pump(self, now: int) -> None:
        self._world.pump(now)

    def turn(self, now: int) -> list[bytes]:
        """Frames that it sends."""
        assert self.runner is not None
        self.runner.poll(now)
        if self.methods.programs is not None:
            self.methods.programs.turn(now)
        frames = [frame for _, frame in self.stack.transmit()]
        return [frame for frame in frames if not self.barrier.blocked or self.barrier.sends(0, frame, now)]

    def hear(self, frame: bytes, now: int) -> None:
        if not self.barrier.blocked or self.barrier.hears(0, frame, now):
            self.stack.receive(0, frame, now)

    def deadline(self) -> int | None:
        assert self.runner is not None
        programs = self.methods.programs
        return earliest(
            self.stack.deadline(), self.runner.deadline(), programs.deadline() if programs is not None else None
        )

    def state(self, now: int) -> dict[str, object]:
        return {"device": self.stack.snapshot(now)}

    def start_capture(self) -> str:
        raise NotImplementedError

    def stop_capture(self) -> dict[str, object]:
        raise NotImplementedError

    def end(self, reason: str) -> None:
        self.methods.close()


class World:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.reactor.on_deadline = self._time_out
        self.nodes = {name: Node(name, self) for name in ADDRESSES}
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell, self._poke = socket.socketpair()
        self.reactor.add(self._bell.fileno(), self._answer)
        self.pump(monotonic_ns())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes.values():
            node.methods.close()
            node.server.close()
            node.listener.close()
        self._bell.close()
        self._poke.close()
        self.reactor.close()

    def do(self, call: Callable[[int], Value]) -> Value:
        """Call something in the nodes' thread, with the time, from that of a client; return what it returned."""
        done: queue.SimpleQueue[Value] = queue.SimpleQueue()
        self._calls.put(lambda: done.put(call(monotonic_ns())))
        self._poke.send(b"!")
        return done.get(timeout=PATIENCE)

    def _answer(self) -> None:
        self._bell.recv(1)
        self._calls.get()()
        self.pump(monotonic_ns())

    def pump(self, now: int) -> None:
        """Let frames go back and forth until both are silent, or often enough."""
        a, b = self.nodes.values()
        for _ in range(8):
            there, back = a.turn(now), b.turn(now)
            now = monotonic_ns()
            for frame in there:
                b.hear(frame, now)
            for frame in back:
                a.hear(frame, now)
            if not there and not back and not a.stack.has_ready and not b.stack.has_ready:
                break
        for node in (a, b):
            node.methods.report()
        self.reactor.set_deadline(earliest(a.deadline(), b.deadline()))

    def _time_out(self) -> None:
        now = monotonic_ns()
        for node in self.nodes.values():
            node.stack.timeout(now)
            assert node.runner is not None
            node.runner.timeout(now)
        self.pump(now)

    def client(self, name: str) -> ControlClient:
        """A connection to a node's control socket; for the function that `run` runs."""
        link = socket.socket(socket.AF_UNIX)
        link.connect(self.nodes[name].listener.getsockname())
        return ControlClient(link)

    def run(self, function: Callable[[], Value]) -> Value:
        """What a client does, in a thread, while the nodes live in this one."""
        done, told = socket.socketpair()
        results: list[Value] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
                errors.append(error)
            told.close()

        thread = threading.Thread(target=work, daemon=True)
        with done:
            self.reactor.add(done.fileno(), self.reactor.stop)
            limit = self.reactor.call_at(monotonic_ns() + PATIENCE * SECOND, self.reactor.stop)
            thread.start()
            self.reactor.run()
            self.reactor.remove(done.fileno())
            limit.cancel()
        thread.join(0.5)
        if errors:
            raise errors[0]
        assert results, "it does not end"
        return results[0]
