"""Drop-tail: frames leave in the order in which they came, and what finds the queue full is dropped.

It is what most of the Internet's routers do, and what bufferbloat is made of: a sender like TCP fills the queue until
something is lost, so that a large one is always full and all who share the line wait behind it. Dropping at the tail
also hits all senders of a burst at once (RFC 7567 section 1)."""

from __future__ import annotations

from nodes.impairment import DropTail, Queue
from nodes.physical.carried import Carried
from nodes.physical.queues.fifo import QUEUE_FULL, Fifo, default_octets
from nodes.physical.statistics import Statistics


class DropTailQueue(Fifo):
    """Bounded by packets, by octets, or by both. Bounds of 0 are none; without any, octets are sized from the rate."""

    __slots__ = ("_limit_octets", "_limit_packets", "_statistics")

    def __init__(self, settings: DropTail, *, rate: int, mtu: int, statistics: Statistics) -> None:
        super().__init__()
        self._statistics = statistics
        self._configure(settings, rate, mtu)

    def enqueue(self, carried: Carried, now: int) -> None:
        full = self._limit_packets and len(self._frames) >= self._limit_packets
        if full or (self._limit_octets and self.octets + len(carried.frame) > self._limit_octets):
            self._statistics.dropped[QUEUE_FULL] += 1
            return
        self.append(carried, now)

    def dequeue(self, now: int) -> Carried | None:  # noqa: ARG002  (the surface of all disciplines)
        return self.pop()

    def deadline(self) -> int | None:
        return None

    def timeout(self, now: int) -> None:
        """Nothing happens by itself."""

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:
        if not isinstance(settings, DropTail):
            return False
        self._configure(settings, rate, mtu)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002
        return {
            "discipline": "drop_tail",
            "packets": self.packets,
            "octets": self.octets,
            "limit_packets": self._limit_packets,
            "limit_octets": self._limit_octets,
        }

    def _configure(self, settings: DropTail, rate: int, mtu: int) -> None:
        self._limit_packets = settings.packets
        self._limit_octets = settings.octets
        if not settings.packets and not settings.octets:
            self._limit_octets = default_octets(rate, mtu)
