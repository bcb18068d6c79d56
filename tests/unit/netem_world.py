"""netem under an exact clock, and frames that carry their numbers: for the tests of its decisions and times."""

from __future__ import annotations

from typing import NamedTuple

from nodes.impairment import Impairment
from nodes.physical.carried import Carried
from nodes.physical.netem import Fate, Netem
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND

SEED = 42
MTU = 1500
DELAY = 20 * MILLISECOND


class Left(NamedTuple):
    due: int
    number: int
    frame: bytes


class World:
    """Netem under an exact clock: all that is due before a frame enters has left by then. Frames carry their number."""

    def __init__(self, impairment: Impairment, seed: int = SEED) -> None:
        self.statistics = Statistics()
        self.netem = Netem(impairment, MTU, seed, self.statistics)
        self.now = 0
        self.left: list[Left] = []
        self.fates: list[Fate] = []

    def run(self, until: int) -> None:
        """Look exactly when the netem asks for it."""
        while (at := self.netem.deadline()) is not None and at <= until:
            self.now = max(at, self.now)
            self._drain()
            after = self.netem.deadline()
            assert after is None or after > self.now, "a deadline that has passed"
        self.now = until

    def _drain(self) -> None:
        while (carried := self.netem.release(self.now)) is not None:
            assert carried.due <= self.now
            self.left.append(Left(carried.due, int.from_bytes(carried.frame[14:18], "big"), carried.frame))

    def send(self, *times: int, octets: int = 1000) -> World:
        for time in times:
            self.run(time)
            frame = bytes(14) + len(self.fates).to_bytes(4, "big") + bytes(octets - 18)
            self.fates.append(self.netem.receive(Carried(frame, time), time))
            self.run(time)
        return self

    def end(self) -> World:
        self.run(1 << 62)
        assert self.netem.held == 0
        return self

    @property
    def dues(self) -> list[int]:
        return [left.due for left in self.left]

    @property
    def numbers(self) -> list[int]:
        return [left.number for left in self.left]


def evenly(count: int, step: int = MILLISECOND) -> range:
    return range(0, count * step, step)


def sent(impairment: Impairment, count: int, step: int = MILLISECOND, seed: int = SEED) -> World:
    return World(impairment, seed).send(*evenly(count, step)).end()
