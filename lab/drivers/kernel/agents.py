"""The agents of a lab, forked by its warm parent: the supervisor's side of warm_parent.py.

An agent listens at an abstract address that the supervisor binds in its own network namespace and hands over: seen
only from inside the lab, gone with its listener.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from lab.drivers.base import Epoch, NodeExit
from lab.drivers.kernel.warm_parent import MESSAGE_LIMIT, fork_warm_parent
from lab.errors import DriverError, NodeError
from lab.plan.values import Plan

ANSWER_TIMEOUT = 5.0
"""Seconds in which the warm parent must tell that it has done what it was asked for."""

CONTROL_BACKLOG = 16
"""Commands that may wait for one agent to accept them."""


class Agents:
    """All methods are called by one thread, in the supervisor's network namespace, after `fork`."""

    def __init__(self) -> None:
        self._warm: socket.socket | None = None

    def fork(self, plan: Plan, run: Path, epoch: Epoch) -> None:
        """Start the warm parent: before the supervisor holds anything that agents must not have."""
        self._warm, _ = fork_warm_parent(plan, run, epoch)

    def start(self, node: str, namespace: int) -> None:
        """Have an agent forked into a network namespace. Raises DriverError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            try:
                listener.bind(_control_address(node))
            except OSError as error:
                raise DriverError(f"an agent of node {node!r} is still there: {error.strerror}") from error
            listener.listen(CONTROL_BACKLOG)
            self._ask({"start": node}, [namespace, listener.fileno()])

    def kill(self, node: str) -> list[NodeExit]:
        """End an agent and wait for its end. Returns the ends of others that were heard of meanwhile."""
        others: list[NodeExit] = []
        self._ask({"kill": node})
        while (ended := self._next_exit()).node != node:
            others.append(ended)
        return others

    def pause(self, node: str, *, paused: bool) -> None:
        """Let an agent stand still, or go on; returns when it does."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._ask({"pause" if paused else "resume": node}, [theirs.fileno()])
            ours.settimeout(ANSWER_TIMEOUT)
            try:
                ours.recv(1)  # nothing: the warm parent closes its end
            except TimeoutError as error:
                raise DriverError(f"the warm parent does not answer: {error}") from error

    def connect(self, node: str) -> socket.socket:
        """A new connection to an agent. Raises NodeError where nobody listens."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(_control_address(node))
        except OSError as error:
            link.close()
            raise NodeError(
                f"node {node!r} does not answer: {error.strerror}", hint=f"`lab start {node}` starts it again"
            ) from error
        return link

    def fileno(self) -> int:
        """Becomes readable when agents end. Raises DriverError where there is no warm parent."""
        return self._open().fileno()

    def read_exits(self) -> list[NodeExit]:
        """Raises DriverError where the warm parent is no good any more."""
        return [self._next_exit()]

    def close(self) -> None:
        """The warm parent ends when it sees this; the agents do with the lab."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def _open(self) -> socket.socket:
        if self._warm is None:
            raise DriverError("the warm parent does not run")
        return self._warm

    def _next_exit(self) -> NodeExit:
        """Wait for the end of an agent. One that was killed ends; a warm parent that says nothing is no good."""
        warm = self._open()
        warm.settimeout(ANSWER_TIMEOUT)
        try:
            data = warm.recv(MESSAGE_LIMIT)
        except OSError as error:
            raise DriverError(f"the warm parent does not answer: {error}") from error
        if not data:
            raise DriverError("the warm parent died", hint="the lab cannot go on without it and goes down")
        message = json.loads(data)
        return NodeExit(message["ended"], message["status"])

    def _ask(self, request: dict[str, str], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._open(), [json.dumps(request).encode()], descriptors or [])
        except OSError as error:
            raise DriverError(f"the warm parent does not listen: {error.strerror}") from error


def _control_address(node: str) -> str:
    return f"\0node/{node}"
