"""`reno`: TCP congestion control as standardized (RFC 5681): Tahoe and fast recovery.

Duplicate acknowledgments prove that segments still arrive, so a loss that they reveal needs no slow start: the window
goes to half and data keeps flowing. In the Reno of 1990 fast recovery ends with the first acknowledgment of new data,
which is why several losses in one window cost a reduction each, and often a timeout. `newreno` mends that.

Growth and reduction are those of `WindowControl`; the difference to `newreno` is in `fast_recovery`. With SACK both
recover alike (RFC 6675).
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import FastRecovery
from nodes.transport.tcp.congestion.window import WindowControl


class Reno(WindowControl):
    name: ClassVar[str] = "reno"
    fast_recovery: ClassVar[FastRecovery] = FastRecovery.RENO

    __slots__ = ()
