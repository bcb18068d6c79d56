"""The receive buffer: order, SACK blocks, duplicates, and what it costs."""

import sys

import pytest

from nodes.transport.tcp.receive_buffer import (
    MEMORY_FACTOR,
    MEMORY_FLOOR,
    MERGED,
    SMALL,
    ReceiveBuffer,
)

START = (1 << 32) - 50  # extended numbers go on where the wire's wrap
DATA = bytes(range(256)) * 64


def part(start: int, end: int, data: bytes = DATA) -> memoryview:
    return memoryview(data)[start:end]


def view(octets: bytes) -> memoryview:
    return memoryview(octets)


def holding(*ranges: tuple[int, int], capacity: int = 1 << 16) -> ReceiveBuffer:
    buffer = ReceiveBuffer(START, capacity)
    for start, end in ranges:
        buffer.insert(START + start, part(start, end))
    return buffer


def blocks(buffer: ReceiveBuffer, count: int = 4) -> list[tuple[int, int]]:
    return [(start - START, end - START) for start, end in buffer.sack_blocks(count)]


def test_in_order() -> None:
    buffer = ReceiveBuffer(START, 1000)
    buffer.append(part(0, 100))
    buffer.append(part(100, 101))
    assert (buffer.rcv_nxt, buffer.available, buffer.position) == (START + 101, 101, START)
    assert buffer.peek(3) == DATA[:3]
    assert buffer.read(50) == DATA[:50]
    assert buffer.position == START + 50
    assert buffer.read(1000) == DATA[50:101]
    assert (buffer.read(1000), buffer.peek(10), buffer.available) == (b"", b"", 0)


def test_reads_of_any_size() -> None:
    buffer = ReceiveBuffer(0, 1 << 16)
    for start in range(0, 6000, 600):
        buffer.append(part(start, start + 600))
        buffer.append(part(start, start))  # nothing
    assert buffer.read(0) == buffer.read(-1) == b""
    assert b"".join(iter(lambda: buffer.read(7), b"")) == DATA[:6000]


def test_append_while_a_chunk_is_partly_read() -> None:
    buffer = ReceiveBuffer(0, 1000)
    buffer.append(part(0, 10))
    assert buffer.read(4) == DATA[:4]
    buffer.append(part(10, 20))
    assert buffer.read(100) == DATA[4:20]
    assert buffer.memory == 0


def test_gap_is_filled() -> None:
    """5681-4.2, SHLD-31: only the missing part is needed."""
    buffer = holding((100, 200), (200, 300), (400, 500))
    assert buffer.has_gaps
    assert (buffer.out_of_order, buffer.available, buffer.ranges) == (300, 0, 2)
    buffer.append(part(0, 100))
    assert (buffer.rcv_nxt, buffer.available, buffer.has_gaps) == (START + 300, 300, True)
    buffer.insert(START + 300, part(300, 350))
    assert buffer.rcv_nxt == START + 350
    buffer.insert(START + 350, part(350, 400))
    assert (buffer.rcv_nxt, buffer.has_gaps, buffer.out_of_order) == (START + 500, False, 0)
    assert buffer.read(1000) == DATA[:500]
    assert buffer.memory == 0


def test_first_copy_wins() -> None:
    """B-SEQ-4: what was acknowledged, or reported, is never altered."""
    buffer = holding((10, 20), (30, 40))
    other = view(bytes(60))
    buffer.insert(START, other)
    expected = bytearray(60)
    expected[10:20], expected[30:40] = DATA[10:20], DATA[30:40]
    assert buffer.read(100) == expected


def test_blocks_are_merged_and_newest_first() -> None:
    """2018-4a, 2018-4b, 2018-4c."""
    buffer = holding((100, 200), (300, 400), (500, 600))
    assert blocks(buffer) == [(500, 600), (300, 400), (100, 200)]
    assert blocks(buffer, 2) == [(500, 600), (300, 400)]
    buffer.insert(START + 200, part(200, 250))
    assert blocks(buffer) == [(100, 250), (500, 600), (300, 400)]
    buffer.insert(START + 400, part(400, 500))
    assert blocks(buffer) == [(300, 600), (100, 250)]
    buffer.insert(START + 90, part(90, 100))
    assert blocks(buffer) == [(90, 250), (300, 600)]
    buffer.insert(START + 250, part(250, 300))
    assert blocks(buffer) == [(90, 600)]


def test_block_example_of_rfc_2018() -> None:
    """RFC 2018 section 7, case 3: the second, fourth, sixth and eighth of eight segments are lost; then 4, 2 come."""
    buffer = ReceiveBuffer(5000, 1 << 16)
    buffer.append(part(0, 500))
    for start in (6000, 7000, 8000):
        buffer.insert(start, part(0, 500))
    assert buffer.sack_blocks(4) == [(8000, 8500), (7000, 7500), (6000, 6500)]
    buffer.insert(6500, part(0, 500))
    assert buffer.rcv_nxt == 5500
    assert buffer.sack_blocks(4) == [(6000, 7500), (8000, 8500)]
    buffer.insert(5500, part(0, 500))
    assert buffer.rcv_nxt == 7500
    assert buffer.sack_blocks(4) == [(8000, 8500)]


@pytest.mark.parametrize(
    ("held", "arrival", "duplicate", "second"),
    [
        ([], (-100, 0), (-100, 0), None),
        ([], (-100, 50), (-100, 0), None),
        ([(100, 200)], (100, 200), (100, 200), (100, 200)),
        ([(100, 300)], (150, 200), (150, 200), (100, 300)),
        ([(100, 200)], (150, 250), (150, 200), (100, 250)),
        ([(100, 200)], (50, 150), (100, 150), (50, 200)),
        ([(100, 200), (300, 400)], (50, 450), (100, 200), (50, 450)),
        ([(100, 200), (300, 400)], (100, 400), (100, 200), (100, 400)),
        ([(100, 200)], (-10, 150), (-10, 0), None),
        ([(100, 200)], (200, 250), None, (100, 250)),
        ([(100, 200)], (50, 100), None, (50, 200)),
    ],
)
def test_duplicates(
    held: list[tuple[int, int]],
    arrival: tuple[int, int],
    duplicate: tuple[int, int] | None,
    second: tuple[int, int] | None,
) -> None:
    """2883-4: below the acknowledgment, inside a range, partly; the first of several; then the range it lies in."""
    buffer = holding((900, 910), *held, (950, 960))
    assert buffer.duplicate is None
    buffer.insert(START + arrival[0], view(bytes(arrival[1] - arrival[0])))
    expected = None if duplicate is None else (START + duplicate[0], START + duplicate[1])
    assert buffer.duplicate == expected
    listed = buffer.report(3)
    if expected is not None:
        assert listed.pop(0) == expected
    if second is not None:
        assert listed[0] == (START + second[0], START + second[1])
    assert buffer.take_duplicate() is None


def test_first_duplicate_is_reported_whoever_cuts() -> None:
    """2883-4: below the acknowledgment and inside a range: the first, also where the caller cut the segment."""
    buffer = holding((20, 30))
    buffer.duplicated(START - 10, START)
    buffer.insert(START, part(0, 40))
    assert buffer.take_duplicate() == (START - 10, START)
    buffer = holding((20, 30))
    buffer.duplicated(START - 10, START - 5)  # an older arrival, not reported yet: the newest counts
    buffer.insert(START, part(0, 40))
    assert buffer.take_duplicate() == (START + 20, START + 30)


def test_report_keeps_to_its_count() -> None:
    buffer = holding((100, 200), (300, 400), (500, 600), (700, 800))
    buffer.insert(START + 100, part(100, 200))
    assert buffer.report(3) == [(START + 100, START + 200), (START + 100, START + 200), (START + 700, START + 800)]
    assert len(buffer.report(3)) == 3
    assert buffer.report(0) == []
    buffer.duplicated(START - 5, START)
    buffer.duplicated(START, START)
    assert buffer.report(1) == [(START - 5, START)]


def test_nothing_is_no_duplicate() -> None:
    """A keep-alive without data lies before the window, and has no octet to report."""
    buffer = holding()
    buffer.insert(START - 1, view(b""))
    buffer.insert(START, view(b""))
    buffer.insert(START + 5, view(b""))
    assert (buffer.duplicate, buffer.has_gaps, buffer.available, buffer.rcv_nxt) == (None, False, 0, START)


def test_fin_counts_one() -> None:
    """B-FIN-1, B-FIN-2: after all data; what a peer sends beyond its FIN means nothing."""
    buffer = holding((0, 10), (20, 30))
    buffer.insert(START + 10, part(10, 15))
    buffer.finish()
    buffer.finish()
    assert (buffer.rcv_nxt, buffer.available, buffer.position, buffer.has_gaps) == (START + 16, 15, START, False)
    assert buffer.sack_blocks(4) == []
    buffer.insert(START + 16, part(16, 20))
    buffer.insert(START + 30, part(16, 20))
    assert (buffer.rcv_nxt, buffer.available, buffer.out_of_order) == (START + 16, 15, 0)
    buffer.insert(START + 14, part(14, 16))  # the FIN again, with the last octet
    assert buffer.take_duplicate() == (START + 14, START + 16)
    assert buffer.read(100) == DATA[:15]
    assert buffer.position == START + 15


def test_skip() -> None:
    buffer = holding((0, 1000), (1000, 2000), (2000, 2010))
    buffer.skip(1500)
    assert buffer.peek(10) == DATA[1500:1510]
    assert buffer.available == 510
    buffer.skip(1 << 30)
    assert (buffer.available, buffer.memory, buffer.read(5)) == (0, 0, b"")


@pytest.mark.parametrize("ahead", [0, 10])
@pytest.mark.parametrize(("frame", "octets", "kept"), [(1514, 1448, True), (1514, 1, False), (65_226, 1000, False)])
def test_a_small_view_does_not_keep_its_frame(frame: int, octets: int, kept: bool, ahead: int) -> None:
    """One octet must not hold 1,500."""
    octet_frame = bytes(frame)
    before = sys.getrefcount(octet_frame)
    buffer = ReceiveBuffer(0, 1 << 20)
    buffer.insert(ahead, memoryview(octet_frame)[-octets:])
    assert (sys.getrefcount(octet_frame) > before) is kept
    buffer.insert(0, memoryview(bytes(ahead)))
    assert (sys.getrefcount(octet_frame) > before) is kept
    assert len(buffer.read(1 << 20)) == octets + ahead
    assert sys.getrefcount(octet_frame) == before


def test_small_arrivals_are_merged() -> None:
    buffer = ReceiveBuffer(0, 1 << 20)
    for index in range(MERGED * 2):
        buffer.append(part(index % 256, index % 256 + 1))
    assert len(buffer._chunks) == 2
    assert buffer.read(1 << 20) == (DATA * 4)[: MERGED * 2]
    buffer.append(part(0, SMALL))
    buffer.append(part(0, SMALL - 1))
    assert buffer.read(1 << 20) == DATA[:SMALL] + DATA[: SMALL - 1]


def test_ranges_that_are_delivered_are_merged() -> None:
    """A peer that sends small segments backwards does not fill the memory with their objects."""
    buffer = ReceiveBuffer(0, 1 << 16)
    for index in range(200, 0, -1):
        buffer.insert(index, part(index, index + 1))
    buffer.insert(0, part(0, 1))
    assert len(buffer._chunks) == 1
    assert buffer.read(1000) == DATA[:201]


def test_memory_of_ranges_is_bounded() -> None:
    """Every second octet of a window: refused where the bound is; the stream goes on, and nothing reported is lost."""
    capacity = 1 << 16
    buffer = ReceiveBuffer(0, capacity)
    data = DATA * 4
    limit = MEMORY_FACTOR * capacity + MEMORY_FLOOR
    for index in range(1, capacity, 2):
        buffer.insert(index, view(data[index : index + 1]))
        assert buffer.memory <= limit
    assert buffer.refused > 0
    assert buffer.ranges > 100
    held = buffer.sack_blocks(1 << 20)
    buffer.insert(capacity - 2, view(data[capacity - 2 : capacity]))
    assert buffer.sack_blocks(1 << 20) == held
    buffer.insert(0, view(data[:capacity]))
    assert buffer.rcv_nxt == capacity
    assert buffer.read(capacity) == data[:capacity]
    assert buffer.memory == 0


def test_growing_a_range_is_bounded_too() -> None:
    buffer = ReceiveBuffer(0, 0)
    for index in range(1000):
        buffer.insert(10 + index, part(0, 1))
    assert buffer.refused > 0
    assert buffer.memory <= MEMORY_FLOOR


def test_a_full_window_of_segments_is_held() -> None:
    """The bound must not refuse what an honest peer sends: a window of segments of 300 octets, every second one."""
    buffer = ReceiveBuffer(0, 1 << 20)
    for start in range(300, 1 << 20, 600):
        buffer.insert(start, memoryview(bytes(366))[66:])
    assert buffer.refused == 0
