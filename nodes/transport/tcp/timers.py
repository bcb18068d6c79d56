"""The timers of TCP: a small table for each connection, one heap for all of them.

    timer            runs while                                        expires into
    RETRANSMISSION   something sent is not acknowledged                resending it (RFC 6298), a tail loss probe or a
                                                                       reordering check (RFC 8985), whichever is first
    PERSIST          the peer's window is shut and data waits          a window probe (RFC 9293 section 3.8.6.1)
    OVERRIDE         less than a full segment waits for more           sending it all the same (section 3.8.6.2.1)
    DELAYED_ACK      an acknowledgment is owed                         sending it (section 3.8.6.3)
    PACING           the next segment has its time                     sending it
    KEEP_ALIVE       nothing is heard, if the user asked               a probe, in the end an abort (section 3.8.4)
    SYN              the connection is not open yet                    giving up (section 3.8.3)
    USER_TIMEOUT     the user's limit runs                             an abort (RFC 5482)
    LINGER           the user closes and waits for the last octet      an abort
    FIN_WAIT_2       the user is gone, the peer's FIN has not come     forgetting the connection
    TIME_WAIT        2 MSL                                             forgetting the connection (section 3.4.1)

Nearly every segment moves a timer: each acknowledgment pushes the retransmission timer out, each second segment stops
the delayed acknowledgment. Timers hardly ever expire. So moving must be cheap, and a node with 10,000 connections must
not pay for their number:

- `Timers`, the connection's own table, knows its earliest time. Moving a timer is a dict entry and a comparison; only
  moving the earliest one to later looks at the others, of which two or three run.
- `TimerQueue` holds at most one valid heap entry per connection, at the time in `item.scheduled`. A *later* deadline
  leaves it where it is: when it comes up, the connection is handed out, finds nothing due, and is scheduled again with
  what its timers then say. A retransmission timer of a second that is moved 10,000 times in that second costs one heap
  operation. An *earlier* deadline pushes a second entry, and the first no longer agrees with `scheduled` and is skipped
  when it comes up. Skipped entries may be far away (a keep-alive timer of two hours beside delayed acknowledgments), so
  the heap is rebuilt when they outnumber the valid ones.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

SLACK = 64
"""Heap entries; below this a rebuild costs more than the memory it frees."""


class Timer(IntEnum):
    """In the order in which those of one instant are handed out: what ends a connection comes before what it would
    still send. Integers, because Python hashes them faster than other enumerations."""

    TIME_WAIT = 0
    FIN_WAIT_2 = 1
    SYN = 2
    USER_TIMEOUT = 3
    LINGER = 4
    KEEP_ALIVE = 5
    RETRANSMISSION = 6
    PERSIST = 7
    OVERRIDE = 8
    PACING = 9
    DELAYED_ACK = 10

    @property
    def text(self) -> str:
        """`delayed_ack`, as traces have it."""
        return self.name.lower()


class Timers:
    """The timers of one connection. `earliest` is when the next one expires (ns), None while none runs."""

    __slots__ = ("_times", "earliest")

    def __init__(self) -> None:
        self._times: dict[Timer, int] = {}
        self.earliest: int | None = None

    def set(self, timer: Timer, at: int) -> None:
        """Start `timer`, or move it."""
        times = self._times
        earliest = self.earliest
        if earliest is None or at <= earliest:
            times[timer] = at
            self.earliest = at
        elif times.get(timer) == earliest:
            times[timer] = at
            self.earliest = min(times.values())
        else:
            times[timer] = at

    def cancel(self, timer: Timer) -> None:
        """Stop `timer`, if it runs."""
        if self._times.pop(timer, None) == self.earliest:
            self.earliest = min(self._times.values(), default=None)

    def cancel_all(self) -> None:
        self._times.clear()
        self.earliest = None

    def get(self, timer: Timer) -> int | None:
        """When `timer` expires, None while it does not run."""
        return self._times.get(timer)

    def expired(self, now: int) -> list[Timer]:
        """The timers whose time has come, earliest first. They no longer run."""
        if self.earliest is None or now < self.earliest:
            return []
        times = self._times
        due = sorted((at, timer) for timer, at in times.items() if at <= now)
        for _, timer in due:
            del times[timer]
        self.earliest = min(times.values(), default=None)
        return [timer for _, timer in due]

    def running(self, now: int) -> dict[str, int]:
        """Name and time left (ns) of each running timer, for people to read."""
        return {timer.text: at - now for timer, at in sorted(self._times.items())}


class Scheduled(Protocol):
    """What a `TimerQueue` holds. `scheduled` begins as None and is the queue's own from then on."""

    scheduled: int | None


Item = TypeVar("Item", bound=Scheduled)


class TimerQueue(Generic[Item]):
    """Who of many wants to be called, and when. Items of one instant come out in the order in which they were
    scheduled: the same in every run."""

    __slots__ = ("_heap", "_serial", "_valid")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        self._serial = 0
        self._valid = 0

    def schedule(self, item: Item, at: int | None) -> None:
        """Hand out `item` at `at` (ns) or earlier; None asks for nothing. What was asked for before stays valid."""
        if at is None:
            return
        scheduled = item.scheduled
        if scheduled is None:
            self._valid += 1
        elif at >= scheduled:
            return
        item.scheduled = at
        self._serial += 1
        heappush(self._heap, (at, self._serial, item))
        if len(self._heap) > 2 * self._valid + SLACK:
            self._rebuild()

    def cancel(self, item: Item) -> None:
        """Do not hand out `item`, unless it is scheduled again."""
        if item.scheduled is not None:
            item.scheduled = None
            self._valid -= 1

    def due(self, now: int) -> list[Item]:
        """The items whose time has come, each once, earliest first. Each may find that nothing of its own is due; it
        is not scheduled any more, and who calls schedules it with its next deadline."""
        heap = self._heap
        items = []
        while heap and heap[0][0] <= now:
            at, _, item = heappop(heap)
            if item.scheduled == at:
                item.scheduled = None
                self._valid -= 1
                items.append(item)
        return items

    def deadline(self) -> int | None:
        """When the next item is due (ns), None where there is none."""
        heap = self._heap
        while heap:
            at, _, item = heap[0]
            if item.scheduled == at:
                return at
            heappop(heap)
        return None

    def __len__(self) -> int:
        """The number of scheduled items."""
        return self._valid

    def _rebuild(self) -> None:
        """Keep the first entry of each item that agrees with it. Two may: it was scheduled for one time twice."""
        kept: dict[int, tuple[int, int, Item]] = {}
        for entry in sorted(self._heap):
            if entry[2].scheduled == entry[0]:
                kept.setdefault(id(entry[2]), entry)
        self._heap = list(kept.values())
        heapify(self._heap)
