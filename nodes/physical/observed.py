"""One direction of a link that others carry, observed from its two ends: how long frames took, and what became of them.

                 entered(frame, time)            left(frame, time)
                        │                               │
        sender ════════ ● ═══════ not ours ════════════ ● ════════ receiver

Theory of operation. Nobody tells which of the frames that leave is which of those that entered; so they are told by
their content, by a 64-bit hash of all their octets. What is known of each frame that leaves is then

    inside, once        it passed: its delay is the difference of the two times
    inside, more often  one of several alike (a repeated ARP request), nobody knows which. No delay is counted, for
                        of two the first may be lost, and the delay of the second would be too long
    left before         a duplicate, with a delay of its own
    unknown             its content has changed on the way: corrupted

A frame that left before one that entered earlier has overtaken it, and is counted as reordered, once. (netem counts the
frames that it sends early, too. RFC 4737 counts the late ones: of a frame that overtakes ten it would make ten.) Those
that left in order form a rising sequence of numbers; a late one takes from its end all that are greater.

Those inside are forgotten after LIFE, those that have left after AFTERLIFE. To forget costs nothing: there are two
generations of each, and when the young has had its time, or is full, it becomes the old, whose place it takes. What
leaves unknown is called corrupted only when this is sure: not where its entry may have been missed, where others were
forgotten that may be inside yet, or where the observation began while frames were inside.

A sample of the frames does as well, if both ends choose the same ones by their content. A frame then stands for
`one_in` frames, in all that is counted here. Frames overtaken that are not in the sample are not seen: the count of
those reordered is then too small.
"""

from __future__ import annotations

from typing import TypeAlias

from nodes.physical.statistics import Distribution
from nodes.units import MILLISECOND, SECOND

LIFE = 30 * SECOND
"""What has not left after that, or twice that, is lost; a queue that holds a frame for longer has no use."""
AFTERLIFE = 2 * SECOND
"""For so long after a frame, or twice as long, its duplicates are known."""
MOST_INSIDE = 1 << 15
"""Frames of a generation: 200 octets for each, 6.5 MB. A second at 30,000 frames/s, or at a tenth of that ten."""
MOST_LEFT = 1 << 14
LEAST_PATIENCE = SECOND
PATIENCE = 4
"""A frame that has been inside for so many times the longest delay that was seen is not expected any more."""
LATE_NEWS = 100 * MILLISECOND
"""For so long after a frame that left, one may still hear that it entered: the ends are heard one after the other."""
SKEW = MILLISECOND
"""What is passed on at once may seem to have left a little before it entered: two times were taken of two clocks."""
MOST_STRANGERS = 1 << 10
MOST_IN_ORDER = 1 << 13

_Inside: TypeAlias = tuple[int, int, int, bool]
"""Time and number of the last frame with this content to enter, how many of them are inside, and whether there were
several at once, so that they are alike. A plain tuple: one is made for each frame."""


class ObservedLine:
    """Times in ns, of one clock. `begun` is a time from which on all frames that leave have been seen to enter; those
    that leave unknown before are not held against the line."""

    __slots__ = (
        "_born",
        "_in_order",
        "_inside",
        "_left",
        "_number",
        "_older_inside",
        "_older_left",
        "_passed_on",
        "_strangers",
        "_sure_from",
        "alike",
        "corrupted",
        "delay",
        "duplicated",
        "least_sampled",
        "one_in",
        "reordered",
        "unknown",
    )

    def __init__(self, begun: int = 0) -> None:
        self.delay = Distribution()
        self.duplicated = self.reordered = self.corrupted = 0
        self.alike = 0
        """Frames that left while several with their content were inside."""
        self.unknown = 0
        """Frames that left, and may have entered unseen."""
        self.one_in = self.least_sampled = 1
        self._number = 0
        self._inside: dict[int, _Inside] = {}
        self._older_inside: dict[int, _Inside] = {}
        self._left: dict[int, int | None] = {}
        """When those that left had entered; None for those that are alike."""
        self._older_left: dict[int, int | None] = {}
        self._born = self._passed_on = 0
        """When the young generations of those inside and of those that left began."""
        self._strangers: dict[int, int] = {}
        self._in_order: list[int] = []
        self._sure_from = begun

    def entered(self, frame: bytes, now: int) -> None:
        """A frame came to the line."""
        key = hash(frame)
        self._number += 1
        if self._strangers and self._strangers.get(key, now - SKEW) > now - SKEW:
            self._passed(key, (now, self._number, 1, False), self._strangers.pop(key))
            return
        inside = self._inside
        before = inside.get(key) or self._older_inside.pop(key, None)
        if before is not None and now - before[0] < self._patience():
            inside[key] = now, self._number, before[2] + 1, True
        else:
            inside[key] = now, self._number, 1, False
        if len(inside) > MOST_INSIDE:
            self._forget_inside(now)

    def left(self, frame: bytes, now: int) -> None:
        """A frame came out."""
        key = hash(frame)
        found = self._inside.pop(key, None)
        if found is not None:
            self._passed(key, found, now)
        elif not self._recognized(key, now):
            self._meet_stranger(key, now)

    def timeout(self, now: int) -> None:
        """Forget what is old; call it now and then. `now` is a time up to which both ends have been heard."""
        strangers = self._strangers
        while strangers and (time := strangers[key := next(iter(strangers))]) + LATE_NEWS <= now:
            del strangers[key]
            self._judge(time)
        if now - self._born >= LIFE:
            self._forget_inside(now)
        if now - self._passed_on >= AFTERLIFE:
            self._forget_left(now)

    def sample(self, one_in: int, now: int) -> None:
        """From now on, each frame that is seen stands for so many. Some of those that leave now were not in the sample
        when they entered, or the two ends did not change at once."""
        self.miss(now)
        self.one_in = one_in
        self.least_sampled = max(self.least_sampled, one_in)

    def miss(self, now: int) -> None:
        """Frames that entered up to now have not been seen."""
        self._sure_from = max(self._sure_from, now + self._patience())

    def snapshot(self) -> dict[str, object]:
        """As values of JSON, delays in ns. `sampled`: the share of the frames that was looked at, when it was least."""
        return {
            "delay": self.delay.snapshot(),
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "corrupted": self.corrupted,
            "alike": self.alike,
            "unknown": self.unknown,
            "sampled": 1 / self.least_sampled,
        }

    def _recognized(self, key: int, now: int) -> bool:
        found = self._older_inside.pop(key, None)
        if found is not None:
            self._passed(key, found, now)
            return True
        for known in (self._left, self._older_left):
            if key in known:
                self.duplicated += self.one_in
                if (time := known[key]) is not None:
                    self.delay.add(now - time, self.one_in)
                return True
        return False

    def _passed(self, key: int, found: _Inside, now: int) -> None:
        time, number, copies, alike = found
        if alike:
            self.alike += self.one_in
            if copies > 1:
                self._inside[key] = time, number, copies - 1, True
            else:
                self._left[key] = None
            return
        self._left[key] = time
        if len(self._left) > MOST_LEFT:
            self._forget_left(now)
        self.delay.add(now - time, self.one_in)
        numbers = self._in_order
        while numbers and numbers[-1] > number:
            numbers.pop()
            self.reordered += self.one_in
        numbers.append(number)
        if len(numbers) > MOST_IN_ORDER:
            del numbers[: MOST_IN_ORDER // 2]

    def _meet_stranger(self, key: int, now: int) -> None:
        strangers = self._strangers
        if key in strangers:
            self._judge(strangers.pop(key))
        elif len(strangers) >= MOST_STRANGERS:
            self._judge(strangers.pop(next(iter(strangers))))
        strangers[key] = now

    def _judge(self, time: int) -> None:
        if time >= self._sure_from:
            self.corrupted += self.one_in
        else:
            self.unknown += self.one_in

    def _forget_inside(self, now: int) -> None:
        """The old generation is forgotten. Where that is early, some of it may be inside yet."""
        if self._older_inside and now - self._born < self._patience():
            self.miss(now)
        self._older_inside, self._inside, self._born = self._inside, {}, now

    def _forget_left(self, now: int) -> None:
        self._older_left, self._left, self._passed_on = self._left, {}, now

    def _patience(self) -> int:
        """For how long a frame may be expected to leave."""
        if not self.delay.count:
            return LIFE
        return min(max(PATIENCE * self.delay.maximum, LEAST_PATIENCE), LIFE)
