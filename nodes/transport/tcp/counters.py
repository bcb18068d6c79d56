"""The counters of TCP, named as in the TCP-MIB (RFC 4022) where it has them; the rest as Linux counts them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class TcpCounters:
    """Of a whole node. `drops` counts segments that were not taken by the reason."""

    active_opens: int = 0
    passive_opens: int = 0
    attempt_fails: int = 0
    established_resets: int = 0
    in_segments: int = 0
    in_errors: int = 0
    in_octets: int = 0
    out_segments: int = 0
    out_octets: int = 0
    out_resets: int = 0
    out_errors: int = 0
    retransmitted_segments: int = 0
    retransmitted_octets: int = 0
    timeouts: int = 0
    tail_loss_probes: int = 0
    """With old data; they count as retransmitted too."""
    probes: int = 0
    keepalives: int = 0
    predicted: int = 0
    """Segments that took the short way of `arrival`."""
    challenge_acks: int = 0
    challenge_acks_suppressed: int = 0
    syn_cookies_sent: int = 0
    syn_cookies_accepted: int = 0
    syn_cookies_failed: int = 0
    listen_overflows: int = 0
    time_waits: int = 0
    time_waits_recycled: int = 0
    time_wait_overflows: int = 0
    icmp_errors: int = 0
    icmp_ignored: int = 0
    path_mtu_updates: int = 0
    black_holes: int = 0
    memory_pressure: int = 0
    drops: Counter[str] = field(default_factory=Counter)
