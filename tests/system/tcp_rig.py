"""Network namespaces in which a host of ours (tcp_host.py) meets the kernel's TCP.

    k (the kernel, 10.0.0.1) ──── veth ──── o (ours, 10.0.0.2)         straight
    k ──── veth ──── m (tcp_impaired.py) ──── veth ──── o              with fates

Sockets of the kernel are made in this process, inside k: a socket belongs to the namespace it was made in. Programs run
there through nsenter(1). The namespaces have no name and end with the last process.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from lab.host import ethtool
from lab.host.namespaces import KERNEL_HOST, NO_IPV6, create_network_namespaces, in_namespace, write_sysctls
from nodes.application.octet_pattern import LONGEST_BLOCK, block

KERNEL = "10.0.0.1"
OURS = "10.0.0.2"
PATIENCE = 30.0
CHECKOUT = Path(__file__).parents[2]
TCP_CONGESTION = 13


class Line:
    """A process that speaks JSON, one value to a line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._seen: list[dict[str, Any]] = []
        self._rest = b""

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, wanted: Callable[[dict[str, Any]], bool], within: float = PATIENCE) -> dict[str, Any]:
        """The first value that is wanted, and takes it out."""
        end = time.monotonic() + within
        while True:
            for value in self._seen:
                if wanted(value):
                    self._seen.remove(value)
                    return value
            self._read(end)

    def _read(self, end: float) -> None:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], max(end - time.monotonic(), 0))[0]:
            raise AssertionError(f"no word from {self.process.args!r}, only {self._seen}")
        data = os.read(descriptor, 1 << 20)
        if not data:
            raise AssertionError(f"{self.process.args!r} ended: {self.process.wait()}, {self._seen}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._seen += [json.loads(line) for line in lines]

    def close(self, within: float = PATIENCE) -> dict[str, Any]:
        """End its input; its last word."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        last = self.wait(lambda value: "state" in value or "to_right" in value, within)
        self.process.stdout.close()
        assert self.process.wait(timeout=within) == 0
        return last


class Ours(Line):
    """A host of ours."""

    def start(self, program: str) -> int:
        """The program's number. Fails where it cannot be started."""
        self.tell(program)
        answer = self.wait(lambda value: "started" in value or "failed" in value)
        assert "started" in answer, answer
        return int(answer["started"])

    def result(self, program: int, within: float = PATIENCE) -> list[dict[str, Any]]:
        """The connections of a `connect`, when all are over."""
        done = self.wait(lambda value: value.get("done") == program, within)
        return list(done["result"]["connections"])

    def run(self, program: str, within: float = PATIENCE) -> list[dict[str, Any]]:
        return self.result(self.start(program), within)

    def state(self) -> dict[str, Any]:
        self.tell("state")
        return dict(self.wait(lambda value: "state" in value)["state"])

    def connections(self, program: int) -> list[dict[str, Any]]:
        """Those of a server that are over."""
        return list(self.state()["programs"][program]["connections"])

    def wait_over(self, program: int, count: int, within: float = PATIENCE) -> list[dict[str, Any]]:
        """The connections of a server, once so many are over."""
        poll(lambda: len(self.connections(program)) >= count, within, lambda: self.state())
        return self.connections(program)

    @property
    def counters(self) -> dict[str, Any]:
        return dict(self.state()["tcp"]["counters"])


class Net:
    """Namespaces, links and what runs in them. Use it as a context manager."""

    def __init__(
        self, *, mtu: int = 1500, offload: bool = False, fates: str = "", sysctls: Mapping[str, str] | None = None
    ) -> None:
        self.mtu = mtu
        self.offload = offload
        self._stack = ExitStack()
        names = ("k", "o", "m") if fates else ("k", "o")
        self._fds = dict(zip(names, create_network_namespaces(len(names)), strict=True))
        for fd in self._fds.values():
            self._stack.callback(os.close, fd)
        try:
            self._build(fates, sysctls or {})
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _build(self, fates: str, sysctls: Mapping[str, str]) -> None:
        for name, fd in self._fds.items():
            with in_namespace(fd):
                write_sysctls({**NO_IPV6, **(KERNEL_HOST | dict(sysctls) if name == "k" else {})})
        if fates:
            self._link("k", "eth0", "m", "left")
            self._link("m", "right", "o", "eth0")
        else:
            self._link("k", "eth0", "o", "eth0")
        self._ip("k", "address add 10.0.0.1/24 dev eth0", "link set lo up")
        self.impairment: Line | None = None
        if fates:
            self.impairment = Line(self.spawn("m", *module("tcp_impaired"), "left", "right", *fates.split()))
            self.impairment.wait(lambda value: "ready" in value)

    def _link(self, a: str, a_name: str, b: str, b_name: str) -> None:
        near, far = f"{a_name} mtu {self.mtu}", f"{b_name} mtu {self.mtu} netns /proc/self/fd/{self._fds[b]}"
        self._ip(a, f"link add {near} type veth peer name {far}", f"link set {a_name} up")
        self._ip(b, f"link set {b_name} up")
        for end, name in ((a, a_name), (b, b_name)):
            with in_namespace(self._fds[end]):
                ethtool.set_offloads([(name, self.offload)])
        for end, name in ((a, a_name), (b, b_name)):
            self._await_carrier(end, name)

    def _await_carrier(self, where: str, name: str) -> None:
        """Until then the kernel drops what is sent (nodes/io/packet_socket.py)."""
        poll(lambda: "state UP" in self.run(where, "ip", "link", "show", name), PATIENCE)

    def _ip(self, where: str, *lines: str) -> None:
        for line in lines:
            self.run(where, "ip", *line.split())

    # Programs

    def _inside(self, where: str) -> list[str]:
        return ["nsenter", f"--net=/proc/self/fd/{self._fds[where]}", "setpriv", "--pdeathsig", "KILL"]

    def run(self, where: str, *command: str, code: int | None = 0, within: float = PATIENCE, data: bytes = b"") -> str:
        """Its output."""
        return self.run_bytes(where, *command, code=code, within=within, data=data).decode()

    def run_bytes(
        self, where: str, *command: str, code: int | None = 0, within: float = PATIENCE, data: bytes = b""
    ) -> bytes:
        done = subprocess.run(
            [*self._inside(where), *command],
            input=data,
            capture_output=True,
            check=False,
            timeout=within,
            pass_fds=self._fds.values(),
            cwd=CHECKOUT,
        )
        assert code is None or done.returncode == code, f"{command}: {done.returncode} {done.stdout!r} {done.stderr!r}"
        return done.stdout

    def spawn(self, where: str, *command: str, **streams: Any) -> subprocess.Popen[bytes]:
        """In the background, until the end of the net at the latest."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [*self._inside(where), *command], pass_fds=self._fds.values(), cwd=CHECKOUT, **streams
        )
        self._stack.callback(end, process)
        return process

    def ours(self, *options: str) -> Ours:
        """A host of ours in o."""
        command = [*module("tcp_host"), "--mtu", str(self.mtu), *(["--offload"] if self.offload else []), *options]
        host = Ours(self.spawn("o", *command))
        host.wait(lambda value: "ready" in value)
        return host

    @contextmanager
    def capture(self, where: str, path: Path) -> Iterator[None]:
        """All that passes eth0, in a file."""
        options = ["-i", "eth0", "-s", "0", "-B", "32768", "-U", "--immediate-mode", "-w", str(path)]
        process = self.spawn(where, "tcpdump", *options, stderr=subprocess.PIPE)
        assert process.stderr is not None
        while b"listening" not in (line := process.stderr.readline()):
            assert line, "tcpdump does not run"
        yield
        process.terminate()
        said = process.stderr.read().decode()
        assert "\n0 packets dropped by kernel" in said, said

    # Sockets of the kernel

    def open(self, *, congestion: str = "", timeout: float = PATIENCE) -> socket.socket:
        with in_namespace(self._fds["k"]):
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._stack.callback(made.close)
        made.settimeout(timeout)
        if congestion:
            made.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, congestion.encode())
        return made

    def connect(self, port: int, **options: Any) -> socket.socket:
        """A connection of the kernel to us."""
        made = self.open(**options)
        made.connect((OURS, port))
        return made

    def listen(self, port: int, backlog: int = 256, **options: Any) -> socket.socket:
        made = self.open(**options)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((KERNEL, port))
        made.listen(backlog)
        return made

    def accept(self, listener: socket.socket) -> socket.socket:
        accepted, _ = listener.accept()
        self._stack.callback(accepted.close)
        accepted.settimeout(listener.gettimeout())
        return accepted

    def ss(self, *arguments: str) -> str:
        return self.run("k", "ss", "-Htino", *arguments)

    def sysctl(self, **values: str) -> None:
        with in_namespace(self._fds["k"]):
            write_sysctls({f"net.ipv4.{name}": value for name, value in values.items()})


def module(name: str) -> list[str]:
    return [sys.executable, "-m", f"tests.system.{name}"]


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def poll(condition: Callable[[], bool], within: float, what: Callable[[], object] = lambda: "") -> None:
    """Until the condition holds."""
    stop = time.monotonic() + within
    while not condition():
        assert time.monotonic() < stop, f"not within {within:g} s: {what()}"
        time.sleep(0.01)


# The octets that are sent


def pieces(size: int) -> Iterator[bytes]:
    """The first `size` octets of the pattern."""
    for start in range(0, size, LONGEST_BLOCK):
        yield block(start, min(LONGEST_BLOCK, size - start))


@cache
def digest(size: int) -> str:
    """SHA-256 of the first `size` octets."""
    state = hashlib.sha256()
    for piece in pieces(size):
        state.update(piece)
    return state.hexdigest()


def send(connection: socket.socket, size: int, *, close: bool = True) -> None:
    for piece in pieces(size):
        connection.sendall(piece)
    if close:
        connection.shutdown(socket.SHUT_WR)


def receive(connection: socket.socket) -> tuple[int, str]:
    """How many octets come until the end, and their hash."""
    state, count = hashlib.sha256(), 0
    buffer = bytearray(1 << 20)
    while got := connection.recv_into(buffer):
        state.update(memoryview(buffer)[:got])
        count += got
    return count, state.hexdigest()


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[Callable[[], Any]]:
    """Run a function in a thread; what is given waits for its result, or raises its exception."""
    results: list[object] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - the test is told
            failures.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def result() -> object:
        thread.join(100)
        assert not thread.is_alive(), "the thread does not end"
        if failures:
            raise failures[0]
        return results[0]

    yield result
    thread.join(PATIENCE)
