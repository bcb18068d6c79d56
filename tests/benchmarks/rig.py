"""What the traffic benchmarks are built on: a lab, and workers in the namespaces of its nodes.

A worker is a process of its own in the network namespace of one node. It answers requests, one JSON message each, over
a SOCK_SEQPACKET pair, and dies with the benchmark.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from lab.engine.client import LabClient
from lab.engine.launch import bring_down, bring_up
from lab.host import syscalls
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.contract import InterfaceConfig
from tests.benchmarks import processes
from tests.benchmarks.settings import Settings

Answer = dict[str, Any]
Serve = Callable[[Answer], Answer]
"""Answers a request."""

Life = Callable[[socket.socket], None]
"""What a process does, with the socket over which it is asked."""

ANSWER_LIMIT = 120.0
MESSAGE_LIMIT = 1 << 20
_NAME_LENGTH = 15  # of a process, in the kernel
_KINDS = {"user": syscalls.CLONE_NEWUSER, "network": syscalls.CLONE_NEWNET}
_numbers = count(1)


@dataclass(frozen=True)
class Worker:
    """A process in a node, to be asked: keywords in, answer out."""

    node: str
    pid: int
    link: socket.socket

    def __call__(self, **request: object) -> Answer:
        self.tell(**request)
        return self.hear()

    def tell(self, **request: object) -> None:
        """Ask, and do something else before the answer is heard."""
        self.link.send(json.dumps(request).encode())

    def hear(self) -> Answer:
        answer: Answer = json.loads(self.link.recv(MESSAGE_LIMIT) or b'{"failed": "the worker died"}')
        if "failed" in answer:
            raise RuntimeError(f"worker in {self.node}: {answer['failed']}")
        return answer


@dataclass(frozen=True)
class Rig:
    """A lab that is up."""

    plan: Plan
    client: LabClient

    def interface(self, node: str, number: int = 0) -> InterfaceConfig:
        return self.plan.by_name[node].interfaces[number]

    def address(self, node: str, number: int = 0) -> str:
        return self.interface(node, number).addresses[0].partition("/")[0]

    def agent_pid(self, node: str) -> int:
        """The process that is the node."""
        family = processes.descendants(self.client.supervisor_pid)
        return next(process.pid for process in family if process.name == f"lab:{node}"[:_NAME_LENGTH])

    def worker(self, node: str, make: Callable[[], Serve]) -> AbstractContextManager[Worker]:
        """A process in a node; `make` is called there and returns what answers requests."""
        return self.process(node, lambda link: _answer(link, make()))

    @contextmanager
    def process(self, node: str, life: Life) -> Iterator[Worker]:
        """A process in a node that lives as `life` has it, once it has said that it is ready (any answer)."""
        namespaces = self.client.enter(node).descriptors
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            ours.close()
            _work(theirs, namespaces, life)
        theirs.close()
        for descriptor in namespaces.values():
            os.close(descriptor)
        ours.settimeout(ANSWER_LIMIT)
        worker = Worker(node, pid, ours)
        try:
            worker.hear()
            yield worker
        finally:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextmanager
def rig(topology: str, settings: Settings) -> Iterator[Rig]:
    """A lab from the text of a topology, taken down at the end."""
    name = f"bench-{os.getpid()}-{next(_numbers)}"
    plan = make_plan(loads(topology).model_copy(update={"name": name}))
    bring_up(plan, topology, lambda *_: None, runs=settings.scratch / "runs")
    try:
        client = LabClient(name)
        try:
            yield Rig(plan, client)
        finally:
            client.close()
    finally:
        bring_down(name)


def _answer(link: socket.socket, serve: Serve) -> None:
    """One answer for each request, after that of being ready."""
    link.send(b"{}")
    while request := link.recv(MESSAGE_LIMIT):
        link.send(json.dumps(serve(json.loads(request))).encode())


def _work(link: socket.socket, namespaces: dict[str, int], life: Life) -> None:
    """The process of a worker; never returns."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        for name, kind in _KINDS.items():
            if name in namespaces:
                syscalls.setns(namespaces[name], kind)
        life(link)
    except BaseException:  # noqa: BLE001 - the last frame of a process: the benchmark must hear of it
        link.send(json.dumps({"failed": traceback.format_exc()}).encode())
    finally:
        os._exit(0)
