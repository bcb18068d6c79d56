"""What an ICMP error means to the program whose packet it is about.

RFC 1122 section 4.1.3.3 wants every ICMP error passed to the application; programs expect a number of `errno`. The
numbers are those that Linux gives to its sockets, but for ENONET (8), which other systems lack:

    destination unreachable (3)                          errno
      0 net, 6 net unknown, 9 net prohibited, 11 TOS     ENETUNREACH
      1 host, 8 isolated, 12 TOS, 10/13/14/15 prohibited EHOSTUNREACH
      2 protocol                                         ENOPROTOOPT
      3 port                                             ECONNREFUSED
      4 fragmentation needed                             EMSGSIZE
      5 source route failed                              EOPNOTSUPP
      7 host unknown                                     EHOSTDOWN
    time exceeded (11)                                   EHOSTUNREACH
    parameter problem (12)                               EPROTO

Redirects belong to the internet layer, and source quench is ignored (RFC 6633): neither is an error to a program.
"""

from __future__ import annotations

import errno

from nodes.errors import UnreachableError
from nodes.network.datagram import IcmpError
from nodes.wire import icmp
from nodes.wire.addresses import format_ip4

_UNREACHABLE = {
    icmp.NET_UNREACHABLE: ("net_unreachable", errno.ENETUNREACH),
    icmp.HOST_UNREACHABLE: ("host_unreachable", errno.EHOSTUNREACH),
    icmp.PROTOCOL_UNREACHABLE: ("protocol_unreachable", errno.ENOPROTOOPT),
    icmp.PORT_UNREACHABLE: ("port_unreachable", errno.ECONNREFUSED),
    icmp.FRAGMENTATION_NEEDED: ("fragmentation_needed", errno.EMSGSIZE),
    icmp.SOURCE_ROUTE_FAILED: ("source_route_failed", errno.EOPNOTSUPP),
    icmp.NET_UNKNOWN: ("net_unknown", errno.ENETUNREACH),
    icmp.HOST_UNKNOWN: ("host_unknown", errno.EHOSTDOWN),
    icmp.SOURCE_HOST_ISOLATED: ("source_host_isolated", errno.EHOSTUNREACH),
    icmp.NET_PROHIBITED: ("net_prohibited", errno.ENETUNREACH),
    icmp.HOST_PROHIBITED: ("host_prohibited", errno.EHOSTUNREACH),
    icmp.NET_UNREACHABLE_FOR_TOS: ("net_unreachable_for_tos", errno.ENETUNREACH),
    icmp.HOST_UNREACHABLE_FOR_TOS: ("host_unreachable_for_tos", errno.EHOSTUNREACH),
    icmp.ADMINISTRATIVELY_PROHIBITED: ("administratively_prohibited", errno.EHOSTUNREACH),
    icmp.HOST_PRECEDENCE_VIOLATION: ("precedence_violation", errno.EHOSTUNREACH),
    icmp.PRECEDENCE_CUTOFF: ("precedence_cutoff", errno.EHOSTUNREACH),
}

_TIME_EXCEEDED = {icmp.TTL_EXCEEDED: "ttl_exceeded", icmp.REASSEMBLY_EXCEEDED: "reassembly_time_exceeded"}


def word(kind: int, code: int) -> str:
    """The name of an ICMP error as one word, `host_unreachable`; for code points that no RFC names, the numbers."""
    match kind:
        case icmp.UNREACHABLE if code in _UNREACHABLE:
            return _UNREACHABLE[code][0]
        case icmp.TIME_EXCEEDED if code in _TIME_EXCEEDED:
            return _TIME_EXCEEDED[code]
        case icmp.PARAMETER_PROBLEM:
            return "parameter_problem"
        case icmp.SOURCE_QUENCH:
            return "source_quench"
        case icmp.REDIRECT:
            return "redirect"
        case _:
            return f"icmp_{kind}_{code}"


def number(kind: int, code: int) -> int | None:
    """The errno of an ICMP error, or None where it is none to a program. Unknown codes of a known type count as the
    type's general case, as Linux does."""
    match kind:
        case icmp.UNREACHABLE:
            return _UNREACHABLE[code][1] if code in _UNREACHABLE else errno.EHOSTUNREACH
        case icmp.TIME_EXCEEDED:
            return errno.EHOSTUNREACH
        case icmp.PARAMETER_PROBLEM:
            return errno.EPROTO
        case _:
            return None


def as_exception(error: IcmpError) -> UnreachableError | None:
    """The exception that a socket raises for `error`, or None where it raises none."""
    errno_ = number(error.type, error.code)
    if errno_ is None:
        return None
    what = word(error.type, error.code).replace("_", " ")
    reporter, destination = format_ip4(error.source), format_ip4(error.header.destination)
    return UnreachableError(f"{destination}: {what}, says {reporter}", errno=errno_)
