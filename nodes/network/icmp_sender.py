"""ICMP errors that this node sends, and the many that it must not (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2).

An error about an error would never end, an error about a broadcast would come from every station at once, and an error
to an address that is not one station would go to many. So none is sent about

    icmp_error             another ICMP error, or ICMP of a type that cannot be told
    fragment               a fragment that is not the first: it does not hold what the source could recognize
    broadcast_destination  a packet to a broadcast or multicast address,
    link_broadcast         or one that came in a frame to such an address
    source                 a packet whose source is not one host: zero, loopback, broadcast, multicast, class E
    rate_limit             anything, when errors were sent faster than the token bucket below fills

"Fragmentation needed" passes the bucket by: a path whose MTU is not learned stays broken, and it is never longer than
what caused it. The error quotes the packet as far as 576 octets carry it, so that the source sees more than the eight
octets that RFC 792 asked for. It leaves from the address that the packet was for, or else from that of its way out.
"""

from __future__ import annotations

from typing import Protocol

from nodes.errors import StackError
from nodes.network.counters import IcmpCounters
from nodes.network.local_addresses import LocalAddresses
from nodes.trace.events import IcmpSent, IcmpSuppressed, Tracer
from nodes.units import SECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, is_multicast
from nodes.wire.checksum import Buffer
from nodes.wire.ipv4 import IPv4Header

ERROR_LENGTH = 576
"""Octets of a whole error, header included (RFC 1812 section 4.3.2.3): what every host can take."""

RATE = 1000
"""Errors a second, and BURST of them at once: Linux's values (icmp_msgs_per_sec, icmp_msgs_burst)."""

BURST = 50

INTERNETWORK_CONTROL = 0xC0
"""The precedence of a router's errors (RFC 1812 section 4.3.2.5). Those of hosts have none (RFC 1122 section 3.2.2)."""

_QUOTE = ERROR_LENGTH - ipv4.HEADER_LENGTH - icmp.HEADER_LENGTH
_INTERVAL = SECOND // RATE
_QUERIES = frozenset({icmp.ECHO_REPLY, icmp.ECHO_REQUEST, icmp.TIMESTAMP_REQUEST, icmp.TIMESTAMP_REPLY})


class Send(Protocol):
    """`InternetLayer.send`."""

    def __call__(
        self,
        payload: Buffer,
        destination: Ip4,
        protocol: int,
        now: int,
        *,
        source: Ip4 | None = None,
        ttl: int | None = None,
        dont_fragment: bool = False,
        traffic_class: int = 0,
        options: bytes = b"",
        interface: int | None = None,
    ) -> None: ...


class TokenBucket:
    """One token a millisecond, at most BURST saved up. Counted in nanoseconds of waiting, so that nothing is lost to
    rounding."""

    __slots__ = ("_credit", "_last")

    def __init__(self) -> None:
        self._credit = BURST * _INTERVAL
        self._last = 0

    def take(self, now: int) -> bool:
        self._credit = min(BURST * _INTERVAL, self._credit + max(0, now - self._last))
        self._last = now
        if self._credit < _INTERVAL:
            return False
        self._credit -= _INTERVAL
        return True


class IcmpErrorSender:
    """Builds and sends errors, or says why it did not."""

    def __init__(
        self, send: Send, addresses: LocalAddresses, counters: IcmpCounters, tracer: Tracer, *, router: bool
    ) -> None:
        self._send = send
        self._addresses = addresses
        self._counters = counters
        self._tracer = tracer
        self._traffic_class = INTERNETWORK_CONTROL if router else 0
        self._bucket = TokenBucket()

    def send(
        self,
        header: IPv4Header,
        packet: Buffer,
        kind: int,
        code: int,
        rest: int,
        now: int,
        *,
        link_broadcast: bool,
        trigger: str,
    ) -> None:
        """An error about `packet`, whose header is `header`, to its source, unless a rule forbids it."""
        reason = "link_broadcast" if link_broadcast else self._forbidden(header, packet)
        if reason is None and not self._may_pass(kind, code, now):
            reason = "rate_limit"
            self._counters.out_rate_limited += 1
        if reason is not None:
            self._suppressed(header.source, kind, code, reason, now)
            return
        message = icmp.build(kind, code, rest, memoryview(packet)[:_QUOTE])
        source = header.destination if header.destination in self._addresses.owner else None
        try:
            self._send(
                message, header.source, ipv4.PROTOCOL_ICMP, now, source=source, traffic_class=self._traffic_class
            )
        except StackError as error:  # no way back to the source
            self._suppressed(header.source, kind, code, error.message, now)
            return
        self._counters.out_messages += 1
        self._counters.out_errors += 1
        self._tracer(now, IcmpSent(header.source, kind, code, trigger))

    def _forbidden(self, header: IPv4Header, packet: Buffer) -> str | None:
        if header.fragment_offset:
            return "fragment"
        destination = header.destination
        if is_multicast(destination) or self._addresses.is_broadcast(destination):
            return "broadcast_destination"
        if header.protocol == ipv4.PROTOCOL_ICMP and not _is_known_query(header, packet):
            return "icmp_error"
        source = header.source
        if not self._addresses.names_single_host(source) or (source >> 24 == 127 and destination >> 24 != 127):
            return "source"
        return None

    def _may_pass(self, kind: int, code: int, now: int) -> bool:
        return (kind == icmp.UNREACHABLE and code == icmp.FRAGMENTATION_NEEDED) or self._bucket.take(now)

    def _suppressed(self, destination: Ip4, kind: int, code: int, reason: str, now: int) -> None:
        self._counters.out_suppressed += 1
        self._tracer(now, IcmpSuppressed(destination, kind, code, reason))


def _is_known_query(header: IPv4Header, packet: Buffer) -> bool:
    """False for errors, for unknown types, which may be errors, and where the type is missing."""
    return len(packet) > header.header_length and packet[header.header_length] in _QUERIES
