"""How large a segment may be (RFC 9293 section 3.7.1), and what is done where the path swallows large ones.

    effective send MSS = min(what the peer said, path MTU - 40, what the program wants) - timestamps

The path MTU comes from the internet layer, which lowers it by the news of routers (RFC 1191). Where those are filtered,
full segments vanish without a word while small ones pass: a black hole. After three timeouts in a row of a segment that
is larger than `SMALLEST_PROBED_MSS` the connection tries smaller ones (RFC 4821 section 7.7, the search downwards).
When these have arrived, full ones get one more chance, as it may have been an outage; if they vanish again, the
connection stays with the smaller ones. There is no search upwards: the next connection begins anew.
"""

from __future__ import annotations

from nodes.transport.tcp.connection import Connection
from nodes.wire import tcp_options

HEADERS = 40
"""IPv4 and TCP without options."""

MINIMUM_MSS = 48
"""Segments never get smaller, whatever a peer asks for: an MSS of 1 is an attack (Linux has the same bound)."""

INITIAL_WINDOW_OCTETS = 14_600
"""RFC 6928 section 2."""

BASE_MSS = 984
"""What nearly every path takes: an MTU of 1024 (RFC 4821 section 7.2)."""

SMALLEST_PROBED_MSS = 536

BLACK_HOLE_TIMEOUTS = 3
"""Plain loss of one in twenty segments loses the same one three times in a row once in eight thousand."""


def initial_window(segments: int, mss: int) -> int:
    """RFC 6928 section 2, for any number of segments."""
    return min(segments * mss, max(2 * mss, INITIAL_WINDOW_OCTETS * segments // 10))


def effective_mss(c: Connection, now: int) -> int:
    """The effective send MSS without SACK blocks (RFC 9293 section 3.7.1, MUST-16); notes the path MTU it is for."""
    c.path_mtu = c.layer.path_mtu(c.key.remote, now)
    c.offload = c.layer.offload_for(c.key.remote)
    mss = min(c.peer_mss, c.path_mtu - HEADERS)
    if c.options.mss is not None:
        mss = min(mss, c.options.mss)
    if c.mss_ceiling:
        mss = min(mss, c.mss_ceiling)
    return max(mss, MINIMUM_MSS) - (tcp_options.TIMESTAMPS_LENGTH if c.timestamps else 0)


def follow_path(c: Connection, now: int) -> None:
    """To be called before data leaves: others may have learned of a narrower path."""
    if c.layer.path_mtu(c.key.remote, now) != c.path_mtu:
        update_mss(c, now)


def update_mss(c: Connection, now: int) -> None:
    """The path MTU, or what a black hole lets through, has changed."""
    mss = effective_mss(c, now)
    if mss != c.mss and c.recovery is not None:
        c.mss = mss
        c.recovery.set_mss(mss)


def suspect_black_hole(c: Connection, timeouts: int, length: int, now: int) -> None:
    """A segment of `length` octets was not acknowledged `timeouts` times in a row."""
    if timeouts < BLACK_HOLE_TIMEOUTS or length <= SMALLEST_PROBED_MSS:
        return
    c.suspicions += not c.mss_ceiling  # the next smaller size belongs to the same suspicion
    c.ceiling_until = c.snd_nxt
    c.mss_ceiling = BASE_MSS if length > BASE_MSS else SMALLEST_PROBED_MSS
    c.layer.counters.black_holes += 1
    update_mss(c, now)


def passed(c: Connection, now: int) -> None:
    """All that was outstanding at a suspicion has arrived. It may have been an outage or bad luck: full segments get
    one more chance. Suspected again before any of those got through, the ceiling stays."""
    if c.mss_ceiling and c.suspicions == 1:
        c.mss_ceiling = 0
        update_mss(c, now)
        c.ceiling_until = c.snd_nxt + 2 * c.mss  # then full ones have passed
    elif not c.mss_ceiling:
        c.suspicions = 0
