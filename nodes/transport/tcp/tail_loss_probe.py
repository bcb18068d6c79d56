"""The tail loss probe (RFC 8985 section 7).

Nothing is sent after the last segments of a flight, so nothing tells that they were lost, but the retransmission timer,
late and at the price of the whole window. So two round trips after the last transmission the sender probes: with one
segment of new data, or, if there is none, with the last one again. Its acknowledgment shows by SACK what is missing
before it, and RACK takes over.

    probe timeout   2 SRTT, at least 10 ms, and the peer's longest delayed acknowledgment on top if a single segment is
                    outstanding;
                    one second without SRTT; never later than the retransmission timer, which is restarted then
    when            established, nothing SACKed, no recovery, and no other probe outstanding

**A repaired loss is a loss** (section 7.4). If the last segment is sent again and that repairs it, no SACK ever shows a
hole. `end` (TLP.end_seq) is where the data ended when the probe left. If acknowledgments go beyond it, and no DSACK and
no duplicate showed that both copies had arrived, then the congestion control is told.
"""

from __future__ import annotations

from nodes.units import MILLISECOND, SECOND

WORST_DELAYED_ACK = 200 * MILLISECOND
"""TLP.max_ack_delay: how long common receivers hold a lone acknowledgment back (RFC 8985 section 7.2)."""

SHORTEST = 10 * MILLISECOND
"""What a busy machine adds to a round trip of microseconds is no sign of a loss. RFC 8985 leaves this to the timers of
a system; the draft that it came from had 10 ms."""

WITHOUT_SRTT = SECOND
"""RFC 8985 section 7.2."""


class TailLossProbe:
    """`armed_at`: since when the probe timer runs, None while it does not. `end`: what the outstanding probe has to
    be acknowledged up to, None without one."""

    __slots__ = ("_retransmission", "armed_at", "end")

    def __init__(self) -> None:
        self.armed_at: int | None = None
        self.end: int | None = None
        self._retransmission = False

    def deadline(self, retransmission_at: int, srtt: int | None, lone: bool) -> int | None:
        """When to probe, if at all. `lone`: a single segment is outstanding."""
        if self.armed_at is None or self.end is not None:
            return None
        timeout = WITHOUT_SRTT if srtt is None else max(2 * srtt, SHORTEST)
        if lone:
            timeout += WORST_DELAYED_ACK
        return min(self.armed_at + timeout, retransmission_at)

    def sent(self, nxt: int, *, retransmission: bool) -> None:
        """The probe left; `nxt` is SND.NXT after it."""
        self.armed_at = None
        self.end = nxt
        self._retransmission = retransmission

    def stop(self) -> None:
        """A recovery begins: what the probe was to find is known."""
        self.armed_at = None
        self.end = None

    def repaired(self, ack: int, dsack: tuple[int, int] | None, *, bare_duplicate: bool) -> bool:
        """An acknowledgment, while a probe is outstanding. True if the probe repaired a loss, to which the congestion
        control has to respond. `bare_duplicate`: a duplicate without any SACK block."""
        if self.end is None or ack < self.end:
            return False
        if not self._retransmission:
            self.end = None
            return False
        if (dsack is not None and dsack[1] == self.end) or bare_duplicate:
            self.end = None  # both copies arrived
            return False
        if ack == self.end:
            return False  # which of the two it was is not known yet
        self.end = None
        return True
