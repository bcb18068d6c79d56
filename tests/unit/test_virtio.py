"""The virtio-net header: bytes as Linux makes them, and checksums that are finished for captures."""

from __future__ import annotations

import sys

import pytest

from nodes.errors import WireError
from nodes.wire import ethernet, ipv4, tcp, udp, virtio
from nodes.wire.addresses import parse_ip4, parse_mac
from nodes.wire.checksum import pseudo_header_sum
from nodes.wire.virtio import VirtioHeader

A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
MACS = parse_mac("02:00:00:00:00:02"), parse_mac("02:00:00:00:00:01")
START = ethernet.HEADER_LENGTH + ipv4.HEADER_LENGTH


def frame_of(protocol: int, payload: bytes) -> bytes:
    return ethernet.build(*MACS, ethernet.ETHERTYPE_IPV4, ipv4.build(A, B, protocol, payload))


def note(offset: int) -> bytes:
    return virtio.build(VirtioHeader(flags=virtio.NEEDS_CSUM, checksum_start=START, checksum_offset=offset))


@pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are those of a little-endian machine")
def test_the_header_as_linux_gives_it() -> None:
    header = VirtioHeader(virtio.NEEDS_CSUM, virtio.GSO_TCPV4, 66, 1448, 34, 16)
    data = bytes.fromhex("01014200a80522001000")
    assert virtio.build(header) == data
    assert virtio.parse(data + bytes(60))[0] == header
    assert virtio.build(VirtioHeader()) == virtio.PLAIN
    assert len(virtio.PLAIN) == virtio.LENGTH == virtio.HEADER.size


@pytest.mark.parametrize("data", [b"", bytes(9)])
def test_too_short(data: bytes) -> None:
    with pytest.raises(WireError, match="virtio header") as caught:
        virtio.parse(data)
    assert caught.value.offset == len(data)


def test_a_checksum_outside_the_frame() -> None:
    good = note(16) + bytes(START + 18)
    assert virtio.parse(good)[0].checksum_offset == 16
    with pytest.raises(WireError, match="checksum start"):
        virtio.parse(good[:-1])
    assert virtio.parse(virtio.PLAIN)[1] == b"", "nobody wants a checksum there"


@pytest.mark.parametrize("octets", [0, 1, 1447, 60_000])
def test_a_tcp_checksum_is_finished(octets: int) -> None:
    parts = (A, B, 1234, 80, 1, 2, tcp.ACK, 500)
    payload = bytes(index * 7 & 255 for index in range(octets))
    partial = frame_of(6, tcp.build(*parts, payload=payload, partial=True))
    whole = frame_of(6, tcp.build(*parts, payload=payload))
    assert partial != whole
    assert bytes(virtio.finish(note(16) + partial)) == whole


def test_a_udp_checksum_is_finished() -> None:
    whole = frame_of(17, udp.build(A, B, 1, 2, b"abc"))
    pseudo = pseudo_header_sum(A, B, 17, 11) % 0xFFFF
    partial = whole[: START + 6] + pseudo.to_bytes(2, "big") + whole[START + 8 :]
    assert bytes(virtio.finish(note(6) + partial)) == whole


def test_a_udp_checksum_of_zero_is_sent_as_ones() -> None:
    """RFC 768: zero would say that there is none."""
    data = next(
        data for number in range(65536)
        if udp.build(A, B, 1, 2, data := number.to_bytes(2, "big"))[6:8] == b"\xff\xff"
    )  # fmt: skip
    whole = frame_of(17, udp.build(A, B, 1, 2, data))
    partial = whole[: START + 6] + (pseudo_header_sum(A, B, 17, 10) % 0xFFFF).to_bytes(2, "big") + whole[START + 8 :]
    assert bytes(virtio.finish(note(6) + partial)) == whole


def test_what_lacks_nothing_stays_as_it_is() -> None:
    frame = frame_of(6, b"anything at all, right or wrong")
    assert virtio.finish(virtio.PLAIN + frame) == frame
    checked = virtio.build(VirtioHeader(flags=virtio.DATA_VALID, checksum_start=9999))
    assert virtio.finish(checked + frame) == frame
