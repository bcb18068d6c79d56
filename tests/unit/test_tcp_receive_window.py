"""The receive window: a promise that is kept, and not made for a few octets."""

from functools import cache
from random import Random

import pytest

from nodes.transport.tcp.receive_buffer import ReceiveBuffer
from nodes.transport.tcp.receive_window import CREEP, ReceiveWindow, scale_for, syn_window

START = (1 << 32) - 1000
MSS = 1448


def make(capacity: int, shift: int | None = None, mss: int = MSS) -> tuple[ReceiveBuffer, ReceiveWindow]:
    buffer = ReceiveBuffer(START, capacity)
    return buffer, ReceiveWindow(buffer, shift=scale_for(capacity) if shift is None else shift, mss=mss)


@cache
def nothing(octets: int) -> bytes:
    """The same object each time: a gigabyte that waits is then no gigabyte."""
    return bytes(octets)


def arrive(buffer: ReceiveBuffer, octets: int) -> None:
    buffer.append(memoryview(nothing(octets)))


def test_scale() -> None:
    """The least shift that can say the capacity; at most 14 (RFC 7323 section 2.3)."""
    assert [scale_for(octets) for octets in (0, 65_535, 65_536, 131_070, 131_071)] == [0, 0, 1, 1, 2]
    assert (scale_for(4 << 20), scale_for(1 << 30), scale_for(1 << 40)) == (7, 14, 14)


def test_window_of_a_syn() -> None:
    """7323-2.2b: never scaled."""
    assert (syn_window(1000), syn_window(4 << 20)) == (1000, 65_535)


def test_opens_to_the_capacity() -> None:
    buffer, window = make(1 << 20)
    assert window.edge == START + 65_535
    arrive(buffer, 100)
    field = window.offer()
    assert field << window.shift <= (1 << 20) - 100 < (field + 1) << window.shift
    assert window.edge == buffer.rcv_nxt + (field << window.shift)


def test_no_scale() -> None:
    buffer, window = make(4 << 20, shift=0)
    assert window.offer() == 65_535
    arrive(buffer, 1)
    assert window.offer() == 65_535


def test_closes_as_data_waits() -> None:
    buffer, window = make(10_000)
    fields = []
    for _ in range(5):
        arrive(buffer, 2000)
        fields.append(window.offer())
    assert fields == [8000, 6000, 4000, 2000, 0]


def test_no_silly_window_full_segments() -> None:
    """MUST-39: shut until a full segment fits."""
    buffer, window = make(10_000)
    arrive(buffer, 10_000)
    assert window.offer() == 0
    for _ in range(MSS - 1):
        buffer.read(1)
        assert not window.update_due()
        assert window.offer() == 0
    buffer.read(1)
    assert window.update_due()
    assert window.offer() == MSS
    assert not window.update_due()


def test_no_silly_window_small_capacity() -> None:
    """MUST-39: half of the capacity where that is less than a segment."""
    buffer, window = make(1000)
    arrive(buffer, 1000)
    buffer.read(499)
    assert (window.update_due(), window.offer()) == (False, 0)
    buffer.read(1)
    assert (window.update_due(), window.offer()) == (True, 500)


def test_updates_double_the_window() -> None:
    """An acknowledgment for its own sake is not worth each segment that is read."""
    buffer, window = make(60_000)
    arrive(buffer, 50_000)
    assert window.offer() == 10_000
    buffer.read(9_999)
    assert not window.update_due()
    buffer.read(1)
    assert window.update_due()
    assert window.offer() == 20_000


def test_no_update_after_fin() -> None:
    buffer, window = make(60_000)
    arrive(buffer, 60_000)
    window.offer()
    buffer.finish()
    buffer.read(60_000)
    assert not window.update_due()
    assert window.offer() >= 0


def test_fin_beyond_a_shut_window() -> None:
    """The field is unsigned, whatever was taken."""
    buffer, window = make(1000)
    arrive(buffer, 1000)
    buffer.finish()
    assert (buffer.rcv_nxt, window.offer()) == (window.edge + 1, 0)


def test_capacity_is_lowered() -> None:
    """SHLD-14: the promise holds; the window opens again when what waits is less."""
    buffer, window = make(60_000)
    window.offer()
    edge = window.edge
    buffer.capacity = 10_000
    assert window.offer() == 60_000
    arrive(buffer, 30_000)
    assert (window.offer(), window.edge) == (30_000, edge)
    arrive(buffer, 30_000)
    assert (window.offer(), window.edge) == (0, edge)
    buffer.read(50_001)
    assert (window.offer(), window.update_due()) == (0, False)
    buffer.read(9_999)
    assert window.update_due()
    assert window.offer() == 10_000


def test_capacity_is_raised() -> None:
    buffer, window = make(10_000)
    assert window.offer() == 10_000
    buffer.capacity = 30_000
    assert window.update_due()
    assert window.offer() == 30_000
    buffer.capacity = 1 << 20  # more than can be said without scaling
    assert window.offer() == 65_535


def test_no_memory() -> None:
    """A capacity of nothing: the edge stays, and is not offered beyond."""
    buffer, window = make(10_000)
    edge = window.edge
    buffer.capacity = 0
    arrive(buffer, 3000)
    assert (window.offer(), window.edge) == (7000, edge)
    buffer.read(3000)
    assert (window.offer(), window.edge, window.update_due()) == (7000, edge, False)


@pytest.mark.parametrize("capacity", [70_000, 1 << 20, 4 << 20, 1 << 30])
def test_edge_never_retreats(capacity: int) -> None:
    """SHLD-14, 7323-2.4, J-2: full segments into a buffer that nobody reads, until it is shut."""
    buffer, window = make(capacity)
    length = max(MSS, (capacity >> 12) + 7)
    edge = START
    field = window.offer()
    while field:
        assert buffer.rcv_nxt + (field << window.shift) >= edge
        edge = buffer.rcv_nxt + (field << window.shift)
        assert edge == window.edge
        arrive(buffer, min(length, edge - buffer.rcv_nxt))
        field = window.offer()
    assert capacity <= buffer.available <= capacity * 5 // 4


def test_edge_never_retreats_where_a_unit_is_larger_than_a_segment() -> None:
    """7323-2.4: room for a segment is not always room for a unit; the edge is then said as it stands."""
    buffer, window = make(1 << 30)
    window.offer()
    for _ in range(1000):
        arrive(buffer, 1 << 20)
    window.offer()
    edge = window.edge
    for _ in range(100):
        buffer.read(2000)
        arrive(buffer, 3000)
        assert buffer.rcv_nxt + (window.offer() << window.shift) == window.edge >= edge
        edge = window.edge


def test_creep_is_forgiven_when_the_window_opens() -> None:
    buffer, window = make(200_000)
    edge = window.edge
    for _ in range(4):
        for _ in range(12_000):  # some 6,000 units creep
            arrive(buffer, 5)
            assert buffer.rcv_nxt + (window.offer() << window.shift) == window.edge >= edge
            edge = window.edge
        buffer.read(1 << 30)
        window.offer()


def test_small_segments_close_the_window_too() -> None:
    """Segments smaller than a unit: rounding up would keep the window open for ever."""
    buffer, window = make(1 << 20)
    unit = 1 << window.shift
    least = edge = START
    for _ in range(200_000):
        field = window.offer()
        announced = buffer.rcv_nxt + (field << window.shift)
        assert announced > least - unit
        least = max(least, announced)
        assert window.edge >= edge
        edge = window.edge
        if not field:
            break
        arrive(buffer, 7)
    assert field == 0
    assert buffer.available <= (1 << 20) + (CREEP << window.shift)
    buffer.read(1 << 30)
    assert window.update_due()
    assert window.offer() == (1 << 20) >> window.shift


def test_acceptable() -> None:
    """B-SEQ-1: the four cases, at their corners."""
    buffer, window = make(100)
    low, edge = START, window.edge
    assert edge == low + 100
    assert [window.acceptable(number, 0) for number in (low - 1, low, edge - 1, edge, edge + 1)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert [window.acceptable(number, 10) for number in (low - 10, low - 9, low, edge - 1, edge)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert window.acceptable(low - 5, 200)
    arrive(buffer, 100)
    assert window.offer() == 0
    assert [window.acceptable(number, 0) for number in (edge - 1, edge, edge + 1)] == [False, True, False]
    assert not window.acceptable(edge, 1)
    assert not window.acceptable(edge - 1, 1)


@pytest.mark.parametrize("seed", range(8))
def test_a_sender_is_never_stuck(seed: int) -> None:
    """gVisor #1398: silly-window avoidance on both sides, and no timer. When all is read, the sender may go on."""
    random = Random(seed)
    capacity = random.choice([800, 1448, 5000, 65_535, 200_000])
    mss = random.choice([100, 536, 1448])
    buffer, window = make(capacity, mss=mss)
    announced = START + (window.offer() << window.shift)
    largest = announced - START
    sent = 0
    for _ in range(2000):
        usable = announced - buffer.rcv_nxt
        if usable >= min(mss, (largest + 1) // 2):
            octets = min(usable, mss)
            arrive(buffer, octets)
            sent += octets
            announced = buffer.rcv_nxt + (window.offer() << window.shift)
        else:
            assert buffer.available, "the sender waits for a window, and nobody is going to open it"
        buffer.read(random.choice([0, 1, mss, mss - 1, capacity]))
        if window.update_due():
            announced = buffer.rcv_nxt + (window.offer() << window.shift)
        largest = max(largest, announced - buffer.rcv_nxt)
    assert sent > 1000 * min(mss, capacity // 2) // 4
