"""A host of ours for benchmarks that an agent does not fit: a stack on a packet socket, in a worker's process.

It is built of the agent's parts and runs its applications, in the place of the kernel of a `stack: kernel` node: the
kernel gives up the address of its interface, and the host takes it, with the same MAC address. What it can be asked:

    {"sink": PORT, "seconds": S}         {"octets", "seconds"}: what the next connection brought until its end, or in so
                                         long from its first octets
    {"source": [TO, PORT], "seconds": S} sends for so long, then {"octets", "retransmissions"}
    {"ask": [TO, PORT], "size", "seconds"} requests/s on one connection, and percentiles in µs
    {"echo": PORT}                       {}: an echo server runs
    {"cycle": [TO, PORT], "seconds": S}  connections/s, one after the other: connect, an octet there and back, close
    {"accept": PORT}                     {}: connections to the port are taken and kept, and what comes is sent back
    {"open": [TO, PORT], "count": N}     {"seconds"}: N connections more are open
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from random import Random
from time import monotonic_ns

from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.io.memory import keep_freed_memory
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.transport.endpoint import Endpoint
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import ANY, parse_ip4
from tests.benchmarks.rig import MESSAGE_LIMIT, Answer
from tests.benchmarks.tcp_kernel import spread

FRAMES = 64
ROUNDS = 8
LOOK = 5 * MILLISECOND
"""How often a sink is looked at while it is measured."""

AT_ONCE = 256
"""Connections that `open` has under way."""


class OurHost:
    """`link` is where requests come from. `run` serves until the end of the process."""

    def __init__(self, link: socket.socket, interface: InterfaceConfig, address: str, *, offload: bool) -> None:
        if offload:
            keep_freed_memory()
        self._link = link
        self._port = PacketSocket(interface.name, offload=offload)
        own = InterfaceConfig(interface.name, interface.mac, (address,), address_check="none", offload=offload)
        config = NodeConfig("bench", "ours", seed=1, interfaces=(own,))
        self.stack = Stack.from_config(config, Random(1), NullTracer(), monotonic_ns())
        self._runner = ApplicationRunner(self.stack, NullTracer(), self._ring)
        self._reactor = Reactor()
        self._reactor.on_deadline = self._time_out
        self._reactor.add(self._port.fileno(), self._receive)
        self._reactor.add(link.fileno(), self._listen)
        self._waiting: tuple[int, Callable[[Answer], Answer]] | None = None
        self.program: Cycles | Opening | Kept | None = None

    def run(self) -> None:
        self.answer({})
        self._reactor.run()

    def answer(self, value: Answer) -> None:
        self._link.send(json.dumps(value).encode())

    # -------------------------------------------------------------------------------------------------------- the pump

    def _receive(self) -> None:
        frames = self._port.receive_batch(FRAMES)
        now = monotonic_ns()
        receive = self.stack.receive
        for frame in frames:
            receive(0, frame, now)
        self._pump(now)

    def _time_out(self) -> None:
        now = monotonic_ns()
        self.stack.timeout(now)
        self._runner.timeout(now)
        self._pump(now)

    def _pump(self, now: int) -> None:
        stack, send = self.stack, self._port.send
        for _ in range(ROUNDS):
            busy = self._runner.poll(now)
            frames = stack.transmit()
            for _, frame in frames:
                send(frame)
            if not frames and not busy:
                break
        if self._waiting is not None and self._runner.state(self._waiting[0]) != "running":
            number, describe = self._waiting
            self._waiting = None
            self.answer(describe(self._runner.result(number)))
        deadlines = [due for due in (stack.deadline(), self._runner.deadline()) if due is not None]
        self._reactor.set_deadline(min(deadlines, default=None))

    def _ring(self, endpoint: Endpoint, now: int) -> None:
        if self.program is not None:
            self.program.ready(endpoint, now)

    # -------------------------------------------------------------------------------------------------------- requests

    def _listen(self) -> None:
        request = json.loads(self._link.recv(MESSAGE_LIMIT) or b"null")
        if request is None:
            self._reactor.stop()
            return
        now = monotonic_ns()
        self.stack.timeout(now)
        if "sink" in request:
            Measured(self, request["sink"], request["seconds"], now)
        elif "source" in request:
            self._send(request, now)
        elif "ask" in request:
            self._ask(request, now)
        elif "echo" in request:
            self.start("echo", {"port": request["echo"], "backlog": 1024}, now)
            self.answer({})
        elif "cycle" in request:
            self.program = Cycles(self, request["cycle"], request["seconds"], now)
        elif "accept" in request:
            self.program = Kept(self, request["accept"], now)
        elif "open" in request:
            self.program = Opening(self, request["open"], request["count"], now)
        self._pump(now)

    def _send(self, request: Answer, now: int) -> None:
        to, port = request["source"]
        options = {"to": to, "port": port, "duration": request["seconds"], "interval": 0.0}
        number = self.start("source", options, now)
        self._waiting = number, lambda result: {name: result[name] for name in ("octets", "retransmissions")}

    def _ask(self, request: Answer, now: int) -> None:
        to, port = request["ask"]
        options = {"to": to, "port": port, "duration": request["seconds"], "interval": 0.0, "mode": "request"}
        number = self.start("source", options | {"size": request["size"], "nodelay": True}, now)
        self._waiting = number, asked

    def start(self, kind: str, options: dict[str, object], now: int) -> int:
        return self._runner.start(kind, options, now)

    def octets(self, number: int) -> tuple[int, bool]:
        """What a sink has taken so far, and whether its connection is over."""
        result = self._runner.result(number)
        return int(str(result["octets"])), bool(result["completed"])

    def stop(self, number: int) -> None:
        self._runner.stop(number, monotonic_ns())

    def later(self, call: Callable[[], None]) -> None:
        self._reactor.call_at(monotonic_ns() + LOOK, call)


def asked(result: Answer) -> Answer:
    """Requests/s and percentiles in µs, of the result of a `source`."""
    if result["failed"]:
        return {"failed": result["reason"]}
    found = {f"p{share}": result[f"latency_p{share}"] / 1000 for share in (50, 90, 99)}
    return {"rate": result["answered"] / result["duration"] * SECOND, **found}


class Measured:
    """A sink that is looked at from its first octets to its end."""

    def __init__(self, host: OurHost, port: int, seconds: float, now: int) -> None:
        self._host = host
        self._limit = round(seconds * SECOND)
        self._first: tuple[int, int] | None = None
        self._last = 0, 0
        options: dict[str, object] = {"port": port, "verify": "never", "interval": 0.0}
        self._number = host.start("sink", options, now)
        host.later(self._look)

    def _look(self) -> None:
        now = monotonic_ns()
        octets, over = self._host.octets(self._number)
        if octets and self._first is None:
            self._first = now, octets
        if octets != self._last[1]:
            self._last = now, octets
        if self._first is None or not (over or now - self._first[0] >= self._limit):
            self._host.later(self._look)
            return
        self._host.stop(self._number)
        taken, duration = self._last[1] - self._first[1], self._last[0] - self._first[0]
        self._host.answer({"octets": taken, "seconds": duration / SECOND})


class Cycles:
    """Connections one after the other."""

    def __init__(self, host: OurHost, to: tuple[str, int], seconds: float, now: int) -> None:
        self._host = host
        self._to = parse_ip4(to[0]), to[1]
        self._begun = self._started = now
        self._end = now + round(seconds * SECOND)
        self._times: list[float] = []
        self._socket: TcpSocket | None = None
        self._asked = False
        self._connect(now)

    def ready(self, endpoint: Endpoint, now: int) -> None:
        opened = self._socket
        if opened is None or endpoint is not opened:
            return
        if not self._asked and opened.connected:
            self._asked = True
            opened.send(b"x", now)
        if not opened.receive(1):
            return
        opened.close(now)
        now = monotonic_ns()
        self._times.append((now - self._started) / SECOND)
        if now < self._end:
            self._connect(now)
            return
        self._socket = None
        rate = len(self._times) / (now - self._begun) * SECOND
        self._host.answer({"rate": rate, **spread(self._times)})

    def _connect(self, now: int) -> None:
        self._started, self._asked = now, False
        self._socket = self._host.stack.tcp.open()
        self._socket.set_option("nodelay", True, now)
        self._socket.connect(*self._to, now)


class Kept:
    """Takes every connection, keeps it, sends back what comes on it."""

    def __init__(self, host: OurHost, port: int, now: int) -> None:
        self._listener = host.stack.tcp.open()
        self._listener.bind(ANY, port, now)
        self._listener.listen(1024, now)
        self._accepted: list[TcpSocket] = []
        host.answer({})

    def ready(self, endpoint: Endpoint, now: int) -> None:
        if endpoint is self._listener:
            while (accepted := self._listener.accept()) is not None:
                self._accepted.append(accepted)
        elif isinstance(endpoint, TcpSocket) and (data := endpoint.receive()):
            endpoint.send(data, now)


class Opening:
    """Opens connections, some at a time, and keeps them."""

    def __init__(self, host: OurHost, to: tuple[str, int], count: int, now: int) -> None:
        self._host = host
        self._to = parse_ip4(to[0]), to[1]
        self._missing = count
        self._under_way: set[TcpSocket] = set()
        self._open: list[TcpSocket] = []
        self._begun = now
        self._go_on(now)

    def ready(self, endpoint: Endpoint, now: int) -> None:
        if not isinstance(endpoint, TcpSocket) or endpoint not in self._under_way or not endpoint.connected:
            return
        self._under_way.remove(endpoint)
        self._open.append(endpoint)
        self._go_on(now)
        if not self._missing and not self._under_way:
            self._host.answer({"seconds": (monotonic_ns() - self._begun) / SECOND})

    def _go_on(self, now: int) -> None:
        while self._missing and len(self._under_way) < AT_ONCE:
            opened = self._host.stack.tcp.open()
            opened.connect(*self._to, now)
            self._under_way.add(opened)
            self._missing -= 1
