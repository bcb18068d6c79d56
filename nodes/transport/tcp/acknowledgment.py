"""When to acknowledge (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2), and the receiver's side of ECN.

    what came                                                acknowledgment
    in order, the second full segment since the last one     at once (SHLD-19)
    in order, less than that                                 after `delay`, at most 500 ms (SHLD-18, MUST-40)
    the same while the peer is in slow start                 at once, for QUICK_ACKS segments
    out of order, filling a gap, duplicate, FIN, probe       at once (`demand`): the peer's recovery runs on these
    the first mark of ECN, or CWR                            at once: the peer's window is about to be, or is, small

Waiting has a chance to save a segment: our own data, or a second segment, takes the acknowledgment along. **Quick
acknowledgments** are for a peer that starts: its window grows with every acknowledgment, and Nagle's algorithm may hold
its second write. A peer starts when the connection does, and again after having been idle (RFC 5681 section 4.1). Where
our data took a waiting acknowledgment along, the two sides are in dialog, waiting pays, and the phase is over; it may
come back after a wait was in vain.

A **full segment** is not known from the MSS that we announced: the peer subtracts options, and may know of a smaller
path MTU. So it is the largest that came, forgotten when DECAY shorter ones came. Where the network puts segments
together (GRO, offload), an arrival counts as many as it could have been: never more than our MSS is one.

**ECN** (RFC 3168 section 6.1.3): from the first packet marked CE on, all acknowledgments carry ECE until the peer says
CWR. A mark on the packet with the CWR itself counts as a new one.

    received(octets, now)    data in order while no gap is open: the hot path
    demand()                 all else
    ecn(marked, cwr)         for a segment with data that is marked CE, or has CWR; before `received`
    sent(with_data)          a segment with the ACK bit left
    timeout(now)             `deadline` is an attribute: ns, or None
    now_needed               an acknowledgment should leave before the node rests
    owed                     octets received in order that were not acknowledged yet
    echo                     set ECE
"""

from __future__ import annotations

from nodes.units import MILLISECOND, SECOND

QUICK_ACKS = 16
"""Segments of a peer that starts which are acknowledged at once, as in Linux: what takes an initial window of ten
segments through its first doubling."""

IDLE = SECOND
"""Silence after which the peer starts again: RFC 5681 section 4.1 has its retransmission timeout, at least this."""

DECAY = 16
"""Shorter segments after which the full size is estimated anew."""

MINIMUM_FULL = 536
"""Octets (RFC 9293 section 3.7.1) below which the full size does not fall: short writes are not short segments."""

MAXIMUM_DELAY = 500 * MILLISECOND
"""MUST-40."""


class AckPolicy:
    """`mss` is what we announced: the largest segment that can come. `delay` in nanoseconds, at most 500 ms.
    `quick_acks` 0 switches the quick phase off."""

    __slots__ = (
        "_delay",
        "_enough",
        "_full",
        "_largest",
        "_last",
        "_mss",
        "_quick",
        "_quick_acks",
        "_shorter",
        "_waiting_pays",
        "deadline",
        "echo",
        "now_needed",
        "owed",
    )

    def __init__(self, mss: int, delay: int, quick_acks: int = QUICK_ACKS) -> None:
        self.now_needed = False
        self.owed = 0
        self.deadline: int | None = None
        self.echo = False
        self._mss = mss
        self._delay = min(delay, MAXIMUM_DELAY)
        self._full = min(mss, MINIMUM_FULL)
        self._enough = 2 * self._full
        self._shorter = 0  # segments below the full size since the last estimate, and the largest of them
        self._largest = 0
        self._quick_acks = quick_acks
        self._quick = 0
        self._last = -IDLE - 1  # when data came last; the first starts the quick phase
        self._waiting_pays = False

    @property
    def full(self) -> int:
        """Octets of a full segment of the peer, as far as is known."""
        return self._full

    def received(self, octets: int, now: int) -> None:
        """New octets came in order, and no gap is open."""
        full = self._full
        if octets != full:
            self._measure(octets)
        if now - self._last > IDLE:
            self._start()
        self._last = now
        self.owed += octets
        if self.owed >= self._enough:
            self.now_needed = True
        elif self._quick > 0:
            self._quick -= 1
            self.now_needed = True
        elif self.deadline is None:
            self.deadline = now + self._delay

    def demand(self) -> None:
        """What came must be acknowledged at once."""
        self.now_needed = True

    def ecn(self, marked: bool, cwr: bool) -> None:
        """A segment with data was marked CE, has CWR, or both."""
        if cwr:
            self.echo = False
            self.now_needed = True
        if marked and not self.echo:
            self.echo = True
            self.now_needed = True

    def sent(self, with_data: bool = False) -> None:
        """A segment with the ACK bit and the newest RCV.NXT left; `with_data`: it had to anyway."""
        if self.deadline is not None:
            if with_data:
                self._waiting_pays = True
                self._quick = 0
            self.deadline = None
        self.owed = 0
        self.now_needed = False

    def timeout(self, now: int) -> None:
        """The wait is over."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self.now_needed = True
            self._waiting_pays = False

    def _start(self) -> None:
        if not self._waiting_pays:
            self._quick = self._quick_acks

    def _measure(self, octets: int) -> None:
        """Keeps the estimate of the full size."""
        if octets > self._full:
            self._set_full(min(octets, self._mss))
            return
        self._shorter += 1
        self._largest = max(self._largest, octets)
        if self._shorter >= DECAY:
            self._set_full(max(self._largest, min(self._mss, MINIMUM_FULL)))

    def _set_full(self, octets: int) -> None:
        self._full = octets
        self._enough = 2 * octets
        self._shorter = self._largest = 0
