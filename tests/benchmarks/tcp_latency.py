"""How long an answer takes: ping, and requests over one TCP connection; ours and the kernel's, in all pairs.

    client --- server        one veth pair, no switch

    ping        echo requests of 56 octets, one in flight, 200 a second (RFC 792); ours is the application, the
                kernel's is ping(8); the answers come from the server's stack
    requests    one in flight, 64 and 1024 octets there and back; ours are `source` with `mode: request` and `echo`, the
                kernel's are loops of Python on blocking sockets, all without Nagle's algorithm

Ours run in agents. Requests of two kernels depend on whether the scheduler puts both processes on one core.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass

from lab.engine.client import follow
from tests.benchmarks.our_host import asked
from tests.benchmarks.rig import Answer, Rig, rig
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, percentile, ratio, span
from tests.benchmarks.tcp_kernel import Echo, Requests

PORT = 7
SIZES = (64, 1024)
ROUNDS = 3
SECONDS, QUICK_SECONDS = 2.0, 0.5
PING_INTERVAL = 0.005
KINDS = {"ours": "host", "kernel": "{kind: host, stack: kernel}"}
PAIRS = (("ours", "ours"), ("ours", "kernel"), ("kernel", "ours"), ("kernel", "kernel"))
_TOPOLOGY = "nodes:\n  c: {}\n  s: {}\nlinks:\n  - c -- s\n"


@dataclass(frozen=True)
class Ping:
    """Round trip times in µs."""

    client: str
    server: str
    average: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Exchange:
    """Requests per second, and their times in µs."""

    client: str
    server: str
    size: int
    rate: float
    p50: float
    p90: float
    p99: float


def run(settings: Settings) -> Report:
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    failures = [] if shutil.which("ping") else ["ping is not installed: no pings of the kernel"]
    pings, requests = [], []
    for number in range(1 if settings.quick else ROUNDS):
        for client, server in PAIRS:
            settings.say(f"tcp_latency, {client} to {server}, round {number + 1}")
            with rig(_TOPOLOGY.format(KINDS[client], KINDS[server]), settings) as lab:
                if client == "ours" or not failures:
                    pings.append(Ping(client, server, **_ping(lab, client, seconds)))
                for size in SIZES:
                    found = _requests(lab, client, server, size, seconds)
                    requests.append(Exchange(client, server, size, **found))
    samples = {"ping": [asdict(one) for one in pings], "requests": [asdict(one) for one in requests]}
    return Report("tcp_latency", [_ping_table(pings), _request_table(requests)], samples, failures)


def _ping(lab: Rig, client: str, seconds: float) -> Answer:
    to, count = lab.address("s"), round(seconds / PING_INTERVAL)
    if client == "kernel":
        with lab.worker("c", lambda: _ping_command) as ask:
            times = ask(to=to, count=count)["times"][1:]  # the first resolves the address
    else:
        options = {"to": to, "count": count, "interval": PING_INTERVAL}
        times = []
        with lab.client.agent("c") as agent:

            def note(report: Answer) -> None:
                if "rtt" in report:
                    times.append(report["rtt"] / 1000)

            follow(agent.stream("run", {"application": "ping", "options": options}), note)
        times = times[1:]
    return {"average": sum(times) / len(times), **{f"p{share}": percentile(times, share) for share in (50, 90, 99)}}


def _ping_command(request: Answer) -> Answer:
    """Answers {"to", "count"} with round trip times in µs."""
    command = ["ping", "-n", "-i", str(PING_INTERVAL), "-c", str(request["count"]), request["to"]]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    times = [float(found) * 1000 for found in re.findall(r"time=([\d.]+) ms", done.stdout)]
    return {"times": times} if len(times) > 1 else {"failed": f"ping: {done.stdout}{done.stderr}"}


def _requests(lab: Rig, client: str, server: str, size: int, seconds: float) -> Answer:
    if server == "ours":
        with lab.client.agent("s") as agent:
            number = agent.call("start", application="echo", options={"port": PORT})["id"]
            found = _ask(lab, client, size, seconds)
            agent.call("stop", id=number)
            return found
    with lab.worker("s", lambda: Echo(PORT)) as ready:
        ready()
        return _ask(lab, client, size, seconds)


def _ask(lab: Rig, client: str, size: int, seconds: float) -> Answer:
    if client == "kernel":
        with lab.worker("c", Requests) as ask:
            return ask(to=lab.address("s"), port=PORT, size=size, seconds=seconds)
    options = {"to": lab.address("s"), "port": PORT, "mode": "request", "size": size, "duration": seconds}
    options |= {"nodelay": True, "interval": 0.0}
    with lab.client.agent("c") as agent:
        return asked(follow(agent.stream("run", {"application": "source", "options": options}), lambda _: None))


def _ping_table(pings: list[Ping]) -> Table:
    table = Table(
        "Ping, 56 octets, 200/s, round trip in µs: median of the rounds (smallest to largest)",
        ("client", "server", "average", "of kernel to kernel", "p50", "p90", "p99"),
    )
    baseline = median(one.average for one in pings if (one.client, one.server) == ("kernel", "kernel"))
    for client, server in PAIRS:
        found = [one for one in pings if (one.client, one.server) == (client, server)]
        average = [one.average for one in found]
        table.rows.append((
            client, server, span(average), ratio(median(average), baseline), median(one.p50 for one in found),
            median(one.p90 for one in found), median(one.p99 for one in found),
        ))  # fmt: skip
    return table


def _request_table(requests: list[Exchange]) -> Table:
    table = Table(
        "TCP requests, one in flight; round trip in µs: median of the rounds (smallest to largest)",
        ("octets", "client", "server", "requests/s", "of kernel to kernel", "p50", "p90", "p99"),
    )
    for size in SIZES:
        here = [one for one in requests if one.size == size]
        baseline = median(one.rate for one in here if (one.client, one.server) == ("kernel", "kernel"))
        for client, server in PAIRS:
            found = [one for one in here if (one.client, one.server) == (client, server)]
            rates = [one.rate for one in found]
            table.rows.append((
                size, client, server, span(rates), ratio(median(rates), baseline), median(one.p50 for one in found),
                median(one.p90 for one in found), median(one.p99 for one in found),
            ))  # fmt: skip
    return table
