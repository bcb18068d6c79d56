"""Where a link meets a node: what the node sends there goes to the peer.

`limit` says in one comparison per frame whether it passes: the longest frame of the link's MTU, or nothing at all
without a carrier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.impairment import FRAME_OVERHEAD

if TYPE_CHECKING:
    from nodes.simulation.link import Lane
    from nodes.simulation.node import SimulatedNode

NO_CARRIER = -1
VLAN_TAG = b"\x81\x00"
VLAN_OCTETS = 4


class Port:
    """One interface of a node. `lane` is what an impaired link does to frames that leave here."""

    __slots__ = ("carried", "dropped", "entered", "lane", "limit", "mtu", "name", "not_sent", "number", "peer", "up")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.peer: tuple[SimulatedNode, int] | None = None
        self.lane: Lane | None = None
        self.mtu = 0
        self.up = False
        self.limit = NO_CARRIER
        self.carried = 0
        """Frames that came out at the peer."""
        self.entered = 0
        """Those that went into the lane."""
        self.dropped = 0
        """Frames for this port that found its paused node with a full buffer."""
        self.not_sent: dict[str, int] = {}

    def set_carrier(self, up: bool, mtu: int) -> None:
        self.up = up
        self.mtu = mtu
        self.limit = mtu + FRAME_OVERHEAD if up else NO_CARRIER

    def refuse(self, frame: bytes) -> bool:
        """A frame longer than `limit`: whether it is refused. A tag of a VLAN does not count (packet(7) lets it be)."""
        if self.up and frame[12:14] == VLAN_TAG and len(frame) <= self.limit + VLAN_OCTETS:
            return False
        reason = "EMSGSIZE" if self.up else "ENETDOWN"
        self.not_sent[reason] = self.not_sent.get(reason, 0) + 1
        return True

    @property
    def sent(self) -> int:
        """Frames that the link took."""
        left = self.lane.line.statistics.out_frames if self.lane is not None else 0
        return self.carried - left + self.entered
