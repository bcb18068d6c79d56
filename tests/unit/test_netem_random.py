"""netem's generator, its chances and its correlation."""

from __future__ import annotations

import itertools

import pytest

from nodes.physical.tausworthe import Correlated, Tausworthe, derived_seed, effective_chance, scale

WORD = 0xFFFFFFFF


def plain(seed: int, count: int) -> list[int]:
    """LFSR113 as in L'Ecuyer's paper, register by register: (shift, shift, shift, mask)."""
    steps = ((6, 13, 18, 0xFFFFFFFE), (2, 27, 2, 0xFFFFFFF8), (13, 21, 7, 0xFFFFFFF0), (3, 12, 13, 0xFFFFFF80))
    start = ((seed >> 32) ^ (seed << 10) ^ seed) & WORD
    registers = [start + least if start < least else start for least in (2, 8, 16, 128)]
    numbers = []
    for _ in range(count):
        number = 0
        for index, (first, second, third, mask) in enumerate(steps):
            old = registers[index]
            feedback = (((old << first) & WORD) ^ old) >> second
            registers[index] = (((old & mask) << third) & WORD) ^ feedback
            number ^= registers[index]
        numbers.append(number)
    return numbers


@pytest.mark.parametrize("seed", [0, 1, 2, 42, 127, 128, 1 << 31, 1 << 32, 0xDEADBEEF_CAFEF00D, (1 << 64) - 1])
def test_numbers_are_those_of_lfsr113(seed: int) -> None:
    generator = Tausworthe(seed)
    assert [generator() for _ in range(300)] == plain(seed, 300)


def test_small_seeds_are_biased_as_in_linux() -> None:
    """Without a warm-up, the fifth number of the seeds 1 to 100 is below 1 % in 11 of them."""
    fifth = [next(itertools.islice(iter(Tausworthe(seed), None), 4, None)) for seed in range(1, 101)]
    assert sum(number < scale(0.01) for number in fifth) == 11


def test_a_chance_is_rounded_to_32_bits() -> None:
    assert [scale(chance) for chance in (0.0, 1e-10, 0.01, 0.5, 1.0)] == [0, 0, 42949673, 2147483648, WORD]


def test_derived_seeds_depend_on_all_their_names() -> None:
    seeds = [derived_seed(1), derived_seed(2), derived_seed(1, "a"), derived_seed(1, "a", "b"), derived_seed(1, "ab")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 64 for seed in seeds)
    assert derived_seed(1, "a") == derived_seed(1, "a")


def test_siblings_and_memory_leave_the_stream_alone() -> None:
    disturbed, quiet = Tausworthe(7), Tausworthe(7)
    numbers = []
    for _ in range(20):
        disturbed.memory()
        disturbed.sibling("corrupt").random()
        numbers.append(disturbed())
    assert numbers == [quiet() for _ in range(20)]
    assert disturbed.sibling("corrupt") is disturbed.sibling("corrupt")
    assert Tausworthe(7).sibling("slots").random() != Tausworthe(7).sibling("corrupt").random()
    assert Tausworthe(7).memory() == Tausworthe(7).memory() != Tausworthe(8).memory()


def test_correlation_is_netems_32_bit_arithmetic() -> None:
    generator = Tausworthe(42)
    last = Tausworthe(42).memory()
    correlated = Correlated(0.1, 0.25, generator)
    rho = round(0.25 * WORD) + 1
    for number in plain(42, 100):
        last = (number * ((1 << 32) - rho) + last * rho) >> 32
        assert correlated.draw() == last


def test_without_correlation_the_numbers_are_plain() -> None:
    correlated = Correlated(0.1, 0.0, Tausworthe(42))
    assert [correlated.draw() for _ in range(50)] == plain(42, 50)


def test_what_happens_has_at_least_the_number_drawn() -> None:
    correlated = Correlated(0.1, 0.0, Tausworthe(42))
    assert [correlated.happens() for _ in range(50)] == [round(0.1 * WORD) >= number for number in plain(42, 50)]


def test_a_chance_includes_the_number_that_equals_it() -> None:
    correlated = Correlated(0.1, 0.0, Tausworthe(42))
    for number, happens in ((scale(0.1), True), (scale(0.1) + 1, False)):
        correlated.draw = [number].pop
        assert correlated.happens() is happens


def test_full_correlation_never_changes() -> None:
    correlated = Correlated(0.5, 1.0, Tausworthe(3))
    assert {correlated.draw() for _ in range(20)} == {Tausworthe(3).memory()}


# Effective loss by what is asked for and rho, in percent
EFFECTIVE = {
    (1, 10): 0.020,
    (1, 25): 0.00024,
    (5, 10): 1.26,
    (5, 25): 0.19,
    (5, 50): 0.0016,
    (10, 10): 5.56,
    (10, 25): 1.75,
    (10, 50): 0.11,
    (25, 10): 22.2,
    (25, 25): 16.7,
    (25, 50): 6.94,
    (25, 75): 0.81,
}


@pytest.mark.parametrize(("asked", "rho"), EFFECTIVE)
def test_effective_chance(asked: int, rho: int) -> None:
    assert 100 * effective_chance(asked / 100, rho / 100) == pytest.approx(EFFECTIVE[asked, rho], rel=0.03)


def test_effective_chance_of_small_loss_with_strong_correlation_is_nothing() -> None:
    assert effective_chance(0.01, 0.5) < 1e-10
    assert effective_chance(0.01, 0.99) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("chance", "rho", "effective"), [(0.3, 0.0, 0.3), (0.0, 0.5, 0.0), (1.0, 0.5, 1.0)])
def test_effective_chance_at_the_ends(chance: float, rho: float, effective: float) -> None:
    assert effective_chance(chance, rho) == effective


@pytest.mark.slow
@pytest.mark.parametrize(("chance", "rho"), [(0.1, 0.1), (0.25, 0.25), (0.25, 0.5), (0.6, 0.5)])
def test_effective_chance_is_what_the_generator_gives(chance: float, rho: float) -> None:
    """Four standard deviations of 200,000 numbers, with the variance their correlation makes (at most threefold)."""
    correlated = Correlated(chance, rho, Tausworthe(derived_seed(1, chance, rho)))
    count = 200_000
    measured = sum(correlated.happens() for _ in range(count)) / count
    expected = effective_chance(chance, rho)
    assert abs(measured - expected) < 4 * (3 * expected * (1 - expected) / count) ** 0.5
