"""Long TCP segments cut in software."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.network import segmentation
from nodes.wire import ipv4, tcp
from nodes.wire.addresses import parse_ip4

A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
FLAGS = tcp.ACK | tcp.PSH | tcp.FIN | tcp.CWR


def packet(data: bytes, *, sequence: int = 1000, identification: int = 0, options: bytes = b"") -> bytes:
    segment = tcp.build(A, B, 1, 2, sequence, 9, FLAGS, 7, options=bytes((1,) * 12), payload=data, partial=True)
    return ipv4.build(A, B, 6, segment, ttl=9, traffic_class=2, identification=identification, options=options)


def parsed(pieces: list[bytes]) -> list[tuple[ipv4.IPv4Header, tcp.Segment]]:
    """Raises WireError for a wrong checksum of either header."""
    found = []
    for piece in pieces:
        header, payload = ipv4.parse(piece)
        assert header.total_length == len(piece)
        found.append((header, tcp.parse(payload, header.source, header.destination)))
    return found


def test_pieces() -> None:
    data = bytes(range(250)) * 16
    rows = parsed(segmentation.cut(packet(data, identification=0xFFFF), 1448))
    assert [bytes(segment.payload) for _, segment in rows] == [data[:1448], data[1448:2896], data[2896:]]
    assert [segment.sequence for _, segment in rows] == [1000, 2448, 3896]
    assert [segment.flags for _, segment in rows] == [
        tcp.ACK | tcp.CWR, tcp.ACK, tcp.ACK | tcp.PSH | tcp.FIN,
    ]  # fmt: skip
    assert [header.identification for header, _ in rows] == [0xFFFF, 0, 1]
    assert {(header.ttl, header.traffic_class, segment.window) for header, segment in rows} == {(9, 2, 7)}


@pytest.mark.parametrize(("octets", "size"), [(0, 0), (0, 100), (100, 0), (100, 100), (100, 1448)])
def test_a_short_one_only_gets_its_checksum(octets: int, size: int) -> None:
    ((_, segment),) = parsed(segmentation.cut(packet(bytes(octets)), size))
    assert (len(segment.payload), segment.flags) == (octets, FLAGS)


def test_options_of_ip_stay_with_every_piece() -> None:
    rows = parsed(segmentation.cut(packet(bytes(300), options=bytes((7, 7, 4, 0, 0, 0, 0, 0))), 100))
    assert [len(header.options) for header, _ in rows] == [8, 8, 8]


@given(data=st.binary(max_size=5000), size=st.integers(1, 3000), sequence=st.integers(0, 2**32 - 1))
def test_any_data_comes_out_whole(data: bytes, size: int, sequence: int) -> None:
    whole = packet(data, sequence=sequence)
    rows = parsed(segmentation.cut(whole, size))
    assert len(rows) == segmentation.pieces_of(whole[20:], size)
    assert max(header.total_length for header, _ in rows) - 20 == segmentation.longest(whole[20:], size)
    position = sequence
    for _, segment in rows:
        assert segment.sequence == position & 0xFFFF_FFFF
        position += len(segment.payload)
    assert b"".join(bytes(segment.payload) for _, segment in rows) == data
