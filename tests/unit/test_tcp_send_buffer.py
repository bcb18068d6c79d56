"""The send buffer: what it keeps, copies and merges."""

import sys
from random import Random

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.send_buffer import SMALL, TAIL, SendBuffer

DATA = Random(1).randbytes(300_000)
START = (1 << 32) - 7


def filled(*lengths: int, capacity: int = 1 << 20) -> SendBuffer:
    buffer = SendBuffer(START, capacity)
    position = 0
    for length in lengths:
        assert buffer.append(DATA[position : position + length]) == length
        position += length
    return buffer


def content(buffer: SendBuffer, start: int, length: int) -> bytes:
    return bytes(buffer.view(START + start, length))


@pytest.mark.parametrize("lengths", [(10,), (5000, 5000), (10, 5000, 10), (5000, 10, 10, 5000), (70_000, 1, 70_000)])
def test_any_range(lengths: tuple[int, ...]) -> None:
    buffer = filled(*lengths)
    total = sum(lengths)
    assert (buffer.start, buffer.end) == (START, START + total)
    random = Random(2)
    for _ in range(200):
        start = random.randrange(total)
        length = random.choice([1, 100, 1448, 65_000])
        assert content(buffer, start, length) == DATA[:total][start : start + length]
    assert content(buffer, total, 10) == b""


def test_large_bytes_are_not_copied() -> None:
    data = DATA[:SMALL]
    buffer = SendBuffer(0, 1 << 20)
    buffer.append(data)
    view = buffer.view(0, 100)
    assert isinstance(view, memoryview)
    assert view.obj is data


@pytest.mark.parametrize("length", [10, SMALL, TAIL])
@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_what_may_change_is_copied(kind: type[bytearray], length: int) -> None:
    data = kind(DATA[:length])
    buffer = SendBuffer(START, 1 << 20)
    assert buffer.append(data) == length
    data[0:10] = bytes(10)
    assert content(buffer, 0, length) == DATA[:length]


def test_views_of_other_items_count_octets() -> None:
    buffer = SendBuffer(START, 1 << 20)
    assert buffer.append(memoryview(DATA[:32]).cast("I")) == 32
    assert content(buffer, 0, 32) == DATA[:32]
    assert SendBuffer(START, 5).append(memoryview(DATA[:32]).cast("I")) == 5


def test_capacity() -> None:
    buffer = SendBuffer(START, 10_000)
    assert buffer.append(DATA[:6000]) == 6000
    assert buffer.free == 4000
    assert buffer.append(DATA[6000:20_000]) == 4000
    assert buffer.append(DATA[:1]) == 0
    assert content(buffer, 0, 20_000) == DATA[:10_000]
    buffer.capacity = 5000
    assert (buffer.free, buffer.append(b"x")) == (0, 0)
    buffer.release(START + 6000)
    assert buffer.free == 1000
    assert buffer.append(b"") == 0


def test_part_of_a_large_write_does_not_keep_the_rest() -> None:
    buffer = SendBuffer(START, 5000)
    buffer.append(DATA)
    view = buffer.view(START, 5000)
    assert isinstance(view, memoryview)
    assert memoryview(view.obj).nbytes == 5000


def test_small_writes_are_merged() -> None:
    """A million writes of one octet are not a million objects."""
    buffer = SendBuffer(START, 1 << 20)
    for index in range(100_000):
        buffer.append(DATA[index : index + 1])
    assert len(buffer._chunks) == 1
    assert content(buffer, 0, 100_000) == DATA[:100_000]


def test_views_outlive_growth_and_release() -> None:
    buffer = filled(10)
    first = buffer.view(START, 10)
    buffer.append(DATA[10:20])
    second = buffer.view(START, 20)
    buffer.append(DATA[20:TAIL])
    sealed = buffer.view(START, 1000)
    buffer.release(START + TAIL)
    buffer.append(bytes(100))
    assert [bytes(first), bytes(second), bytes(sealed)] == [DATA[:10], DATA[:20], DATA[:1000]]


def test_release() -> None:
    buffer = filled(5000, 10, 5000, 20)
    buffer.release(START + 5005)
    assert buffer.start == START + 5005
    assert buffer.memory == 5030
    assert content(buffer, 5005, 100_000) == DATA[5005:10_030]
    buffer.release(START + 4000)  # an old acknowledgment
    assert buffer.start == START + 5005
    with pytest.raises(MisuseError):
        buffer.view(START + 5004, 1)
    buffer.release(START + 10_015)
    assert content(buffer, 10_015, 100) == DATA[10_015:10_030]
    assert buffer.append(b"tail") == 4
    buffer.release(START + 10_034)
    assert (buffer.start, buffer.end, buffer.memory) == (START + 10_034, START + 10_034, 0)
    assert content(buffer, 10_034, 5) == b""


def test_release_frees_chunks() -> None:
    data = bytes(SMALL)
    before = sys.getrefcount(data)
    buffer = SendBuffer(0, 1 << 20)
    for _ in range(3):
        buffer.append(data)
    buffer.release(SMALL - 1)
    assert (buffer.memory, sys.getrefcount(data)) == (3 * SMALL, before + 3)
    buffer.release(SMALL)
    assert (buffer.memory, sys.getrefcount(data)) == (2 * SMALL, before + 2)


def test_release_of_a_fin() -> None:
    """The octet of the FIN is beyond the data."""
    buffer = filled(10)
    buffer.release(START + 11)
    assert (buffer.start, buffer.end, buffer.free) == (START + 10, START + 10, 1 << 20)


def test_a_long_stream_keeps_only_what_is_not_acknowledged() -> None:
    buffer = SendBuffer(START, 200_000)
    sent = acknowledged = 0
    for index in range(3000):
        offset = index % 1000
        assert buffer.append(DATA[offset : offset + SMALL]) == SMALL
        while buffer.end - START - sent >= 1448:
            assert len(buffer.view(START + sent, 1448)) == 1448
            sent += 1448
        if sent - acknowledged > 100_000:
            assert content(buffer, acknowledged, 1)[0] == DATA[acknowledged // SMALL % 1000 + acknowledged % SMALL]
            acknowledged += 50_000
            buffer.release(START + acknowledged)
    assert len(buffer._chunks) < 1000
    assert buffer.memory < 200_000
