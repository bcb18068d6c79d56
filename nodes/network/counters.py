"""The counters of the internet layer, named after the MIB for IP and ICMP (RFC 4293, RFC 2011)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class IpCounters:
    """`in_hdr_errors` counts packets with a broken header, `in_addr_errors` those whose addresses are not acceptable
    here, `in_discards` and `out_discards` sound packets given up for want of room or by policy."""

    in_receives: int = 0
    in_hdr_errors: int = 0
    in_addr_errors: int = 0
    in_unknown_protocols: int = 0
    in_discards: int = 0
    in_delivers: int = 0
    forw_datagrams: int = 0
    out_requests: int = 0
    out_discards: int = 0
    out_no_routes: int = 0
    reasm_requests: int = 0
    reasm_oks: int = 0
    reasm_fails: int = 0
    reasm_timeouts: int = 0
    frag_oks: int = 0
    frag_fails: int = 0
    frag_creates: int = 0


@dataclass(slots=True)
class IcmpCounters:
    """`out_suppressed` counts errors that a rule forbade, `out_rate_limited` those for which no token was left."""

    in_messages: int = 0
    in_errors: int = 0
    in_ignored: int = 0
    out_messages: int = 0
    out_errors: int = 0
    out_suppressed: int = 0
    out_rate_limited: int = 0
