"""TCP without a system: two stacks in one process, joined by nothing but calls, in a time of their own.

    program ─▶ stack ─▶ frames ─▶ stack ─▶ program         and the acknowledgments back

This is what a simulation pays for TCP, and what is left of an agent's work without system calls. Every round trip takes
a virtual millisecond; all that a stack has to send is carried at once.

    stream     one connection, 4 MiB buffers, writes of 64 KiB: segments per second, data and acknowledgments counted,
               each made by one stack and taken by the other. `ethernet` has frames and an ARP entry, `ip` bare packets,
               `offload` long segments and no checksums
    idle       a request of 64 octets and its answer, beside other connections that are open: CPU of both stacks for the
               exchange, and the memory that Python has allocated for both ends of an idle connection
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import MILLISECOND
from nodes.wire.addresses import ANY, parse_ip4
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, Value, median, ratio, span

PORT = 5001
ADDRESSES = ("10.0.0.1", "10.0.0.2")
WRITE = 65_536
REQUEST = 64
ROUNDS = 3
SECONDS, QUICK_SECONDS = 2.0, 0.3
IDLE, QUICK_IDLE = (1, 100, 10_000), (1, 100)
AT_ONCE = 100
TRIP = MILLISECOND
Layer = Literal["ethernet", "ip"]
KINDS: dict[str, tuple[Layer, bool]] = {
    "ethernet": ("ethernet", False),
    "ip": ("ip", False),
    "offload": ("ethernet", True),
}


@dataclass(frozen=True)
class Stream:
    """`segments` of both directions in `seconds` of CPU."""

    kind: str
    segments: int
    octets: int
    seconds: float


@dataclass(frozen=True)
class Beside:
    """µs of CPU per exchange beside `connections`; octets of memory for both ends of one."""

    connections: int
    cost: float
    memory: float


class Wire:
    """Two stacks. `segments` counts what they have handed each other."""

    def __init__(self, kind: str) -> None:
        layer, offload = KINDS[kind]
        self.now = 0
        self.segments = 0
        self.stacks = [_stack(number, layer, offload) for number in range(2)]
        self._listener = self.stacks[1].tcp.open()
        self._listener.bind(ANY, PORT, 0)
        self._listener.listen(2 * AT_ONCE, 0)

    def carry(self) -> None:
        """All frames both ways until there are none, and the time until the next."""
        left, right = self.stacks
        while True:
            there = left.transmit()
            for _, frame in there:
                right.receive(0, frame, self.now)
            back = right.transmit()
            for _, frame in back:
                left.receive(0, frame, self.now)
            self.segments += len(there) + len(back)
            if not there and not back:
                break

    def pass_time(self) -> None:
        self.now += TRIP
        for stack in self.stacks:
            due = stack.deadline()
            if due is not None and due <= self.now:
                stack.timeout(self.now)

    def connect(self, count: int) -> list[tuple[TcpSocket, TcpSocket]]:
        """Both ends of so many connections."""
        made = []
        for start in range(0, count, AT_ONCE):
            clients = [self.stacks[0].tcp.open() for _ in range(min(AT_ONCE, count - start))]
            for client in clients:
                client.connect(parse_ip4(ADDRESSES[1]), PORT, self.now)
            self.carry()
            made += list(zip(clients, self._accepted(), strict=True))
            self.pass_time()
        return made

    def drain(self) -> None:
        for stack in self.stacks:
            stack.drain_ready()

    def _accepted(self) -> Iterator[TcpSocket]:
        while (accepted := self._listener.accept()) is not None:
            yield accepted


def run(settings: Settings) -> Report:
    seconds, counts = (QUICK_SECONDS, QUICK_IDLE) if settings.quick else (SECONDS, IDLE)
    streams, besides = [], []
    for number in range(1 if settings.quick else ROUNDS):
        settings.say(f"tcp_segments, round {number + 1}")
        streams += [_stream(kind, seconds) for kind in KINDS]
        besides += [_beside(count, seconds) for count in counts]
    samples = {"stream": [asdict(one) for one in streams], "idle": [asdict(one) for one in besides]}
    return Report("tcp_segments", [_stream_table(streams), _beside_table(besides, counts)], samples)


def _stream(kind: str, seconds: float) -> Stream:
    wire = Wire(kind)
    client, server = wire.connect(1)[0]
    data, octets = bytes(WRITE), 0
    warm, before = True, 0
    begun = time.process_time()
    while warm or time.process_time() - begun < seconds:
        while client.send(data, wire.now) == len(data):
            pass
        wire.carry()
        while got := server.receive(WRITE):
            octets += len(got)
        wire.carry()
        wire.drain()
        wire.pass_time()
        if warm and octets > 64 << 20:  # the windows are open
            warm, octets, before, begun = False, 0, wire.segments, time.process_time()
    return Stream(kind, wire.segments - before, octets, time.process_time() - begun)


def _beside(count: int, seconds: float) -> Beside:
    wire = Wire("ip")
    client, server = wire.connect(1)[0]
    gc.collect()
    tracemalloc.start()
    others = wire.connect(count)
    wire.drain()
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] / len(others)
    tracemalloc.stop()
    for end in (client, server):
        end.set_option("nodelay", True, wire.now)
    request, exchanges = bytes(REQUEST), 0
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        client.send(request, wire.now)
        wire.carry()
        server.send(server.receive() or b"", wire.now)
        wire.carry()
        client.receive()
        wire.drain()
        wire.pass_time()
        exchanges += 1
    return Beside(count, (time.process_time() - begun) / exchanges * 1e6, memory)


def _stack(number: int, layer: Layer, offload: bool) -> Stack:
    mac, prefix = f"02:00:00:00:00:0{number + 1}", f"{ADDRESSES[number]}/24"
    interface = InterfaceConfig("eth0", mac, (prefix,), kind=layer, address_check="none", offload=offload)
    config = NodeConfig("bench", "both", seed=number, interfaces=(interface,))
    return Stack.from_config(config, Random(number), NullTracer(), 0)


def _stream_table(streams: list[Stream]) -> Table:
    table = Table(
        "Two stacks in one process, one stream: median (smallest to largest)",
        ("link", "segments/s", "µs for one, both ends", "octets of payload for one", "Mbit/s"),
    )
    for kind in KINDS:
        found = [one for one in streams if one.kind == kind]
        table.rows.append((
            kind, span([one.segments / one.seconds for one in found]),
            median(one.seconds / one.segments * 1e6 for one in found),
            median(one.octets / one.segments for one in found),
            span([one.octets * 8 / one.seconds / 1e6 for one in found]),
        ))  # fmt: skip
    return table


def _beside_table(besides: list[Beside], counts: tuple[int, ...]) -> Table:
    table = Table(
        "A connection beside idle ones, two stacks in one process: median (smallest to largest)",
        ("idle connections", "µs for an exchange, both ends", "beside one idle", "octets for both ends of an idle one"),
    )
    alone = median(one.cost for one in besides if one.connections == counts[0])
    for count in counts:
        found = [one for one in besides if one.connections == count]
        costs = [one.cost for one in found]
        memory: Value = median(one.memory for one in found) if count > 1 else None
        table.rows.append((count, span(costs), ratio(median(costs), alone), memory))
    return table
