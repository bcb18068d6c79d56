"""netem's slots: a link that opens from time to time, as one does that is shared in time.

Frames that are due wait until the slot opens, and leave together: at most so many of them, and so many octets (the
frame that goes beyond is the last). Then the next slot is drawn. Slots are not a clock, though: one is also drawn when
the link looks at its first frame and finds that the slot opens before that frame is due. Then the next opens a while
after that look, so an idle link has no slots that pass unused. A link looks when a frame arrives, when one has left,
and when the time has come at which it expected one to leave.
"""

from __future__ import annotations

from nodes.impairment import Slot
from nodes.physical.jitter import MAXIMUM_JITTER, spread, table_of
from nodes.physical.tausworthe import Tausworthe

_ANY = 1 << 62


class Slots:
    """`opens` is when the present slot opens or has opened (ns). Plain intervals come from a generator of their own,
    those of a distribution from netem's, as in the kernel."""

    __slots__ = (
        "_delay",
        "_frames",
        "_interval",
        "_jitter",
        "_octets",
        "_plain",
        "_random",
        "_slot",
        "_table",
        "opens",
    )

    def __init__(self, slot: Slot, random: Tausworthe, now: int) -> None:
        self._slot = slot
        self._random = random
        self._plain = random.sibling("slots")
        self._jitter = min(abs(slot.jitter), MAXIMUM_JITTER)
        self._table = table_of(slot.distribution) if slot.distribution is not None else ()
        self._open(now)

    def next(self, now: int) -> None:
        """Draw the slot after the present one."""
        self._open(now + self._wait())

    def spend(self, octets: int, now: int) -> None:
        """A frame has left in this slot."""
        self._frames -= 1
        self._octets -= octets
        if self._frames <= 0 or self._octets <= 0:
            self.next(now)

    def _open(self, at: int) -> None:
        self.opens = at
        self._frames = self._slot.packets or _ANY
        self._octets = self._slot.octets or _ANY

    def _wait(self) -> int:
        slot = self._slot
        if slot.distribution is None:
            width = max(slot.maximum - slot.minimum, 0)
            return slot.minimum + (self._plain.getrandbits(32) * width >> 32)
        if not self._jitter:
            return slot.delay
        return slot.delay + spread(self._random.draw(), self._jitter, self._table)


def make_slots(slot: Slot | None, random: Tausworthe, now: int) -> Slots | None:
    """None where no intervals are given, which netem takes for a link that is always open."""
    if slot is None:
        return None
    times = (slot.delay, slot.jitter) if slot.distribution is not None else (slot.minimum, slot.maximum)
    return Slots(slot, random, now) if any(times) else None
