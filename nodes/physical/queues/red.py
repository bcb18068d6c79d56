"""RED: random early detection (Floyd and Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993).

The first active queue management: drop before the queue is full, at random, the more the longer the queue is *on
average*, so that bursts pass and senders are not all hit at once.

    chance of a drop, p_b
      1 ┤            ┌────        average: avg ← (1 - w)·avg + w·q at each arrival, q in octets
        │            │            after m idle packet times: avg ← (1 - w)^m·avg, as if m had found the queue empty
    max_p ┤        ╱ │            p_b = max_p·(avg - min) / (max - min)
      0 ┼────────╱───┼─── avg     p_a = p_b / (1 - count·p_b), count frames since the last drop: drops are then
              min   max           spread evenly (any distance up to 1/p_b is as likely), not in clumps

Drops do not depend on the size of a frame (RFC 7141 section 2.2). With `ecn`, frames that can be marked are marked in
place of early drops; what exceeds the hard limit in octets is lost. Where thresholds are not given, they are what
tc-red(8) proposes: `maximum` a quarter of the limit, `minimum` a third of that."""

from __future__ import annotations

from random import Random

from nodes.impairment import Queue, Red
from nodes.physical.carried import Carried
from nodes.physical.queues.fifo import QUEUE_FULL, Fifo, default_octets, is_marked
from nodes.physical.statistics import Statistics
from nodes.units import SECOND

RED = "red"

_AVERAGE_PACKET = 1000
"""Octets: the packet whose time on the line is one step of idle time (the "avpkt" of tc-red(8), its advice)."""


class RedQueue(Fifo):
    """`average` is in octets."""

    __slots__ = (
        "_count",
        "_idle_since",
        "_limit",
        "_maximum",
        "_minimum",
        "_packet_time",
        "_random",
        "_settings",
        "_statistics",
        "average",
    )

    def __init__(self, settings: Red, *, rate: int, mtu: int, seed: int, statistics: Statistics) -> None:
        super().__init__()
        self._random = Random(seed)
        self._statistics = statistics
        self._count = -1
        self._idle_since: int | None = None
        self.average = 0.0
        self._configure(settings, rate, mtu)

    def enqueue(self, carried: Carried, now: int) -> None:
        """Take the frame at the end, marked or not, or drop it: early, or for want of room."""
        idle = self._idle_since is not None
        self._update_average(now)
        if self._is_early() and not (self._settings.ecn and is_marked(carried, self._statistics)):
            self._statistics.dropped[RED] += 1
        elif self.octets + len(carried.frame) > self._limit:
            self._statistics.dropped[QUEUE_FULL] += 1
        else:
            self.append(carried, now)
            return
        if idle:
            self._idle_since = now  # the line has still nothing to do

    def dequeue(self, now: int) -> Carried | None:
        carried = self.pop()
        if carried is None and self._idle_since is None:
            self._idle_since = now
        return carried

    def deadline(self) -> int | None:
        return None

    def timeout(self, now: int) -> None:
        """The average is brought up to date when a frame comes."""

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:
        if not isinstance(settings, Red):
            return False
        self._configure(settings, rate, mtu)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002  (the surface of all disciplines)
        return {
            "discipline": "red",
            "packets": self.packets,
            "octets": self.octets,
            "limit_octets": self._limit,
            "minimum": self._minimum,
            "maximum": self._maximum,
            "average": round(self.average),
        }

    def _configure(self, settings: Red, rate: int, mtu: int) -> None:
        self._settings = settings
        self._limit = settings.octets or default_octets(rate, mtu)
        self._maximum = settings.maximum or self._limit // 4
        self._minimum = settings.minimum or self._maximum // 3
        self._packet_time = _AVERAGE_PACKET * 8 * SECOND / max(rate, 1)

    def _update_average(self, now: int) -> None:
        weight = self._settings.weight
        if self._idle_since is None:
            self.average += weight * (self.octets - self.average)
            return
        packets = (now - self._idle_since) / self._packet_time
        self.average *= (1 - weight) ** packets
        self._idle_since = None

    def _is_early(self) -> bool:
        if self.average < self._minimum:
            self._count = -1
            return False
        self._count += 1
        if self.average < self._maximum:
            base = self._settings.chance * (self.average - self._minimum) / (self._maximum - self._minimum)
            spread = 1 - self._count * base
            if spread > 0 and self._random.random() >= base / spread:
                return False
        self._count = 0
        return True
