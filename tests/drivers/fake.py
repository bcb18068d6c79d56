"""A driver that needs no kernel's network: real agents in processes of their own, and cables of socket pairs.

It is the contract of lab/drivers/base.py in its smallest form, and what the contract's tests break at every step. A
cable is a pair of packet-keeping UNIX sockets, whose ends stay open in the supervisor, so that an agent can be killed
and forked again. Carrier and MTU, which elsewhere the kernel tells an agent by rtnetlink, come over another pair.

    supervisor ── fork ──▶ agent          frames   ┌── cable ──┐
        └── "eth0 is down" ──────────────────▶     agent      agent

What it cannot do it says: it has no namespaces, so no commands, no files and no kernel in its nodes, and no interfaces
that an executor of impairments could open.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from lab.drivers.abilities import Cannot
from lab.drivers.base import Entrance, Epoch, NodeExit, Progress
from lab.errors import DriverError, EnvironmentLackError, NodeError
from lab.host import syscalls
from lab.host.links import Interface
from lab.plan.values import Plan
from nodes import agent as agent_module
from nodes.agent import Agent
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.io.link_monitor import LinkState
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.io.recorder import Recording

BUFFER = 1 << 20
CABLE = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
_NO_NAMESPACES = "its nodes have no namespaces"
_NO_INTERFACES = "its cables are sockets, and no interfaces of the kernel"

CANNOT: Cannot = {
    "exec": _NO_NAMESPACES,
    "copy": _NO_NAMESPACES,
    "impair": _NO_INTERFACES,
    "kernel": _NO_NAMESPACES,
    "image": _NO_NAMESPACES,
    "ovs": _NO_INTERFACES,
    "clock": "all processes have the machine's clock",
    "virtual": "its nodes are processes",
    "any": "its cables keep packets apart, which only some systems' sockets do",
}


class CablePort(PacketSocket):
    """An end of a cable, where the agent expects an interface of the kernel."""

    __slots__ = ("connected",)

    def __init__(self, interface: str, cable: socket.socket) -> None:
        self.interface = interface
        self.up = self.connected = True
        self.received = self.sent = self.truncated = self._packets = self._drops = 0
        self.not_sent = {}
        self._socket = cable

    def receive_batch(self, limit: int = 64) -> list[bytes]:
        frames = super().receive_batch(limit)
        return frames if self.connected else []

    def send(self, frame: bytes | bytearray | memoryview) -> bool:
        return self.connected and super().send(frame)

    def statistics(self) -> tuple[int, int]:
        return self.received, 0

    def bind_again(self) -> None:
        """A cable is always the same."""


class CableMonitor:
    """Carrier and MTU as the supervisor tells them, in the place of rtnetlink."""

    def __init__(self, told: socket.socket, ports: dict[str, CablePort]) -> None:
        self._told = told
        self._ports = ports

    def fileno(self) -> int:
        return self._told.fileno()

    def receive(self) -> Iterator[LinkState]:
        while True:
            try:
                data = self._told.recv(4096)
            except BlockingIOError:
                return
            state = LinkState(*json.loads(data))
            self._ports[state.interface].connected = state.up
            yield state

    def close(self) -> None:
        self._told.close()


@dataclass(slots=True)
class Plug:
    """Where a cable ends: `told` is the node's other pair, for all of its interfaces."""

    node: str
    interface: str
    cable: socket.socket


@dataclass(slots=True)
class Cable:
    plugs: tuple[Plug, Plug]
    up: bool
    mtu: int


@dataclass(slots=True)
class Life:
    """A node's agent that runs: its process, and the pair over which it hears of its cables."""

    pid: int
    watch: int
    tell: socket.socket


@dataclass(slots=True)
class FakeDriver:
    plan: Plan
    run: Path
    epoch: Epoch
    name: str = "fake"
    cannot: Cannot = field(default_factory=lambda: CANNOT)
    _cables: dict[str, Cable] = field(default_factory=dict)
    _lives: dict[str, Life] = field(default_factory=dict)
    _exits: select.epoll = field(default_factory=select.epoll)

    def enter(self) -> None:
        if not hasattr(os, "pidfd_open"):
            raise EnvironmentLackError("the fake driver needs pidfd_open", hint="Linux 5.3 has it")
        if os.fork():
            os._exit(0)  # the command that started the lab waits for this one

    def create(self, progress: Progress) -> None:
        for number, link in enumerate(self.plan.links, 1):
            ends = socket.socketpair(socket.AF_UNIX, CABLE)
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            first, second = (
                Plug(end.node, end.interface, cable) for end, cable in zip((link.a, link.b), ends, strict=True)
            )
            self._cables[link.name] = Cable((first, second), link.up, link.mtu)
            progress("cables", number, len(self.plan.links))

    def start_node(self, node: str) -> None:
        if node in self._lives:
            self._bury(node)  # an agent that died by itself
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(self._address(node))
            except OSError as error:
                raise DriverError(f"an agent of {node} is still there: {error.strerror}") from error
            listener.listen()
            tell, told = socket.socketpair(socket.AF_UNIX, CABLE)
            pid = os.fork()
            if not pid:
                self._become_agent(node, listener, told)
        told.close()
        self._lives[node] = life = Life(pid, os.pidfd_open(pid), tell)
        self._exits.register(life.watch, select.EPOLLIN)
        for cable in self._cables_of(node):
            self._tell(cable)

    def stop_node(self, node: str) -> list[NodeExit]:
        life = self._lives[node]
        signal.pidfd_send_signal(life.watch, signal.SIGKILL)
        self._exits.unregister(life.watch)
        os.waitpid(life.pid, 0)
        self._bury(node)
        return []

    def pause_node(self, node: str, *, paused: bool) -> None:
        life = self._lives[node]
        signal.pidfd_send_signal(life.watch, signal.SIGSTOP if paused else signal.SIGCONT)
        if paused:
            os.waitid(os.P_PID, life.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def connect(self, node: str) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(self._address(node))
        except OSError as error:
            link.close()
            raise NodeError(
                f"node {node!r} does not answer: {error.strerror}", hint=f"`lab start {node}` starts it again"
            ) from error
        return link

    def entrance(self, node: str) -> Entrance:
        raise AssertionError(f"nobody enters {node}: it says that it cannot")

    def set_link(
        self, link: str, *, up: bool | None = None, mtu: int | None = None, opened: bool | None = None
    ) -> tuple[Interface, Interface] | None:
        assert opened is None, "nobody opens its links: it says that it cannot"
        cable = self._cables[link]
        cable.up = cable.up if up is None else up
        cable.mtu = cable.mtu if mtu is None else mtu
        self._tell(cable)
        return None

    def node_state(self, node: str) -> dict[str, object]:
        return {"cables": len(self._cables_of(node))}

    def exits(self) -> tuple[int, Callable[[], list[NodeExit]]]:
        return self._exits.fileno(), self._read_exits

    def destroy(self) -> None:
        for node in list(self._lives):
            life = self._lives[node]
            if life.watch >= 0:
                signal.pidfd_send_signal(life.watch, signal.SIGKILL)
                os.waitpid(life.pid, 0)
            self._bury(node)
        for cable in self._cables.values():
            for plug in cable.plugs:
                plug.cable.close()
        self._cables.clear()

    # What it does for that

    def _address(self, node: str) -> str:
        return f"\0layerlab-fake/{self.plan.lab}/{node}"

    def _cables_of(self, node: str) -> list[Cable]:
        return [cable for cable in self._cables.values() if node in (plug.node for plug in cable.plugs)]

    def _tell(self, cable: Cable) -> None:
        """Both ends: there is a carrier where the link is up and both nodes are switched on."""
        up = cable.up and all(plug.node in self._lives for plug in cable.plugs)
        for plug in cable.plugs:
            life = self._lives.get(plug.node)
            if life is not None:
                try:
                    life.tell.send(json.dumps([plug.interface, up, cable.mtu]).encode())
                except BrokenPipeError:
                    continue  # it has died, and is told of soon

    def _bury(self, node: str) -> None:
        """Of an agent that has ended: its neighbors see no carrier, and what waited for it is lost."""
        life = self._lives.pop(node)
        life.tell.close()
        if life.watch >= 0:
            os.close(life.watch)
        for cable in self._cables_of(node):
            self._tell(cable)
            for plug in cable.plugs:
                if plug.node == node:
                    _drain(plug.cable)

    def _read_exits(self) -> list[NodeExit]:
        ended = []
        for watch, _ in self._exits.poll(0):
            node = next(name for name, life in self._lives.items() if life.watch == watch)
            life = self._lives[node]
            self._exits.unregister(watch)
            os.close(watch)
            life.watch = -1
            ended.append(NodeExit(node, os.waitstatus_to_exitcode(os.waitpid(life.pid, 0)[1])))
        return ended

    def _become_agent(self, node: str, listener: socket.socket, told: socket.socket) -> NoReturn:
        recording = Recording(self.run / "nodes" / node, *self.epoch)
        status = 1
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            syscalls.set_name(f"lab:{node}")
            for number in (signal.SIGIO, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            cables = {
                plug.interface: plug.cable
                for cable in self._cables_of(node)
                for plug in cable.plugs
                if plug.node == node
            }
            syscalls.close_all_but(listener.fileno(), told.fileno(), *(cable.fileno() for cable in cables.values()))
            ports = {name: CablePort(name, cable) for name, cable in cables.items()}

            def open_port(interface: InterfaceConfig, _: Reactor, __: Callable[[], None]) -> CablePort:
                return ports[interface.name]

            agent_module.LinkMonitor = lambda: CableMonitor(told, ports)  # type: ignore[misc, assignment]
            Agent(_without_offload(self.plan.by_name[node]), recording, listener, open_port).run()
            status = 0
        except BaseException:  # noqa: BLE001 - the last frame of a process
            (recording.folder / "error.txt").write_text(traceback.format_exc())
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)


def _without_offload(node: NodeConfig) -> NodeConfig:
    """A cable carries frames as a wire does: nothing cuts long segments, or finishes their checksums."""
    return replace(node, interfaces=tuple(replace(interface, offload=False) for interface in node.interfaces))


def _drain(cable: socket.socket) -> None:
    while True:
        try:
            cable.recv(1)
        except BlockingIOError:
            return
