"""Delays: tables, rounding, netem's correlation, and steadiness."""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
from pathlib import Path

import pytest

from nodes.impairment import Distribution, DistributionName, Impairment
from nodes.physical.jitter import (
    MAXIMUM_JITTER,
    Delay,
    expected_mean_and_deviation,
    normal_table,
    pareto_table,
    paretonormal_table,
    parse_distribution,
    spread,
    table_of,
)
from nodes.physical.tausworthe import Tausworthe
from nodes.units import MILLISECOND, SECOND

TABLES = {"normal": normal_table, "pareto": pareto_table, "paretonormal": paretonormal_table}
# SHA-256 over the entries as 16-bit big-endian integers, from the files of iproute2 6.1
HASHES = {
    "normal": "1a53580d1f252a17a1bff7df7e05648b15985f905f136e323fda734d801c90ec",
    "pareto": "508b5eb288640143c75e4d0a06ca44607f3509299745566d55a02ae2d2e454ac",
    "paretonormal": "2ea88f19a8d0298552ee2852e36314b1b620a22bda879d5a03b60f22d98df7eb",
}
TC_FILES = Path("/usr/lib/x86_64-linux-gnu/tc")


def drawn(impairment: Impairment, count: int, seed: int = 42) -> list[int]:
    delay = Delay(impairment, Tausworthe(seed))
    return [delay.draw() for _ in range(count)]


def autocorrelation(values: list[int]) -> float:
    """Of each value with the next."""
    mean = statistics.fmean(values)
    products = math.fsum((a - mean) * (b - mean) for a, b in itertools.pairwise(values))
    return products / math.fsum((value - mean) ** 2 for value in values)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_tc(name: str) -> None:
    octets = b"".join(entry.to_bytes(2, "big", signed=True) for entry in TABLES[name]())
    assert hashlib.sha256(octets).hexdigest() == HASHES[name]


@pytest.mark.parametrize("name", TABLES)
def test_tables_equal_the_files_where_tc_is_installed(name: str) -> None:
    """Holds the hashes above to what they claim."""
    path = TC_FILES / f"{name}.dist"
    if not path.exists():
        pytest.skip(f"{path} is not there: install iproute2")
    assert parse_distribution(path.read_text()) == TABLES[name]()


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [("normal", -0.001, 1.0), ("pareto", -0.033, 0.820), ("paretonormal", -0.025, 0.834), ("uniform", 0.0, 0.577)],
)
def test_what_is_realised_of_a_jitter(name: DistributionName, mean: float, deviation: float) -> None:
    """Means and deviations of the tables, in jitters."""
    impairment = Impairment(delay=SECOND, jitter=MILLISECOND, distribution=Distribution(name))
    expected_mean, expected_deviation = expected_mean_and_deviation(impairment)
    assert (expected_mean - SECOND) / MILLISECOND == pytest.approx(mean, abs=0.001)
    assert expected_deviation / MILLISECOND == pytest.approx(deviation, abs=0.001)


@pytest.mark.parametrize("name", ["uniform", "normal", "pareto", "paretonormal"])
@pytest.mark.parametrize("delay", [20, 5, 0])
def test_expectation_is_what_is_drawn(name: DistributionName, delay: int) -> None:
    """Also where the jitter goes below zero, which is cut there. Five standard errors of 20,000 draws."""
    impairment = Impairment(delay=delay * MILLISECOND, jitter=8 * MILLISECOND, distribution=Distribution(name))
    values = [max(value, 0) for value in drawn(impairment, 20_000)]
    mean, deviation = expected_mean_and_deviation(impairment)
    assert abs(statistics.fmean(values) - mean) < 5 * deviation / math.sqrt(20_000)
    assert statistics.pstdev(values) == pytest.approx(deviation, rel=0.05)


def test_without_jitter_the_delay_is_the_delay_and_no_number_is_drawn() -> None:
    generator = Tausworthe(42)
    delay = Delay(Impairment(delay=7, distribution=Distribution("normal"), steadiness=0.5), generator)
    assert [delay.draw() for _ in range(3)] == [7, 7, 7]
    assert generator() == Tausworthe(42)()
    assert expected_mean_and_deviation(Impairment(delay=7)) == (7, 0)


def test_uniform_is_a_number_modulo_two_jitters() -> None:
    generator = Tausworthe(42)
    values = drawn(Impairment(delay=1000, jitter=300), 200)
    assert values == [generator() % 600 + 700 for _ in range(200)]


@pytest.mark.parametrize("jitter", [1, 8191, 8192, 8193, 5_000_000, 1_234_567_891, MAXIMUM_JITTER])
def test_a_table_is_rounded_in_two_parts_as_netem_does(jitter: int) -> None:
    """The rest of jitter / 8192 times the entry, half a step added away from zero, cut towards zero."""
    table = (*range(-32768, 32768, 997), 0, 1, -1, 4096, -4096, 32767)
    for number, entry in enumerate(table):
        rest = jitter % 8192 * entry
        rounded = int((rest + 4096) // 8192) if rest >= 0 else -((-rest + 4096) // 8192)
        assert spread(number, jitter, table) == rounded + jitter // 8192 * entry


def test_an_entry_is_chosen_by_the_number_modulo_the_size() -> None:
    table = (8192, -8192, 16384)
    generator = Tausworthe(1)
    values = drawn(Impairment(delay=100, jitter=10, distribution=Distribution("table", table)), 100, seed=1)
    assert values == [100 + (10, -10, 20)[generator() % 3] for _ in range(100)]


def test_a_jitter_is_cut_to_31_bits() -> None:
    values = drawn(Impairment(jitter=10 * SECOND), 2000)
    assert max(map(abs, values)) <= MAXIMUM_JITTER


def test_correlation_of_delays_is_lost_in_the_modulus() -> None:
    """Of netem's correlation nothing is left unless the jitter is of the order of seconds."""
    short = Impairment(delay=SECOND, jitter=5 * MILLISECOND, delay_correlation=0.75)
    normal = Impairment(delay=SECOND, jitter=2 * SECOND, delay_correlation=0.75, distribution=Distribution("normal"))
    seconds = Impairment(delay=SECOND, jitter=2 * SECOND, delay_correlation=0.75)
    assert abs(autocorrelation(drawn(short, 20_000))) < 0.03
    assert abs(autocorrelation(drawn(normal, 20_000))) < 0.03
    assert autocorrelation(drawn(seconds, 20_000)) > 0.5


@pytest.mark.parametrize("name", ["uniform", "normal", "paretonormal"])
def test_steadiness_correlates_and_keeps_the_distribution(name: DistributionName) -> None:
    plain = Impairment(delay=SECOND, jitter=5 * MILLISECOND, distribution=Distribution(name))
    steady = Impairment(delay=SECOND, jitter=5 * MILLISECOND, distribution=Distribution(name), steadiness=0.8)
    values = drawn(steady, 20_000)
    assert autocorrelation(values) == pytest.approx(0.8, abs=0.05)
    mean, deviation = expected_mean_and_deviation(plain)
    assert statistics.fmean(values) == pytest.approx(mean, abs=0.15 * deviation)
    assert statistics.pstdev(values) == pytest.approx(deviation, rel=0.06)
    quantiles = statistics.quantiles(values, n=10)
    for got, expected in zip(quantiles, statistics.quantiles(drawn(plain, 20_000), n=10), strict=True):
        assert got == pytest.approx(expected, abs=0.15 * deviation)


def test_steadiness_uses_as_many_of_netems_numbers_as_without() -> None:
    generators = [Tausworthe(5), Tausworthe(5)]
    delays = [
        Delay(Impairment(jitter=10, steadiness=steadiness), generator)
        for steadiness, generator in zip((0.0, 0.9), generators, strict=True)
    ]
    for delay in delays:
        for _ in range(10):
            delay.draw()
    assert generators[0]() == generators[1]()


def test_steadiness_of_a_table_without_order() -> None:
    """What is near in chance has to be near in time: the entries are put in order."""
    ordered = tuple(range(-8192, 8192, 4))
    mixed = ordered[::2] + ordered[1::2][::-1]
    impairment = Impairment(jitter=SECOND, distribution=Distribution("table", mixed), steadiness=0.9)
    assert autocorrelation(drawn(impairment, 5000)) > 0.8


def test_parse_distribution() -> None:
    text = "# a comment\n 1 2 -3\n\n  # another\n32767 -32768"
    assert parse_distribution(text) == (1, 2, -3, 32767, -32768)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no entries"),
        ("# nothing\n", "line 1: no entries"),
        ("1 2\n3 x", "line 2: 'x' is not an integer"),
        ("1.5", "line 1: '1.5' is not an integer"),
        ("1_0", "line 1: '1_0' is not an integer"),
        ("0\n\n32768", "line 3: 32768 does not fit 16 bits"),
        ("-32769", "line 1: -32769 does not fit 16 bits"),
        ("0 " * 16_384 + "\n1", "line 2: more than 16384 entries"),
    ],
)
def test_what_is_no_distribution(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        parse_distribution(text)


def test_a_table_that_is_missing() -> None:
    with pytest.raises(ValueError, match="needs its table"):
        table_of(Distribution("table"))
