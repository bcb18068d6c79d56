"""Wires for TCP benchmarks: direct, or through a relay that loses frames.

    a --- k            a, k: each our stack, the kernel's, or pmd-pytcp behind a TAP interface
    a --- m --- k      m: a process that moves frames between two packet sockets and drops some, by a seed

All nodes of the lab have the kernel's stack. At an end of ours the kernel gives up its
address to `OurHost`; in m it has none. The relay is the same for all, and its own limit is what two kernels reach.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lab.host import syscalls
from nodes.io.packet_socket import PacketSocket
from tests.benchmarks.our_host import OurHost
from tests.benchmarks.rig import Answer, Life, Rig, Serve, Worker, rig
from tests.benchmarks.settings import Settings

ADDRESSES = {"a": "10.9.0.1", "k": "10.9.0.2"}
LENGTH = 24
TAPS = {"a": "tap0", "k": "tap1"}
"""Two digits at the end of the name become pmd-pytcp's MAC address."""

SEED = 20
BATCH = 64
_KERNEL = "{kind: host, stack: kernel}"
_DIRECT = f"nodes: {{a: {_KERNEL}, k: {_KERNEL}}}\nlinks: [a -- k]\n"
_RELAYED = f"nodes: {{a: {_KERNEL}, m: {_KERNEL}, k: {_KERNEL}}}\nlinks: [a -- m, m -- k]\n"
_NO_OFFLOAD = "defaults: {offload: off}\n"
PROGRAM = Path(__file__).with_name("pytcp_program.py")


@dataclass(frozen=True)
class Wire:
    """A wire that is up. `taps`: the ends that are TAP interfaces, and the node that each is in: m, or, where there is
    no relay, the node at the other end."""

    lab: Rig
    taps: Mapping[str, str]

    def interface(self, node: str) -> str:
        """By which the node is at the wire."""
        return next((TAPS[end] for end, where in self.taps.items() if where == node), self.lab.interface(node).name)

    @contextmanager
    def kernel(self, node: str, make: Callable[[], Serve]) -> Iterator[Worker]:
        """A program on the kernel's sockets at an end."""
        with self.lab.worker(node, Interfaces) as interfaces:
            interfaces(flush=self.lab.interface(node).name)
            interfaces(address=f"{ADDRESSES[node]}/{LENGTH}", to=self.interface(node))
        with self.lab.worker(node, make) as worker:
            yield worker

    @contextmanager
    def ours(self, node: str) -> Iterator[Worker]:
        """A host of ours there."""
        interface = self.lab.interface(node)
        with self.lab.worker(node, Interfaces) as interfaces:
            interfaces(flush=interface.name)
        address = f"{ADDRESSES[node]}/{LENGTH}"
        with self.lab.process(
            node, lambda link: OurHost(link, interface, address, offload=interface.offload).run()
        ) as worker:
            yield worker

    @contextmanager
    def pytcp(self, end: str, python: Path, *words: str) -> Iterator[Worker]:
        """pmd-pytcp there, ready."""
        address = f"{ADDRESSES[end]}/{LENGTH}"
        with self.lab.worker(self.taps[end], lambda: Pytcp(python, TAPS[end], address, *words)) as worker:
            worker()
            yield worker


@contextmanager
def wire(settings: Settings, loss: float | None, *, taps: str = "", offload: bool = False) -> Iterator[Wire]:
    """`loss` (a share) sets a relay between a and k, None joins them. The ends in `taps` are TAP interfaces, of which
    there may be one without a relay."""
    with ExitStack() as stack:
        topology = _DIRECT if loss is None else _RELAYED
        lab = stack.enter_context(rig(topology if offload else _NO_OFFLOAD + topology, settings))
        homes = {end: "ka"["ak".index(end)] if loss is None else "m" for end in taps}
        for end, home in homes.items():
            with lab.worker(home, Interfaces) as interfaces:
                interfaces(tap=TAPS[end])
        if loss is not None:
            ports = [lab.interface("m", number).name for number in range(2)]
            with lab.worker("m", Interfaces) as interfaces:
                for port in ports:
                    interfaces(flush=port)
            ends = [TAPS[end] if end in taps else port for end, port in zip("ak", ports, strict=True)]
            stack.enter_context(lab.process("m", relaying(ends[0], ends[1], loss)))
        yield Wire(lab, homes)


class Interfaces:
    """Changes the interfaces of its namespace: {"flush": NAME} takes addresses away, {"tap": NAME} makes one,
    {"address", "to": NAME} gives one an address."""

    def __call__(self, request: Answer) -> Answer:
        if "tap" in request:
            _ip("tuntap", "add", request["tap"], "mode", "tap")
            _ip("link", "set", request["tap"], "up")
        elif "flush" in request:
            _ip("address", "flush", "dev", request["flush"])
        else:
            _ip("address", "add", request["address"], "dev", request["to"])
        return {}


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, check=False, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def relaying(left: str, right: str, loss: float) -> Life:
    """The life of a relay."""

    def live(link: socket.socket) -> None:
        ports = PacketSocket(left), PacketSocket(right)
        ways = {
            source.fileno(): (source, sink, Random(SEED + number).random)
            for number, (source, sink) in enumerate((ports, ports[::-1]))
        }
        poll = select.epoll()
        for descriptor in ways:
            poll.register(descriptor, select.EPOLLIN)
        link.send(b"{}")
        while True:
            for descriptor, _ in poll.poll():
                source, sink, chance = ways[descriptor]
                send = sink.send
                for frame in source.receive_batch(BATCH):
                    if chance() >= loss:
                        send(frame)

    return live


class Pytcp:
    """pmd-pytcp's program (see pytcp_program.py). Answers {"go": true} by letting a source begin, and {} with the next
    thing that the program says."""

    def __init__(self, python: Path, *words: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-O", str(PROGRAM), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: syscalls.die_with_parent(signal.SIGKILL),
        )

    def __call__(self, request: Answer) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if "go" in request:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            return {}
        if line := self._process.stdout.readline():
            answer: Answer = json.loads(line)
            return answer
        assert self._process.stderr is not None
        return {"failed": f"pmd-pytcp ended: {self._process.stderr.read().decode().strip()}"}
