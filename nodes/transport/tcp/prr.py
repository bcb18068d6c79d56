"""Proportional Rate Reduction: how much may be sent for each acknowledgment while the window shrinks (RFC 9937).

Halving the window at once would silence the sender for half a round trip, until enough has drained, and then depend on
an unbroken stream of acknowledgments. PRR sends all the way through, in proportion: with `ssthresh` at half of what was
in flight, one segment for every two that are reported delivered.

    pipe > ssthresh     proportional      sent so far = delivered so far × ssthresh / RecoverFS
    pipe <= ssthresh    reduction bound   as much as was delivered (conservative, CRB), and one segment more when all
                                          goes well (slow start, SSRB), but not above ssthresh

"All goes well" is a safe acknowledgment: SND.UNA advances and no further loss is found. Heavy losses take the pipe
below `ssthresh` at once; the second rule then fills it again, without a burst.

The first transmission is always allowed: it is the fast retransmit.
"""

from __future__ import annotations


class ProportionalRateReduction:
    """`quota` is SndCnt: the octets that may be sent until the next acknowledgment."""

    __slots__ = ("_delivered", "_flight", "_mss", "_out", "active", "quota", "ssthresh")

    def __init__(self, mss: int) -> None:
        self._mss = mss
        self._flight = 1
        self._delivered = 0
        self._out = 0
        self.active = False
        self.ssthresh = 0
        self.quota = 0

    def start(self, flight: int, ssthresh: int) -> None:
        """A reduction begins. `flight` is RecoverFS: what was outstanding and not SACKed before the acknowledgment that
        began it. `ssthresh` is where the pipe is to be in the end."""
        self.active = True
        self._flight = max(flight, 1)
        self.ssthresh = ssthresh
        self._delivered = 0
        self._out = 0
        self.quota = 0

    def stop(self) -> None:
        self.active = False
        self.quota = 0

    def acknowledged(self, delivered: int, in_flight: int, safe: bool) -> None:
        """RFC 9937 section 6.2, on every acknowledgment. `delivered` octets are new; `in_flight` is after that."""
        self._delivered += delivered
        if in_flight > self.ssthresh:
            quota = -(-self._delivered * self.ssthresh // self._flight) - self._out
        else:
            quota = max(self._delivered - self._out, delivered)
            if safe:
                quota += self._mss
            quota = min(self.ssthresh - in_flight, quota)
        quota = max(quota, 0)
        if not self._out:
            quota = max(quota, self._mss)  # the fast retransmit
        self.quota = quota

    def sent(self, octets: int) -> None:
        """Anything left, new or again."""
        self._out += octets
        self.quota -= octets

    def set_mss(self, mss: int) -> None:
        self._mss = mss
