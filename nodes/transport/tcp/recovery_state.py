"""The states of loss recovery, what its timers ask for, whom it tells, and what it counts.

         SACK or duplicate            nothing missing
OPEN ─────────────────────> DISORDER ─────────────────> OPEN
  │                            │
  ├── ECN mark ──> CWR ────────┤ loss found             CWR, RECOVERY, LOSS end, back in OPEN or DISORDER,
  │                 │          ▼                        when all that was outstanding at their beginning
  │                 └──────> RECOVERY                   (`recover`) is acknowledged, or when they turn out
  └── retransmission timeout, from any state ──> LOSS   to have been needless
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class CongestionState(Enum):
    OPEN = "open"
    DISORDER = "disorder"  # something arrived out of order: perhaps a loss
    CWR = "cwr"  # the window is being reduced for an ECN mark
    RECOVERY = "recovery"  # fast recovery
    LOSS = "loss"  # slow start after a timeout (tahoe: after any loss)


class Expired(Enum):
    """What a timeout asks of the connection."""

    NONE = "none"
    REORDER = "reorder"  # something was found lost: go on sending
    PROBE = "probe"  # send one segment: new data if there is any, else `probe_segment`
    RETRANSMIT = "retransmit"  # the retransmission timer: resend


class RecoveryTrace(Protocol):
    """Whom the recovery tells, so that it needs no knowledge of connections."""

    packets: bool
    """Whether `metrics` are wanted for every acknowledgment, and not only once per round trip and at changes."""

    def lost(self, sequence: int, length: int, trigger: str, now: int) -> None: ...

    def state(self, old: str, new: str, trigger: str, now: int) -> None: ...

    def metrics(self, trigger: str, now: int) -> None: ...


class RecoveryCounters:
    """Since the connection began."""

    __slots__ = (
        "dsacks",
        "ecn_reductions",
        "fast_recoveries",
        "lost_octets",
        "lost_segments",
        "probes",
        "reneged",
        "retransmitted_octets",
        "retransmitted_segments",
        "timeouts",
        "undone",
    )

    def __init__(self) -> None:
        self.dsacks = 0
        self.ecn_reductions = 0
        self.fast_recoveries = 0
        self.lost_octets = 0
        self.lost_segments = 0
        self.probes = 0
        self.reneged = 0
        self.retransmitted_octets = 0
        self.retransmitted_segments = 0
        self.timeouts = 0
        self.undone = 0

    def snapshot(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}
