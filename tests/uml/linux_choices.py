"""What Linux does otherwise than the documents say, put into our disciplines for the time of a comparison.

With these in place nothing else may differ. They were found by their effects: without them the drops of kernel and
engine part, with them they are the same frames.

    control law    RFC 8289: interval / √count. Linux counts time in units of 1024 ns and keeps 1/√count in 16 bits;
                   it does not compute it, but brings it nearer by one step of Newton's method at each drop. So its
                   second distance is a half of the interval and not 0.71 of it, and when CoDel goes on with a count
                   that it had reached before, the root begins from what it was.
    RED's average  "queue size" of the paper: the frame that tbf holds counts, and nobody tells RED that the line is
                   idle, for tbf does not ask an empty child for frames: a pause does not age the average.
    PIE's guard    drops nothing while two full frames or less wait: here, too, the frame that tbf holds counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from unittest.mock import patch

from nodes.impairment import Codel, FqCodel, Pie
from nodes.physical.queues.codel import ControlledFifo
from nodes.physical.queues.pie import PieQueue
from nodes.physical.queues.red import RedQueue
from tests.uml.queueing import OCTETS, QueueCase

_UNIT = 1024
_BITS = 1 << 16


class _Roots:
    """1/√count of each queue, as Linux would remember it; `count` is watched as it is set."""

    def __init__(self) -> None:
        self._count = ControlledFifo.__dict__["_count"]
        self._roots: dict[int, float] = {}

    def get(self, queue: ControlledFifo) -> int:
        return int(self._count.__get__(queue))

    def set(self, queue: ControlledFifo, count: int) -> None:
        if count <= 1:
            root = 1 - 1 / _BITS
        else:
            before = self._roots[id(queue)]
            root = math.floor(before * max(3 - count * before * before, 0) / 2 * _BITS) / _BITS
        self._roots[id(queue)] = root
        self._count.__set__(queue, count)

    def law(self, queue: ControlledFifo, time: int) -> int:
        return time + int(queue._parameters.interval // _UNIT * self._roots[id(queue)]) * _UNIT


def in_units(case: QueueCase) -> QueueCase:
    """With target and interval as Linux counts them."""
    queue = case.impairment.queue
    if not isinstance(queue, Codel | FqCodel):
        return case
    target, interval = (value // _UNIT * _UNIT for value in (queue.target, queue.interval))
    rounded = dataclasses.replace(queue, target=target, interval=interval)
    return dataclasses.replace(case, impairment=dataclasses.replace(case.impairment, queue=rounded))


@contextlib.contextmanager
def control_law() -> Iterator[None]:
    roots = _Roots()
    law = lambda queue, time: roots.law(queue, time)  # noqa: E731  (so that it is bound as a method)
    with patch.multiple(ControlledFifo, _count=property(roots.get, roots.set), _control_law=law):
        yield


def _update_average(queue: RedQueue, now: int) -> None:
    held = 0 if queue._idle_since is not None else OCTETS
    queue.average += queue._settings.weight * (queue.octets + held - queue.average)
    queue._idle_since = None


_configure_pie = PieQueue._configure


def _configure(queue: PieQueue, settings: Pie, mtu: int) -> None:
    _configure_pie(queue, settings, mtu)
    queue._least_octets -= OCTETS


@contextlib.contextmanager
def held_frame() -> Iterator[None]:
    """For RED and PIE."""
    with patch.object(RedQueue, "_update_average", _update_average), patch.object(PieQueue, "_configure", _configure):
        yield
