"""The round-trip time and the retransmission timeout (RFC 6298).

    first sample R:   SRTT = R                 RTTVAR = R / 2
    later samples:    RTTVAR += (|SRTT - R| - RTTVAR) / 4
                      SRTT   += (R - SRTT) / 8
    always:           RTO = SRTT + max(G, 4 RTTVAR), not less than the minimum, not more than the maximum

The mean alone would not do: with a timeout of twice the mean, a loaded path whose times spread widely is flooded with
retransmissions of segments that are only late. Four mean deviations above the mean is what Van Jacobson found to be
rarely exceeded ("Congestion Avoidance and Control", 1988).

**Karn.** The acknowledgment of a segment that was sent twice may belong to either copy, so it is no sample, unless a
timestamp tells the copies apart (RFC 6298 section 3). That rule is the caller's. The back-off is the other half of the
algorithm: each expiry doubles the timeout, and it stays doubled until a valid sample says how long the path now takes
(section 5.5 ff.). Otherwise a path that became slower than the RTO would never yield a sample.

**Many samples per round trip.** With timestamps each acknowledgment is a sample, and the gains 1/8 and 1/4, meant for
one per round trip, would forget all history within a fraction of one. RFC 7323 appendix G divides them by the samples
expected in a round trip: `expected`.

**The minimum.** RACK (RFC 8985 section 6.2) and BBR want the smallest round trip of the last minutes: the path without
its queues. It is kept as the minimum of each of the last ten slots of 30 s, which costs one comparison per sample and
forgets a time that is no longer seen after 270 to 330 s.
"""

from __future__ import annotations

from nodes.errors import MisuseError
from nodes.units import SECOND

TIMEOUT_AFTER_LOST_SYN = 3 * SECOND
"""RFC 6298 section 5.7, the initial timeout of its predecessor RFC 2988."""

MINIMUM_WINDOW = 300 * SECOND
"""RFC 8985 section 6.2 step 1 leaves it open; paths change by routing within minutes."""
_SLOT = MINIMUM_WINDOW // 10


class RttEstimator:
    """All times in nanoseconds. `timeout` is what the retransmission timer is set to: `rto`, doubled `backed_off`
    times. `srtt`, `rttvar`, `latest` and `min_rtt` are None before the first sample."""

    __slots__ = (
        "_granularity",
        "_maximum",
        "_minima",
        "_minimum",
        "_slot_end",
        "backed_off",
        "latest",
        "min_rtt",
        "rto",
        "rttvar",
        "srtt",
        "timeout",
    )

    def __init__(self, initial: int, minimum: int, maximum: int, granularity: int) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._granularity = granularity
        self._minima: list[tuple[int, int]] = []  # (when the slot ends, its minimum), oldest first
        self._slot_end = 0
        self.srtt: int | None = None
        self.rttvar: int | None = None
        self.latest: int | None = None
        self.min_rtt: int | None = None
        self.rto = min(initial, maximum)
        self.timeout = self.rto
        self.backed_off = 0

    def sample(self, rtt: int, now: int, expected: int = 1) -> None:
        """A segment was acknowledged `rtt` after it was sent (RFC 6298 sections 2.2 and 2.3). `expected`: the samples
        that come in a round trip (RFC 7323 appendix G). Ends the back-off. Raises MisuseError for a negative time."""
        if rtt < 0:
            raise MisuseError(f"a round-trip time of {rtt} ns")
        srtt = self.srtt
        rttvar = self.rttvar
        if srtt is None or rttvar is None:
            srtt = rtt
            rttvar = rtt >> 1
        else:
            error = rtt - srtt
            rttvar += (abs(error) - rttvar) // (4 * expected)
            srtt += error // (8 * expected)
        self.latest = rtt
        self.srtt = srtt
        self.rttvar = rttvar
        self.rto = self.timeout = min(max(srtt + max(4 * rttvar, self._granularity), self._minimum), self._maximum)
        self.backed_off = 0
        if self.min_rtt is None or now >= self._slot_end or rtt < self.min_rtt:
            self._new_minimum(rtt, now)
        elif rtt < self._minima[-1][1]:
            self._minima[-1] = (self._slot_end, rtt)

    def _new_minimum(self, rtt: int, now: int) -> None:
        """A slot begins, or no earlier time matters any more."""
        minima = self._minima
        if now >= self._slot_end:
            self._slot_end = now + _SLOT
            minima.append((self._slot_end, rtt))
            oldest = now - MINIMUM_WINDOW + _SLOT
            minima[:] = [slot for slot in minima if slot[0] > oldest]
        else:
            minima[:] = [(self._slot_end, rtt)]
        self.min_rtt = min(minimum for _, minimum in minima)

    def back_off(self) -> None:
        """The retransmission timer expired: double the timeout, up to the maximum (RFC 6298 section 5.5)."""
        self.backed_off += 1
        self.timeout = min(2 * self.timeout, self._maximum)

    def reset_back_off(self) -> None:
        """The peer answers again, and it is known by other means than a sample that the path is no slower."""
        self.backed_off = 0
        self.timeout = self.rto

    def syn_retransmitted(self) -> None:
        """The handshake is done, and its SYN had to be sent more than once: the timeout for data begins at three
        seconds at least (RFC 6298 section 5.7). The next sample replaces it."""
        self.rto = min(max(self.rto, TIMEOUT_AFTER_LOST_SYN), self._maximum)
        self.reset_back_off()
