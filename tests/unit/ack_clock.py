"""A bottleneck and its flows, without TCP: to see what a congestion control does with its window.

    flow ──┐   ┌──────────┬───────┐
    flow ──┼──▶│  buffer  │ rate  ├──── delay ────▶ receiver ────▶ back, at once
    flow ──┘   └──────────┴───────┘
             dropped when full, or at random

Packets of one size enter the buffer when a flow's window and pacing allow; each is acknowledged one round-trip time
after it left. Nothing is reordered, so a packet is lost when one sent three later has arrived; its octets go into a new
packet. A loss, or an ECN mark, calls `congestion` once per round trip and everything else comes in the order that a
connection keeps: first what happened to the window, then `acknowledged`. With no acknowledgment for `TIMEOUT`,
`timeout` is called.

    path = Path(rate=1_250_000, delay=40 * MILLISECOND, buffer=100_000)
    clock = Clock(path)
    flow = clock.add(Reno)
    clock.run(10 * SECOND)
    flow.delivered, flow.reductions, path.peak

Same seed, same run. 10,000 packets take about a tenth of a second.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from random import Random
from typing import NamedTuple

from nodes.transport.tcp.congestion.base import (
    Ack,
    CongestionControl,
    CongestionFactory,
    CongestionSettings,
    FastRecovery,
    RateSample,
)
from nodes.units import MILLISECOND, SECOND

MSS = 1448
TIMEOUT = 500 * MILLISECOND
REORDERING = 3


class Path:
    """One bottleneck. `rate` in octets per second, `delay` the round trip without a queue, `buffer` octets, `loss` the
    probability of a random loss, `mark` the queue (octets) from which packets get an ECN mark."""

    def __init__(
        self, *, rate: int, delay: int, buffer: int, loss: float = 0.0, mark: int | None = None, seed: int = 1
    ) -> None:
        self.rate = rate
        self.delay = delay
        self.buffer = buffer
        self.loss = loss
        self.mark = mark
        self.random = Random(seed)
        self.peak = 0
        self.dropped = 0
        self._free_at = 0

    @property
    def bdp(self) -> int:
        return self.rate * self.delay // SECOND

    def queue(self, now: int) -> int:
        return max(self._free_at - now, 0) * self.rate // SECOND

    def offer(self, size: int, now: int) -> tuple[int, bool] | None:
        """When the acknowledgment will arrive, and whether it carries a mark; None for a packet that was dropped."""
        queue = self.queue(now)
        if queue + size > self.buffer or (self.loss and self.random.random() < self.loss):
            self.dropped += 1
            return None
        self.peak = max(self.peak, queue + size)
        self._free_at = max(self._free_at, now) + size * SECOND // self.rate
        return self._free_at + self.delay, self.mark is not None and queue > self.mark


class Packet:
    """`delivered`, `delivered_at` and `first_sent_at` are the flow's when it was sent, for the rate sample."""

    __slots__ = ("acked", "delivered", "delivered_at", "first_sent_at", "limited", "number", "sent_at")

    def __init__(self, number: int, now: int, flow: Flow, *, limited: bool) -> None:
        self.number = number
        self.sent_at = now
        self.delivered = flow.delivered
        self.delivered_at = flow.delivered_at
        self.first_sent_at = flow.first_sent_at
        self.limited = limited
        self.acked = False


class Point(NamedTuple):
    """The flow just after an acknowledgment."""

    time: int
    cwnd: int
    in_flight: int
    rtt: int
    delivered: int


class Flow:
    """A sender with endless data (or `application` octets per second), its control, and what came of it."""

    def __init__(self, clock: Clock, control: CongestionControl, start: int, application: int | None) -> None:
        self.clock = clock
        self.control = control
        self.application = application
        self.start = start
        self.delivered = self.lost = self.sent = 0
        self.reductions = self.timeouts = 0
        self.history: list[Point] = []
        self.first_loss: int | None = None
        self.in_flight = 0
        self.delivered_at = self.first_sent_at = start
        self.srtt: int | None = None
        self.min_rtt: int | None = None
        self.in_recovery = False
        self.progress_at = start
        self._outstanding: deque[Packet] = deque()
        self._next = 0
        self._newest = -1
        self._recovery_point = -1
        self._next_send = start
        self._wake_at: int | None = None
        self._limited = False

    # --- sending -----------------------------------------------------------------------------------------------------

    def pump(self, now: int) -> None:
        """Send what the window, the pacing and the application allow."""
        control = self.control
        self._limited = False
        while self.in_flight + MSS <= control.cwnd:
            if self.application is not None and self.sent * SECOND > self.application * (now - self.start):
                self._wake(self.start + self.sent * SECOND // self.application + 1)
                return
            if control.pacing_rate is not None and now < self._next_send:
                self._wake(self._next_send)
                break
            self._send(now)
            if control.pacing_rate is not None:
                self._next_send = max(now, self._next_send) + MSS * SECOND // control.pacing_rate
        self._limited = True

    def _send(self, now: int) -> None:
        if not self.in_flight:
            self.first_sent_at = self.delivered_at = self.progress_at = now
            self.clock.at(now + TIMEOUT, self, None, marked=False)
        packet = Packet(self._next, now, self, limited=self.application is not None)
        self._next += 1
        self.in_flight += MSS
        self.sent += MSS
        self._outstanding.append(packet)
        self.control.sent(MSS, self.in_flight, now)
        offered = self.clock.path.offer(MSS, now)
        if offered is not None:
            self.clock.at(offered[0], self, packet, marked=offered[1])

    def _wake(self, time: int) -> None:
        if self._wake_at is None or time < self._wake_at:
            self._wake_at = time
            self.clock.at(time, self, None, marked=False)

    # --- what arrives ------------------------------------------------------------------------------------------------

    def event(self, packet: Packet | None, now: int, *, marked: bool) -> None:
        if packet is not None:
            if not packet.acked:
                self._acknowledge(packet, now, marked=marked)
        else:
            if self._wake_at is not None and now >= self._wake_at:
                self._wake_at = None
            self._check_timeout(now)
        self.pump(now)

    def _acknowledge(self, packet: Packet, now: int, *, marked: bool) -> None:
        limited = self._limited
        prior = self.in_flight
        packet.acked = True
        self.progress_at = now
        self._newest = max(self._newest, packet.number)
        self.in_flight -= MSS
        self.delivered += MSS
        self.delivered_at = now
        rtt = now - packet.sent_at
        self.srtt = rtt if self.srtt is None else (7 * self.srtt + rtt) // 8
        self.min_rtt = rtt if self.min_rtt is None else min(self.min_rtt, rtt)
        rate = self._sample(packet, now)
        lost, newest_lost = self._detect()
        if newest_lost > self._recovery_point or (marked and packet.number > self._recovery_point):
            self._reduce(prior, now, lost)
        if self.in_recovery and self._newest > self._recovery_point:
            self.in_recovery = False
            self.control.recovered(now)
        una = self._outstanding[0].number if self._outstanding else self._next
        self.control.acknowledged(
            Ack(
                now=now,
                acknowledged=MSS,
                delivered=MSS,
                lost=lost,
                in_flight=self.in_flight,
                prior_in_flight=prior,
                una=una * MSS,
                nxt=self._next * MSS,
                rtt=rtt,
                min_rtt=self.min_rtt,
                srtt=self.srtt,
                in_recovery=self.in_recovery,
                cwnd_limited=limited,
                rate=rate if self.control.wants_rate else None,
            )
        )
        self.history.append(Point(now, self.control.cwnd, self.in_flight, rtt, self.delivered))

    def _sample(self, packet: Packet, now: int) -> RateSample:
        interval = max(packet.sent_at - packet.first_sent_at, now - packet.delivered_at)
        self.first_sent_at = packet.sent_at
        amount = self.delivered - packet.delivered
        return RateSample(amount, interval, packet.delivered, self.delivered, packet.limited)

    def _detect(self) -> tuple[int, int]:
        """Octets newly lost, older than the newest that arrived by `REORDERING` packets, and the number of the last."""
        lost, newest = 0, -1
        outstanding = self._outstanding
        while outstanding and (outstanding[0].acked or self._newest - outstanding[0].number >= REORDERING):
            packet = outstanding.popleft()
            if not packet.acked:
                lost += MSS
                newest = packet.number
        self.in_flight -= lost
        self.lost += lost
        return lost, newest

    def _reduce(self, in_flight: int, now: int, lost: int) -> None:
        self.reductions += 1
        self._recovery_point = self._next - 1
        if self.first_loss is None and lost:
            self.first_loss = now
        if self.control.fast_recovery is FastRecovery.NONE and lost:
            self.control.timeout(in_flight, now, repeated=False)
            return
        self.control.congestion(in_flight, now)
        self.in_recovery = True

    def _check_timeout(self, now: int) -> None:
        if not self.in_flight:
            return
        if now < self.progress_at + TIMEOUT:
            self.clock.at(self.progress_at + TIMEOUT, self, None, marked=False)
            return
        self.timeouts += 1
        self.control.timeout(self.in_flight, now, repeated=False)
        for packet in self._outstanding:
            packet.acked = True  # what still arrives is too late to count
        self._outstanding.clear()
        self.lost += self.in_flight
        self.in_flight = 0
        self.in_recovery = False
        self._recovery_point = self._next - 1

    # --- results -----------------------------------------------------------------------------------------------------

    def between(self, start: int, end: int) -> list[Point]:
        return [point for point in self.history if start <= point.time < end]

    def goodput(self, start: int, end: int) -> float:
        """Octets per second delivered from `start` to `end`."""
        return len(self.between(start, end)) * MSS * SECOND / (end - start)


class Clock:
    """Events in their order. `run` may be called again, to change the path in between."""

    def __init__(self, path: Path, seed: int = 1) -> None:
        self.path = path
        self.now = 0
        self.flows: list[Flow] = []
        self._random = Random(seed)
        self._events: list[tuple[int, int, Flow, Packet | None, bool]] = []
        self._tie = count()

    def add(self, factory: CongestionFactory, *, start: int = 0, application: int | None = None) -> Flow:
        settings = CongestionSettings(mss=MSS, initial_window=10 * MSS, random=self._random)
        flow = Flow(self, factory(settings, start), start, application)
        self.flows.append(flow)
        self.at(start, flow, None, marked=False)
        return flow

    def at(self, time: int, flow: Flow, packet: Packet | None, *, marked: bool) -> None:
        heapq.heappush(self._events, (time, next(self._tie), flow, packet, marked))

    def run(self, until: int) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, flow, packet, marked = heapq.heappop(events)
            flow.event(packet, self.now, marked=marked)
        self.now = until


def fairness(rates: list[float]) -> float:
    """Jain's index: 1 for equal shares, 1/n when one has all."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))
