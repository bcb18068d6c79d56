"""A node in virtual time: what an agent is to a node of its own process, without one.

The device is the same, and so are the applications, the events and the captures. Instead of packet sockets there are
ports (nodes/simulation/wiring.py), instead of a timer an alarm of the network's agenda.

    off ──start──▶ on ──pause──▶ paused      frames wait, up to a bound; timers come late; on resume it catches up
     ▲             │ ◀──resume──    │
     └────crash────┴────────────────┘        everything in it is lost; its neighbors lose the carrier

A restarted node has another stack and another session, made with another seed: it must not draw the port numbers and
sequence numbers of the life before.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Protocol

from nodes.application.runner import ApplicationRunner
from nodes.contract import NodeConfig
from nodes.device import Device, build_device
from nodes.errors import MisuseError
from nodes.network.barrier import Barrier
from nodes.raw_frames import check_frame, not_taken
from nodes.session.session import Session
from nodes.simulation.agenda import Agenda, Alarmed
from nodes.simulation.values import FRAME_CHARGE, FRAMES_PER_TURN, PAUSED_OCTETS, NodeRecorder
from nodes.simulation.wiring import Port
from nodes.stack import Stack
from nodes.trace.events import NodeStarted, NodeStopped
from nodes.units import earliest

if TYPE_CHECKING:
    from nodes.simulation.link import SimulatedLink


class Engine(Protocol):
    """What nodes and links ask of their network."""

    now: int
    agenda: Agenda

    def clock(self) -> int:
        """`now`, as a function."""
        ...

    def touch(self, node: SimulatedNode) -> None:
        """Something happened in a node from outside: before time goes on, see what it has to send."""
        ...

    def carry(self, node: SimulatedNode, frames: list[tuple[int, bytes]]) -> None:
        """Frames that a node put on its wires: they arrive one hop later."""
        ...

    def send(self, node: SimulatedNode, frames: list[tuple[int, bytes]]) -> None:
        """What a node has to send: on its wires, or into the lines of its links."""
        ...

    def cut(self, node: SimulatedNode, port: int) -> None:
        """What this node put on that wire is lost."""
        ...


class SimulatedNode(Alarmed):
    """Off until `start`. Raises MisuseError for a configuration that contradicts itself, or that needs a kernel: a
    host or a router whose stack is the kernel's. A bridge of the kernel's is a switch of ours here."""

    __slots__ = (
        "_carriers",
        "_engine",
        "_held",
        "_held_octets",
        "_started",
        "_timed_out",
        "barrier",
        "config",
        "device",
        "direct",
        "links",
        "name",
        "paused",
        "ports",
        "receive",
        "recorder",
        "runner",
        "session",
        "stack",
        "touched",
        "trace",
    )

    def __init__(self, config: NodeConfig, recorder: NodeRecorder, engine: Engine) -> None:
        super().__init__()
        self.config = simulated(config)
        self.name = config.name
        self.recorder = recorder
        self.trace = recorder.trace
        self.ports = [Port(number, interface.name) for number, interface in enumerate(config.interfaces)]
        self.links: list[SimulatedLink] = []
        self.device: Device | None = None
        self.stack: Stack | None = None
        """The device, where it is a host or a router."""
        self.runner: ApplicationRunner | None = None
        self.session: Session | None = None
        self.paused = False
        self.barrier = Barrier(self.config.interfaces, self.trace)
        """Survives a restart: it is the network that is cut."""
        self.touched = False
        """Whether it waits for its turn in the network."""
        self.receive: Callable[[int, bytes, int], None] = self._receive
        """Takes a frame: the device itself, where nothing stands before it."""
        self.direct = False
        """Whether all frames that it sends go straight on plain wires."""
        self._engine = engine
        self._started = 0
        self._timed_out = -1
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_octets = [0] * len(self.ports)
        self._carriers: list[tuple[int, bool, int]] = []

    # ------------------------------------------------------------------------------------------------------- its life

    @property
    def on(self) -> bool:
        return self.device is not None

    def start(self, trigger: str = "started") -> None:
        """Switch it on, now. Raises MisuseError where it is on, and StackError for a configuration that contradicts
        itself."""
        self.boot(trigger)
        self.plug()

    def boot(self, trigger: str = "started") -> None:
        """The first half of `start`: it does not know of its links yet."""
        if self.on:
            raise MisuseError(f"{self.name} runs already")
        now = self._engine.now
        self.trace(now, NodeStarted(self.config.kind, trigger))
        device = build_device(self.config, Random(self.config.at_start(self._started).seed), self.trace, now)
        self._started += 1
        self.device = device
        self._open_capture()
        if isinstance(device, Stack):
            self.stack = device
            before = self.session
            self.session = Session(self.name, device, self._engine.clock, self.touch)
            if before is not None:
                self.session.clock = before.clock  # a clock that is wrong stays so
            self.runner = ApplicationRunner(device, self.trace, self.session.ring)
            for application in self.config.applications:
                self.runner.start(application.kind, application.options, now)
        self.refresh()
        self.touch()

    def plug(self) -> None:
        """The second half: carrier and MTU of all ports."""
        for port, interface in zip(self.ports, self.config.interfaces, strict=True):
            if port.peer is None:
                self.carrier(port.number, up=False, mtu=interface.mtu)
        for link in self.links:
            link.refresh()

    def crash(self, trigger: str = "crashed") -> None:
        """Switch it off without a farewell: what it knew, and what its programs still do, is lost. Raises MisuseError
        where it is off."""
        if not self.on:
            raise MisuseError(f"{self.name} is off already")
        self.trace(self._engine.now, NodeStopped(trigger))
        self._switch_off()
        for link in self.links:
            link.refresh()

    def stop(self, trigger: str = "asked to end") -> None:
        """The end of the simulation for this node, in any state: the last state is written, the files are closed. Its
        neighbors see nothing of it."""
        now = self._engine.now
        if self.on:
            self.trace(now, NodeStopped(trigger))
        self.recorder.write_state(self.state(now))
        self.recorder.close(now, self.statistics())
        self._switch_off()

    def _switch_off(self) -> None:
        if self.session is not None:
            self.session.alive = False
            self.session.held = False
        self.device = self.stack = self.runner = None
        self.paused = False
        self.armed = None
        self._forget_held()
        self.refresh()

    def pause(self) -> None:
        """Let it stand still, as SIGSTOP does. Raises MisuseError where it is off; harmless where it stands."""
        if not self.on:
            raise MisuseError(f"{self.name} is off")
        self.paused = True
        if self.session is not None:
            self.session.held = True
        self.refresh()

    def resume(self) -> None:
        """Let it go on, with what has arrived meanwhile and the timers that are late; harmless where it runs.
        `session.held` is False from now on."""
        if not self.paused:
            return
        self.paused = False
        if self.session is not None:
            self.session.held = False
        self.refresh()
        carriers, self._carriers = self._carriers, []
        for port, up, mtu in carriers:
            self.carrier(port, up=up, mtu=mtu)
        self.armed = None
        self._engine.agenda.arm(self, self._engine.now)

    def touch(self) -> None:
        """Somebody called into the stack or the applications: what there is to send leaves before time goes on."""
        if not self.touched:
            self._engine.touch(self)

    # ---------------------------------------------------------------------------------------------------- its network

    def block(self, addresses: Iterable[str]) -> None:
        """Neither hear from these addresses nor send to them, from now on; none ends the partition. Raises ValueError
        for what is no address."""
        self.barrier.block(addresses, self._engine.now)
        self.refresh()

    def carrier(self, port: int, *, up: bool, mtu: int) -> None:
        """Tell the device what has become of a link."""
        if self.paused:
            self._carriers.append((port, up, mtu))
        elif self.device is not None:
            now = self._engine.now
            self.device.set_port(port, up, now)
            if self.stack is not None:
                self.stack.set_mtu(port, mtu, now)
            self.touch()

    def refresh(self) -> None:
        """See again what stands between the wires and the device."""
        device = self.device
        plain = not (self.paused or self._held or self.recorder.capturing or self.barrier.blocked)
        self.receive = device.receive if device is not None and plain else self._receive
        self.direct = plain and all(port.lane is None for port in self.ports)

    def outgoing(self, frames: list[tuple[int, bytes]], now: int) -> list[tuple[int, bytes]]:
        """The frames that really leave, once captured."""
        barrier = self.barrier
        if barrier.blocked:
            frames = [(port, frame) for port, frame in frames if barrier.sends(port, frame, now)]
        if self.recorder.capturing:
            for port, frame in frames:
                self.recorder.frame(port, frame, now, inbound=False)
        return frames

    def send_frame(self, interface: str | None, frame: bytes) -> None:
        """Send what somebody else has made. Raises StackError where it is none, or where the link does not take it."""
        number = check_frame(self.config, interface, frame)
        if self.paused:
            raise MisuseError(f"{self.name} stands still", hint="resume it first")
        port = self.ports[number]
        if len(frame) > port.limit and port.refuse(frame):
            raise not_taken(port.name, "EMSGSIZE" if port.up else "ENETDOWN")
        self._engine.send(self, [(number, frame)])

    def _receive(self, port: int, frame: bytes, now: int) -> None:
        """A frame for a node that is off, stands still, captures, or does not hear all."""
        device = self.device
        if device is None:
            return
        if self.paused or self._held:
            self._hold(port, frame)
            return
        if self.recorder.capturing:
            self.recorder.frame(port, frame, now, inbound=True)
        if not self.barrier.blocked or self.barrier.hears(port, frame, now):
            device.receive(port, frame, now)

    def _hold(self, port: int, frame: bytes) -> None:
        charge = len(frame) + FRAME_CHARGE
        if self._held_octets[port] + charge > PAUSED_OCTETS:
            self.ports[port].dropped += 1
            return
        self._held_octets[port] += charge
        self._held.append((port, frame))

    def _forget_held(self) -> None:
        self._held.clear()
        self._carriers.clear()
        self._held_octets = [0] * len(self.ports)

    # ------------------------------------------------------------------------------------------------------- its time

    def deadline(self) -> int | None:
        """When it wants its alarm (ns); in the past where that is overdue, and None while it stands still."""
        if self.device is None or self.paused:
            return None
        applications = self.runner.deadline() if self.runner is not None else None
        return earliest(self.device.deadline(), applications)

    def due(self, now: int) -> None:
        """Its alarm came: late frames first, then timers."""
        device = self.device
        if device is None or self.paused:
            return
        if self._held:
            self._take_held(now)
        at = self.deadline()
        if at is not None and at <= now:
            self._timed_out = now
            device.timeout(now)
            if self.runner is not None:
                self.runner.timeout(now)
        self.touch()

    def arm(self, at: int, now: int) -> None:
        """Set the alarm for a deadline. Timers due again at once wait for a nanosecond, or time would stand still."""
        if at <= now:
            at = now + 1 if self._timed_out == now else now
        self._engine.agenda.arm(self, at)

    def _take_held(self, now: int) -> None:
        held, self._held = self._held, deque()
        for _ in range(min(len(held), FRAMES_PER_TURN)):
            port, frame = held.popleft()
            self._held_octets[port] -= len(frame) + FRAME_CHARGE
            self._receive(port, frame, now)
        self._held = held
        if held:
            self._engine.agenda.arm(self, now)
        else:
            self.refresh()

    # ---------------------------------------------------------------------------------------------------- its records

    def start_capture(self) -> str:
        """Begin a capture on all interfaces; returns its path."""
        path = self.recorder.start_capture()
        self.refresh()
        return str(path)

    def stop_capture(self) -> dict[str, object]:
        result = self.recorder.stop_capture(self.statistics())
        self.refresh()
        return result

    def statistics(self) -> list[tuple[int, int]]:
        """Received and dropped frames of each port."""
        return [(_received(port), port.dropped) for port in self.ports]

    def state(self, now: int) -> dict[str, object]:
        """All that it knows of itself, as values of JSON: what an agent answers."""
        state: dict[str, object] = {
            "node": self.name,
            "kind": self.config.kind,
            "stack": self.config.stack,
            "recording": self.recorder.status(),
            "ports": [_snapshot(port) for port in self.ports],
        }
        if self.barrier.blocked:
            state["barrier"] = self.barrier.snapshot()
        if self.device is not None:
            state["device"] = self.device.snapshot(now)
        if self.runner is not None:
            state["applications"] = self.runner.snapshot()
        return state

    def _open_capture(self) -> None:
        if self.config.capture and not self.recorder.capturing:
            self.recorder.start_capture()


def simulated(config: NodeConfig) -> NodeConfig:
    """The configuration as a simulation carries it out. Raises MisuseError where it cannot."""
    if any(interface.offload for interface in config.interfaces):
        raise MisuseError(f"{config.name}: a simulated link has no offload")
    if config.is_bridge:
        return dataclasses.replace(config, stack="layerlab")
    if config.stack != "layerlab":
        raise MisuseError(f"{config.name}: its stack is the {config.stack}'s, and a simulation has none")
    return config


def _received(port: Port) -> int:
    if port.peer is None:
        return 0
    node, number = port.peer
    return node.ports[number].carried - port.dropped


def _snapshot(port: Port) -> dict[str, object]:
    return {
        "name": port.name,
        "up": port.up,
        "received": _received(port),
        "dropped": port.dropped,
        "truncated": 0,
        "sent": port.sent,
        "not_sent": dict(port.not_sent),
    }
