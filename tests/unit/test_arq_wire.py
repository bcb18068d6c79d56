"""Frames of ARQ as octets."""

from __future__ import annotations

from zlib import crc32

import pytest

from nodes.errors import WireError
from nodes.wire import arq
from nodes.wire.addresses import Mac
from nodes.wire.summary import summarize

ONE, OTHER = Mac(bytes.fromhex("025a00000001")), Mac(bytes.fromhex("025a00000002"))
FRAME = arq.ArqFrame(OTHER, ONE, arq.DATA, 0, 5, 3, 0x0800, b"hello")
BODY = bytes.fromhex("025a00000002 025a00000001 88b5 00 00 0005 0003 0800 0005") + b"hello"
OCTETS = BODY + crc32(BODY).to_bytes(4, "big")


def test_both_ways() -> None:
    assert arq.build(FRAME) == OCTETS
    parsed = arq.parse(OCTETS)
    assert parsed._replace(payload=bytes(parsed.payload)) == FRAME
    assert len(OCTETS) - 14 - len(b"hello") == arq.OVERHEAD == 14


def test_what_a_medium_pads_is_left_out() -> None:
    assert bytes(arq.parse(OCTETS + bytes(20)).payload) == b"hello"


@pytest.mark.parametrize("bit", range(len(OCTETS) * 8))
def test_every_turned_bit_is_found(bit: int) -> None:
    damaged = bytearray(OCTETS)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        arq.parse(damaged)


@pytest.mark.parametrize("length", range(len(OCTETS)))
def test_every_cut_is_found(length: int) -> None:
    with pytest.raises(WireError):
        arq.parse(OCTETS[:length])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({12: 0x08, 13: 0x00}, "ethertype"),
        ({23: 0xFF}, "length"),
        ({14: len(arq.KINDS)}, "kind"),
        ({24: 0x00}, "check sequence"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_field_is_named(changed: dict[int, int], field: str) -> None:
    octets = bytearray(BODY)
    for place, value in changed.items():
        octets[place] = value
    summed = bytes(octets) if field == "kind" else BODY
    with pytest.raises(WireError) as caught:
        arq.parse(bytes(octets) + crc32(summed).to_bytes(4, "big"))
    assert caught.value.field == field


def test_summaries() -> None:
    acknowledgment = arq.ArqFrame(ONE, OTHER, arq.READY, arq.SELECTIVE, 5, 6)
    assert summarize(arq.build(acknowledgment)).info == "RR, N(R) 6, N(S) 5"
    assert summarize(arq.build(FRAME._replace(ethertype=0x9999))).info.startswith("I, N(S) 5, N(R) 3: ethertype 0x9999")
    assert summarize(arq.build(FRAME._replace(kind=arq.SET_MODE))).info == "SABM"
    assert summarize(OCTETS[:-6]).info.endswith("[truncated]")
    assert summarize(OCTETS[:20]).info == "6 octets [truncated]"
