"""Loss detection without SACK: duplicate acknowledgments are counted (RFC 5681 section 3.2, RFC 6582).

A duplicate says that one segment left the network, but not which. So the count itself stands for what SACK would mark:
`left` octets, one segment for each duplicate, are taken off the pipe. That is the arithmetic of RFC 5681, where the
window is inflated by one segment per duplicate instead; the difference between both is the same. An acknowledgment of
new data covers the hole and what had arrived behind it, and uses the count up.

    first, second duplicate    limited transmit: one new segment each (RFC 3042), because the pipe has room for it
    third                      the first segment is lost: fast retransmit
    partial acknowledgment     so is the one that is first now: resend it, stay in recovery (RFC 6582 section 3.2)

`recover`, the end of what was outstanding at the last loss, guards the third: duplicates below it may be answers to
retransmissions, and do not begin another recovery (RFC 6582 sections 3.2 and 4).
"""

from __future__ import annotations

from nodes.transport.tcp.retransmission_queue import DUPLICATE_THRESHOLD

LIMITED_TRANSMIT = 2
"""Segments that duplicates alone may set free (RFC 3042 section 2)."""


class DuplicateCounter:
    """`count`: duplicates in a row. `left`: octets that they stand for."""

    __slots__ = ("count", "left")

    def __init__(self) -> None:
        self.count = 0
        self.left = 0

    def duplicate(self, mss: int, outstanding: int, *, repairing: bool, begins: bool = True) -> int:
        """One more. The octets that it reports as delivered: one segment, of which the first outstanding is none."""
        self.count += 1
        limit = max(outstanding - mss, 0)
        if not repairing:  # the third counts in the recovery that it `begins` (RFC 5681 section 3.2, step 3)
            segments = DUPLICATE_THRESHOLD if self.third and begins else LIMITED_TRANSMIT
            limit = min(limit, segments * mss)
        octets = max(min(mss, limit - self.left), 0)
        self.left += octets
        return octets

    def advanced(self, acknowledged: int, mss: int, *, repairing: bool) -> int:
        """New data is acknowledged: the octets of it that no duplicate has reported before. One segment filled the
        hole; the others are those that were counted."""
        self.count = 0
        counted = min(self.left, max(acknowledged - mss, 0))
        self.left = self.left - counted if repairing else 0
        return acknowledged - counted

    def reset(self) -> None:
        self.count = 0
        self.left = 0

    @property
    def third(self) -> bool:
        return self.count == DUPLICATE_THRESHOLD
