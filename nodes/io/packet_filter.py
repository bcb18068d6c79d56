"""Filters that the kernel applies to a packet socket before it copies anything: classic BPF (the kernel's
Documentation/networking/filter.rst; McCanne and Jacobson, USENIX 1993).

    sock_filter: an instruction, 8 octets        A  accumulator, 32 bits      M[]  16 words of memory
    +----------------+--------+--------+         X  index register
    | code           | jump   | jump   |
    |                | if true| if not |         `return 0` drops the frame for this socket, a larger number keeps
    +----------------+--------+--------+         so many of its octets. What goes on to others is not touched.
    | k                                |
    +----------------------------------+

One filter is needed here: of all frames, take one in n, and the same ones wherever it is asked. So the choice is a
function of the frame's own octets, such as differ from frame to frame:

    offset  IPv4                        IPv6                       what a link may change is not among them: the bits
      18    identification, fragment                               of ECN, time to live, the header checksum
      38    ICMP: identifier, sequence  addresses
            TCP: sequence; UDP: checksum
      42    TCP: acknowledgment         addresses
      50    TCP: checksum               addresses
      58    TCP: options                ICMP, UDP: checksum; TCP: sequence
      70    data                        TCP: checksum

They make a hash: h ← (h + word) * MULTIPLIER for each, in the end h ← (h xor h / 2^15) * MULTIPLIER, so that its upper
bits depend on all of them. It is below 2^32 / n for one frame in n. A frame ends where it ends: what is not there is
not counted.
"""

from __future__ import annotations

import ctypes
import socket
from struct import Struct

OFFSETS = (18, 38, 42, 50, 58, 70)
MULTIPLIER = 0x9E37_79B1
"""2^32 divided by the golden ratio, to the next odd number (Knuth, TAOCP volume 3, 6.4: multiplicative hashing)."""
MIXING = 15
"""Without it, what counts up by one is spread unevenly."""

_INSTRUCTION = Struct("=HBBI")
_PROGRAM = Struct("@HP")
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27

LOAD, LOAD_WORD, LOAD_LENGTH, LOAD_MEMORY, STORE = 0x00, 0x20, 0x80, 0x60, 0x02
ADD_X, XOR_X, MULTIPLY, SHIFT_RIGHT, TO_X = 0x0C, 0xAC, 0x24, 0x74, 0x07
JUMP_AT_LEAST, RETURN = 0x35, 0x06
_WHOLE = 0xFFFF_FFFF


def one_in(number: int) -> bytes:
    """The program that takes one frame in `number`: 2, or a higher power of it."""
    steps = [_INSTRUCTION.pack(LOAD, 0, 0, 0), _INSTRUCTION.pack(STORE, 0, 0, 0)]
    for offset in OFFSETS:
        steps += (
            _INSTRUCTION.pack(LOAD_LENGTH, 0, 0, 0),
            _INSTRUCTION.pack(JUMP_AT_LEAST, 0, 6, offset + 4),
            _INSTRUCTION.pack(LOAD_WORD, 0, 0, offset),
            _INSTRUCTION.pack(TO_X, 0, 0, 0),
            _INSTRUCTION.pack(LOAD_MEMORY, 0, 0, 0),
            _INSTRUCTION.pack(ADD_X, 0, 0, 0),
            _INSTRUCTION.pack(MULTIPLY, 0, 0, MULTIPLIER),
            _INSTRUCTION.pack(STORE, 0, 0, 0),
        )
    steps += (
        _INSTRUCTION.pack(LOAD_MEMORY, 0, 0, 0),
        _INSTRUCTION.pack(TO_X, 0, 0, 0),
        _INSTRUCTION.pack(SHIFT_RIGHT, 0, 0, MIXING),
        _INSTRUCTION.pack(XOR_X, 0, 0, 0),
        _INSTRUCTION.pack(MULTIPLY, 0, 0, MULTIPLIER),
        _INSTRUCTION.pack(JUMP_AT_LEAST, 0, 1, (1 << 32) // number),
        _INSTRUCTION.pack(RETURN, 0, 0, 0),
        _INSTRUCTION.pack(RETURN, 0, 0, _WHOLE),
    )
    return b"".join(steps)


def attach(opened: socket.socket, program: bytes) -> None:
    """From now on, only frames that pass come to this socket; those that wait there stay. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    told = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, told)


def detach(opened: socket.socket) -> None:
    """All frames again. Raises OSError, ENOENT where there is no filter."""
    opened.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
