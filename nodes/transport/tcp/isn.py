"""Initial sequence numbers that grow with time and that nobody can guess (RFC 6528).

    ISS = M + F(local address, local port, remote address, remote port, secret)

M is a clock that ticks every 4 us and so goes round its 32 bits in 4.77 hours (MUST-8): a new connection between the
same ports begins beyond the numbers that segments of the old one may still carry. F moves every pair of ports to a
place of its own (SHLD-1): who opens a connection of his own and sees its number learns nothing about the numbers of
others, and cannot forge segments for a connection that he cannot hear (MUST-9). F is BLAKE2s with the secret as its
key, a pseudo-random function by design, where RFC 6528 suggests MD5 over both.

Timestamps begin at a place of their own too (RFC 7323 section 5.4): a clock that all connections share would tell how
long the node is up, and which connections come from one node. Per pair of ports, and not per connection, so that a new
connection's timestamps continue those of the last, which is what lets it end the peer's TIME_WAIT (RFC 6191).
"""

from __future__ import annotations

from hashlib import blake2s
from struct import Struct

from nodes.errors import MisuseError
from nodes.units import MICROSECOND
from nodes.wire.addresses import Ip4

TICK = 4 * MICROSECOND
"""RFC 9293 section 3.4.1."""

SHORTEST_SECRET = 16  # octets: RFC 6528 section 3 wants 128 bits
LONGEST_SECRET = 32  # what BLAKE2s takes as a key

_MASK = 0xFFFF_FFFF
_TUPLE = Struct("!IHIH")
_SEQUENCE = b"sequence"  # keeps what one secret is used for apart
_TIMESTAMP = b"times"


class SequenceGenerator:
    """`secret`: 16 to 32 octets that are random at each start of the node, or given where runs must repeat. Not
    `hashed`: sequence numbers are the clock's, as in RFC 793, the same for everybody. Raises MisuseError for another
    length."""

    __slots__ = ("_hashed", "_sequence", "_timestamp")

    def __init__(self, secret: bytes, *, hashed: bool = True) -> None:
        if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
            raise MisuseError(f"a secret of {len(secret)} octets, {SHORTEST_SECRET} to {LONGEST_SECRET} expected")
        self._hashed = hashed
        self._sequence = blake2s(key=secret, digest_size=4, person=_SEQUENCE)
        self._timestamp = blake2s(key=secret, digest_size=4, person=_TIMESTAMP)

    def initial(self, local: Ip4, local_port: int, remote: Ip4, remote_port: int, now: int) -> int:
        """The 32-bit sequence number of the SYN."""
        if not self._hashed:
            return now // TICK & _MASK
        hashed = self._sequence.copy()
        hashed.update(_TUPLE.pack(local, local_port, remote, remote_port))
        return (now // TICK + int.from_bytes(hashed.digest(), "big")) & _MASK

    def timestamp_offset(self, local: Ip4, local_port: int, remote: Ip4, remote_port: int) -> int:
        """32 bits, to be added to the timestamp clock of connections between these ports."""
        hashed = self._timestamp.copy()
        hashed.update(_TUPLE.pack(local, local_port, remote, remote_port))
        return int.from_bytes(hashed.digest(), "big")
