"""Finding out that a retransmission was needless, so that its reduction can be undone.

    who        how it is known                                                                      source
    Eifel      the first new acknowledgment echoes a timestamp from before the retransmission       RFC 3522
    DSACK      every octet that was resent is reported as received twice                            RFC 3708
    F-RTO      after a timeout the acknowledgments go on beyond the one segment that was resent     RFC 5682

**F-RTO** needs no option. After a timeout only the first segment is resent. If the rest of the flight was lost too, its
acknowledgment is followed by nothing or by duplicates. If the flight was only late, acknowledgments of it go on coming:

    timeout ──> FIRST ──advances, not over all──> SECOND ──beyond what was resent──> spurious
                  │  send up to two new segments  │
                  ├── duplicate (without SACK)    ├── duplicate, or SACK of the new segments
                  ├── all is acknowledged         ├── no new data to send
                  ▼                               ▼
                     OFF: resend everything, in slow start

With SACK (section 3.1) a duplicate in FIRST is only noted, and in SECOND new SACK information below the recovery point
counts as advancing.
"""

from __future__ import annotations

from enum import Enum

NEW_SEGMENTS = 2
"""What F-RTO may send between the two acknowledgments (RFC 5682 section 2.1 step 2b)."""


MOST_RESENT = 256
"""Retransmissions of one reduction that are watched; where more were needed, something was lost."""


def _without(known: tuple[int, int], start: int, end: int) -> list[tuple[int, int]]:
    """What is left of a range without [start, end)."""
    parts = [(known[0], min(known[1], start)), (max(known[0], end), known[1])]
    return [part for part in parts if part[0] < part[1]]


class ReductionUndo:
    """Watches one reduction: from `begin`, over its retransmissions, until all that was outstanding when it ended is
    acknowledged (`expires`), when no DSACK for it can be under way any more."""

    __slots__ = ("_first_end", "_since", "_unproven", "active", "expires", "resent", "resent_at")

    def __init__(self) -> None:
        self.active = False
        self.expires: int | None = None
        self.resent = 0
        self.resent_at: int | None = None
        self._since = 0
        self._first_end = 0
        self._unproven: list[tuple[int, int]] = []

    def begin(self, una: int) -> None:
        self.active = True
        self.expires = None
        self.resent = 0
        self.resent_at = None
        self._since = una
        self._unproven = []

    def stop(self) -> None:
        self.active = False

    def ended(self, nxt: int) -> None:
        """The recovery is over; DSACKs of its retransmissions may still come."""
        if self.expires is None:
            self.expires = nxt

    def sent_again(self, start: int, end: int, now: int) -> None:
        if self.resent_at is None:
            self.resent_at = now
            self._first_end = end
        self.resent += end - start
        self._unproven.append((start, end))
        if len(self._unproven) > MOST_RESENT:
            self.active = False

    def by_dsack(self, start: int, end: int, una: int) -> bool:
        """[start, end) arrived twice. True if with it all that was resent did (RFC 3708 section 3.3)."""
        if not self.active or not self._unproven or start < self._since:
            return False
        if self.expires is not None and una > self.expires:
            self.active = False
            return False
        left = [part for known in self._unproven for part in _without(known, start, end)]
        proved, self._unproven = left != self._unproven, left
        return proved and not left

    def by_echo(self, ack: int, echo_sent_at: int | None, resolution: int) -> bool:
        """An acknowledgment of new data, up to `ack`, echoes a timestamp of `echo_sent_at` (RFC 3522 section 3.2). It
        is proof if it covers the first retransmission and echoes an earlier tick (one per `resolution` ns)."""
        if not self.active or self.expires is not None or self.resent_at is None or echo_sent_at is None:
            return False
        return ack >= self._first_end and echo_sent_at // resolution < self.resent_at // resolution


class Step(Enum):
    OFF = "off"
    FIRST = "first"
    SECOND = "second"


class ForwardRto:
    """`allowance`: octets of new data that may leave while the second acknowledgment is awaited; `new_data_sent`: some
    did."""

    __slots__ = ("_recover", "_sack", "allowance", "new_data_sent", "step")

    def __init__(self, sack: bool) -> None:
        self._sack = sack
        self._recover = 0
        self.allowance = 0
        self.new_data_sent = False
        self.step = Step.OFF

    def sent(self, octets: int) -> None:
        """New data left."""
        self.allowance -= octets
        self.new_data_sent = True

    def timeout(self, recover: int) -> None:
        """The timer expired, and the first segment is being resent. `recover`: the end of what was outstanding."""
        self.step = Step.FIRST
        self._recover = recover

    def stop(self) -> None:
        self.step = Step.OFF
        self.allowance = 0

    def acknowledged(self, ack: int, *, advanced: bool, fresh: bool, highest: int, mss: int) -> bool:
        """True if this acknowledgment shows that the timeout was spurious. `fresh`: it reports, cumulatively or by
        SACK, data that was sent once; `highest`: the end of the highest data that it reports."""
        if self.step is Step.FIRST:
            if advanced and ack < self._recover:
                self.step = Step.SECOND
                self.new_data_sent = False
                self.allowance = NEW_SEGMENTS * mss
            elif advanced or not self._sack:
                self.stop()
        elif self.step is Step.SECOND:
            late = fresh and (advanced or self._sack)
            if self._sack and highest > self._recover:
                late = False
            self.stop()
            return late
        return False
