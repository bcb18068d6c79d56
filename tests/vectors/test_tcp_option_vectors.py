"""The options of TCP byte by byte: those that no builder of ours makes, and what our builders refuse."""

from __future__ import annotations

import struct

import pytest

from nodes.wire import tcp, tcp_options
from nodes.wire.addresses import parse_ip4
from nodes.wire.tcp import ACK, FIN
from nodes.wire.tcp_options import NO_OPTIONS, Options

A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")

WORDS: list[tuple[str, str, Options]] = [
    ("nothing", "", NO_OPTIONS),
    ("only padding", "01 01 00 00", NO_OPTIONS),
    ("MUST-4: no operations, MSS, end", "01 02 04 05b4 01 00 00", NO_OPTIONS._replace(mss=1460)),
    ("MUST-4: what follows the end is not read", "00 02 04 05b4", NO_OPTIONS),
    ("MUST-6: unknown kinds", "fd 06 01020304 fe 02 02 04 05b4", NO_OPTIONS._replace(mss=1460)),
    ("MUST-64: MSS at an odd place", "01 02 04 05b4", NO_OPTIONS._replace(mss=1460)),
    ("MUST-64: timestamps at an odd place", "01 08 0a 00000005 00000006 00", NO_OPTIONS._replace(timestamp=(5, 6))),
    ("MUST-64: SACK at an odd place", "05 0a 00000001 00000002 01 00", NO_OPTIONS._replace(sack=((1, 2),))),
    ("twelve octets that are not timestamps", "01 01 05 0a 00000001 00000002", NO_OPTIONS._replace(sack=((1, 2),))),
    ("timestamps last", "04 02 08 0a 00000005 00000006", NO_OPTIONS._replace(timestamp=(5, 6), sack_permitted=True)),
    ("the last of two counts", "02 04 0200 02 04 0100", NO_OPTIONS._replace(mss=256)),
    ("7323-2.3: a shift above 14 as sent", "03 03 ff 00", NO_OPTIONS._replace(window_scale=255)),
    ("a shift of zero is an option too", "03 03 00 00", NO_OPTIONS._replace(window_scale=0)),
    ("user timeout in seconds", "1c 04 012c", NO_OPTIONS._replace(user_timeout=300)),
    ("user timeout in minutes", "1c 04 8005", NO_OPTIONS._replace(user_timeout=300)),
    ("MUST-7: length zero", "03 03 07 02 00 05b4 00", NO_OPTIONS._replace(window_scale=7, malformed=True)),
    ("MUST-7: length one", "03 03 07 fd 01 00 00 00", NO_OPTIONS._replace(window_scale=7, malformed=True)),
    ("MUST-7: past the header", "03 03 07 08 0a 000000", NO_OPTIONS._replace(window_scale=7, malformed=True)),
    ("MUST-7: one octet past the header", "01 02 04 05", NO_OPTIONS._replace(malformed=True)),
    ("MUST-7: a kind without its length", "01 01 01 02", NO_OPTIONS._replace(malformed=True)),
    ("wrong length, then another", "02 03 05 03 03 07 01 01", NO_OPTIONS._replace(window_scale=7, malformed=True)),
    ("timestamps too short", "08 08 00000001 0000", NO_OPTIONS._replace(malformed=True)),
    ("SACK permitted with data", "04 03 00 00", NO_OPTIONS._replace(malformed=True)),
    ("SACK without a block", "05 02 01 01", NO_OPTIONS._replace(malformed=True)),
    ("half a SACK block", "05 06 00000001 01 00", NO_OPTIONS._replace(malformed=True)),
    ("an MSS of zero", "02 04 0000", NO_OPTIONS._replace(malformed=True)),
]


@pytest.mark.parametrize(("octets", "options"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_options(octets: str, options: Options) -> None:
    """MUST-4, MUST-5, MUST-6, MUST-7, MUST-64"""
    raw = bytes.fromhex(octets)
    assert tcp_options.parse_options(raw) == options
    assert tcp_options.parse_options(memoryview(raw)) == options
    segment = tcp.build(A, B, 1, 2, 3, 4, FIN | ACK, 5, options=raw, payload=b"data")
    parsed = tcp.parse(segment, A, B)
    assert (parsed.options, bytes(parsed.payload)) == (options, b"data")


@pytest.mark.parametrize("length", [1, 2, 3, 5, 39])
def test_padding_is_zero(length: int) -> None:
    """MUST-69"""
    segment = tcp.build(A, B, 1, 2, 3, 4, ACK, 5, options=b"\x01" * length)
    assert segment[20:] == b"\x01" * length + bytes(-length % 4)
    assert segment[12] >> 4 == len(segment) // 4


@pytest.mark.parametrize(
    "values",
    [(65536, 7, True, None), (1460, 256, True, None), (1460, 7, True, (1 << 32, 0)), (1460, 7, True, (0, -1))],
)
def test_what_the_options_of_a_syn_cannot_carry(values: tuple[int, int, bool, tuple[int, int] | None]) -> None:
    with pytest.raises(ValueError, match="a TCP option is out of range"):
        tcp_options.build_syn(*values)


def test_what_the_options_cannot_carry() -> None:
    with pytest.raises(ValueError, match="a TCP option is out of range"):
        tcp_options.build((0, 1 << 32))
    with pytest.raises(ValueError, match="a TCP option is out of range"):
        tcp_options.build(None, [(1 << 32, 0)])
    for seconds in (-1, 0x7FFF * 60 + 1):
        with pytest.raises(ValueError, match="a user timeout of"):
            tcp_options.build(None, (), seconds)


@pytest.mark.parametrize(
    ("seconds", "field"), [(0, 0), (32767, 0x7FFF), (32768, 0x8000 | 547), (32767 * 60, 0xFFFF), (33000, 0x8000 | 550)]
)
def test_user_timeouts(seconds: int, field: int) -> None:
    """RFC 5482 section 3: fifteen bits of seconds, or of minutes; never less than asked for."""
    octets = tcp_options.build(None, (), seconds)
    assert octets == struct.pack("!BBH", 28, 4, field)
    read = tcp_options.parse_options(octets).user_timeout
    assert read is not None
    assert seconds <= read < seconds + 60


def test_sack_blocks_leave_room_for_what_else_there_is() -> None:
    """2018-4b: as many as fit, the first ones."""
    blocks = [(number, number + 1) for number in range(0, 20, 2)]
    for timestamp, timeout, fit in ((None, None, 4), ((1, 2), None, 3), (None, 60, 4), ((1, 2), 60, 2)):
        octets = tcp_options.build(timestamp, blocks, timeout)
        assert len(octets) <= 40
        assert len(octets) % 4 == 0
        options = tcp_options.parse_options(octets)
        assert options == NO_OPTIONS._replace(timestamp=timestamp, sack=tuple(blocks[:fit]), user_timeout=timeout)
