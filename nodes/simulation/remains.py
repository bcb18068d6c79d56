"""What programs leave behind: at the end of a run, tasks that still run and sockets that are still open.

A program that was started in the background and still runs is not blamed for what it has open: it is meant to go on.
All others are: whoever ends should have ended his tasks, and closed his connections and servers.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Mapping
from contextvars import Context
from typing import Any, Literal, NamedTuple, TypeAlias

from nodes.session.session import CURRENT, EndpointOwner, Session
from nodes.session.stream import StreamTransport
from nodes.session.view import local_of, remote_of
from nodes.simulation.programs import PROGRAM, Program
from nodes.simulation.report import at, waiting
from nodes.transport.circuit_socket import CircuitSocket
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.transport.udp_socket import UdpSocket
from nodes.wire.addresses import format_endpoint

_Socket: TypeAlias = TcpSocket | UdpSocket | CircuitSocket


class Remnant(NamedTuple):
    """Something left behind in a node, by a program or by nobody knows whom (""). `text` says what it is."""

    kind: Literal["task", "connection", "server", "socket"]
    node: str
    program: str
    text: str

    def __str__(self) -> str:
        whose = f" of the program {self.program}" if self.program else ""
        return f"{self.node}: a {self.kind}{whose}: {self.text}"


Known = tuple[int, Program | None]
"""When a task ran last, and whose it is."""


def tasks_left(
    session: Session, tasks: Iterable[asyncio.Task[Any]], known: Mapping[asyncio.Task[Any], Known]
) -> list[Remnant]:
    """Of the tasks of a node those that nobody wants any more."""
    found = []
    for task in tasks:
        since, program = known.get(task, (None, None))
        if task.done() or (program is not None and program.state == "running"):
            continue
        item = waiting(task, session.name, since)
        text = f"{item.task}, {item.where}, waits for {item.waits_for}" + (
            "" if since is None else f" since {at(since)}"
        )
        found.append(Remnant("task", session.name, "" if program is None else program.name, text))
    return found


def sockets_left(session: Session, *, busy: bool) -> list[Remnant]:
    """The sockets of a node's programs. `busy`: a program still runs there, so those that cannot be told are its."""
    found: list[Remnant] = []
    for endpoint, owner in _sockets(session):
        context = getattr(owner, "_context", None)
        program = None if context is None else context.get(PROGRAM)
        if (program is None and busy) or (program is not None and program.state == "running"):
            continue
        found.append(_remnant(session, endpoint, "" if program is None else program.name))
    return found


def close_sockets(session: Session, *, crashed: bool = False) -> bool:
    """Close what programs have not, as the system does when a process ends; whether there was anything. `crashed`: who
    outside of the node has a connection of it must not take this for the end of what the peer sent."""
    owners = [owner for _, owner in _sockets(session)]
    for owner in owners:
        if crashed and isinstance(owner, StreamTransport):
            owner.fail(ConnectionResetError(errno.ECONNRESET, f"the node {session.name} has crashed"))
            continue
        end = getattr(owner, "abort", None) or getattr(owner, "close", None)
        if end is not None:
            session_context(session).run(end)
    return bool(owners)


def session_context(session: Session | None) -> Context:
    """A context in which that node is the current one."""
    context = Context()
    context.run(CURRENT.set, session)
    return context


def _sockets(session: Session) -> list[tuple[_Socket, EndpointOwner]]:
    """Those of programs, not those of applications."""
    endpoints: list[_Socket] = [*session.stack.tcp.sockets(), *session.stack.udp.sockets()]
    if session.stack.circuits is not None:
        endpoints += session.stack.circuits.sockets.sockets()
    return [(endpoint, endpoint.owner) for endpoint in endpoints if isinstance(endpoint.owner, EndpointOwner)]


def _remnant(session: Session, endpoint: _Socket, program: str) -> Remnant:
    if isinstance(endpoint, CircuitSocket):
        ends = f"{format_endpoint(*endpoint.local)} to {format_endpoint(*endpoint.remote)}"
        return Remnant("socket", session.name, program, f"circuit {ends}, {endpoint.state}")
    (address, port), (peer, peer_port) = local_of(endpoint), remote_of(endpoint)
    if isinstance(endpoint, UdpSocket):
        return Remnant("socket", session.name, program, f"udp {address}:{port}")
    if endpoint.state is State.LISTEN:
        return Remnant("server", session.name, program, f"tcp {address}:{port}")
    text = f"tcp {address}:{port} to {peer}:{peer_port}, {endpoint.state.value}"
    return Remnant("connection", session.name, program, text)
