"""Frames that wait in the order in which they came: the body of every discipline, and what they share."""

from __future__ import annotations

from collections import deque

from nodes.errors import MisuseError
from nodes.impairment import FRAME_OVERHEAD
from nodes.physical.carried import Carried
from nodes.physical.congestion_mark import mark
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND

QUEUE_FULL = "queue full"
"""The cause under which a bound of the queue counts its drops; what an algorithm drops has the algorithm's name."""

_BUFFER_TIME = 100 * MILLISECOND
_LEAST_FRAMES = 32
_MOST_OCTETS = 32 << 20


class Fifo:
    """`octets` is the sum of the lengths of all frames inside."""

    __slots__ = ("_frames", "octets")

    def __init__(self) -> None:
        self._frames: deque[Carried] = deque()
        self.octets = 0

    @property
    def packets(self) -> int:
        return len(self._frames)

    def drain(self) -> list[Carried]:
        """All frames in order; none stays."""
        drained = list(self._frames)
        self._frames.clear()
        self.octets = 0
        return drained

    def append(self, carried: Carried, now: int) -> None:
        """At the end. Its `note` is the time, from which its sojourn is measured."""
        carried.note = now
        self.octets += len(carried.frame)
        self._frames.append(carried)

    def pop(self) -> Carried | None:
        if not self._frames:
            return None
        carried = self._frames.popleft()
        self.octets -= len(carried.frame)
        return carried


def is_marked(carried: Carried, statistics: Statistics) -> bool:
    """Mark it, if it can be marked. Its length stays."""
    marked = mark(carried.frame)
    if marked is None:
        return False
    carried.frame = marked
    statistics.marked += 1
    return True


def default_octets(rate: int, mtu: int) -> int:
    """How much a queue holds of which only the rate is known: what the line sends in 100 ms, the bandwidth-delay
    product of a path across a continent and the rule of thumb for router buffers (RFC 8289 takes the same 100 ms for
    its interval). At least 32 full frames, so that slow lines hold a window of TCP, and at most 32 MiB."""
    asked = rate * _BUFFER_TIME // (8 * SECOND)
    return min(max(asked, _LEAST_FRAMES * largest_frame(mtu)), _MOST_OCTETS)


def checked(name: str, value: int) -> int:
    """A bound or a period. Raises MisuseError where it is not positive, with which no discipline could work."""
    if value <= 0:
        raise MisuseError(f"{name} of {value}, more than 0 expected")
    return value


def largest_frame(mtu: int) -> int:
    """Octets of a frame that carries a packet of the MTU's size."""
    return mtu + FRAME_OVERHEAD
