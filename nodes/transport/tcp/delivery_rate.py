"""The rate at which the network delivers (draft-cheng-iccrg-delivery-rate-estimation, the base of BBR).

Each record notes at its transmission how much had been delivered by then and when (`delivered`, `delivered_at`). When
it is delivered itself, all that was delivered in between took one flight:

    send_elapsed   from the transmission of the first record of the flight to that of this one
    ack_elapsed    from the delivery that was the newest when this one was sent, to its own
    rate           octets delivered since / max(send_elapsed, ack_elapsed)

The longer of the two counts: acknowledgments that arrive compressed show a shorter time than the path needed, and
octets that were sent slowly cannot have been delivered faster. A sample during which the application had nothing to
send shows the application's rate, and is marked.

Of the records that one acknowledgment delivers, the one sent last makes the sample.
"""

from __future__ import annotations

from nodes.transport.tcp.congestion.base import RateSample
from nodes.transport.tcp.retransmission_queue import SentSegment


class DeliveryRate:
    """The connection's counts: `delivered` octets ever, the last of them at `delivered_at`."""

    __slots__ = ("_app_limited_until", "_flight_sent_at", "_newest", "delivered", "delivered_at")

    def __init__(self) -> None:
        self.delivered = 0
        self.delivered_at = 0
        self._flight_sent_at = 0
        self._app_limited_until = 0
        self._newest: tuple[int, int, int, int, bool] | None = None

    def sent(self, segment: SentSegment, in_flight: int, now: int) -> None:
        """`segment` leaves, for the first time or again; `in_flight` is without it. A flight begins where nothing was
        in the network."""
        if not in_flight:
            self._flight_sent_at = now
            self.delivered_at = now
        segment.delivered = self.delivered
        segment.delivered_at = self.delivered_at
        segment.flight_sent_at = self._flight_sent_at
        segment.app_limited = self._app_limited_until > 0

    def arrived(self, segment: SentSegment) -> None:
        """`segment` was delivered. Of those of one acknowledgment, the one that was sent last counts."""
        newest = self._newest
        if newest is None or (segment.delivered, segment.sent_at) >= newest[:2]:
            self._newest = (
                segment.delivered,
                segment.sent_at,
                segment.delivered_at,
                segment.sent_at - segment.flight_sent_at,
                segment.app_limited,
            )

    def sample(self, octets: int, now: int, min_rtt: int | None) -> RateSample | None:
        """At the end of an acknowledgment that delivered `octets`. None if it delivered nothing, or in less time than
        the path takes: then something else was measured (the draft, section 3.3)."""
        newest = self._newest
        self._newest = None
        if octets > 0:
            self.delivered += octets
            self.delivered_at = now
        if self._app_limited_until and self.delivered > self._app_limited_until:
            self._app_limited_until = 0
        if newest is None or octets <= 0:
            return None
        prior_delivered, sent_at, prior_at, send_elapsed, app_limited = newest
        self._flight_sent_at = max(self._flight_sent_at, sent_at)
        interval = max(send_elapsed, now - prior_at)
        if interval <= 0 or (min_rtt is not None and interval < min_rtt):
            return None
        return RateSample(self.delivered - prior_delivered, interval, prior_delivered, self.delivered, app_limited)

    def app_limited(self, in_flight: int) -> None:
        """The application has nothing to send although the window has room: what is sent until all that is in flight
        is delivered will show its rate and not the path's."""
        self._app_limited_until = max(self.delivered + in_flight, 1)
