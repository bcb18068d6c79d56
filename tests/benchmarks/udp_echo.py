"""UDP between two nodes: requests one at a time, and a stream in one direction; ours and the kernel's, in all pairs.

    client --- server        one veth pair, no switch

Ours are the applications `udp_source`, `udp_echo` and `udp_sink` in agents. The kernel's are loops of a few lines of
Python on blocking sockets in a `stack: kernel` node: what a Python program gets from the Linux stack.

    requests/s    one request in flight, 64 octets; the round trip is measured by the client
    datagrams/s   a stream at the highest rate that the source reaches, 64 and 1472 octets; what the sink counted
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import asdict, dataclass

from lab.engine.client import follow
from tests.benchmarks.rig import Answer, Rig, Serve, rig
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, percentile, ratio, span

ECHO_PORT, SINK_PORT = 7, 9
REQUEST_OCTETS = 64
STREAM_OCTETS = (64, 1472)
ROUNDS = 3
SECONDS, QUICK_SECONDS = 2.0, 0.5
QUIET = 0.3
"""Seconds without a datagram after which a stream is over."""

KINDS = {"ours": "host", "kernel": "{kind: host, stack: kernel}"}
PAIRS = (("ours", "ours"), ("ours", "kernel"), ("kernel", "ours"), ("kernel", "kernel"))
_TOPOLOGY = "nodes:\n  c: {}\n  s: {}\nlinks:\n  - c -- s\n"


@dataclass(frozen=True)
class Echo:
    """Round trip times in microseconds."""

    client: str
    server: str
    requests: float
    p50: float
    p90: float
    p99: float
    lost: int


@dataclass(frozen=True)
class Stream:
    """Datagrams per second while the source sent."""

    source: str
    sink: str
    octets: int
    sent: float
    received: float


def run(settings: Settings) -> Report:
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    echoes, streams = [], []
    for number in range(1 if settings.quick else ROUNDS):
        for client, server in PAIRS:
            settings.say(f"udp_echo, {client} to {server}, round {number + 1}")
            with rig(_TOPOLOGY.format(KINDS[client], KINDS[server]), settings) as lab:
                echoes.append(_echo(lab, client, server, seconds))
                streams += [_stream(lab, client, server, octets, seconds) for octets in STREAM_OCTETS]
    samples = {"echo": [asdict(one) for one in echoes], "stream": [asdict(one) for one in streams]}
    return Report("udp_echo", [_echo_table(echoes), _stream_table(streams)], samples)


# --- requests


def _echo(lab: Rig, client: str, server: str, seconds: float) -> Echo:
    if server == "ours":
        with lab.client.agent("s") as agent:
            number = agent.call("start", application="udp_echo", options={"port": ECHO_PORT})["id"]
            echo = _ask(lab, client, server, seconds)
            agent.call("stop", id=number)
            return echo
    with lab.worker("s", _Server) as ready:
        ready()
        return _ask(lab, client, server, seconds)


def _ask(lab: Rig, client: str, server: str, seconds: float) -> Echo:
    if client == "ours":
        options = {"to": lab.address("s"), "port": ECHO_PORT, "mode": "request", "size": REQUEST_OCTETS, "rate": 0.0}
        with lab.client.agent("c") as agent:
            for duration in (0.2, seconds):  # the first to resolve addresses
                stream = agent.stream("run", {"application": "udp_source", "options": options | {"duration": duration}})
                result = follow(stream, lambda _: None)
        p50, p90, p99 = (result[f"rtt_p{share}"] / 1000 for share in (50, 90, 99))
        return Echo(client, server, result["answered"] / result["duration"] * 1e9, p50, p90, p99, result["lost"])
    with lab.worker("c", lambda: _Client(lab.address("s"))) as ask:
        ask(seconds=0.2)
        found = ask(seconds=seconds)
        return Echo(client, server, found["requests"], found["p50"], found["p90"], found["p99"], found["lost"])


class _Server:
    """Echoes in a thread; answers when it has begun."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("0.0.0.0", ECHO_PORT))
        threading.Thread(target=self._echo, daemon=True).start()

    def _echo(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(65536)
            self._socket.sendto(data, peer)

    def __call__(self, request: Answer) -> Answer:
        return {}


class _Client:
    """Answers {"seconds"} with requests/s and percentiles in µs."""

    def __init__(self, server: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server, ECHO_PORT))
        self._socket.settimeout(1)

    def __call__(self, request: Answer) -> Answer:
        data, times, lost = bytes(REQUEST_OCTETS), [], 0
        begun = time.perf_counter()
        end = begun + request["seconds"]
        while (sent := time.perf_counter()) < end:
            try:
                self._socket.send(data)
                self._socket.recv(65536)
            except TimeoutError:
                lost += 1
                continue
            times.append((time.perf_counter() - sent) * 1e6)
        rate = len(times) / (time.perf_counter() - begun)
        return {"requests": rate, "lost": lost} | {f"p{share}": percentile(times, share) for share in (50, 90, 99)}


# --- streams


def _stream(lab: Rig, source: str, sink: str, octets: int, seconds: float) -> Stream:
    if sink == "ours":
        with lab.client.agent("s") as agent:
            options = {"port": SINK_PORT, "interval": 0.0}
            number = agent.call("start", application="udp_sink", options=options)["id"]
            sent, duration = _pour(lab, source, octets, seconds)
            time.sleep(QUIET)
            received = agent.call("stop", id=number)["datagrams"]
    else:
        with lab.worker("s", _Sink) as sink_in_kernel:
            before = sink_in_kernel()["received"]
            sent, duration = _pour(lab, source, octets, seconds)
            time.sleep(QUIET)
            received = sink_in_kernel()["received"] - before
    return Stream(source, sink, octets, sent / duration, received / duration)


def _pour(lab: Rig, source: str, octets: int, seconds: float) -> tuple[int, float]:
    """Datagrams sent, seconds."""
    if source == "ours":
        options = {"to": lab.address("s"), "port": SINK_PORT, "size": octets, "rate": 0.0, "duration": seconds}
        with lab.client.agent("c") as agent:
            result = follow(agent.stream("run", {"application": "udp_source", "options": options}), lambda _: None)
        return result["sent"], result["duration"] / 1e9
    with lab.worker("c", lambda: _pourer(lab.address("s"))) as ask:
        answer = ask(octets=octets, seconds=seconds)
        return answer["sent"], answer["seconds"]


def _pourer(to: str) -> Serve:
    outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outlet.connect((to, SINK_PORT))

    def pour(request: Answer) -> Answer:
        data, sent = bytes(request["octets"]), 0
        begun = time.perf_counter()
        end = begun + request["seconds"]
        while time.perf_counter() < end:
            outlet.send(data)
            sent += 1
        return {"sent": sent, "seconds": time.perf_counter() - begun}

    return pour


class _Sink:
    """Counts datagrams in a thread; answers with {"received"}."""

    def __init__(self) -> None:
        self._received = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("0.0.0.0", SINK_PORT))
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while self._socket.recv(65536):
            self._received += 1

    def __call__(self, request: Answer) -> Answer:
        return {"received": self._received}


# --- tables


def _echo_table(echoes: list[Echo]) -> Table:
    table = Table(
        f"UDP requests of {REQUEST_OCTETS} octets, one in flight; round trip in µs; median (smallest to largest)",
        ("client", "server", "requests/s", "of kernel to kernel", "p50", "p90", "p99", "lost"),
    )
    baseline = median(one.requests for one in echoes if (one.client, one.server) == ("kernel", "kernel"))
    for client, server in PAIRS:
        found = [one for one in echoes if (one.client, one.server) == (client, server)]
        rates = [one.requests for one in found]
        table.rows.append((
            client, server, span(rates), ratio(median(rates), baseline), median(one.p50 for one in found),
            median(one.p90 for one in found), median(one.p99 for one in found), sum(one.lost for one in found),
        ))  # fmt: skip
    return table


def _stream_table(streams: list[Stream]) -> Table:
    table = Table(
        "UDP in one direction, datagrams/s: median (smallest to largest)",
        ("octets", "source", "sink", "sent", "received", "of kernel to kernel"),
    )
    for octets in STREAM_OCTETS:
        at_kernel = [one for one in streams if (one.source, one.sink, one.octets) == ("kernel", "kernel", octets)]
        baseline = median(one.received for one in at_kernel)
        for source, sink in PAIRS:
            found = [one for one in streams if (one.source, one.sink, one.octets) == (source, sink, octets)]
            received = [one.received for one in found]
            table.rows.append((
                octets, source, sink, span([one.sent for one in found]), span(received),
                ratio(median(received), baseline),
            ))  # fmt: skip
    return table
