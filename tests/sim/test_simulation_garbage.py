"""When Python's collector runs in a simulation: by the count of callbacks, whatever else the process does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

from lab import Lab
from nodes.simulation.garbage import EVERY

TOPOLOGY = "name: garbage\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"


class Circle:
    def __init__(self) -> None:
        self.itself = self


async def found_after() -> int:
    """How many callbacks it takes until a circle is found, a callback for each turn."""
    circle = weakref.ref(Circle())
    turns = 0
    while circle() is not None:
        noise = [[] for _ in range(5000)]  # would have made it run
        assert noise
        await asyncio.sleep(0.001)
        turns += 1
    return turns


def test_the_collector_runs_by_callbacks(tmp_path: Path) -> None:
    async def main(lab: Lab) -> int:
        assert not gc.isenabled()
        return await lab.node("a").run(found_after)

    turns = [Lab.run(main, TOPOLOGY, driver="sim", runs=tmp_path) for _ in range(2)]
    assert turns[0] == turns[1]
    assert EVERY // 4 < turns[0] <= EVERY
    assert gc.isenabled()
