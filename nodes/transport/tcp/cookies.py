"""SYN cookies: a listener that remembers nothing until the handshake is complete (RFC 4987 section 3.6, appendix A).

A flood of SYNs from forged addresses fills the table of half-open connections, and nobody else gets in. With cookies
the table has no size: what the listener has to know goes out as the sequence number of its SYN,ACK, and comes back,
plus one, in the acknowledgment that only a peer who got the SYN,ACK can send. Daniel Bernstein's layout (1996):

     31         24 23                                  0
    +-------------+-------------------------------------+
    |  minutes    |  G(tuple, IRS, minutes) + MSS index |   + F(tuple) + IRS
    +-------------+-------------------------------------+

`tuple` is the four of addresses and ports, IRS the peer's initial sequence number, F and G keyed hashes. Minutes (of 64
seconds) limit the life of a cookie to 64 to 128 s; of them eight bits travel, and G takes the whole number, so that a
cookie does not come to life again when the eight bits do. Adding the IRS and F makes the numbers of
successive connections between the same ports grow, as they must (RFC 9293 section 3.4.1). A forger hits with
probability 2 * 8 / 2^32 per segment.

A cookie has room for an MSS out of eight, nothing more. Where the peer sends timestamps, the echo brings back the low
bits of our timestamp too (Linux's layout), and the other options need not be given up:

     5   4   3         0
    +---+---+-----------+
    |ECN|SAK|   shift   |   of TSval; shift 15: no window scaling
    +---+---+-----------+

The timestamp with those bits is the largest that is not later than the clock, so later ones never seem older (PAWS);
it is up to 63 ticks early, and a round-trip time measured by its echo that much too long. These six bits are not
authenticated: a peer who changes them harms only its own connection.
"""

from __future__ import annotations

from hashlib import blake2s
from struct import Struct
from typing import NamedTuple

from nodes.errors import MisuseError
from nodes.transport.tcp.isn import LONGEST_SECRET, SHORTEST_SECRET
from nodes.units import SECOND
from nodes.wire.addresses import Ip4

Tuple4 = tuple[Ip4, int, Ip4, int]
"""Local address and port, remote address and port."""

MINUTE = 64 * SECOND
LIFETIME = 2
"""Minutes: this one and the one before. A handshake takes seconds even with a lost segment."""

MSS_TABLE = (64, 256, 536, 1220, 1360, 1440, 1460, 8960)
"""What a cookie can say, rounded down: the defaults of RFC 9293, Ethernet plain, by PPPoE and through tunnels, jumbo
frames, and something for small links."""

NO_SCALING = 15
_SHIFT = 0x0F
_SACK = 0x10
_ECN = 0x20
_OPTION_BITS = 0x3F

_MASK = 0xFFFF_FFFF
_LOW = 0xFF_FFFF
_TUPLE = Struct("!IHIH")
_MORE = Struct("!Iq")


class CookieOptions(NamedTuple):
    """What the timestamp of a cookie brings back."""

    window_scale: int | None
    sack: bool
    ecn: bool


class SynCookies:
    """`secret`: 16 to 32 octets; it may be that of the initial sequence numbers. Raises MisuseError for another
    length."""

    __slots__ = ("_place", "_proof")

    def __init__(self, secret: bytes) -> None:
        if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
            raise MisuseError(f"a secret of {len(secret)} octets, {SHORTEST_SECRET} to {LONGEST_SECRET} expected")
        self._place = blake2s(key=secret, digest_size=4, person=b"place")
        self._proof = blake2s(key=secret, digest_size=3, person=b"proof")

    def make(self, tuple4: Tuple4, irs: int, mss: int, now: int) -> int:
        """Our initial sequence number (32 bits) for the SYN,ACK to a SYN with `irs` (32 bits) and `mss`."""
        minutes = now // MINUTE
        index = sum(1 for size in MSS_TABLE[1:] if size <= mss)
        low = (self._g(tuple4, irs, minutes) + index) & _LOW
        return ((minutes << 24 | low) + self._f(tuple4) + irs) & _MASK

    def check(self, tuple4: Tuple4, irs: int, iss: int, now: int) -> int | None:
        """The MSS in a cookie, None where it is none of ours or too old. Of the acknowledgment that brings it, `irs`
        is the sequence number minus one and `iss` the acknowledgment number minus one (both modulo 2^32)."""
        cookie = (iss - irs - self._f(tuple4)) & _MASK
        age = (now // MINUTE - (cookie >> 24)) & 0xFF
        if age >= LIFETIME:
            return None
        index = (cookie - self._g(tuple4, irs, now // MINUTE - age)) & _LOW
        return MSS_TABLE[index] if index < len(MSS_TABLE) else None

    def _f(self, tuple4: Tuple4) -> int:
        hashed = self._place.copy()
        hashed.update(_TUPLE.pack(*tuple4))
        return int.from_bytes(hashed.digest(), "big")

    def _g(self, tuple4: Tuple4, irs: int, minutes: int) -> int:
        hashed = self._proof.copy()
        hashed.update(_TUPLE.pack(*tuple4) + _MORE.pack(irs, minutes))
        return int.from_bytes(hashed.digest(), "big")


def encode_timestamp(value: int, window_scale: int | None, sack: bool, ecn: bool) -> int:
    """The TSval (32 bits) that carries the options and is at most 63 ticks before `value`. Raises MisuseError for a
    shift above 14."""
    shift = NO_SCALING if window_scale is None else window_scale
    if window_scale is not None and not 0 <= window_scale < NO_SCALING:
        raise MisuseError(f"a window scale of {window_scale}, 0 to 14 expected")
    bits = shift | (_SACK if sack else 0) | (_ECN if ecn else 0)
    return (value - ((value - bits) & _OPTION_BITS)) & _MASK


def decode_timestamp(echo: int) -> CookieOptions:
    """The options in a TSecr."""
    shift = echo & _SHIFT
    return CookieOptions(None if shift == NO_SCALING else shift, bool(echo & _SACK), bool(echo & _ECN))
