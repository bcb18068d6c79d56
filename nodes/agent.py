"""The agent: the program that runs in a node.

It owns one device (a stack, a switch or a hub) and connects it to the world: packet sockets for its ports, a timer for
its deadline, a control socket for people, files for what it records. One wake-up takes what is waiting, hands it to
the device frame by frame, lets the applications run, and sends what came of it: no queues between layers, no threads.

     packet sockets ─▶ receive ─┐                    ┌─ transmit ─▶ packet sockets
     timer          ─▶ timeout ─┼─▶ device, sockets ─┤
     carrier        ─▶ set_port ┘    applications    └─ deadline ─▶ timer

In a node whose stack is the kernel's, the agent has no device: it only captures when asked to.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from functools import partial
from random import Random
from time import monotonic_ns

from nodes.agent_methods import AgentMethods
from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.device import Device, build_device
from nodes.io.control import ControlServer
from nodes.io.extensions import load_congestion_controls, updated
from nodes.io.link_monitor import LinkMonitor
from nodes.io.memory import keep_freed_memory
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.io.recorder import Recorder, Recording
from nodes.network.barrier import Barrier
from nodes.raw_frames import check_frame, not_taken
from nodes.stack import Stack
from nodes.trace.events import NodeStarted, NodeStopped
from nodes.units import earliest
from nodes.wire import virtio

FRAMES_PER_WAKE_UP = 64
"""Frames taken from one port before the others, the timer and the control socket get their turn."""

OpenPort = Callable[[InterfaceConfig, Reactor, Callable[[], None]], PacketSocket]
"""Opens the socket of an interface; told the reactor, and what to call when frames wait in it that the kernel has not
just brought."""

ROUNDS_PER_WAKE_UP = 8
"""How often applications and device may answer each other within one wake-up; what is left goes on in the next."""


class Agent:
    """Opens everything at construction, so that privileges can be dropped before `run`. Raises OSError for an
    interface that does not exist, StackError for a configuration that contradicts itself. `open_port` opens the sockets
    of the device's ports where they are not plain ones."""

    def __init__(
        self,
        config: NodeConfig,
        recording: Recording,
        listener: socket.socket,
        open_port: OpenPort | None = None,
    ) -> None:
        now = monotonic_ns()
        self.config = config
        self.recorder = Recorder(config, recording)
        self.trace = self.recorder.trace
        self.trace(now, NodeStarted(config.kind, "started"))
        for extension in load_congestion_controls():
            self.trace(now, updated(extension))
        self.reactor = Reactor()
        self.reactor.on_deadline = self._time_out
        self.barrier = Barrier(config.interfaces, self.trace)
        self.device: Device | None = None
        self.runner: ApplicationRunner | None = None
        self.methods = AgentMethods(self)
        self._server = ControlServer(listener, self.reactor, self.methods.handle, name=f"{config.lab}/{config.name}")
        self._open_port = open_port
        self._sockets: list[PacketSocket] = []
        self._ports = {interface.name: number for number, interface in enumerate(config.interfaces)}
        self._ports_up: set[int] = set()
        self._listens = config.stack == "kernel"
        self._ended = False
        if config.stack == "layerlab":
            self._open_device(now)
        if config.capture:
            self.start_capture()

    def _open_device(self, now: int) -> None:
        if any(interface.offload for interface in self.config.interfaces):
            keep_freed_memory()
        self._open_sockets()
        self.device = build_device(self.config, Random(self.config.seed), self.trace, now)
        if isinstance(self.device, Stack):
            self.runner = ApplicationRunner(self.device, self.trace, self.methods.ring)
            for application in self.config.applications:
                self.runner.start(application.kind, application.options, now)

    def _open_sockets(self) -> None:
        for port, interface in enumerate(self.config.interfaces):
            read = partial(self._listen if self._listens else self._read_frames, port)
            if self._open_port is None or self._listens:
                opened = PacketSocket(interface.name, outgoing=self._listens, offload=interface.offload)
            else:
                opened = self._open_port(interface, self.reactor, read)
            self._sockets.append(opened)
            self.reactor.add(opened.fileno(), read)
        self._monitor = LinkMonitor()
        self.reactor.add(self._monitor.fileno(), self._read_links)

    def run(self) -> None:
        """Until `shutdown` is asked for, or SIGTERM comes."""
        self.reactor.add_signal(signal.SIGTERM, lambda: self.end("SIGTERM"))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.pump(monotonic_ns())
        self.reactor.run()
        self._close_sockets()
        self._server.close()

    def end(self, reason: str) -> None:
        """Write the last state, close the files, and leave `run`."""
        if self._ended:
            return
        self._ended = True
        now = monotonic_ns()
        state = self.state(now)  # with the programs that run now
        self.methods.close()
        self.pump(now)
        self.trace(now, NodeStopped(reason))
        state["recording"] = self.recorder.status()  # and with all that was recorded
        self.recorder.write_state(state)
        self.recorder.close(now, self._statistics())
        self.reactor.stop()

    def pump(self, now: int) -> None:
        """Drain all outputs after an input; then set the timer for what is to come."""
        device, runner, programs = self.device, self.runner, self.methods.programs
        if device is None:
            self.reactor.set_deadline(self._next_deadline())
            return
        sent = 0
        for _ in range(ROUNDS_PER_WAKE_UP):
            busy = runner is not None and runner.poll(now)
            if programs is not None and programs.turn(now):
                busy, now = True, monotonic_ns()  # they take their time, and read the clock themselves
            frames = device.transmit()
            if frames:
                self._send(frames, now)
                sent += len(frames)
                if sent >= FRAMES_PER_WAKE_UP:
                    break  # what arrives must not wait longer
            elif not busy:
                break
        self.methods.report()
        self.reactor.set_deadline(self._next_deadline())

    def start_capture(self) -> str:
        """Begin a capture on all interfaces; returns its path. A node with the kernel's stack listens from now on."""
        path = self.recorder.start_capture()
        if self.device is None:
            self._open_sockets()
        return str(path)

    def stop_capture(self) -> dict[str, object]:
        result = self.recorder.stop_capture(self._statistics())
        if self.device is None:
            self._close_sockets()
        return result

    def send_frame(self, interface: str | None, frame: bytes, now: int) -> None:
        """Send what somebody else has made. Raises StackError where it is none, or where the link does not take it."""
        port = check_frame(self.config, interface, frame)
        if self.config.interfaces[port].offload:
            frame = virtio.PLAIN + frame
        before = dict(self._sockets[port].not_sent)
        self._send([(port, frame)], now)
        for reason, count in self._sockets[port].not_sent.items():
            if count > before.get(reason, 0):
                raise not_taken(self.config.interfaces[port].name, reason)

    def state(self, now: int) -> dict[str, object]:
        """All that this node knows of itself, as values of JSON."""
        state: dict[str, object] = {
            "node": self.config.name,
            "kind": self.config.kind,
            "stack": self.config.stack,
            "recording": self.recorder.status(),
        }
        if self._sockets:
            state["ports"] = [opened.snapshot() for opened in self._sockets]
        if self.device is not None:
            state["device"] = self.device.snapshot(now)
        if self.runner is not None:
            state["applications"] = self.runner.snapshot()
        if self.barrier.blocked:
            state["barrier"] = self.barrier.snapshot()
        return state | self.methods.state()

    def _read_frames(self, port: int) -> None:
        frames = self._sockets[port].receive_batch(FRAMES_PER_WAKE_UP)
        now = monotonic_ns()
        if self.recorder.capturing:
            for frame in frames:
                self.recorder.frame(port, frame, now, inbound=True)
        device = self.device
        if device is None:
            return
        if self.barrier.blocked:
            frames = [frame for frame in frames if self.barrier.hears(port, frame, now)]
        for frame in frames:
            device.receive(port, frame, now)
        self.pump(now)

    def _listen(self, port: int) -> None:
        """What the kernel's stack sends and receives goes into the capture."""
        now = monotonic_ns()
        for heard in self._sockets[port].listen_batch(FRAMES_PER_WAKE_UP):
            self.recorder.frame(port, heard.frame, heard.time, inbound=heard.inbound)
        self.pump(now)

    def _send(self, frames: list[tuple[int, bytes]], now: int) -> None:
        sockets = self._sockets
        if self.barrier.blocked:
            frames = [(port, frame) for port, frame in frames if self.barrier.sends(port, frame, now)]
        if self.recorder.capturing:
            for port, frame in frames:
                self.recorder.frame(port, frame, now, inbound=False)
        for port, frame in frames:
            sockets[port].send(frame)

    def _time_out(self) -> None:
        now = monotonic_ns()
        if self.device is not None:
            self.device.timeout(now)
        if self.runner is not None:
            self.runner.timeout(now)
        flush = self.recorder.flush_deadline
        if flush is not None and flush <= now:
            self.recorder.flush()
        self.pump(now)

    def _next_deadline(self) -> int | None:
        return earliest(
            self.recorder.flush_deadline,
            self.device.deadline() if self.device is not None else None,
            self.runner.deadline() if self.runner is not None else None,
            self.methods.programs.deadline() if self.methods.programs is not None else None,
        )

    def _read_links(self) -> None:
        """Carrier and MTU of interfaces: all at the start, then each change. One that comes up may be another than
        before, of the same name: a link of a lab that runs can be opened for an impairment."""
        now = monotonic_ns()
        for link in self._monitor.receive():
            port = self._ports.get(link.interface)
            if port is None:
                continue
            if link.up and port not in self._ports_up:
                self._sockets[port].bind_again()
            (self._ports_up.add if link.up else self._ports_up.discard)(port)
            if self.device is not None:
                self.device.set_port(port, link.up, now)
            if isinstance(self.device, Stack):
                self.device.set_mtu(port, link.mtu, now)
        self.pump(now)

    def _statistics(self) -> list[tuple[int, int]]:
        return [opened.statistics() for opened in self._sockets]

    def _close_sockets(self) -> None:
        for opened in self._sockets:
            self.reactor.remove(opened.fileno())
            opened.close()
        if self._sockets:
            self.reactor.remove(self._monitor.fileno())
            self._monitor.close()
        self._sockets.clear()
        self._ports_up.clear()
