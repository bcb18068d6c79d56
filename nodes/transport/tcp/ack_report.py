"""What one acknowledgment says about what was sent, while the recovery examines it."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.transport.tcp.retransmission_queue import SentSegment
from nodes.units import MILLISECOND


class AckReport:
    """One acknowledgment on its way through the units. `delivered` are the records of which it is new that they
    arrived; the first `cumulative` of them are covered by SEG.ACK, the others by SACK blocks. `octets` is
    DeliveredData of RFC 9937: their length, or without SACK what the duplicates tell. `echo_sent_at` is when the
    segment left whose timestamp is echoed, rounded down to a millisecond, the tick of the timestamps. `unsacked` is
    what was outstanding and not SACKed before."""

    __slots__ = (
        "ack",
        "acknowledged",
        "blocks",
        "cumulative",
        "delivered",
        "dsack",
        "duplicate",
        "ece",
        "echo_delay",
        "echo_sent_at",
        "highest",
        "limited",
        "lost",
        "now",
        "octets",
        "outstanding",
        "prior_in_flight",
        "prior_una",
        "rtt",
        "unsacked",
    )

    def __init__(
        self,
        ack: int,
        sacks: Sequence[tuple[int, int]],
        now: int,
        *,
        duplicate: bool,
        echo_delay: int | None,
        ece: bool,
        limited: bool,
    ) -> None:
        self.ack = ack
        self.now = now
        self.dsack, self.blocks = split_dsack(sacks, ack)
        self.duplicate = duplicate
        self.ece = ece
        self.limited = limited
        self.echo_delay = echo_delay
        self.echo_sent_at = None if echo_delay is None else now // MILLISECOND * MILLISECOND - echo_delay
        self.highest = max(ack, *(end for _, end in self.blocks)) if self.blocks else ack
        self.delivered: list[SentSegment] = []
        self.cumulative = 0
        self.acknowledged = 0
        self.octets = 0
        self.lost = 0
        self.outstanding = 0
        self.prior_in_flight = 0
        self.prior_una = 0
        self.unsacked = 0
        self.rtt: int | None = None

    @property
    def fresh(self) -> bool:
        """Whether it reports data that was sent only once."""
        return any(not segment.retransmissions for segment in self.delivered)


def split_dsack(sacks: Sequence[tuple[int, int]], ack: int) -> tuple[tuple[int, int] | None, Sequence[tuple[int, int]]]:
    """The first block apart, if it reports what arrived twice: it lies below SEG.ACK, or inside the second block (RFC
    2883 section 4)."""
    if not sacks:
        return None, sacks
    first = sacks[0]
    if first[1] <= ack or (len(sacks) > 1 and sacks[1][0] <= first[0] and first[1] <= sacks[1][1]):
        return first, sacks[1:]
    return None, sacks
