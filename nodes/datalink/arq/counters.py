"""What an end of a link with ARQ counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ArqCounters:
    """Frames. `sent` are data frames, `retransmitted` those of them that went before; the causes add up to no less,
    since go-back-N sends many for one. `delivered` went up; what follows was dropped, and why."""

    sent: int = 0
    retransmitted: int = 0
    timeouts: int = 0
    rejects: int = 0
    acknowledged: int = 0
    window_full: int = 0
    control_sent: int = 0
    received: int = 0
    control_received: int = 0
    delivered: int = 0
    corrupt: int = 0
    duplicate: int = 0
    out_of_order: int = 0
    no_room: int = 0
    not_connected: int = 0
    queue_full: int = 0
    given_up: int = 0
