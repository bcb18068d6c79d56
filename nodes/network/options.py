"""IPv4 options as hosts and routers treat them (RFC 1122 section 3.2.1.8, RFC 1812 section 5.2.4.1, RFC 7126).

    option          a host that it is for             a router on the way
    record route    echo replies carry it on          writes its address
    timestamp       echo replies carry it on          writes a time, and its address where asked
    source routes   refused                           refused
    others          ignored                           forwarded as they are

An option that contradicts itself is answered with a parameter problem, whose pointer is the `offset` of the WireError
raised here. Times are milliseconds of a clock that is not the time of day, which the high bit says (RFC 791 section
3.1).

    record route   +-----------+----------+---------+-------------------------------+
                   |     7     |  length  | pointer | address | address | ...         |
                   +-----------+----------+---------+-------------------------------+
    timestamp      +-----------+----------+---------+------+------+-----------------+
                   |    68     |  length  | pointer | oflw | flag | [address] time  |
                   +-----------+----------+---------+------+------+-----------------+

A pointer counts from 1 at the option's first octet, and is past the length where no room is left.
"""

from __future__ import annotations

from nodes.errors import WireError
from nodes.units import MILLISECOND
from nodes.wire import ipv4
from nodes.wire.addresses import Ip4

COPIED = 0x80
"""The bit of the option's type that says: into every fragment (RFC 791 section 3.1)."""

_TIMES_ONLY = 0
_ADDRESSES_AND_TIMES = 1
_PRESPECIFIED = 3
_DAY = 86_400_000  # milliseconds
_NOT_TIME_OF_DAY = 0x8000_0000


def check(options: bytes) -> bool:
    """True where a source route is among them. Raises WireError where the list is malformed."""
    found = False
    for kind, _, _ in ipv4.option_fields(options):
        found |= kind in (ipv4.OPTION_LOOSE_SOURCE_ROUTE, ipv4.OPTION_STRICT_SOURCE_ROUTE)
    return found


def copied(options: bytes) -> bytes:
    """The options that go into fragments after the first, padded to whole words."""
    kept = b"".join(
        bytes((kind, len(data) + 2)) + data for kind, _, data in ipv4.option_fields(options) if kind & COPIED
    )
    return kept + bytes(-len(kept) % 4)


def record(options: bytes, address: Ip4, now: int) -> bytes:
    """The options after this node, which is `address` on the way out, has written into them what they ask for. Raises
    WireError where the list, or an option that is to be written to, is malformed."""
    if not options:
        return options
    written = bytearray(options)
    for kind, offset, data in ipv4.option_fields(options):
        position = offset - ipv4.HEADER_LENGTH
        if kind == ipv4.OPTION_RECORD_ROUTE:
            _record_route(written, position, len(data) + 2, address)
        elif kind == ipv4.OPTION_TIMESTAMP:
            _record_time(written, position, len(data) + 2, address, now)
    return bytes(written)


def recorded(options: bytes, address: Ip4, now: int) -> bytes:
    """The record route and timestamp options of a query, as its reply carries them: written by this node as well (RFC
    1122 section 3.2.2.6). Other options concern the query only. Raises WireError where an option is malformed."""
    kept = b"".join(
        bytes((kind, len(data) + 2)) + data
        for kind, _, data in ipv4.option_fields(record(options, address, now))
        if kind in (ipv4.OPTION_RECORD_ROUTE, ipv4.OPTION_TIMESTAMP)
    )
    return kept + bytes(-len(kept) % 4)


def _record_route(options: bytearray, position: int, length: int, address: Ip4) -> None:
    place = _pointer(options, position, length, first=4, slot=4)
    if place is None:
        return
    options[place : place + 4] = address.to_bytes(4, "big")
    options[position + 2] += 4


def _record_time(options: bytearray, position: int, length: int, address: Ip4, now: int) -> None:
    flag = options[position + 3] & 15 if length > 3 else _TIMES_ONLY
    slot = 4 if flag == _TIMES_ONLY else 8
    place = _pointer(options, position, length, first=5, slot=slot)
    if place is None:
        _count_overflow(options, position)
        return
    own = address.to_bytes(4, "big")
    if flag == _PRESPECIFIED and options[place : place + 4] != own:
        return  # meant for another router
    time = (now // MILLISECOND % _DAY | _NOT_TIME_OF_DAY).to_bytes(4, "big")
    options[place : place + slot] = time if flag == _TIMES_ONLY else own + time
    options[position + 2] += slot


def _count_overflow(options: bytearray, position: int) -> None:
    """Counts a node that found no room; the sixteenth makes the packet an erroneous one (RFC 791 section 3.1)."""
    overflow = (options[position + 3] >> 4) + 1
    if overflow > 15:
        raise _malformed(position + 3, "16 nodes found no room")
    options[position + 3] = overflow << 4 | options[position + 3] & 15


def _pointer(options: bytearray, position: int, length: int, *, first: int, slot: int) -> int | None:
    """Where the next entry goes, or None where the option is full."""
    if length < first - 1:
        raise _malformed(position + 1, f"{length} octets are no such option")
    pointer = options[position + 2]
    if pointer < first:
        raise _malformed(position + 2, f"{pointer}, at least {first} expected")
    if pointer > length:
        return None
    if pointer - 1 + slot > length:
        raise _malformed(position + 2, f"{pointer} leaves less than {slot} octets")
    return position + pointer - 1


def _malformed(position: int, reason: str) -> WireError:
    return WireError("ipv4", "option pointer", ipv4.HEADER_LENGTH + position, reason)
