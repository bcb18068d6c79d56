"""The filter that takes one frame in n, on an interpreter of classic BPF of our own."""

from __future__ import annotations

import random
from struct import Struct

import pytest

from nodes.io import packet_filter
from nodes.io.packet_filter import MIXING, MULTIPLIER, OFFSETS, one_in

INSTRUCTION = Struct("=HBBI")
MASK = 0xFFFF_FFFF


def taken(program: bytes, frame: bytes) -> bool:
    """As the kernel runs it (net/core/filter.c's documented semantics): a load beyond the frame's end drops it."""
    steps = list(INSTRUCTION.iter_unpack(program))
    a = x = place = 0
    memory = [0] * 16
    while True:
        code, if_true, if_not, k = steps[place]
        place += 1
        if code == packet_filter.RETURN:
            return bool(k)
        if code == packet_filter.LOAD:
            a = k
        elif code == packet_filter.LOAD_LENGTH:
            a = len(frame)
        elif code == packet_filter.LOAD_WORD:
            if k + 4 > len(frame):
                return False
            a = int.from_bytes(frame[k : k + 4], "big")
        elif code == packet_filter.LOAD_MEMORY:
            a = memory[k]
        elif code == packet_filter.STORE:
            memory[k] = a
        elif code == packet_filter.TO_X:
            x = a
        elif code == packet_filter.ADD_X:
            a = (a + x) & MASK
        elif code == packet_filter.XOR_X:
            a ^= x
        elif code == packet_filter.SHIFT_RIGHT:
            a >>= k
        elif code == packet_filter.MULTIPLY:
            a = a * k & MASK
        elif code == packet_filter.JUMP_AT_LEAST:
            place += if_true if a >= k else if_not
        else:
            raise AssertionError(hex(code))


def expected(number: int, frame: bytes) -> bool:
    total = 0
    for offset in OFFSETS:
        if len(frame) >= offset + 4:
            total = (total + int.from_bytes(frame[offset : offset + 4], "big")) * MULTIPLIER & MASK
    total = (total ^ total >> MIXING) * MULTIPLIER & MASK
    return total < (1 << 32) // number


@pytest.mark.parametrize("number", [2, 8, 4096])
def test_it_is_the_hash_that_it_says(number: int) -> None:
    source = random.Random(1)
    program = one_in(number)
    for _ in range(2000):
        frame = source.randbytes(source.randrange(100))
        assert taken(program, frame) == expected(number, frame)


@pytest.mark.parametrize("varying", [(18, 2), (38, 4), (40, 2), (42, 4), (50, 2), (60, 2)])
def test_its_share_is_right_whatever_differs(varying: tuple[int, int]) -> None:
    """Frames that count up in one field only: identification, sequence numbers, checksums. One in 16 of 4096."""
    offset, size = varying
    program, frame = one_in(16), bytearray(random.Random(2).randbytes(80))
    count = 0
    for number in range(4096):
        frame[offset : offset + size] = number.to_bytes(size, "big")
        count += taken(program, bytes(frame))
    assert 200 < count < 320  # 256


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    source = random.Random(3)
    frames = [source.randbytes(64) for _ in range(2000)]
    larger, smaller = ({frame for frame in frames if taken(one_in(number), frame)} for number in (4, 16))
    assert smaller < larger


def test_what_a_link_may_change_does_not_matter() -> None:
    """The marks of ECN, time to live, the header checksum."""
    frame = bytearray(random.Random(4).randbytes(80))
    before = [taken(one_in(number), bytes(frame)) for number in (2, 4, 8, 16)]
    for offset in (15, 22, 24, 25):
        frame[offset] ^= 0xFF
    assert [taken(one_in(number), bytes(frame)) for number in (2, 4, 8, 16)] == before
