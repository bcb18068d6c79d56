"""`tahoe`: slow start, congestion avoidance and fast retransmit, but no fast recovery (Jacobson 1988, 4.3BSD-Tahoe).

Every loss, however it was noticed, is answered as a timeout: `ssthresh` is half of what was outstanding, the window one
segment, and slow start leads back. That empties the path after each loss; Reno, two years later, does not.

`FastRecovery.NONE` has the recovery call `timeout` at the third duplicate acknowledgment. `congestion` is then left to
ECN, which came later and asks for half the window and no more (RFC 3168 section 6.1.2).
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import FastRecovery
from nodes.transport.tcp.congestion.window import WindowControl


class Tahoe(WindowControl):
    name: ClassVar[str] = "tahoe"
    fast_recovery: ClassVar[FastRecovery] = FastRecovery.NONE

    __slots__ = ()
