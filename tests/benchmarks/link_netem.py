"""How late the kernel's own netem is, where this machine has one at all: in User Mode Linux.

    packet socket ─ veth [netem, 20 ms] ═ veth ─ packet socket         all inside the guest, in one process

`error` is the time from a frame's entry into netem to its arrival, by the guest's own stamps, less 20 ms. A guest is a
process of this machine: what it is late includes what this machine lets it wait, and a system call costs it 60 µs, so
that it does not reach the higher rates. The figures tell what a real netem on a shared machine looks like, and are
no ratio to the relay's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nodes.impairment import Impairment
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, percentile, shown
from tests.uml import boot
from tests.uml.oracle import through_kernel
from tests.uml.traffic import Case, Passage

DELAY = 20 * MILLISECOND
RATES = {1000: 1, 5000: 1, 20_000: 8}
"""Frames per second, and how many are sent at once."""
ROUNDS = 3
SECONDS, QUICK_SECONDS = 2, 1
OCTETS = 1514


@dataclass(frozen=True)
class Sample:
    """One trial; times in µs, rates in frames/s."""

    rate: int
    reached: float
    error_p50: float
    error_p99: float
    error_max: float


def run(settings: Settings) -> Report:
    """All rates in one guest for each round."""
    missing = boot.missing()
    if missing is not None:
        return Report("link_netem", [], [], [missing])
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    cases = {
        str(rate): Case(Impairment(delay=DELAY), rate * seconds, OCTETS, burst, burst * SECOND // rate)
        for rate, burst in RATES.items()
    }
    samples: list[Sample] = []
    for number in range(1 if settings.quick else ROUNDS):
        settings.say(f"link_netem, round {number + 1}")
        samples += [_sample(int(rate), passage) for rate, passage in through_kernel(cases).items()]
    return Report("link_netem", [_table(samples)], [asdict(sample) for sample in samples])


def _sample(rate: int, passage: Passage) -> Sample:
    errors = [(delay - DELAY) / MICROSECOND for delay in passage.delays()]
    reached = len(passage.sent) * SECOND / (passage.sent[-1] - passage.sent[0])
    return Sample(rate, reached, percentile(errors, 50) or 0, percentile(errors, 99) or 0, max(errors))


def _table(samples: list[Sample]) -> Table:
    columns = ("asked frames/s", "reached", "error p50 µs", "error p99 µs", "error max µs")
    table = Table("Lateness of sch_netem in User Mode Linux (Linux 6.1), 20 ms", columns)
    for rate in RATES:
        own = [sample for sample in samples if sample.rate == rate]
        figures = (
            median(getattr(sample, name) for sample in own)
            for name in ("reached", "error_p50", "error_p99", "error_max")
        )
        table.rows.append((rate, *(shown(figure) if figure is not None else None for figure in figures)))
    return table
