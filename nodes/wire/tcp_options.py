"""The options of a TCP header (RFC 9293 section 3.2): up to 40 octets, each option a kind, a length and its data.

    kind  length   option                                     where
       0     1     end of list; zeros follow it               any
       1     1     no operation, to align the next            any
       2     4     maximum segment size (RFC 9293 3.7.1)      SYN
       3     3     window scale, a shift (RFC 7323 2)         SYN
       4     2     SACK permitted (RFC 2018 2)                SYN
       5   2+8n    SACK: n blocks [start, end) (RFC 2018 3)   any
       8    10     timestamps: value, echo (RFC 7323 3)       any
      28     4     user timeout (RFC 5482 3)                  any

    A SYN of ours, 20 octets:              An established segment, 12 octets:

    +--------+--------+-----------------+  +--------+--------+--------+--------+
    | kind 2 |    4   |       MSS       |  |  nop   |  nop   | kind 8 |   10   |
    +--------+--------+--------+--------+  +--------+--------+--------+--------+
    | kind 4 |    2   | kind 8 |   10   |  |               value               |
    +--------+--------+--------+--------+  +-----------------------------------+
    |               value               |  |                echo               |
    +-----------------------------------+  +-----------------------------------+
    |                echo               |
    +--------+--------+--------+--------+
    |  nop   | kind 3 |    3   |  shift |
    +--------+--------+--------+--------+

A peer may send options in any order, at any alignment, in any segment (MUST-5, MUST-64), and unknown ones are skipped
by their length (MUST-6). A length that cannot be, below two or past the header, makes the rest unreadable: what came
before it counts, and `malformed` is set (MUST-7). So it is where a known option has a wrong length or a value that
means nothing; only that option is skipped. Where an option stands twice, the last one counts. What makes sense only
on a SYN is for the caller to ignore elsewhere: no option is refused here for where it stands.

Nearly every segment of an established connection has no option or the timestamps in the layout of RFC 7323 appendix
A, which is recognized as one 32-bit word.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from nodes.wire.checksum import Buffer

END = 0
NO_OPERATION = 1
MAXIMUM_SEGMENT_SIZE = 2
WINDOW_SCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMPS = 8
USER_TIMEOUT = 28

MAXIMUM_LENGTH = 40  # the data offset has four bits: 60 octets of header, 20 of them fixed
MAXIMUM_SACK_BLOCKS = 4
TIMESTAMPS_LENGTH = 12  # with the two no-operations before it

ALIGNED_TIMESTAMPS = 0x0101080A
"""No operation, no operation, kind 8, length 10: the first four octets of the usual twelve (RFC 7323 appendix A)."""

MINUTES = 0x8000
LARGEST_TIMEOUT = 0x7FFF * 60  # seconds

_WORD = Struct("!H")
_BLOCK = Struct("!II")
_ALIGNED = Struct("!III")
_LENGTHS = {
    MAXIMUM_SEGMENT_SIZE: (4,),
    WINDOW_SCALE: (3,),
    SACK_PERMITTED: (2,),
    SACK: (10, 18, 26, 34),
    TIMESTAMPS: (10,),
    USER_TIMEOUT: (4,),
}


class Options(NamedTuple):
    """What a segment's options say. `window_scale` is the shift as sent, which may be above the 14 that RFC 7323
    section 2.3 makes of it; `sack` are 32-bit (start, end); `timestamp` is (TSval, TSecr); `user_timeout` is in
    seconds."""

    mss: int | None
    window_scale: int | None
    sack_permitted: bool
    sack: tuple[tuple[int, int], ...]
    timestamp: tuple[int, int] | None
    user_timeout: int | None
    malformed: bool


NO_OPTIONS = Options(None, None, False, (), None, None, False)


def parse_options(data: Buffer) -> Options:
    """What `data`, the octets after the fixed header, says. Never raises."""
    length = len(data)
    if not length:
        return NO_OPTIONS
    if length == TIMESTAMPS_LENGTH:
        word, value, echo = _ALIGNED.unpack_from(data)
        if word == ALIGNED_TIMESTAMPS:
            return Options(None, None, False, (), (value, echo), None, False)
    return _parse_any(bytes(data))


def _parse_any(data: bytes) -> Options:
    found: dict[int, bytes] = {}
    malformed = False
    position = 0
    while position < len(data) and (kind := data[position]) != END:
        if kind == NO_OPERATION:
            position += 1
            continue
        length = data[position + 1] if position + 1 < len(data) else 0
        if length < 2 or position + length > len(data):
            malformed = True
            break
        if length in _LENGTHS.get(kind, (length,)):
            found[kind] = data[position + 2 : position + length]
        else:
            malformed = True
        position += length
    return _meaning(found, malformed)


def _meaning(found: dict[int, bytes], malformed: bool) -> Options:
    """The values of options whose lengths are right."""
    mss = int.from_bytes(found.get(MAXIMUM_SEGMENT_SIZE, b""), "big") or None
    if mss is None and MAXIMUM_SEGMENT_SIZE in found:
        malformed = True  # no segment could carry anything
    scale = found.get(WINDOW_SCALE)
    timestamp = found.get(TIMESTAMPS)
    timeout = found.get(USER_TIMEOUT)
    return Options(
        mss,
        scale[0] if scale is not None else None,
        SACK_PERMITTED in found,
        tuple(_BLOCK.iter_unpack(found.get(SACK, b""))),
        _BLOCK.unpack(timestamp) if timestamp is not None else None,
        _seconds(_WORD.unpack(timeout)[0]) if timeout is not None else None,
        malformed,
    )


def _seconds(field: int) -> int:
    """The G bit tells minutes from seconds (RFC 5482 section 3)."""
    return (field & ~MINUTES) * 60 if field & MINUTES else field


def build_syn(
    mss: int | None,
    window_scale: int | None,
    sack_permitted: bool,
    timestamp: tuple[int, int] | None,
    user_timeout: int | None = None,
) -> bytes:
    """The options of a SYN, each group of four octets aligned; what is None or False is left out. Raises ValueError
    for a value that its field cannot carry."""
    try:
        octets = b"" if mss is None else struct.pack("!BBH", MAXIMUM_SEGMENT_SIZE, 4, mss)
        if timestamp is not None:
            # SACK permitted takes the place of the two no-operations
            head = (SACK_PERMITTED, 2) if sack_permitted else (NO_OPERATION, NO_OPERATION)
            octets += struct.pack("!4BII", *head, TIMESTAMPS, 10, *timestamp)
        elif sack_permitted:
            octets += bytes((NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2))
        if window_scale is not None:
            octets += struct.pack("!4B", NO_OPERATION, WINDOW_SCALE, 3, window_scale)
        return octets + _build_timeout(user_timeout)
    except struct.error as error:
        raise ValueError(f"a TCP option is out of range: {error}") from None


def build(
    timestamp: tuple[int, int] | None, sack: Sequence[tuple[int, int]] = (), user_timeout: int | None = None
) -> bytes:
    """The options of a segment that is not a SYN, padded to a multiple of four: of the blocks of `sack`, the first
    that fit, four, or three beside timestamps (RFC 2018 section 3). Raises ValueError for a value that its field
    cannot carry."""
    try:
        octets = b"" if timestamp is None else _ALIGNED.pack(ALIGNED_TIMESTAMPS, *timestamp)
        if user_timeout is not None:
            octets += _build_timeout(user_timeout)
        if sack:
            blocks = sack[: (MAXIMUM_LENGTH - len(octets) - 4) // 8]
            octets += struct.pack("!4B", NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * len(blocks))
            octets += b"".join([_BLOCK.pack(start, end) for start, end in blocks])
        return octets
    except struct.error as error:
        raise ValueError(f"a TCP option is out of range: {error}") from None


def _build_timeout(seconds: int | None) -> bytes:
    """Minutes, rounded up, where the seconds do not fit fifteen bits."""
    if seconds is None:
        return b""
    if not 0 <= seconds <= LARGEST_TIMEOUT:
        raise ValueError(f"a user timeout of {seconds} s, 0 to {LARGEST_TIMEOUT} fit")
    field = seconds if seconds < MINUTES else MINUTES | -(-seconds // 60)
    return struct.pack("!BBH", USER_TIMEOUT, 4, field)
