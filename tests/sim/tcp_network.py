"""Whole stacks over modelled links, in virtual time.

    stack ──▶ Link ──────────────────────────────────────────────▶ stack
              loss → queue (rate, drop-tail, ECN) → corruption → delay, jitter → duplication

A frame that leaves a stack enters the link between its source and its destination at once; what the link makes of it
(nothing, an arrival, two) goes into one heap of events with the timers of the stacks. Time jumps from event to event.
One random generator per link, seeded from the network's seed: the same seed gives the same packets, which `digest`
proves. Several pairs of stacks may share a link (`dumbbell`): then its queue is the bottleneck they compete for.

    network = pair(LinkProfile(rate=10_000_000, delay=20 * MILLISECOND, loss=0.01), seed=1)
    transfer = Transfer(network, 1_000_000, congestion="cubic")        # of tcp_programs
    network.run(60 * SECOND, transfer.is_done)

All times are nanoseconds, sizes octets, rates bits per second.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple, Protocol

from nodes.datalink.interface import PointToPointInterface
from nodes.stack import Stack
from nodes.trace.events import NullTracer, Tracer
from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, Prefix, format_ip4
from nodes.wire.checksum import checksum

ECN_CAPABLE = (1, 2)
CONGESTION_EXPERIENCED = 3
LOGGED = 80
"""Octets of a packet that enter the digest: both headers. TCP's checksum, which is among them, covers the rest."""
TURNS = 10_000
"""Rounds at one instant after which the simulation is held to spin."""


class Burst(NamedTuple):
    """Loss after Gilbert: a good state without loss and a bad one in which everything is lost. Chances per packet."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """What a link does. `queue` octets wait for the line at most, beyond them the tail is dropped; `mark_above` octets
    in the queue, packets that allow it are marked CE instead of being dropped earlier (RFC 3168). `jitter` is added to
    the delay of every packet, `late` to that of a share `reordering` of them, each uniformly from zero. Packets above
    `mtu` are answered with ICMP, or vanish if it is a `black_hole`."""

    delay: int = 10 * MILLISECOND
    rate: int | None = None
    queue: int = 64_000
    loss: float = 0.0
    burst: Burst | None = None
    jitter: int = 0
    reordering: float = 0.0
    late: int = 0
    duplication: float = 0.0
    corruption: float = 0.0
    mark_above: int | None = None
    mtu: int | None = None
    black_hole: bool = False


class Link:
    """One direction. `rule` sees every frame first; True drops it. `up` False drops all. `fates` counts."""

    def __init__(self, profile: LinkProfile, random: Random) -> None:
        self.profile = profile
        self.up = True
        self.rule: Callable[[bytes, int], bool] | None = None
        self.fates: Counter[str] = Counter()
        self.peak = 0  # the longest the queue ever was
        self._random = random
        self._free_at = 0
        self._bursting = False

    def carry(self, frame: bytes, now: int) -> tuple[str, list[tuple[int, bytes]]]:
        """The fate of a frame, and its arrivals at the other end."""
        fate = self._lost(frame, now)
        if not fate:
            queued = self._enqueue(frame, now)
            if queued is None:
                fate = "queue"
        if fate:
            self.fates[fate] += 1
            return fate, []
        assert queued is not None
        at, frame = queued
        profile, chance = self.profile, self._random.random
        fate = "carried"
        if profile.corruption and chance() < profile.corruption:
            damaged = bytearray(frame)
            damaged[self._random.randrange(len(damaged))] ^= 1 << self._random.randrange(8)
            frame, fate = bytes(damaged), "corrupted"
        arrivals = [(at + self._travel(), frame)]
        if profile.duplication and chance() < profile.duplication:
            fate = "duplicated"
            arrivals.append((at + self._travel(), frame))
        self.fates[fate] += 1
        return fate, arrivals

    def backlog(self, now: int) -> int:
        """Octets in the queue, the one on the line included."""
        rate = self.profile.rate
        return 0 if rate is None else max(self._free_at - now, 0) * rate // (8 * SECOND)

    def _lost(self, frame: bytes, now: int) -> str:
        """Why the frame is lost before it reaches the queue, or nothing."""
        profile, chance = self.profile, self._random.random
        if self.rule is not None and self.rule(frame, now):
            return "rule"
        if not self.up:
            return "down"
        if profile.mtu is not None and len(frame) > profile.mtu:
            return "too_big"
        if profile.loss and chance() < profile.loss:
            return "loss"
        if profile.burst is not None:
            self._bursting = chance() >= profile.burst.end if self._bursting else chance() < profile.burst.begin
            if self._bursting:
                return "burst"
        return ""

    def _enqueue(self, frame: bytes, now: int) -> tuple[int, bytes] | None:
        """When the frame has left the line, and the frame, perhaps marked; None where the queue is full."""
        rate = self.profile.rate
        if rate is None:
            return now, frame
        waiting = self.backlog(now)
        if waiting + len(frame) > self.profile.queue:
            return None
        self.peak = max(self.peak, waiting)
        mark_above = self.profile.mark_above
        if mark_above is not None and waiting > mark_above and frame[1] & 3 in ECN_CAPABLE:
            frame = marked(frame)
            self.fates["marked"] += 1
        self._free_at = max(self._free_at, now) + len(frame) * 8 * SECOND // rate
        return self._free_at, frame

    def _travel(self) -> int:
        profile = self.profile
        delay = profile.delay
        if profile.jitter:
            delay += self._random.randrange(profile.jitter + 1)
        if profile.reordering and self._random.random() < profile.reordering:
            delay += self._random.randrange(profile.late + 1)
        return delay


def marked(packet: bytes) -> bytes:
    """The packet with CE in its IP header."""
    header = bytearray(packet[:20])
    header[1] |= CONGESTION_EXPERIENCED
    header[10:12] = bytes(2)
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header) + packet[20:]


class Packet(NamedTuple):
    """A packet on a link: when it was sent and by which stack, what became of it and when it arrived, if it did."""

    sent_at: int
    source: int
    fate: str
    arrivals: tuple[int, ...]
    frame: bytes


class Owner(Protocol):
    """What the network tells a program: something happened to a socket of it."""

    def ready(self, now: int) -> None: ...


class Network:
    """Stacks and the links between them. `capture` set to a list collects every packet."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0
        self.stacks: list[Stack] = []
        self.addresses: list[Ip4] = []
        self.links: list[Link] = []
        self.frames = 0
        self.capture: list[Packet] | None = None
        self.programs: list[Any] = []  # for whoever wants to reach them
        self._random = Random(seed)
        self._routes: dict[tuple[int, int], tuple[Link, int, int]] = {}  # to (link, extra delay, stack)
        self._events: list[tuple[int, int, int, bytes | Callable[[int], None] | None]] = []
        self._number = 0
        self._alarms: list[int | None] = []
        self._touched: dict[int, None] = {}
        self._log = blake2b(digest_size=16)

    # ------------------------------------------------------------------------------------------------ being built

    def add_stack(
        self, address: str, settings: TcpSettings | None = None, tracer: Tracer | None = None, mtu: int = 1500
    ) -> int:
        """A host with one point-to-point interface; its number."""
        tracer = tracer or NullTracer()
        interface = PointToPointInterface(0, "p0", mtu, tracer)
        random = Random(self._random.getrandbits(64))
        stack = Stack([interface], random, tracer, forwarding=False, tcp=settings or TcpSettings())
        prefix = Prefix.parse(f"{address}/8")
        stack.add_address(0, prefix, 0)
        self.stacks.append(stack)
        self.addresses.append(prefix.address)
        self._alarms.append(None)
        return len(self.stacks) - 1

    def add_link(self, profile: LinkProfile) -> Link:
        link = Link(profile, Random(self._random.getrandbits(64)))
        self.links.append(link)
        return link

    def route(self, source: int, destination: int, link: Link, extra: int = 0) -> None:
        """Packets from one stack to another take `link`, and `extra` ns more."""
        self._routes[self.addresses[source], self.addresses[destination]] = link, extra, destination

    # --------------------------------------------------------------------------------------------------- running

    def at(self, time: int, stack: int, action: Callable[[int], None]) -> None:
        """Let a program at `stack` act at `time`."""
        self._push(time, stack, action)

    def run(self, until: int, done: Callable[[], bool] | None = None) -> bool:
        """Let everything happen up to `until`, or until `done`; whether it is done then."""
        events, turns = self._events, 0
        self._touched.update(dict.fromkeys(range(len(self.stacks))))
        while True:
            self._settle()
            if done is not None and done():
                return True
            if not events or events[0][0] > until:
                self.now = max(self.now, until)
                return False
            turns = turns + 1 if events[0][0] <= self.now else 0
            assert turns < TURNS, f"the network spins at {self.now} ns"
            self.now = now = max(self.now, events[0][0])
            while events and events[0][0] <= now:
                self._happen(*events[0])

    @property
    def digest(self) -> str:
        """Of all packets so far, when they were sent, and their fates."""
        return self._log.hexdigest()

    def _push(self, time: int, stack: int, what: bytes | Callable[[int], None] | None) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, stack, what))

    def _happen(self, time: int, _: int, index: int, what: bytes | Callable[[int], None] | None) -> None:
        heapq.heappop(self._events)
        stack, now = self.stacks[index], self.now
        self._touched[index] = None
        if isinstance(what, bytes):
            stack.receive(0, what, now)
            return
        if what is None:
            if self._alarms[index] != time:
                return
            self._alarms[index] = None
            due = stack.deadline()
            if due is not None and due <= now:
                stack.timeout(now)
            return
        stack.timeout(now)  # a stack learns the time from its inputs
        what(now)

    def _settle(self) -> None:
        """Let the programs see what happened, and the stacks send."""
        touched, self._touched = self._touched, {}
        now = self.now
        for index in touched:
            stack = self.stacks[index]
            for endpoint in stack.drain_ready():
                if endpoint.owner is not None:
                    endpoint.owner.ready(now)  # type: ignore[attr-defined]
            for _, frame in stack.transmit():
                self._send(index, frame)
            due, alarm = stack.deadline(), self._alarms[index]
            if due is not None and (alarm is None or due < alarm):
                self._alarms[index] = due
                self._push(due, index, None)

    def _send(self, source: int, frame: bytes) -> None:
        now = self.now
        self.frames += 1
        route = self._routes.get((self.addresses[source], int.from_bytes(frame[16:20], "big")))
        if route is None:
            raise AssertionError(f"no link to {format_ip4(Ip4(int.from_bytes(frame[16:20], 'big')))}")
        link, extra, destination = route
        fate, arrivals = link.carry(frame, now)
        if fate == "too_big" and not link.profile.black_hole:
            self._push(now + 2 * link.profile.delay, source, too_big(frame, link.profile.mtu or 0))
        for at, packet in arrivals:
            self._push(at + extra, destination, packet)
        self._log.update(b"%d %d %s %b" % (now, source, fate.encode(), frame[:LOGGED]))
        if self.capture is not None:
            self.capture.append(Packet(now, source, fate, tuple(at + extra for at, _ in arrivals), frame))


def too_big(packet: bytes, mtu: int) -> bytes:
    """What a router answers (RFC 1191 section 4)."""
    message = icmp.build(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu, packet[:548])
    sender = Ip4(int.from_bytes(packet[12:16], "big"))
    return ipv4.build(Ip4(0x0AFF_FFFE), sender, ipv4.PROTOCOL_ICMP, message)


# -------------------------------------------------------------------------------------------------------- topologies


def pair(
    forward: LinkProfile,
    backward: LinkProfile | None = None,
    *,
    seed: int = 1,
    settings: TcpSettings | tuple[TcpSettings, TcpSettings] | None = None,
    tracers: Iterable[Tracer] = (),
    mtu: int = 1500,
) -> Network:
    """Stacks 0 and 1. The way back has the same rate and delay, and nothing else, unless it is given."""
    network = Network(seed)
    both = settings if isinstance(settings, tuple) else (settings, settings)
    watching = [*tracers, None, None]
    for index, own in enumerate(both):
        network.add_stack(f"10.0.0.{index + 1}", own, watching[index], mtu)
    network.route(0, 1, network.add_link(forward))
    network.route(1, 0, network.add_link(backward or clean(forward)))
    return network


def clean(profile: LinkProfile) -> LinkProfile:
    """Rate, delay and queue of a link, without its impairments."""
    return LinkProfile(delay=profile.delay, rate=profile.rate, queue=profile.queue)


def dumbbell(
    flows: int,
    bottleneck: LinkProfile,
    *,
    seed: int = 1,
    extra: Iterable[int] = (),
    settings: TcpSettings | None = None,
) -> Network:
    """Senders 0, 2, 4 ... and their receivers 1, 3, 5 ..., all through one bottleneck. `extra`: what each flow's
    one-way delay has on top, both ways."""
    network = Network(seed)
    forward, backward = network.add_link(bottleneck), network.add_link(clean(bottleneck))
    delays = [*extra, *[0] * flows]
    for flow in range(flows):
        sender = network.add_stack(f"10.1.{flow}.1", settings)
        receiver = network.add_stack(f"10.1.{flow}.2", settings)
        network.route(sender, receiver, forward, delays[flow])
        network.route(receiver, sender, backward, delays[flow])
    return network
