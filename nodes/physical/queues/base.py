"""Queue disciplines: which frames wait, in which order they leave, and which are dropped to tell senders to slow down.

A discipline stands in front of a server (`nodes.physical.server`), and its driver keeps two rules:

    a frame comes       enqueue; then, if the server is free, dequeue
    the server falls    dequeue, also when nothing seems to wait: None is how a discipline learns that the line
    free                is idle (RED's average ages by it, CoDel forgets what it saw)

Drops are counted by the discipline in the `Statistics` that it is given: "queue full" for what a bound refuses, and
the algorithm's name ("red", "codel", "pie") for what it drops early. A frame that it marks instead goes on with other
octets of the same length (`nodes.physical.congestion_mark`) and is counted in `marked`. The time at which a frame came
is in its `note` as long as it waits.

    drop_tail   full is full                                  the default, and the cause of bufferbloat
    red         early, at random, by the average length       Floyd and Jacobson 1993
    codel       early, when the least wait stays high         RFC 8289
    pie         early, at random, by a controller of the wait RFC 8033
    fq_codel    codel, in a queue for each flow               RFC 8290"""

from __future__ import annotations

from typing import Protocol, assert_never

from nodes.impairment import Codel, DropTail, FqCodel, Pie, Queue, Red
from nodes.physical.carried import Carried
from nodes.physical.queues.codel import CodelQueue
from nodes.physical.queues.drop_tail import DropTailQueue
from nodes.physical.queues.fq_codel import FqCodelQueue
from nodes.physical.queues.pie import PieQueue
from nodes.physical.queues.red import RedQueue
from nodes.physical.statistics import Statistics


class QueueDiscipline(Protocol):
    """`packets` and `octets` wait now. Times are not earlier than those of the call before."""

    @property
    def packets(self) -> int: ...

    @property
    def octets(self) -> int: ...

    def enqueue(self, carried: Carried, now: int) -> None:
        """Take a frame, or drop and count it. It, or its frame, must not be used by the caller after that."""

    def dequeue(self, now: int) -> Carried | None:
        """The frame that the server sends next; None if none waits. It may drop some before that one."""

    def deadline(self) -> int | None:
        """When `timeout` is due. Being late changes nothing of what it does."""

    def timeout(self, now: int) -> None: ...

    def drain(self) -> list[Carried]:
        """All frames in the order in which they came, none of them dropped; none stays."""

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:
        """Go on with other values; the frames that wait and what the algorithm has learned stay, even if a new bound is
        below what waits. False where the settings are of another discipline: nothing has changed then."""

    def snapshot(self, now: int) -> dict[str, object]:
        """Its state as values of JSON."""


def make_queue(queue: Queue | None, *, rate: int, mtu: int, seed: int, statistics: Statistics) -> QueueDiscipline:
    """The discipline that `queue` describes; None is drop-tail of what the line sends in 100 ms (`default_octets`).
    `rate` is that of the server in bit/s. Raises MisuseError for values with which it could not work."""
    match queue:
        case None:
            return DropTailQueue(DropTail(), rate=rate, mtu=mtu, statistics=statistics)
        case DropTail():
            return DropTailQueue(queue, rate=rate, mtu=mtu, statistics=statistics)
        case Red():
            return RedQueue(queue, rate=rate, mtu=mtu, seed=seed, statistics=statistics)
        case Codel():
            return CodelQueue(queue, mtu=mtu, statistics=statistics)
        case FqCodel():
            return FqCodelQueue(queue, mtu=mtu, seed=seed, statistics=statistics)
        case Pie():
            return PieQueue(queue, mtu=mtu, seed=seed, statistics=statistics)
        case _:
            assert_never(queue)


def change_queue(
    current: QueueDiscipline, queue: Queue | None, *, rate: int, mtu: int, seed: int, statistics: Statistics
) -> QueueDiscipline:
    """The current discipline with other values, or another one in its place, into which the frames that wait go over
    with the times at which they came. Raises MisuseError as `make_queue`."""
    if current.change(queue or DropTail(), rate, mtu):
        return current
    following = make_queue(queue, rate=rate, mtu=mtu, seed=seed, statistics=statistics)
    for carried in current.drain():
        following.enqueue(carried, carried.note)
    return following
