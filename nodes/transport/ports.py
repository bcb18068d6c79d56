"""Ports, one space per protocol (RFC 6335 section 6).

        0            reserved: means "any" to a socket, and is never a peer's port
        1 ..  1023   system ports
     1024 .. 49151   user ports
    49152 .. 65535   dynamic ports: given to sockets that do not ask for one

A claim is a port on an address, or on all addresses (`ANY`). Two claims of a port conflict where their addresses
overlap, unless both asked to share (SO_REUSEADDR as datagram sockets know it):

                     | 10.0.0.1   10.0.0.2   ANY
      ---------------+-----------------------------
      10.0.0.1       | conflict   -          conflict
      ANY            | conflict   conflict   conflict

Dynamic ports are searched upwards from a random start, so that a port is hard to guess for who forges answers
(RFC 6056 section 3.3.1, algorithm 1). ICMP echo identifiers are claimed in a space of their own by the same rules.
"""

from __future__ import annotations

import errno
from random import Random
from typing import NamedTuple

from nodes.errors import LimitError, MisuseError
from nodes.wire.addresses import ANY, Ip4, format_ip4

FIRST_DYNAMIC = 49152
LAST_PORT = 65535

CLAIMS_PER_PORT = 256
"""Sockets that may share a port. Each costs a look per broadcast; a lab has that many group members in one node."""


class Claim(NamedTuple):
    """A port that somebody holds. `serial` tells sharers of the same port and address apart."""

    address: Ip4
    port: int
    reuse: bool
    serial: int


class PortSpace:
    """The ports of one protocol. `name` is the word for them in errors."""

    def __init__(
        self, random: Random, *, name: str = "port", first_dynamic: int = FIRST_DYNAMIC, last_dynamic: int = LAST_PORT
    ) -> None:
        self._random = random
        self._name = name
        self._first = first_dynamic
        self._last = last_dynamic
        self._claims: dict[int, set[Claim]] = {}
        self._serial = 0

    def claim(self, address: Ip4, port: int, *, reuse: bool = False) -> Claim:
        """Take `port` (1 to 65535). Raises MisuseError with EADDRINUSE where somebody else holds it, and LimitError
        where too many share it."""
        if not 1 <= port <= LAST_PORT:
            raise MisuseError(f"{self._name} {port} is outside 1 to {LAST_PORT}", errno=errno.EINVAL)
        holders = self._claims.get(port, ())
        if not all(holder.reuse and reuse for holder in holders if _overlap(holder.address, address)):
            where = f"{format_ip4(address)} " if address != ANY else ""
            raise MisuseError(
                f"{where}{self._name} {port} is in use",
                errno=errno.EADDRINUSE,
                hint="close the socket that holds it, choose another, or let both set reuse_address",
            )
        if len(holders) >= CLAIMS_PER_PORT:
            raise LimitError(f"{self._name} {port} is shared by {CLAIMS_PER_PORT} sockets, the most allowed")
        return self._take(address, port, reuse)

    def claim_dynamic(self, address: Ip4, *, reuse: bool = False, full: int = errno.EADDRNOTAVAIL) -> Claim:
        """Take a dynamic port that nobody holds on an overlapping address; it is never shared at birth. Raises
        LimitError with errno `full` when there is none."""
        count = self._last - self._first + 1
        start = self._random.randrange(count)
        for step in range(count):
            port = self._first + (start + step) % count
            holders = self._claims.get(port)
            if not holders or not any(_overlap(holder.address, address) for holder in holders):
                return self._take(address, port, reuse)
        raise LimitError(
            f"all {count} dynamic {self._name}s are in use", errno=full, hint="close sockets that are not needed"
        )

    def release(self, claim: Claim) -> None:
        """Give a claim back. Raises MisuseError for one that is not held."""
        holders = self._claims.get(claim.port)
        if holders is None or claim not in holders:
            raise MisuseError(f"{self._name} {claim.port} is not claimed")
        holders.remove(claim)
        if not holders:
            del self._claims[claim.port]

    def is_free(self, address: Ip4, port: int) -> bool:
        """True where nobody holds `port` on an overlapping address."""
        return not any(_overlap(holder.address, address) for holder in self._claims.get(port, ()))

    def __len__(self) -> int:
        """The number of ports with at least one holder."""
        return len(self._claims)

    def _take(self, address: Ip4, port: int, reuse: bool) -> Claim:
        self._serial += 1
        claim = Claim(address, port, reuse, self._serial)
        self._claims.setdefault(port, set()).add(claim)
        return claim


def _overlap(one: Ip4, other: Ip4) -> bool:
    return one in (other, ANY) or other == ANY
