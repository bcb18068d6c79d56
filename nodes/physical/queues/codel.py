"""CoDel: controlled delay (RFC 8289).

A queue is good as long as it absorbs bursts, and bad when it stands. CoDel tells them apart by the one thing that
matters, how long frames wait: the *least* wait of an interval (100 ms, a long round trip) that stays above the target
(5 ms) means that the queue never drained in all that time. It looks at frames as they leave, so its signal is fresh,
and needs no rate.

    wait of the frame that leaves
      < target, or less than one full frame behind it      all is well, leave the dropping state
      ≥ target for a whole interval without exception      dropping: one at once, the next after interval / √count

    frames dropped  |       |    |   |  |  | | | | ...     the distance shrinks with the square root of their count:
                    ◀──100─▶◀─71▶◀58▶   ms                 TCP's rate falls in proportion to 1/√(loss rate)

When the wait falls below the target, dropping ends at once. If it has to begin again soon, it goes on at about the rate
that was reached before. With `ecn`, frames that can be marked are marked instead, and go on.

`ControlledFifo` is one such queue; FQ-CoDel has one of them for each flow."""

from __future__ import annotations

import math

from nodes.impairment import Codel, FqCodel, Queue
from nodes.physical.carried import Carried
from nodes.physical.queues.fifo import QUEUE_FULL, Fifo, checked, is_marked, largest_frame
from nodes.physical.statistics import Statistics

CODEL = "codel"

_RECENT = 16
"""Intervals after which the drop rate of the last dropping state is forgotten (RFC 8289 section 5.5)."""


class ControlParameters:
    """What all controlled queues of one line share."""

    __slots__ = ("ecn", "interval", "least_octets", "statistics", "target")

    def __init__(self, settings: Codel | FqCodel, mtu: int, statistics: Statistics) -> None:
        self.statistics = statistics
        self.configure(settings, mtu)

    def configure(self, settings: Codel | FqCodel, mtu: int) -> None:
        self.interval = checked("a CoDel interval", settings.interval)
        self.target = settings.target
        self.ecn = settings.ecn
        self.least_octets = largest_frame(mtu)


class ControlledFifo(Fifo):
    """One queue under CoDel, without a bound of its own. The names are those of RFC 8289 section 5; 0 is no time."""

    __slots__ = ("_count", "_drop_next", "_first_above_time", "_last_count", "_parameters", "dropping", "sojourn")

    def __init__(self, parameters: ControlParameters) -> None:
        super().__init__()
        self._parameters = parameters
        self._first_above_time = 0
        self._drop_next = 0
        self._count = 0
        self._last_count = 0
        self.dropping = False
        self.sojourn = 0
        """How long the last frame that left had waited."""

    def dequeue(self, now: int, others: int = 0) -> Carried | None:
        """The next frame that is not dropped. `others` are octets that wait for the same line in other queues.
        RFC 8289 section 5.5."""
        carried, above = self._take(now, others)
        if not above:
            self.dropping = False
        elif self.dropping:
            return self._go_on_dropping(carried, now, others)
        elif carried is not None:
            return self._begin_dropping(carried, now, others)
        return carried

    def state(self) -> dict[str, object]:
        """CoDel's variables, as values of JSON."""
        return {
            "sojourn": self.sojourn,
            "dropping": self.dropping,
            "count": self._count,
            "drop_next": self._drop_next if self.dropping else None,
        }

    def _take(self, now: int, others: int) -> tuple[Carried | None, bool]:
        """The frame at the head, and whether waits were above the target for an interval: `dodequeue`, section 5.6."""
        carried = self.pop()
        if carried is None:
            self._first_above_time = 0
            return None, False
        parameters = self._parameters
        self.sojourn = now - carried.note
        if self.sojourn < parameters.target or self.octets + others <= parameters.least_octets:
            self._first_above_time = 0
            return carried, False
        if not self._first_above_time:
            self._first_above_time = now + parameters.interval
            return carried, False
        return carried, now >= self._first_above_time

    def _go_on_dropping(self, carried: Carried | None, now: int, others: int) -> Carried | None:
        while self.dropping and carried is not None and now >= self._drop_next:
            self._count += 1
            if self._is_kept(carried):
                self._drop_next = self._control_law(self._drop_next)
                break
            carried, self.dropping = self._take(now, others)
            if self.dropping:
                self._drop_next = self._control_law(self._drop_next)
        return carried

    def _begin_dropping(self, carried: Carried, now: int, others: int) -> Carried | None:
        result: Carried | None = carried
        if not self._is_kept(carried):
            result, _ = self._take(now, others)
        self.dropping = True
        delta = self._count - self._last_count
        recent = now - self._drop_next < _RECENT * self._parameters.interval
        self._count = delta if delta > 1 and recent else 1
        self._last_count = self._count
        self._drop_next = self._control_law(now)
        return result

    def _is_kept(self, carried: Carried) -> bool:
        """The signal to the sender: a mark, where that is allowed and the frame can bear it, else the frame's loss."""
        parameters = self._parameters
        if parameters.ecn and is_marked(carried, parameters.statistics):
            return True
        parameters.statistics.dropped[CODEL] += 1
        return False

    def _control_law(self, time: int) -> int:
        return time + int(self._parameters.interval / math.sqrt(self._count))


class CodelQueue:
    """A controlled queue with a bound in packets: the discipline of a whole line."""

    __slots__ = ("_fifo", "_limit", "_parameters", "_statistics")

    def __init__(self, settings: Codel, *, mtu: int, statistics: Statistics) -> None:
        self._statistics = statistics
        self._parameters = ControlParameters(settings, mtu, statistics)
        self._fifo = ControlledFifo(self._parameters)
        self._limit = checked("a limit in packets", settings.packets)

    @property
    def packets(self) -> int:
        return self._fifo.packets

    @property
    def octets(self) -> int:
        return self._fifo.octets

    def enqueue(self, carried: Carried, now: int) -> None:
        if self._fifo.packets >= self._limit:
            self._statistics.dropped[QUEUE_FULL] += 1
        else:
            self._fifo.append(carried, now)

    def dequeue(self, now: int) -> Carried | None:
        return self._fifo.dequeue(now)

    def deadline(self) -> int | None:
        return None

    def timeout(self, now: int) -> None:
        """CoDel acts when frames leave."""

    def drain(self) -> list[Carried]:
        return self._fifo.drain()

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:  # noqa: ARG002  (the surface of all disciplines)
        if not isinstance(settings, Codel):
            return False
        self._parameters.configure(settings, mtu)
        self._limit = checked("a limit in packets", settings.packets)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002
        return {
            "discipline": "codel",
            "packets": self.packets,
            "octets": self.octets,
            "limit_packets": self._limit,
            **self._fifo.state(),
        }
