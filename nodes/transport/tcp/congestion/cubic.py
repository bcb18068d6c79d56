"""`cubic`: the window follows a cubic function of the time since the last reduction (RFC 9438). The default here, as in
Linux, Windows and macOS.

Reno needs as many round trips as half its window has segments to come back from a loss: at 10 Gbit/s and 100 ms more
than an hour. CUBIC remembers the window at which the loss happened, `w_max`. It returns there fast, lingers around it
(the path could carry that), and then searches ever faster beyond. Growth depends on time and not on round trips, so
flows with different round-trip times are treated more alike.

    W_cubic(t) = C (t - K)³ + W_max      t in seconds since the epoch, windows in segments, C = 0.4
    K = ∛((W_max - cwnd_epoch) / C)      the time at which W_max is reached again

    cwnd        K                ╱
         ╶╶╶╶╶╶╶┬╶╶╶╶╶╶╶╶╶╶╶╶╶ ╱ ╶╶ W_max
              __│___________ ╱
           ╱    │       convex: search
         ╱ concave: return
        │ 0.7 W_max

Where Reno would be faster (short round trips, small windows), `w_est` tells what Reno's window would be, and the window
follows that (section 4.3). A loss below the last `w_max` says that another flow needs room: `w_max` is then lowered
further (fast convergence, section 4.7).

Windows are kept in octets: `C` is multiplied by the segment size, the formulas stay. The curve is computed in floating
point (the cube root must be, the rest is cheaper so in Python), the window is a whole number of octets and the fraction
is carried over. The clock stops while the application and not the window limits the sender (section 5.8), else the
window would jump after a pause. The first slow start ends by HyStart++ (RFC 9406, section 4.10).
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings
from nodes.transport.tcp.congestion.hystart import HyStart
from nodes.transport.tcp.congestion.window import MAXIMUM_WINDOW, WindowControl
from nodes.units import SECOND

C = 0.4
"""Segments per second cubed (section 5)."""
BETA = 0.7
"""What is left after a reduction (section 4.6)."""
ALPHA = 3 * (1 - BETA) / (1 + BETA)
"""Additive increase that gives Reno's average window with `BETA` (section 4.3)."""
FASTEST = 1.5
"""No more than half a window more per round trip (section 4.2)."""


class Cubic(WindowControl):
    """See the module. `w_max`, `w_est` and `_prior` are octets, `_k` seconds, `_origin` is the time of the curve's
    inflection, epoch plus K, in nanoseconds."""

    name: ClassVar[str] = "cubic"

    __slots__ = ("_alpha", "_fraction", "_hystart", "_k", "_origin", "_prior", "_saved", "_seen", "_w_est", "_w_max")

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        super().__init__(settings, now)
        self._hystart = HyStart()
        self._w_max = 0.0
        self._w_est = 0.0
        self._k = 0.0
        self._prior = 0.0  # cwnd_prior: the window before the last reduction
        self._alpha = 1.0
        self._fraction = 0.0
        self._origin: int | None = None  # None: congestion avoidance has not begun
        self._seen = now
        self._saved: tuple[float, float, float, float, float, int | None] | None = None

    def sent(self, octets: int, in_flight: int, now: int) -> None:
        if in_flight == octets and self._origin is not None:
            self._stop_clock(now)  # nothing was on its way: the time until now was a pause

    def acknowledged(self, ack: Ack) -> None:
        """Sections 4.2 to 4.5; slow start by HyStart++ or, after a loss, up to `ssthresh`."""
        if ack.in_recovery:
            return
        now = ack.now
        if not ack.cwnd_limited:
            if self._origin is not None:
                self._stop_clock(now)
            return
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            self._slow_start(ack)
            return
        origin = self._origin
        if origin is None:
            origin = self._begin(now)
        self._seen = now
        acked = ack.acknowledged
        mss = self.mss
        scale = C * mss
        self._w_est = w_est = self._w_est + self._alpha * mss * acked / cwnd
        if w_est >= self._prior:
            self._alpha = 1.0
        t = (now - origin) / SECOND
        if scale * t * t * t + self._w_max < w_est:
            growth = w_est - cwnd  # Reno would be ahead
        else:
            t += (ack.srtt or 0) / SECOND
            target = scale * t * t * t + self._w_max
            growth = (min(target, FASTEST * cwnd) - cwnd) * acked / cwnd
        if growth > 0:
            growth += self._fraction
            whole = int(growth)
            self._fraction = growth - whole
            self.cwnd = min(cwnd + whole, MAXIMUM_WINDOW)

    def reduced(self, in_flight: int) -> int:
        """Section 4.6."""
        return max(int(in_flight * BETA), 2 * self.mss)

    def congestion(self, in_flight: int, now: int) -> None:
        self._save()
        cwnd = float(self.cwnd)
        self._w_max = cwnd * (1 + BETA) / 2 if cwnd < self._w_max else cwnd  # section 4.7
        self._reset(cwnd)
        super().congestion(in_flight, now)

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """Section 4.8: as Reno but for the factor, and the curve begins anew where slow start will have led."""
        if not repeated:
            self._save()
            self._reset(float(self.cwnd))
            self._w_max = 0.0
        super().timeout(in_flight, now, repeated=repeated)

    def spurious(self, now: int) -> None:
        """Section 4.9: the curve goes on as if nothing had happened."""
        super().spurious(now)
        if self._saved is not None:
            self._w_max, self._w_est, self._k, self._prior, self._alpha, self._origin = self._saved
            self._saved = None

    def idle(self, now: int) -> None:
        super().idle(now)
        self._origin = None

    def snapshot(self) -> dict[str, object]:
        if self.cwnd < self.ssthresh:
            conservative = self._hystart.conservative and self.ssthresh == INFINITE
            phase = "conservative_slow_start" if conservative else "slow_start"
        else:
            phase = "congestion_avoidance"
        return {"phase": phase, "w_max": round(self._w_max), "w_est": round(self._w_est), "k": round(self._k, 6)}

    def _slow_start(self, ack: Ack) -> None:
        if self.ssthresh != INFINITE:
            self.cwnd = min(
                self.cwnd + min(ack.acknowledged, ack.delivered, self._burst), self.ssthresh, MAXIMUM_WINDOW
            )
            return
        self.cwnd = min(self.cwnd + self._hystart.growth(ack), MAXIMUM_WINDOW)
        if self._hystart.done:
            self.ssthresh = self.cwnd

    def _begin(self, now: int) -> int:
        """A stage of congestion avoidance begins: an epoch. Without a loss to return from (after slow start that
        nothing ended but HyStart++ or `ssthresh`), the curve begins at its inflection: K = 0."""
        cwnd = self._w_est = float(self.cwnd)
        if self._w_max > cwnd:
            self._k = float(((self._w_max - cwnd) / (C * self.mss)) ** (1 / 3))
        else:
            self._k = 0.0
            self._w_max = cwnd
        self._alpha = ALPHA if cwnd < self._prior else 1.0
        self._seen = now
        self._origin = origin = now + round(self._k * SECOND)
        return origin

    def _stop_clock(self, now: int) -> None:
        if self._origin is not None:
            self._origin += now - self._seen
            self._seen = now

    def _save(self) -> None:
        self._saved = (self._w_max, self._w_est, self._k, self._prior, self._alpha, self._origin)

    def _reset(self, prior: float) -> None:
        self._prior = prior
        self._origin = None
