"""Connections: how many per second, and what 10,000 idle ones cost; ours and the kernel's.

    client --- server        one veth pair with offload, no switch

    cycles   one after the other: connect, one octet there and back, close. Ours is a program on the stack's sockets;
             the kernel's is a loop of Python on blocking sockets; the server is our `echo`, or a loop of Python that
             serves one connection at a time
    idle     10,000 connections between two hosts of ours, opened 256 at a time, nothing sent on them, with nothing but
             their sockets in the program. Memory is the growth of PSS at each end / 10,000. Requests/s are of one more
             connection, of 64 octets, one in flight, before and after

The hosts of ours are the agent's parts in a process of the benchmark (our_host.py).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from tests.benchmarks import processes
from tests.benchmarks.rig import Worker
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span
from tests.benchmarks.tcp_kernel import Connections, Echo
from tests.benchmarks.tcp_wire import ADDRESSES, Wire, wire

PORT, KEPT_PORT = 7, 8
ROUNDS = 3
SECONDS, QUICK_SECONDS = 1.5, 0.5
"""Short enough that no client runs out of ports, each of which stays in TIME_WAIT."""

IDLE, QUICK_IDLE = 10_000, 1_000
REQUEST = 64
SETTLE = 1.0
PAIRS = (("ours", "ours"), ("ours", "kernel"), ("kernel", "ours"), ("kernel", "kernel"))


@dataclass(frozen=True)
class Cycle:
    """Connections per second, and their times in µs."""

    client: str
    server: str
    rate: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Idle:
    """Memory in octets per connection; seconds to open them all; requests per second with few and with many."""

    count: int
    client_memory: float
    server_memory: float
    seconds: float
    cpu: float
    requests_alone: float
    requests_among: float


def run(settings: Settings) -> Report:
    seconds, count = (QUICK_SECONDS, QUICK_IDLE) if settings.quick else (SECONDS, IDLE)
    cycles, idles = [], []
    for number in range(1 if settings.quick else ROUNDS):
        for client, server in PAIRS:
            settings.say(f"tcp_connections, {client} to {server}, round {number + 1}")
            cycles.append(_cycle(settings, client, server, seconds))
        settings.say(f"tcp_connections, {count} idle, round {number + 1}")
        idles.append(_idle(settings, count, seconds))
    samples = {"cycles": [asdict(one) for one in cycles], "idle": [asdict(one) for one in idles]}
    return Report("tcp_connections", [_cycle_table(cycles), _idle_table(idles)], samples)


def _cycle(settings: Settings, client: str, server: str, seconds: float) -> Cycle:
    with ExitStack() as stack:
        ends = stack.enter_context(wire(settings, None, offload=True))
        _server(ends, stack, server)
        to = ADDRESSES["k"]
        if client == "ours":
            worker = stack.enter_context(ends.ours("a"))
            found = worker(cycle=[to, PORT], seconds=seconds)
        else:
            worker = stack.enter_context(ends.kernel("a", Connections))
            found = worker(to=to, port=PORT, seconds=seconds)
    return Cycle(client, server, **found)


def _server(ends: Wire, stack: ExitStack, kind: str) -> None:
    if kind == "ours":
        stack.enter_context(ends.ours("k"))(echo=PORT)
    else:
        stack.enter_context(ends.kernel("k", lambda: Echo(PORT)))()


def _idle(settings: Settings, count: int, seconds: float) -> Idle:
    with ExitStack() as stack:
        ends = stack.enter_context(wire(settings, None, offload=True))
        server, client = stack.enter_context(ends.ours("k")), stack.enter_context(ends.ours("a"))
        server(echo=PORT)
        to = ADDRESSES["k"]
        client(ask=[to, PORT], size=REQUEST, seconds=seconds)
        alone = client(ask=[to, PORT], size=REQUEST, seconds=seconds)["rate"]
        server(accept=KEPT_PORT)
        hosts = (client, server)
        memory, cpu = [_pss(end) for end in hosts], sum(processes.cpu_clock(end.pid) for end in hosts)
        opened = client(open=[to, KEPT_PORT], count=count)["seconds"]
        cpu = sum(processes.cpu_clock(end.pid) for end in hosts) - cpu
        time.sleep(SETTLE)
        grown = [(_pss(end) - before) / count for end, before in zip(hosts, memory, strict=True)]
        among = client(ask=[to, PORT], size=REQUEST, seconds=seconds)["rate"]
    return Idle(count, grown[0], grown[1], opened, cpu, alone, among)


def _pss(worker: Worker) -> int:
    return processes.pss([processes.table()[worker.pid]])


def _cycle_table(cycles: list[Cycle]) -> Table:
    table = Table(
        "Connections, one after the other; times in µs: median of the rounds (smallest to largest)",
        ("client", "server", "connections/s", "of kernel to kernel", "p50", "p90", "p99"),
    )
    baseline = median(one.rate for one in cycles if (one.client, one.server) == ("kernel", "kernel"))
    for client, server in PAIRS:
        found = [one for one in cycles if (one.client, one.server) == (client, server)]
        rates = [one.rate for one in found]
        table.rows.append((
            client, server, span(rates), ratio(median(rates), baseline), median(one.p50 for one in found),
            median(one.p90 for one in found), median(one.p99 for one in found),
        ))  # fmt: skip
    return table


def _idle_table(idles: list[Idle]) -> Table:
    alone, among = [one.requests_alone for one in idles], [one.requests_among for one in idles]
    return Table(
        f"{idles[0].count:,} idle connections between two hosts of ours: median of the rounds (smallest to largest)",
        ("figure", "value"),
        [
            ("client: octets of memory for each", span([one.client_memory for one in idles])),
            ("server: octets of memory for each", span([one.server_memory for one in idles])),
            ("opened per second", span([one.count / one.seconds for one in idles])),
            ("CPU of both ends for opening each, µs", span([one.cpu / one.count * 1e6 for one in idles])),
            ("requests/s on one connection more, before", span(alone)),
            ("requests/s on one connection more, with them open", span(among)),
            ("that is", ratio(median(among), median(alone))),
        ],
    )
