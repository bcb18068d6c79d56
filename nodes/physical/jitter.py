"""The delay of one frame: netem's tables and rounding, and a correlation that works.

A delay is drawn by the inverse of a distribution function. netem keeps that inverse as a table of 16-bit integers in
steps of equal chance, in which 8192 is one jitter: an entry drawn at random, times the jitter, is what is added to the
delay. The three tables that come with tc follow from formulas (those of NIST Net, which is in the public domain), so
they are computed here when they are first wanted, equal to tc's in each of the 4096 entries:

    normal         quantiles of the standard normal distribution
    pareto         (u^(-1/3) - 3/2) * 4/3: shape 3, moved to mean 0
    paretonormal   a quarter of the first, three quarters of the second: close to delays measured in the Internet

All are cut at four jitters. Because of that cut and the coarse table, what is realised deviates less than asked for:
pareto by 0.82 of the jitter, paretonormal by 0.83; uniform, which is netem's way without a table, by 0.58
(Jurgelionis and others, ICCCN 2011). A delay below zero is none, which moves the mean too.

netem's correlation of delays is without effect. It is the high bits of a correlated number that are correlated, but an
entry is chosen by the number modulo the table's size, which throws them away. `steadiness` is what people expect: a
normal process z' = s z + sqrt(1 - s^2) n, each value of which is turned into a chance by the normal distribution
function, and that into a delay (a Gaussian copula). Any distribution keeps its shape, and successive delays resemble
each other. It still draws netem's number for each frame, and forgets it: the same frames are lost as without it.
"""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence

from nodes.impairment import Distribution, Impairment
from nodes.physical.tausworthe import Correlated, Tausworthe

TABLE_SCALE = 8192
"""What stands for one jitter in a table."""
TABLE_SIZE = 4096
"""Entries of the tables that come with tc."""
MAXIMUM_TABLE = 16_384
"""Entries the kernel accepts."""
MAXIMUM_JITTER = (1 << 31) - 1
"""Nanoseconds, to which the kernel cuts a jitter."""
_SHORT_MINIMUM, _SHORT_MAXIMUM = -(1 << 15), (1 << 15) - 1
_FINE_STEPS = 4 * TABLE_SIZE
_GRID = 20_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


@functools.cache
def normal_table() -> tuple[int, ...]:
    return tuple(_short(value) for value in _normal_quantiles())


@functools.cache
def pareto_table() -> tuple[int, ...]:
    return tuple(_pareto_quantiles())


@functools.cache
def paretonormal_table() -> tuple[int, ...]:
    # Halves and quarters are cut towards zero, as C does it; the normal part is not yet cut to 16 bits.
    pairs = zip(_normal_quantiles(), _pareto_quantiles(), strict=True)
    return tuple(_short(int((normal + 3 * pareto) / 4)) for normal, pareto in pairs)


def _normal_quantiles() -> Iterator[int]:
    """Each is the last multiple of 1/20,000 whose chance still rounds to that of the entry, in 1/16,384."""
    quantile = statistics.NormalDist().inv_cdf
    for index in range(TABLE_SIZE):
        end = quantile((4 * index + 0.5) / _FINE_STEPS)
        yield round(math.floor(end * _GRID) / _GRID * TABLE_SCALE)


def _pareto_quantiles() -> Iterator[int]:
    for index in range(TABLE_SIZE):
        above = 1 - index / TABLE_SIZE
        yield _short(round((above ** (-1 / 3) - 1.5) * (4 / 3) * TABLE_SCALE))


def _short(value: int) -> int:
    return min(max(value, _SHORT_MINIMUM), _SHORT_MAXIMUM)


def table_of(distribution: Distribution) -> tuple[int, ...]:
    """Empty for uniform, which needs none. Raises ValueError for `table` without one."""
    if distribution.name == "table" and not distribution.table:
        raise ValueError("a distribution by table needs its table")
    tables: dict[str, Callable[[], tuple[int, ...]]] = {
        "uniform": tuple,
        "normal": normal_table,
        "pareto": pareto_table,
        "paretonormal": paretonormal_table,
        "table": lambda: distribution.table,
    }
    return tables[distribution.name]()


def parse_distribution(text: str) -> tuple[int, ...]:
    """The table in a .dist file of tc: integers of 16 bits; a line that begins with # is a comment. Raises ValueError
    with the line."""
    table: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            table += (_entry(word, number) for word in line.split())
        if len(table) > MAXIMUM_TABLE:
            raise ValueError(f"line {number}: more than {MAXIMUM_TABLE} entries")
    if not table:
        raise ValueError("line 1: no entries")
    return tuple(table)


def _entry(word: str, line: int) -> int:
    if not _INTEGER.fullmatch(word):
        raise ValueError(f"line {line}: {word[:40]!r} is not an integer")
    value = int(word)
    if not _SHORT_MINIMUM <= value <= _SHORT_MAXIMUM:
        raise ValueError(f"line {line}: {value} does not fit 16 bits")
    return value


def spread(number: int, jitter: int, table: Sequence[int]) -> int:
    """What netem adds to a delay for a 32-bit number drawn: rounded to the nearest ns, halves away from zero."""
    if not table:
        return number % (2 * jitter) - jitter
    product = jitter * table[number % len(table)]
    half = TABLE_SCALE // 2
    return (product + half) // TABLE_SCALE if product >= 0 else -((half - product) // TABLE_SCALE)


class Delay:
    """`draw` gives the delay of the next frame in ns; below zero means at once."""

    __slots__ = ("_delay", "_jitter", "_noise", "_number", "_steadiness", "_steady", "_table", "draw")

    def __init__(self, impairment: Impairment, random: Tausworthe) -> None:
        self._delay = impairment.delay
        self._jitter = min(abs(impairment.jitter), MAXIMUM_JITTER)
        self._table = table_of(impairment.distribution)
        self._number = Correlated(0.0, impairment.delay_correlation, random).draw
        self._steadiness = impairment.steadiness
        self._steady = 0.0
        self.draw: Callable[[], int] = self._without_jitter
        if self._jitter:
            self.draw = self._from_table if self._table else self._uniform
            if self._steadiness:
                self._noise = random.sibling("steadiness").gauss
                self._steady = self._noise(0.0, 1.0)
                self._table = tuple(sorted(self._table))  # a file need not be in order, but a copula needs it
                self.draw = self._steadily

    def _without_jitter(self) -> int:
        return self._delay

    def _uniform(self) -> int:
        jitter = self._jitter
        return self._number() % (2 * jitter) - jitter + self._delay

    def _from_table(self) -> int:
        return spread(self._number(), self._jitter, self._table) + self._delay

    def _steadily(self) -> int:
        self._number()
        steadiness = self._steadiness
        self._steady = steadiness * self._steady + math.sqrt(1 - steadiness * steadiness) * self._noise(0.0, 1.0)
        share = 0.5 + 0.5 * math.erf(self._steady / math.sqrt(2))
        steps = len(self._table) or 2 * self._jitter
        step = min(int(share * steps), steps - 1)  # the share may round to 1
        return spread(step, self._jitter, self._table) + self._delay


def expected_mean_and_deviation(impairment: Impairment) -> tuple[float, float]:
    """Mean and standard deviation in ns of the delay that is realised, which are not those asked for: a table deviates
    by less than the jitter, and what is below zero is cut there. Rate and queueing are not in it."""
    jitter = min(abs(impairment.jitter), MAXIMUM_JITTER)
    if not jitter:
        return float(impairment.delay), 0.0
    table = table_of(impairment.distribution)
    steps = len(table) or _FINE_STEPS
    offsets = (spread(step, jitter, table) for step in range(steps)) if table else _even(jitter, steps)
    delays = [max(impairment.delay + offset, 0) for offset in offsets]
    mean = math.fsum(delays) / steps
    return mean, math.sqrt(math.fsum((delay - mean) ** 2 for delay in delays) / steps)


def _even(jitter: int, steps: int) -> Sequence[float]:
    return [((2 * step + 1) / steps - 1) * jitter for step in range(steps)]
