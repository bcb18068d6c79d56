"""The kernel's side of the TCP benchmarks: what runs in `stack: kernel` nodes, the shortest loops on blocking sockets.

Each class is made in the node by `Rig.worker` and answers requests there. A server listens as soon as it is made.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence

from lab.host import syscalls
from tests.benchmarks.rig import Answer
from tests.benchmarks.tables import percentile

WRITE = 128 << 10
"""Octets of a write: iperf3's default."""

READ = 1 << 20
BACKLOG = 4096
CONNECT_LIMIT = 10.0
STREAM_LIMIT = 60.0


class Sink:
    """Answers {"seconds"} with what the next connection brought until its end, or in so long from its first octet:
    {"octets", "seconds"}."""

    def __init__(self, port: int) -> None:
        self._listener = listening(port)

    def __call__(self, request: Answer) -> Answer:
        self._listener.settimeout(STREAM_LIMIT)
        connection, _ = self._listener.accept()
        connection.settimeout(STREAM_LIMIT)
        buffer, octets, limit = bytearray(READ), 0, request.get("seconds")
        begun = last = 0.0
        while got := connection.recv_into(buffer):
            last = time.perf_counter()
            if not octets:
                begun = last
            octets += got
            if limit is not None and last - begun > limit:
                break
        connection.close()
        return {"octets": octets, "seconds": last - begun}


class Source:
    """Answers {"to", "port", "seconds"} by sending for so long, with {"octets", "seconds"}."""

    def __call__(self, request: Answer) -> Answer:
        data, octets = bytes(WRITE), 0
        with connected(request["to"], request["port"]) as outlet:
            if congestion := request.get("congestion"):
                outlet.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
            outlet.settimeout(request["seconds"] + STREAM_LIMIT)
            begun = time.perf_counter()
            end = begun + request["seconds"]
            while time.perf_counter() < end:
                octets += outlet.send(data)
            seconds = time.perf_counter() - begun
        return {"octets": octets, "seconds": seconds}


class Echo:
    """Sends back what comes, one connection after the other, each until its end. Answers when it has begun."""

    def __init__(self, port: int) -> None:
        self._listener = listening(port)
        threading.Thread(target=self._serve, daemon=True).start()

    def __call__(self, request: Answer) -> Answer:
        return {}

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while data := connection.recv(65_536):
                    connection.sendall(data)


class Requests:
    """Answers {"to", "port", "size", "seconds"} with requests/s on one connection, and percentiles in µs."""

    def __call__(self, request: Answer) -> Answer:
        size, times = request["size"], []
        data, buffer = bytes(size), memoryview(bytearray(size))
        with connected(request["to"], request["port"]) as outlet:
            outlet.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begun = now = time.perf_counter()
            end = begun + request["seconds"]
            while now < end:
                outlet.sendall(data)
                got = 0
                while got < size:
                    got += outlet.recv_into(buffer[got:])
                then, now = now, time.perf_counter()
                times.append(now - then)
        return {"rate": len(times) / (now - begun), **spread(times)}


class Connections:
    """Answers {"to", "port", "seconds"} with connections/s, one after the other: connect, one octet there and back,
    close; and percentiles in µs."""

    def __call__(self, request: Answer) -> Answer:
        times = []
        begun = now = time.perf_counter()
        end = begun + request["seconds"]
        while now < end:
            with connected(request["to"], request["port"]) as outlet:
                outlet.send(b"x")
                outlet.recv(1)
            then, now = now, time.perf_counter()
            times.append(now - then)
        return {"rate": len(times) / (now - begun), **spread(times)}


class IperfServer:
    """iperf3, for as many tests as come. Answers when it listens."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            ["iperf3", "--server", "--port", str(port), "--forceflush"], stdout=subprocess.PIPE, preexec_fn=_die_with_us
        )

    def __call__(self, request: Answer) -> Answer:
        assert self._process.stdout is not None
        while b"listening" not in self._process.stdout.readline():
            pass
        return {}


class IperfClient:
    """Answers {"to", "port", "seconds", "congestion"} with what iperf3 says of one stream."""

    def __call__(self, request: Answer) -> Answer:
        command = ["iperf3", "--client", request["to"], "--port", str(request["port"]), "--json"]
        command += ["--time", str(request["seconds"])]
        if request.get("congestion"):
            command += ["--congestion", request["congestion"]]
        done = subprocess.run(command, capture_output=True, check=False, timeout=STREAM_LIMIT, preexec_fn=_die_with_us)
        said = json.loads(done.stdout)
        if "error" in said:
            return {"failed": f"iperf3: {said['error']}"}
        received, cpu = said["end"]["sum_received"], said["end"]["cpu_utilization_percent"]
        seconds = received["seconds"]
        return {
            "octets": received["bytes"],
            "seconds": seconds,
            "source_cpu": cpu["host_total"] * seconds / 100,
            "sink_cpu": cpu["remote_total"] * seconds / 100,
            "congestion": said["end"].get("sender_tcp_congestion"),
        }


def listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(BACKLOG)
    return listener


def connected(to: str, port: int) -> socket.socket:
    outlet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    outlet.settimeout(CONNECT_LIMIT)
    outlet.connect((to, port))
    return outlet


def spread(times: Sequence[float]) -> Answer:
    """Percentiles in µs of times in s."""
    return {f"p{share}": (percentile(times, share) or 0.0) * 1e6 for share in (50, 90, 99)}


def _die_with_us() -> None:
    syscalls.die_with_parent(signal.SIGKILL)
