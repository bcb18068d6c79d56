"""A lab as the command line sees it: requests to its supervisor and to the agents in its nodes."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from lab.engine import registry
from lab.errors import DriverError, EnvironmentLackError, LabError, NodeError, StateError, UserInputError
from nodes.io.control import ControlClient, ControlError

_SUPERVISOR_TIMEOUT = 30.0
ANSWER_TIMEOUT = 10.0
"""Seconds for an agent's answer; a method that waits itself needs more."""
_LINKS_PER_ANSWER = 64
"""Links whose states are asked for at once: some 200 KiB, while a line of the control protocol holds 1 MiB."""

_BY_CODE: dict[str, type[LabError]] = {
    f"exit_{kind.exit_code}": kind
    for kind in (UserInputError, StateError, EnvironmentLackError, DriverError, NodeError)
}

_BY_AGENT_CODE: dict[str, type[LabError]] = {
    "EINVAL": UserInputError,
    "ESRCH": UserInputError,
    "bad-params": UserInputError,
    "EALREADY": StateError,
}


def supervisor_error(lab: str, error: ControlError) -> LabError:
    """What a person is told of an error of the supervisor's."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code](error.message, hint=error.hint)
    return DriverError(f"the supervisor of lab {lab!r}: {error.message}", hint=error.hint)


def agent_error(node: str, error: ControlError) -> LabError:
    """The same of an agent's."""
    if error.code in ("closed", "timeout"):
        return NodeError(f"node {node!r} does not answer: {error.message}", hint="`lab ps LAB` shows whether it runs")
    return _BY_AGENT_CODE.get(error.code, NodeError)(f"{node}: {error.message}", hint=error.hint)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One row of `lab ps LAB`. `agent` is False for a kernel bridge, in which nothing runs."""

    name: str
    kind: str
    stack: str
    state: str
    exit_status: int | None
    agent: bool
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Descriptors of the namespaces to join, by name, in the order in which to join them, and the names of the lab's
    nodes with their addresses."""

    descriptors: dict[str, int]
    hosts: dict[str, str]


class LabClient:
    """Raises StateError where the lab is not up, and the supervisor's own errors from every method."""

    def __init__(self, lab: str, timeout: float = _SUPERVISOR_TIMEOUT) -> None:
        link = registry.connect(lab)
        self.lab = lab
        self.supervisor_pid = registry.peer_credentials(link)[0]
        try:
            self._control = ControlClient(link, timeout=timeout)
        except ControlError as error:
            raise DriverError(f"the supervisor of lab {lab!r} does not answer: {error.message}") from error

    def close(self) -> None:
        self._control.close()

    def status(self) -> dict[str, Any]:
        return self._call("status")[0]

    def nodes(self) -> dict[str, NodeStatus]:
        return {row["name"]: NodeStatus(**row) for row in self.status()["nodes"]}

    def owners(self) -> dict[str, str]:
        """Which node each address belongs to."""
        return {address.partition("/")[0]: node.name for node in self.nodes().values() for address in node.addresses}

    def node_state(self, node: str) -> dict[str, Any]:
        """What the driver knows of a node: a kernel's addresses and routes, a bridge's table."""
        return self._call("node_state", node=node)[0]

    def stop(self, node: str, *, kill: bool = False) -> None:
        self._call("stop", node=node, kill=kill)

    def start(self, node: str) -> None:
        self._call("start", node=node)

    def pause(self, node: str) -> None:
        """Let a node stand still, until `resume`."""
        self._call("pause", node=node)

    def resume(self, node: str) -> None:
        self._call("resume", node=node)

    def set_link(self, link: str, *, up: bool | None = None, mtu: int | None = None) -> bool:
        """Take a link down or up, which ends the flaps that commands began, or change its MTU; None leaves it as it is.
        Returns whether a flap was ended."""
        return bool(self._call("link", link=link, up=up, mtu=mtu)[0]["flaps_ended"])

    def flap_link(self, link: str, *, down: int, every: int, times: int) -> None:
        """Take a link down for `down` ns, at once and again each `every` ns, `times` times in all."""
        self._call("flap", link=link, down=down, every=every, times=times)

    def impair(
        self, link: str, patch: Mapping[str, Any], *, directions: Sequence[str] = ("ab", "ba"), replace: bool = False
    ) -> dict[str, Any]:
        """Change what a link does to frames; `patch` as `nodes.impairment.encode_patch` makes it. Returns its state."""
        return self._call("impair", link=link, patch=patch, directions=list(directions), replace=replace)[0]

    def links(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """State and measurements of impaired links, or of those named, and the verdict over them."""
        wanted = list(names) or [link["name"] for link in self.status()["links"] if link["impaired_by"]]
        told: dict[str, Any] = {}
        reasons: dict[str, None] = {}
        for start in range(0, max(len(wanted), 1), _LINKS_PER_ANSWER):
            answer = self._call("links", links=wanted[start : start + _LINKS_PER_ANSWER])[0]
            told |= answer["links"]
            reasons |= dict.fromkeys(answer["verdict"]["reasons"])
        return {"links": told, "verdict": {"trustworthy": not reasons, "reasons": list(reasons)}}

    def follow_links(self) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """Events of the links as they happen."""
        stream = self._control.stream("follow", {})
        try:
            yield from stream
        finally:
            stream.close()
        return stream.result

    def flush(self, only: str | None = None) -> None:
        """Have all events and captured frames so far in the files of the run: of links, and of one node or of all."""
        self._call("flush")
        for node in self.nodes().values():
            if node.agent and node.state == "running" and only in (None, node.name):
                with contextlib.suppress(NodeError), self.agent(node.name) as agent:  # who dies now writes it itself
                    agent.call("flush")

    def down(self) -> str:
        """Ask the supervisor to end the lab; returns the folder of the run."""
        return str(self._call("down")[0]["run"])

    def enter(self, node: str, verb: Literal["exec", "copy"] = "exec") -> Namespaces:
        """To run commands there, or to copy files."""
        result, descriptors = self._call("enter", node=node, verb=verb)
        return Namespaces(dict(zip(result["namespaces"], descriptors, strict=True)), result["hosts"])

    @contextmanager
    def agent(self, node: str) -> Iterator[AgentClient]:
        """A connection to a node's agent. Raises NodeError where nothing answers."""
        client = self.open_agent(node)
        try:
            yield client
        finally:
            client.close()

    def open_agent(self, node: str) -> AgentClient:
        """The same, to be closed by the caller; it needs this client no more."""
        _, descriptors = self._call("connect", node=node)
        return AgentClient(node, socket.socket(fileno=descriptors[0]))

    def _call(self, method: str, **params: Any) -> tuple[dict[str, Any], list[int]]:
        try:
            return self._control.call(method, params, timeout=_SUPERVISOR_TIMEOUT)
        except ControlError as error:
            raise supervisor_error(self.lab, error) from error


class AgentClient:
    """Requests to one agent: the methods of docs/control-protocol.md."""

    def __init__(self, node: str, link: socket.socket) -> None:
        self.node = node
        with self._errors():
            self._control = ControlClient(link)

    def close(self) -> None:
        self._control.close()

    def call(self, method: str, /, within: float = ANSWER_TIMEOUT, **params: Any) -> dict[str, Any]:
        """One request and its result. `within` (s) bounds the wait for it."""
        with self._errors():
            return self._control.call(method, params, timeout=within)[0]

    def stream(self, method: str, params: Mapping[str, Any]) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """Events as they come; a generator whose return value is the result."""
        with self._errors():
            stream = self._control.stream(method, params)
            try:
                yield from stream
            finally:
                stream.close()
            return stream.result

    def run(
        self, application: str, options: Mapping[str, Any], show: Callable[[dict[str, Any]], None]
    ) -> tuple[dict[str, Any], bool]:
        """Run an application to its end, each of its reports shown: its result, and whether Ctrl-C ended it before its
        time. A second Ctrl-C ends the waiting too."""
        interrupted = False

        def interrupt(*_: object) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            stream.cancel()

        with self._errors():
            stream = self._control.stream("run", {"application": application, "options": options})
            previous = signal.signal(signal.SIGINT, interrupt)
            try:
                for event in stream:
                    show(event)
            finally:
                signal.signal(signal.SIGINT, previous)
                stream.close()
            return stream.result, interrupted

    def connect(self, to: str, port: int, within: float = ANSWER_TIMEOUT) -> tuple[socket.socket, int]:
        """A TCP connection of the node, as a stream socket, and its number for the method `connection`. Raises
        NodeError where it cannot be made in time."""
        with self._errors():
            result, descriptors = self._control.call("connect", {"to": to, "to_port": port}, timeout=within)
            return socket.socket(fileno=descriptors[0]), int(str(result["connection"]))

    def program(
        self, params: Mapping[str, Any], show: Callable[[dict[str, Any]], None]
    ) -> tuple[dict[str, Any], list[int]]:
        """Run a program (lab/engine/program_calls.py) to its end, each of its events shown; its result, and the
        descriptors that came with it."""
        with self._errors():
            stream = self._control.stream("program", params)
            try:
                for event in stream:
                    show(event)
            finally:
                stream.close()
            return stream.result, stream.fds

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ControlError as error:
            raise agent_error(self.node, error) from error


def follow(
    stream: Generator[dict[str, Any], None, dict[str, Any]], show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Show each event of a stream and return its result."""
    while True:
        try:
            event = next(stream)
        except StopIteration as end:
            return dict(end.value)
        show(event)
