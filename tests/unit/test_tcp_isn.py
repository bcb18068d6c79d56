"""Initial sequence numbers: they follow a clock, and one says nothing about another."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.isn import SequenceGenerator
from nodes.units import MICROSECOND, SECOND
from nodes.wire.addresses import Ip4

A, B = Ip4(0x0A000001), Ip4(0x0A000002)
ROUND = 1 << 32
GENERATOR = SequenceGenerator(bytes(range(16)))


def test_a_clock_of_four_microseconds() -> None:
    """MUST-8"""
    first = GENERATOR.initial(A, 49152, B, 80, 0)
    for now, ticks in ((3999, 0), (4 * MICROSECOND, 1), (SECOND, 250_000), (17_180 * SECOND, 17_180 * 250_000)):
        assert (GENERATOR.initial(A, 49152, B, 80, now) - first) % ROUND == ticks % ROUND


def test_it_goes_round_and_stays_in_32_bits() -> None:
    numbers = [GENERATOR.initial(A, 49152, B, 80, hour * 3600 * SECOND) for hour in range(100)]
    assert all(0 <= number < ROUND for number in numbers)
    assert any(later < earlier for earlier, later in pairwise(numbers))


def test_every_part_of_the_tuple_and_the_secret_matter() -> None:
    """SHLD-1, MUST-9, 6528-3"""
    numbers = {
        GENERATOR.initial(A, 49152, B, 80, 0),
        GENERATOR.initial(Ip4(A + 8), 49152, B, 80, 0),
        GENERATOR.initial(A, 49153, B, 80, 0),
        GENERATOR.initial(A, 49152, Ip4(B + 8), 80, 0),
        GENERATOR.initial(A, 49152, B, 81, 0),
        GENERATOR.initial(B, 80, A, 49152, 0),
        SequenceGenerator(bytes(16)).initial(A, 49152, B, 80, 0),
    }
    assert len(numbers) == 7


def test_the_same_secret_gives_the_same_run() -> None:
    again = SequenceGenerator(bytes(range(16)))
    assert again.initial(A, 1, B, 2, 3) == GENERATOR.initial(A, 1, B, 2, 3)
    assert again.timestamp_offset(A, 1, B, 2) == GENERATOR.timestamp_offset(A, 1, B, 2)


def test_the_clock_alone() -> None:
    """RFC 793: who sees one number knows all."""
    clock = SequenceGenerator(bytes(16), hashed=False)
    numbers = {clock.initial(A, port, B, 80, SECOND) for port in range(100)}
    assert numbers == {250_000}
    assert clock.initial(A, 1, B, 2, 17_180 * SECOND) == 17_180 * 250_000 % ROUND
    assert clock.timestamp_offset(A, 1, B, 2) != clock.timestamp_offset(A, 2, B, 2)


def test_no_constant_steps_from_port_to_port() -> None:
    """MUST-9: 1000 neighbouring ports of one instant spread over the whole circle, without a repeated step."""
    numbers = [GENERATOR.initial(A, port, B, 80, 0) for port in range(49152, 50152)]
    steps = {(later - earlier) % ROUND for earlier, later in pairwise(numbers)}
    assert len(steps) == 999
    sixteenths = [sum(1 for number in numbers if number >> 28 == part) for part in range(16)]
    assert all(30 <= count <= 100 for count in sixteenths)  # 62.5 expected


def test_timestamps_have_offsets_of_their_own() -> None:
    """RFC 7323 section 5.4: per tuple, not the sequence number's, the same for the next connection."""
    offsets = {GENERATOR.timestamp_offset(A, port, B, 80) for port in range(100)}
    assert len(offsets) == 100
    assert all(0 <= offset < ROUND for offset in offsets)
    assert not offsets & {GENERATOR.initial(A, port, B, 80, 0) for port in range(100)}


@pytest.mark.parametrize("length", [0, 15, 33])
def test_a_secret_that_is_none(length: int) -> None:
    with pytest.raises(MisuseError, match=f"a secret of {length} octets, 16 to 32 expected"):
        SequenceGenerator(bytes(length))
