"""Frames for the tests of queues, and one bottleneck with senders that react to loss, in virtual time.

    windows ──▶ queue discipline ──▶ server ──▶ receiver
       ▲                                           │
       └──────────── delay ────────────────────────┘

Each sender keeps a window of frames in flight, one more for each window that arrives, half as many once per round trip
in which one was lost or marked: the shape of TCP's congestion avoidance, without TCP. A frame is lost when a later one
of the same sender has arrived; with none arriving for a second, all are lost."""

from __future__ import annotations

import heapq
import math

from nodes.physical.carried import Carried
from nodes.physical.queues.base import QueueDiscipline
from nodes.physical.server import Server
from nodes.units import SECOND
from nodes.wire import ethernet, ipv4
from nodes.wire.addresses import Ip4, Mac

STATION = Mac(bytes.fromhex("025a00000001"))
PEER = Mac(bytes.fromhex("025a00000002"))
FREE = b"line"
TICK = b"tick"
SILENCE = SECOND
ECT = 2
CE = 3


def packet(flow: int, number: int = 0, length: int = 1514, ecn: int = 0) -> bytes:
    """A frame of `length` octets: UDP from port 10000 + `flow`; `number` is its first data."""
    segment = (10_000 + flow).to_bytes(2, "big") + b"\x00\x07" + bytes(4) + number.to_bytes(4, "big")
    payload = segment + bytes(length - 34 - len(segment))
    datagram = ipv4.build(Ip4(0x0A000001), Ip4(0x0A000002), 17, payload, traffic_class=ecn)
    return ethernet.build(PEER, STATION, ethernet.ETHERTYPE_IPV4, datagram)


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[42:46], "big")


def flow_of(frame: bytes) -> int:
    return int.from_bytes(frame[34:36], "big") - 10_000


def is_ce(frame: bytes) -> bool:
    return frame[15] & 3 == CE


class Sender:
    """Additive increase, multiplicative decrease."""

    def __init__(self, flow: int, ecn: int) -> None:
        self.flow = flow
        self.ecn = ecn
        self.window = 2.0
        self.in_flight: list[int] = []
        self.next = 0
        self.reduced_until = 0
        self.threshold = math.inf  # of slow start
        self.last_arrival = 0

    def due(self) -> list[bytes]:
        frames = []
        while len(self.in_flight) < int(self.window):
            frames.append(packet(self.flow, self.next, ecn=self.ecn))
            self.in_flight.append(self.next)
            self.next += 1
        return frames

    def arrived(self, number: int, marked: bool, now: int) -> None:
        self.last_arrival = now
        lost = [each for each in self.in_flight if each < number]
        self.in_flight = [each for each in self.in_flight if each > number]
        if (lost or marked) and number >= self.reduced_until:
            self.window = self.threshold = max(self.window / 2, 2.0)
            self.reduced_until = self.next
        else:
            self.window += 1 if self.window < self.threshold else 1 / self.window

    def silent(self, now: int) -> None:
        if now - self.last_arrival >= SILENCE:
            self.last_arrival = now
            self.in_flight.clear()
            self.threshold = max(self.window / 2, 2.0)
            self.window = 2.0


class Bottleneck:
    """`sojourns` are (time, wait in the queue) of all frames that left it, `octets` those that the line sent."""

    def __init__(self, queue: QueueDiscipline, server: Server, *, flows: int, delay: int, ecn: int = 0) -> None:
        self.queue = queue
        self.server = server
        self.delay = delay
        self.senders = [Sender(flow, ecn) for flow in range(flows)]
        self.sojourns: list[tuple[int, int]] = []
        self.octets = [0] * flows
        self.busy_until = -1
        self._events: list[tuple[int, int, bytes]] = []  # (time, order, what: a frame that is heard of, or below)
        self._order = 0
        self._next_tick = 0

    def run(self, until: int) -> None:
        """Let happen what happens up to that time; it can be called again for a later one."""
        while self._next_tick <= until:
            self._schedule(self._next_tick, TICK)
            self._next_tick += SILENCE
        while self._events and self._events[0][0] <= until:
            now, _, frame = heapq.heappop(self._events)
            deadline = self.queue.deadline()
            while deadline is not None and deadline <= now:
                self.queue.timeout(deadline)
                deadline = self.queue.deadline()
            if frame is FREE:
                self._serve(now)
                continue
            if frame is not TICK:
                self.senders[flow_of(frame)].arrived(number_of(frame), is_ce(frame), now)
            self._send_all(now)

    def waits(self, since: int) -> list[int]:
        """Sorted."""
        return sorted(wait for at, wait in self.sojourns if at >= since)

    def _send_all(self, now: int) -> None:
        for sender in self.senders:
            sender.silent(now)
            for frame in sender.due():
                self.queue.enqueue(Carried(frame, now), now)
                if self.busy_until < now:
                    self._serve(now)

    def _serve(self, now: int) -> None:
        carried = self.queue.dequeue(now)
        if carried is None:
            self.busy_until = -1
            return
        self.busy_until = self.server.finish(len(carried.frame), now)
        self._schedule(self.busy_until, FREE)
        self._left(carried, now)

    def _left(self, carried: Carried, now: int) -> None:
        """A frame went from the queue to the line at `now`."""
        self.sojourns.append((now, now - carried.note))
        self.octets[flow_of(carried.frame)] += len(carried.frame)
        self._schedule(self.busy_until + self.delay, carried.frame)

    def _schedule(self, at: int, frame: bytes) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, frame))
