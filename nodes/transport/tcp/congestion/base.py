"""What a congestion control is to its connection: a window, and a few hooks that move it.

    sent(...)          octets left: for those who pace or measure
    acknowledged(ack)  something arrived at the peer: grow
    congestion(...)    loss or an ECN mark, once per window of data: reduce
    timeout(...)       the retransmission timer expired: begin again
    recovered(now)     all that was outstanding at the reduction has arrived
    spurious(now)      the last reduction was a mistake: undo it
    idle(now)          nothing was sent for longer than the retransmission timeout

It sees values, gets the time, and never touches the sender. What happens to the window while lost segments are
repaired is the recovery's (`nodes.transport.tcp.recovery`, PRR): from `congestion` to `recovered`, `acknowledged` is
called with `in_recovery` set. After `timeout` it is not set: slow start begins at once, and `recovered` follows when
all that was outstanding at the timeout has arrived. All sizes are octets, all times nanoseconds, `pacing_rate` is
octets per second.

`in_flight`, where a reduction is asked for (`congestion`, `timeout`), is RFC 5681's FlightSize: what was outstanding
before the loss is taken out of it. In `sent` it is what is in flight after the octets left, so that `in_flight ==
octets` says that nothing was on its way before.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

INFINITE = 1 << 62
"""`ssthresh` before it was ever set: "arbitrarily high" (RFC 5681 section 3.1)."""


class FastRecovery(Enum):
    """What is done about a loss that duplicate acknowledgments or SACK reveal."""

    NONE = "none"  # tahoe: as after a timeout: one segment, slow start
    RENO = "reno"  # RFC 5681: the first acknowledgment of new data ends it (without SACK)
    FULL = "full"  # RFC 6582 and 6675: until all that was outstanding has arrived


class RateSample(NamedTuple):
    """The rate at which data was delivered, measured over one flight (draft-cheng-iccrg-delivery-rate-estimation).
    `delivered` are octets in `interval` ns. `prior_delivered` is the connection's total when the newest of them was
    sent; `total_delivered` the total now. `is_app_limited`: the application sent less than the window allowed."""

    delivered: int
    interval: int
    prior_delivered: int
    total_delivered: int
    is_app_limited: bool


class Ack(NamedTuple):
    """One arriving acknowledgment. `acknowledged` octets are newly covered by it; `delivered` newly known to have
    arrived, by it or by its SACK blocks; `lost` newly held to be lost. `in_flight` (`pipe` of RFC 6675) is after it,
    `prior_in_flight` before. `una` and `nxt` are SND.UNA and SND.NXT after it, as numbers that never wrap.
    `cwnd_limited`: the window (or its pace), and not the application or the peer, limited what was sent; otherwise it
    should not grow. `rtt` is this acknowledgment's own sample, if it gave one."""

    now: int
    acknowledged: int
    delivered: int
    lost: int
    in_flight: int
    prior_in_flight: int
    una: int
    nxt: int
    rtt: int | None
    min_rtt: int | None
    srtt: int | None
    in_recovery: bool
    cwnd_limited: bool
    rate: RateSample | None


class CongestionControl(Protocol):
    """The surface of an algorithm. One object serves one connection; its calls come in the order of time."""

    name: ClassVar[str]
    fast_recovery: ClassVar[FastRecovery]
    wants_rate: ClassVar[bool]
    """True: `Ack.rate` is measured; it costs memory and time for every segment."""
    uses_recovery_window: ClassVar[bool]
    """True: in recovery the window is PRR's (RFC 6937), towards `ssthresh`. False: `cwnd` holds there too."""

    cwnd: int
    ssthresh: int
    pacing_rate: int | None

    def sent(self, octets: int, in_flight: int, now: int) -> None: ...

    def acknowledged(self, ack: Ack) -> None: ...

    def congestion(self, in_flight: int, now: int) -> None:
        """Set `ssthresh`, and `cwnd` to where it goes after recovery."""
        ...

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """`repeated`: for the same segment as the last one; `ssthresh` then stays (RFC 5681 section 3.1)."""
        ...

    def recovered(self, now: int) -> None: ...

    def spurious(self, now: int) -> None: ...

    def idle(self, now: int) -> None:
        """Restart with no more than the initial window (RFC 5681 section 4.1)."""
        ...

    def set_mss(self, mss: int) -> None:
        """The largest segment changed (path MTU)."""
        ...

    def snapshot(self) -> dict[str, object]:
        """What is particular to the algorithm, as values of JSON."""
        ...


class CongestionSettings(NamedTuple):
    """`mss` is the largest payload of a segment, `initial_window` octets (RFC 6928). `random` serves algorithms that
    probe at random times."""

    mss: int
    initial_window: int
    random: Random


CongestionFactory: TypeAlias = Callable[[CongestionSettings, int], CongestionControl]
"""What an algorithm is registered as: settings and the time of birth (ns) give one connection's control."""
