"""What holds for every trace of one TCP connection, whatever the network did to it (J-1 to J-4 of the requirements).

Each side is judged by what it had sent and what had arrived at it by then; a segment counts as known to its receiver
from the instant it arrives there.
"""

from __future__ import annotations

import heapq
from itertools import pairwise

from nodes.wire import tcp
from nodes.wire.tcp_options import parse_options
from tests.sim.tcp_network import Network
from tests.sim.tcp_observe import Observed, observe

WINDOW_SLACK = 1
"""Octets beyond the window that a probe may have (RFC 9293 section 3.8.6.1)."""


class Side:
    """One sender, and what it has heard."""

    def __init__(self) -> None:
        self.ack_sent = 0
        self.edge_sent = 0
        self.timestamp: int | None = None
        self.scale = 0
        self.highest = 0
        self.acked = 0
        self.edge = 0
        self.sacked: list[tuple[int, int]] = []
        self.last_data_at = 0

    def hear(self, segment: Observed, scale: int) -> None:
        if not segment.flags & tcp.ACK:
            return
        self.acked = max(self.acked, segment.ack)
        window = segment.window if segment.flags & tcp.SYN else segment.window << scale
        self.edge = max(self.edge, segment.ack + window)
        self.sacked = [block for block in {*self.sacked, *segment.sack} if block[1] > self.acked]


def audit(network: Network, *, minimum_rto: int = 200_000_000) -> None:
    """Raises AssertionError for the first segment that breaks a rule. `minimum_rto`: data that was reported by SACK may
    be sent again after so long a silence, when the retransmission timer had expired (RFC 2018 section 8)."""
    sides = (Side(), Side())
    flying: list[tuple[int, int, Observed]] = []
    shifts = _shifts(network)
    for number, segment in enumerate(observe(network)):
        while flying and flying[0][0] <= segment.time:
            arrived = heapq.heappop(flying)[2]
            sides[1 - arrived.source].hear(arrived, shifts[arrived.source])
        _check_receiver(sides[segment.source], segment, shifts[segment.source])
        _check_sender(sides[segment.source], segment, minimum_rto)
        if segment.arrived is not None and segment.fate != "corrupted":
            heapq.heappush(flying, (segment.arrived, number, segment))


def _shifts(network: Network) -> tuple[int, int]:
    """The window scales of the two SYNs; none unless both have one."""
    assert network.capture is not None
    shifts: dict[int, int | None] = {}
    for packet in network.capture:
        header = (packet.frame[0] & 15) * 4
        if packet.frame[header + 13] & tcp.SYN:
            options = parse_options(packet.frame[header + 20 : header + (packet.frame[header + 12] >> 4) * 4])
            shifts.setdefault(packet.source, options.window_scale)
    first, second = shifts[0], shifts[1]
    return (first, second) if first is not None and second is not None else (0, 0)


def _check_receiver(side: Side, segment: Observed, shift: int) -> None:
    """J-2: what was acknowledged and offered is not taken back, time does not run backwards; RFC 2018 section 4: SACK
    blocks are above the acknowledgment (but for the first, which may be a DSACK) and disjoint."""
    if segment.flags & tcp.ACK and not segment.flags & tcp.SYN:
        assert segment.ack >= side.ack_sent, f"{segment}: an acknowledgment of less than {side.ack_sent}"
        side.ack_sent = segment.ack
        edge = segment.ack + (segment.window << shift)
        assert edge >= side.edge_sent - (1 << shift), f"{segment}: the window shrinks by {side.edge_sent - edge}"
        side.edge_sent = max(side.edge_sent, edge)
    if segment.timestamp is not None:
        assert side.timestamp is None or (segment.timestamp[0] - side.timestamp) & 0xFFFF_FFFF < 1 << 31, f"{segment}"
        side.timestamp = segment.timestamp[0]
    for start, end in segment.sack[1:]:
        assert segment.ack <= start < end, f"{segment}: a block below the acknowledgment"
    above = sorted(segment.sack[1:])
    assert all(left[1] < right[0] for left, right in pairwise(above)), f"{segment}: blocks touch"


def _check_sender(side: Side, segment: Observed, minimum_rto: int) -> None:
    """J-2, J-3, J-4: new data follows the old; nothing that is known to have arrived is sent again; the peer's window
    is kept."""
    if segment.end == segment.start:
        return
    assert segment.start <= side.highest, f"{segment}: a gap after {side.highest}"
    silence = segment.time - side.last_data_at
    side.last_data_at = segment.time
    if segment.start < side.highest:
        assert segment.end > side.acked, f"{segment}: acknowledged already, up to {side.acked}"
        known = any(start <= segment.start and segment.end <= end for start, end in side.sacked)
        assert not known or silence >= minimum_rto, f"{segment}: SACKed already"
    if not segment.flags & tcp.SYN:
        length = segment.end - (1 if segment.flags & tcp.FIN else 0)
        assert length <= side.edge + WINDOW_SLACK, f"{segment}: beyond the window, which ends at {side.edge}"
    side.highest = max(side.highest, segment.end)
