"""What happens on a link with ARQ, beside `nodes.trace.events`. Numbers are those of the frames, modulo 2^bits; kinds
are HDLC's names: I, RR, RNR, REJ, SREJ, SABM, UA, DM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class ArqFrameSent:
    """`send` and `receive` are N(S) and N(R); `trigger` is first, or why it is sent again."""

    category: ClassVar[str] = "link"
    packets: ClassVar[bool] = True
    interface: str
    kind: str
    send: int
    receive: int
    length: int
    trigger: str


@dataclass(frozen=True, slots=True)
class ArqFrameRetransmitted:
    """`retries` counts this one. `trigger`: timeout, reject, selective_reject."""

    category: ClassVar[str] = "link"
    interface: str
    send: int
    retries: int
    trigger: str


@dataclass(frozen=True, slots=True)
class ArqFrameAcknowledged:
    """`outstanding` is what is still unacknowledged. `trigger` is the kind of frame that said so."""

    category: ClassVar[str] = "link"
    packets: ClassVar[bool] = True
    interface: str
    send: int
    outstanding: int
    trigger: str


@dataclass(frozen=True, slots=True)
class ArqFrameDropped:
    """`send` is None where the frame has no number yet, or one that cannot be believed. Reasons: corrupt, duplicate,
    out_of_order, no_room, not_connected at the receiver; queue_full, given_up, carrier_lost at the sender."""

    category: ClassVar[str] = "link"
    interface: str
    send: int | None
    length: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ArqFrameBlocked:
    """The window is full: `outstanding` frames are not acknowledged, and `queued` ones wait for that. `trigger` is what
    filled it: a frame that was sent, or one that came to wait."""

    category: ClassVar[str] = "link"
    packets: ClassVar[bool] = True
    interface: str
    outstanding: int
    queued: int
    trigger: str


@dataclass(frozen=True, slots=True)
class ArqReadinessUpdated:
    """`side` is whose room it is, `local` or `peer`; `old` and `new` are `ready` or `not_ready`."""

    category: ClassVar[str] = "link"
    interface: str
    side: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class ArqConnectionUpdated:
    """Each direction has its numbers, which its sender sets up. `direction` is `send` or `receive`; states:
    disconnected, connecting, connected."""

    category: ClassVar[str] = "link"
    interface: str
    direction: str
    old: str
    new: str
    trigger: str


ArqEvent: TypeAlias = (
    ArqFrameSent
    | ArqFrameRetransmitted
    | ArqFrameAcknowledged
    | ArqFrameDropped
    | ArqFrameBlocked
    | ArqReadinessUpdated
    | ArqConnectionUpdated
)
