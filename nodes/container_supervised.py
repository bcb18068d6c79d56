"""A node in a container of the docker driver: `lab-node --supervised`.

The container starts with no interface but `lo`. Its program listens at the node's control address and waits, while the
lab's supervisor lays the cables into the container's network namespace. Then somebody connects and says what the node
is, in one line; from there on the same socket is the agent's control socket.

    supervisor                        container
      │  start                          listen, wait
      │  lay cables
      │ ──{"become": {...}}──▶          open the interfaces: the agent
      │ ──hello, ...──▶                 its control protocol (docs/control-protocol.md)
      │  (the first connection stays)   ends with it

The first connection is never answered. It stays open for as long as the supervisor lives: a node whose supervisor is
gone writes its last state and ends. So do a node that nobody tells anything, and one that is told to end before.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from nodes import contract
from nodes.agent import Agent
from nodes.contract import NodeConfig
from nodes.io.recorder import Recording

BECOME = "become"
TOLD_SECONDS = 600.0
"""What a large lab on a slow machine takes to build; this ends a wait that has no other end."""
SPEAK_SECONDS = 10.0
"""For whoever connects to say something."""
BACKLOG = 64
LONGEST_TASK = 64 << 20
"""Octets of a node's description."""
FAILED = 5
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Task:
    """What the node is to be, and where and since when (ns, monotonic clock and since 1970) it records."""

    node: NodeConfig
    recordings: str
    epoch: int
    epoch_wall: int


def encode_task(task: Task) -> bytes:
    """The line that makes a waiting container a node."""
    described = {
        "node": contract.to_json(task.node),
        "recordings": task.recordings,
        "epoch": task.epoch,
        "epoch_wall": task.epoch_wall,
    }
    return json.dumps({BECOME: described}, separators=(",", ":")).encode() + b"\n"


def decode_task(line: bytes) -> Task:
    """Raises ValueError."""
    try:
        value: Any = json.loads(line)[BECOME]
        node = contract.from_json(value["node"])
        return Task(node, str(value["recordings"]), int(value["epoch"]), int(value["epoch_wall"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the description of a node: {error!r}") from None


def main(address: str) -> int:
    """Wait, and be the node until it is told to end. Returns the exit code."""
    signal.signal(signal.SIGTERM, _end_unborn)  # as PID 1 of the container, nothing ends us that we do not handle
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        listener.bind(address)
        listener.listen(BACKLOG)
        try:
            supervisor, task = _wait(listener)
        except TimeoutError:
            print(f"error: nobody said within {TOLD_SECONDS:g} s which node this is", file=sys.stderr)
            return FAILED
        with supervisor:
            return _be_node(listener.dup(), supervisor, task)


def _be_node(listener: socket.socket, supervisor: socket.socket, task: Task) -> int:
    folder = Path(task.recordings)
    try:
        agent = Agent(task.node, Recording(folder, task.epoch, task.epoch_wall), listener)
        agent.reactor.add(supervisor.fileno(), lambda: agent.end("the supervisor is gone"))
        agent.run()
    except Exception:  # noqa: BLE001 - the last frame of a process
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        (folder / "error.txt").write_text(text)
        return FAILED
    return 0


def _wait(listener: socket.socket) -> tuple[socket.socket, Task]:
    """Whoever says what the node is. Others, such as `lab-node state`, are told that it is too early."""
    end = monotonic() + TOLD_SECONDS
    while True:
        listener.settimeout(max(end - monotonic(), 0.001))
        link, _ = listener.accept()
        try:
            link.settimeout(SPEAK_SECONDS)
            task = decode_task(_line(link))
        except (OSError, ValueError) as error:
            _refuse(link, str(error))
            continue
        listener.setblocking(False)
        link.setblocking(False)
        return link, task


def _line(link: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        part = link.recv(_CHUNK)
        if not part or len(data) + len(part) > LONGEST_TASK:
            raise ValueError("no line came")
        data += part
    return bytes(data)


def _refuse(link: socket.socket, reason: str) -> None:
    error = {"code": "closed", "message": f"this container waits for its supervisor ({reason})", "hint": ""}
    with link:
        try:
            link.sendall(json.dumps({"id": None, "error": error}).encode() + b"\n")
        except OSError:
            print(f"refused a connection: {reason}", file=sys.stderr)


def _end_unborn(*_: object) -> NoReturn:
    sys.exit(0)
