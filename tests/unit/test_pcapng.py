"""The pcapng writer, reader and merger."""

from __future__ import annotations

import io
from pathlib import Path
from struct import pack

import pytest

from nodes.trace.files import TraceFileError
from nodes.trace.pcapng import (
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    InterfaceStatistics,
    PcapngWriter,
    merge,
    read,
    read_items,
)

WALL = 1_790_000_000_123_456_789


class Broken(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(5, "Input/output error")


def capture(path: Path) -> PcapngWriter:
    """Two interfaces, four frames of lengths 0 to 3 modulo four."""
    writer = PcapngWriter(path, application="layerlab 0.1")
    eth0 = writer.add_interface("h1-eth0", "to s1")
    wan0 = writer.add_interface("h1-wan0", linktype=LINKTYPE_RAW)
    writer.packet(eth0, WALL, b"a" * 60, True)
    writer.packet(wan0, WALL + 1, b"b" * 61, False)
    writer.packet(eth0, WALL + 2, b"c" * 62, False, comment="first retransmission, ü", dropped=7)
    writer.packet(eth0, WALL + 3, b"d" * 63, None, original_length=1500)
    return writer


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h1.pcapng"
    writer = capture(path)
    writer.statistics(0, 100, 3)
    writer.close()
    frames = list(read(path))
    assert [frame.frame for frame in frames] == [b"a" * 60, b"b" * 61, b"c" * 62, b"d" * 63]
    assert [frame.interface for frame in frames] == ["h1-eth0", "h1-wan0", "h1-eth0", "h1-eth0"]
    assert [frame.wall_ns - WALL for frame in frames] == [0, 1, 2, 3]
    assert [frame.inbound for frame in frames] == [True, False, False, None]
    assert [frame.comment for frame in frames] == [None, None, "first retransmission, ü", None]
    assert [frame.original_length for frame in frames] == [60, 61, 62, 1500]
    assert [frame.dropped for frame in frames] == [0, 0, 7, 0]
    assert [frame.linktype for frame in frames] == [LINKTYPE_ETHERNET, LINKTYPE_RAW] + [LINKTYPE_ETHERNET] * 2
    assert frames[0].description == "to s1"
    statistics = [item for item in read_items(path) if isinstance(item, InterfaceStatistics)]
    assert statistics == [
        InterfaceStatistics(0, "h1-eth0", 100, 3),
        InterfaceStatistics(1, "h1-wan0", None, None),
    ]


def test_the_octets_of_the_usual_block(tmp_path: Path) -> None:
    """draft-ietf-opsawg-pcapng section 4.3: an EPB with its direction, the data padded to four octets."""
    path = tmp_path / "one.pcapng"
    writer = PcapngWriter(path)
    writer.add_interface("e")
    writer.flush()
    before = path.stat().st_size
    writer.packet(0, (7 << 32) + 9, b"hello", True)
    writer.flush()
    block = path.read_bytes()[before:]
    assert block == pack("<7I", 6, 52, 0, 7, 9, 5, 5) + b"hello\0\0\0" + pack("<HHIHHI", 2, 4, 1, 0, 0, 52)
    writer.close()


def test_a_long_frame_is_cut_at_the_snapshot_length(tmp_path: Path) -> None:
    path = tmp_path / "snap.pcapng"
    writer = PcapngWriter(path, snaplen=10)
    writer.add_interface("e")
    writer.packet(0, 1, b"0123456789abc", True)
    writer.packet(0, 1, b"0123456789abc", None)
    writer.close()
    assert [(frame.frame, frame.original_length) for frame in read(path)] == [(b"0123456789", 13)] * 2


def test_a_capture_at_its_bound_stays_valid_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bound.pcapng"
    writer = PcapngWriter(path, max_octets=2000)
    writer.add_interface("e")
    for number in range(100):
        writer.packet(0, number, bytes(60), True)
    writer.close()
    recorded = len(list(read(path)))
    assert path.stat().st_size <= 2000
    assert writer.dropped == 100 - recorded > 50
    assert f"{writer.dropped} frames not recorded".encode() in path.read_bytes()


def test_an_interface_beyond_the_bound_is_never_mentioned(tmp_path: Path) -> None:
    path = tmp_path / "bound.pcapng"
    writer = PcapngWriter(path, max_octets=400)
    for name in ("a", "b"):
        writer.packet(writer.add_interface(name), 1, bytes(60), True)
    writer.close()
    items = list(read_items(path))
    assert {item.interface for item in items} <= {"a"}


def test_a_failed_write_does_not_reach_the_stack() -> None:
    writer = PcapngWriter(Broken())
    writer.add_interface("e")
    writer.packet(0, 1, bytes(60), True)
    writer.flush()
    writer.packet(0, 1, bytes(60), True)
    writer.close()
    assert writer.failed == "Input/output error"
    assert writer.lost == 4


def test_a_truncated_capture_is_read_up_to_its_last_whole_block(tmp_path: Path) -> None:
    path, cut = tmp_path / "h1.pcapng", tmp_path / "cut.pcapng"
    capture(path).close()
    data, whole = path.read_bytes(), list(read(path))
    counts = []
    for length in range(len(data) + 1):
        if 0 < length < 12:
            continue
        cut.write_bytes(data[:length])
        frames = list(read(cut))
        assert frames == whole[: len(frames)]
        counts.append(len(frames))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4}


def test_another_byte_order_and_resolution(tmp_path: Path) -> None:
    """As a big-endian machine writes it: microseconds by default, a binary resolution, a second section."""
    path = tmp_path / "big.pcapng"
    section = pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    micro = pack(">IIHHII", 1, 20, 1, 0, 0, 20)
    binary = pack(">IIHHIHHBBBBHHI", 1, 32, 1, 0, 0, 9, 1, 0x8A, 0, 0, 0, 0, 0, 32)
    one = pack(">7I", 6, 36, 0, 0, 3_000_001, 1, 1) + b"x\0\0\0" + pack(">I", 36)
    two = pack(">7I", 6, 48, 1, 0, 1536, 4, 4) + b"wxyz" + pack(">HHIHHI", 2, 4, 2, 0, 0, 48)
    unknown = pack(">IIII", 0x0BAD, 16, 1, 16)
    little = pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + pack("<IIHHII", 1, 20, 1, 0, 2, 20)
    simple = pack("<IIIII", 3, 20, 5, 0, 20)
    path.write_bytes(section + micro + unknown + binary + one + two + little + simple)
    frames = list(read(path))
    assert [(frame.wall_ns, frame.frame, frame.inbound) for frame in frames] == [
        (3_000_001_000, b"x", None),
        (1_500_000_000, b"wxyz", False),
        (0, b"\0\0", None),
    ]
    assert [frame.interface_id for frame in frames] == [0, 1, 2]
    assert frames[2].original_length == 5


HEADER = pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
INTERFACE = pack("<IIHHII", 1, 20, 1, 0, 0, 20)


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"not a capture file", 0, "not a pcapng file"),
        (b"short", 0, "not a pcapng file"),
        (pack("<III", 0x0A0D0D0A, 28, 0x11223344), 0, "byte-order"),
        (HEADER + pack("<III", 6, 13, 0), 28, "block length 13"),
        (HEADER + pack("<III", 6, 0, 0), 28, "block length 0"),
        (HEADER + pack("<III", 6, 1 << 30, 0), 28, "block length"),
        (HEADER + pack("<IIIII", 5, 20, 0, 0, 24), 28, "lengths differ"),
        (HEADER + pack("<7I", 6, 32, 0, 0, 0, 0, 0) + pack("<I", 32), 28, "type 6"),
        (HEADER + INTERFACE + pack("<7I", 6, 32, 0, 0, 0, 99, 99) + pack("<I", 32), 48, "99 octets captured"),
        (HEADER + pack("<IIHHIHHI", 1, 24, 1, 0, 0, 2, 99, 24), 28, "runs past"),
    ],
)
def test_damage_is_located(tmp_path: Path, data: bytes, offset: int, reason: str) -> None:
    path = tmp_path / "damaged.pcapng"
    path.write_bytes(data)
    with pytest.raises(TraceFileError, match=reason) as caught:
        list(read(path))
    assert caught.value.offset == offset


def test_merge_sorts_by_time_and_keeps_interfaces(tmp_path: Path) -> None:
    for name, times in (("h1", (10, 30, 50)), ("h2", (20, 30, 40))):
        writer = PcapngWriter(tmp_path / f"{name}.pcapng")
        writer.add_interface(f"{name}-eth0", f"{name} to s1")
        for time in times:
            writer.packet(0, WALL + time, f"{name} {time}".encode(), time % 20 == 0, comment=f"{time}")
        writer.statistics(0, 9, 1)
        writer.close()
    out = tmp_path / "all.pcapng"
    assert merge([tmp_path / "h1.pcapng", tmp_path / "h2.pcapng"], out) == 6
    frames = list(read(out))
    assert [frame.frame for frame in frames] == [b"h1 10", b"h2 20", b"h1 30", b"h2 30", b"h2 40", b"h1 50"]
    assert [frame.interface for frame in frames] == [f"h{number}-eth0" for number in (1, 2, 1, 2, 2, 1)]
    assert [frame.inbound for frame in frames] == [False, True, False, False, True, False]
    assert frames[0].comment == "10"
    assert frames[0].description == "h1 to s1"
    statistics = [item for item in read_items(out) if isinstance(item, InterfaceStatistics)]
    assert [(item.received, item.dropped) for item in statistics] == [(9, 1), (9, 1)]


def test_merge_reports_a_broken_input(tmp_path: Path) -> None:
    (tmp_path / "bad.pcapng").write_bytes(b"nonsense here")
    with pytest.raises(TraceFileError, match="not a pcapng file"):
        merge([tmp_path / "bad.pcapng"], tmp_path / "out.pcapng")


def test_merge_reports_a_full_disk(tmp_path: Path) -> None:
    capture(tmp_path / "h1.pcapng").close()
    with pytest.raises(OSError, match="Input/output error"):
        merge([tmp_path / "h1.pcapng"], Broken())
