"""`newreno`: Reno with the fast recovery of RFC 6582.

An acknowledgment of new data that does not cover all that was outstanding at the loss (a partial one) points to the
next hole. NewReno fills it and stays in recovery, one hole per round trip, with one reduction for the whole window.
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import FastRecovery
from nodes.transport.tcp.congestion.window import WindowControl


class NewReno(WindowControl):
    name: ClassVar[str] = "newreno"
    fast_recovery: ClassVar[FastRecovery] = FastRecovery.FULL

    __slots__ = ()
