"""netem's random numbers: L'Ecuyer's LFSR113, the chances compared with them, and netem's correlation.

LFSR113 (P. L'Ecuyer, "Tables of Maximally Equidistributed Combined LFSR Generators", 1999) is the exclusive or of four
shift registers of 31, 29, 28 and 25 bits; its period is near 2^113. Linux calls it prandom and netem draws all its
decisions from it, so the same seed here and there loses the same frames.

Linux begins with the seed as it is, without the usual warm-up, so small seeds give biased first numbers; seeds of lines
are therefore hashes (`derived_seed`). What Linux does not draw from this generator, because it takes it from the
kernel's own pool, is drawn here from siblings: generators of their own, each with a seed derived from the first one.
Neither disturbs the stream that netem's seed means.

A chance is an integer of 32 bits, and what has it happens if it is at least the number drawn.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import operator
import random
import statistics
import struct
from collections.abc import Callable, Iterator
from typing import TypeAlias

_WORD = 0xFFFFFFFF


def scale(chance: float) -> int:
    """A chance of 0 to 1 as netem's 32-bit integer."""
    return round(chance * _WORD)


def derived_seed(seed: int, *names: object) -> int:
    """64 bits for one purpose of many that share a seed: equal for equal names, unrelated otherwise."""
    text = "\0".join((str(seed), *map(str, names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Tausworthe:
    """Numbers of 32 bits, from a seed of 64. `draw` is the call itself, for those who keep it in a variable."""

    __slots__ = ("_memory", "_siblings", "draw", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw: Callable[[], int] = itertools.chain.from_iterable(_blocks(_registers(seed))).__next__
        self._memory: Callable[[], int] | None = None
        self._siblings: dict[str, random.Random] = {}

    def __call__(self) -> int:
        return self.draw()

    def memory(self) -> int:
        """What a correlation remembers before its first draw; Linux takes it from its pool."""
        if self._memory is None:
            self._memory = Tausworthe(derived_seed(self.seed, "correlation memory")).draw
        return self._memory()

    def sibling(self, purpose: str) -> random.Random:
        """The generator for what netem's stream does not decide; always the same object for one purpose."""
        if purpose not in self._siblings:
            self._siblings[purpose] = random.Random(derived_seed(self.seed, purpose))
        return self._siblings[purpose]


_Registers: TypeAlias = tuple[int, int, int, int]
_BLOCK = 32  # numbers made at once
_REGISTERS = 16  # octets
_NUMBERS = struct.Struct(f"<{_BLOCK}I")


def _registers(seed: int) -> _Registers:
    """A register whose seed is below its minimum would stay at zero, so that minimum is added."""
    start = (seed >> 32 ^ seed << 10 ^ seed) & _WORD
    first, second, third, fourth = (start if start >= least else start + least for least in (2, 8, 16, 128))
    return first, second, third, fourth


def _step(registers: _Registers) -> _Registers:
    """The definition. A number is the exclusive or of the four; the low bits that do not belong to a register are cut
    off after its shift, together with those above 32."""
    a, b, c, d = registers
    return (
        (a << 18 & 0xFFF80000) ^ (((a << 6 ^ a) & _WORD) >> 13),
        (b << 2 & 0xFFFFFFE0) ^ (((b << 2 ^ b) & _WORD) >> 27),
        (c << 7 & 0xFFFFF800) ^ (((c << 13 ^ c) & _WORD) >> 21),
        (d << 13 & 0xFFF00000) ^ (((d << 3 ^ d) & _WORD) >> 12),
    )


def _blocks(registers: _Registers) -> Iterator[tuple[int, ...]]:
    """The numbers, many at a time, which takes a fifth of the time of single steps.

    All that a step does is shifting and exclusive or, so the next numbers, and the registers after them, are the
    exclusive or of what each octet of the registers adds to them; and that is in a table.
    """
    tables = _tables()
    state = _joined(registers).to_bytes(_REGISTERS, "little")
    while True:
        total = 0
        for table, octet in zip(tables, state, strict=True):
            total ^= table[octet]
        octets = total.to_bytes(_NUMBERS.size + _REGISTERS, "little")
        yield _NUMBERS.unpack_from(octets)
        state = octets[_NUMBERS.size :]


@functools.cache
def _tables() -> list[list[int]]:
    """For each octet of the registers and each of its values: the numbers that follow, and the registers after them."""
    tables = []
    for octet in range(_REGISTERS):
        table = [0]
        for bit in range(8):
            alone = _steps(1 << 8 * octet + bit)
            table += [value ^ alone for value in table]
        tables.append(table)
    return tables


def _steps(state: int) -> int:
    """A block of numbers after `state` as one integer, the registers after them on top."""
    registers = (state & _WORD, state >> 32 & _WORD, state >> 64 & _WORD, state >> 96)
    block = 0
    for index in range(_BLOCK):
        registers = _step(registers)
        block |= functools.reduce(operator.xor, registers) << 32 * index
    return block | _joined(registers) << 32 * _BLOCK


def _joined(registers: _Registers) -> int:
    return sum(register << 32 * index for index, register in enumerate(registers))


class Correlated:
    """Numbers that remember: each is (1 - rho) of a new one and rho of the one before, in 32-bit arithmetic.

    The mean of two uniform numbers is not uniform: the sum gathers around the middle, its deviation shrinks by
    sqrt((1 - rho) / (1 + rho)), and a small chance is hardly ever reached. So `loss 1% 25%` loses next to nothing; this
    is netem's arithmetic, not ours to mend (docs/links.md, and Salsano and others 2012 on netem's loss generator).
    """

    __slots__ = ("_base", "_last", "_rho", "_share", "chance", "draw")

    def __init__(self, chance: float, correlation: float, generator: Tausworthe) -> None:
        self.chance = scale(chance)
        rho = scale(correlation)
        self._base = generator.draw
        self._rho = rho + 1
        self._share = (1 << 32) - self._rho
        self._last = generator.memory()
        self.draw: Callable[[], int] = self._correlated if rho else generator.draw

    def _correlated(self) -> int:
        self._last = (self._base() * self._share + self._last * self._rho) >> 32
        return self._last

    def happens(self) -> bool:
        """Whether what has this chance happens now."""
        return self.chance >= self.draw()


_STEPS = 2000  # of the grid
_ROUNDS = 30  # each takes the guess nearer by the factor rho, from a good one


def effective_chance(chance: float, correlation: float) -> float:
    """How often that which was asked for with `chance` happens under netem's correlation; exact to some percent.

    The stationary number x = (1 - rho) u + rho x' has the distribution function F(x), which is the mean of
    F((x - (1 - rho) u) / rho) over all u. It is found by putting a guess into that mean until it stays: the normal
    distribution of the same mean and deviation, on a grid; its integral makes each mean two look-ups.
    """
    if not 0 < correlation < 1 or not 0 < chance < 1:
        return min(max(chance, 0.0), 1.0)  # a correlation of 1 never draws again: all or nothing, with that chance
    guess = statistics.NormalDist(0.5, math.sqrt((1 - correlation) / (1 + correlation) / 12))
    function = [guess.cdf(step / _STEPS) for step in range(_STEPS + 1)]
    for _ in range(_ROUNDS):
        function = _averaged(function, correlation)
    return _between(function, chance)


def _averaged(function: list[float], rho: float) -> list[float]:
    integral = list(itertools.accumulate((a + b) / 2 / _STEPS for a, b in itertools.pairwise(function)))
    integral.insert(0, 0.0)
    factor = rho / (1 - rho)
    places = (step / _STEPS for step in range(_STEPS + 1))
    return [factor * (_between(integral, x / rho) - _between(integral, (x - 1 + rho) / rho)) for x in places]


def _between(values: list[float], place: float) -> float:
    """Between two points of a grid over 0 to 1; left of it 0, right of it as an integral of one goes on."""
    if place <= 0:
        return 0.0
    if place >= 1:
        return values[-1] + place - 1
    index, rest = divmod(place * _STEPS, 1)
    low = values[int(index)]
    return low + (values[int(index) + 1] - low) * rest
