"""The goodput table: one transfer for every congestion control through every impairment, with every size of buffers and
every set of options. All of it is virtual time and seeded, so the table is exact, and any change of TCP's behaviour
shows in it.

    python -m tests.sim.goodput > tests/sim/goodput.txt

writes it anew; read the difference before you commit it.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from tests.sim.tcp_network import Burst, LinkProfile, pair
from tests.sim.tcp_programs import Transfer

ALGORITHMS = ("none", "aimd", "tahoe", "reno", "newreno", "cubic", "bbr")

RATE = 10_000_000
DELAY = 20 * MILLISECOND
QUEUE = 64_000
"""The path: 10 Mbit/s, a round trip of 40 ms, a queue of 1.3 bandwidth-delay products."""

SIZE = 1_000_000
SIZE_IN_HEAVY_LOSS = 200_000
HEAVY = 0.1

LIMIT = 120 * SECOND
LIMIT_IN_HEAVY_LOSS = 1800 * SECOND
"""Longer takes only what has stalled. The second one is also for `none`, which loses most of what it sends."""

NAME_WIDTH = 34


def path(**impairments: object) -> LinkProfile:
    """The path with impairments."""
    return LinkProfile(delay=DELAY, rate=RATE, queue=QUEUE, **impairments)  # type: ignore[arg-type]


class Case(NamedTuple):
    """A row. `buffer` limits all buffers of both sides, None is the default."""

    link: LinkProfile
    settings: TcpSettings = TcpSettings()
    buffer: int | None = None

    @property
    def heavy(self) -> bool:
        return self.link.loss >= HEAVY


def _options(text: str) -> TcpSettings:
    words = text.split()
    return TcpSettings(sack="sack" in words, timestamps="timestamps" in words, window_scale="scaling" in words)


OPTION_SETS = (
    "no options",
    "sack",
    "timestamps",
    "scaling",
    "sack timestamps",
    "sack scaling",
    "timestamps scaling",
    "sack timestamps scaling",
)

CASES: dict[str, Case] = {
    "clean": Case(path()),
    "loss 0.1 %": Case(path(loss=0.001)),
    "loss 1 %": Case(path(loss=0.01)),
    "loss 5 %": Case(path(loss=0.05)),
    "loss 10 %": Case(path(loss=0.1)),
    "loss 20 %": Case(path(loss=0.2)),
    "bursts of loss": Case(path(burst=Burst(0.003, 0.3))),
    "reordering 5 %": Case(path(reordering=0.05, late=10 * MILLISECOND)),
    "jitter 5 ms": Case(path(jitter=5 * MILLISECOND)),
    "duplication 5 %": Case(path(duplication=0.05)),
    "corruption 1 %": Case(path(corruption=0.01)),
    "ecn": Case(path(mark_above=30_000)),
    "all at once": Case(
        path(loss=0.01, reordering=0.02, late=10 * MILLISECOND, duplication=0.01, corruption=0.005, jitter=MILLISECOND)
    ),
    **{
        f"buffers {buffer // 1024} KB, loss {loss:.0%}": Case(path(loss=loss), buffer=buffer)
        for buffer in (4 << 10, 64 << 10, 1 << 20)
        for loss in (0.0, 0.01)
    },
    **{f"{names}, loss 1 %": Case(path(loss=0.01), _options(names)) for names in OPTION_SETS},
}


class Outcome(NamedTuple):
    """`goodput` in kbit/s."""

    goodput: int
    retransmitted: int
    timeouts: int
    digest: str


def measure(case: Case, congestion: str, seed: int = 1) -> Outcome:
    """One transfer; its content is checked. Raises AssertionError where it does not end in time."""
    network = pair(case.link, seed=seed, settings=case.settings)
    limits = {} if case.buffer is None else {"receive_limit": case.buffer, "send_limit": case.buffer}
    size = SIZE_IN_HEAVY_LOSS if case.heavy else SIZE
    transfer = Transfer(network, size, congestion=congestion, **limits)  # type: ignore[arg-type]
    limit = LIMIT_IN_HEAVY_LOSS if case.heavy or congestion == "none" else LIMIT
    done = network.run(limit, transfer.is_done)
    assert done, f"{congestion} stalled: {transfer.reader.received} of {size} octets in {network.now / SECOND:.0f} s"
    counters = network.stacks[0].tcp.counters
    goodput = transfer.goodput // 1000
    return Outcome(goodput, counters.retransmitted_segments, counters.timeouts, network.digest)


def row(name: str) -> str:
    """One line of the table."""
    cells = [f"{measure(CASES[name], congestion).goodput:9,}" for congestion in ALGORITHMS]
    return f"{name:{NAME_WIDTH}}" + "".join(cells)


def heading() -> str:
    return f"{'goodput in kbit/s':{NAME_WIDTH}}" + "".join(f"{name:>9}" for name in ALGORITHMS)


def main() -> None:
    sys.stdout.write(heading() + "\n")
    for name in CASES:
        sys.stdout.write(row(name) + "\n")


if __name__ == "__main__":
    main()
