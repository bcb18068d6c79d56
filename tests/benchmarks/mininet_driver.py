"""The mininet driver: N hosts on one kernel switch, beside Mininet itself, which builds the same, and the netns driver.

Figures and rounds are those of bring_up.py. What the mininet driver has more than Mininet: an agent with a TCP/IP stack
in each host, and that all of them have answered; what it has more than the netns driver: a shell in each host. What it
does otherwise: shells start side by side, and links are made by netlink.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from tests.benchmarks.bring_up import Sample, layerlab, mininet, mininet_lack, take
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span

SIZES = (100,)
QUICK_SIZES = (10,)
ROUNDS = 3
SIDES = ("mininet", "Mininet", "Layerlab")
"""The driver, Mininet itself, the netns driver."""


def run(settings: Settings) -> Report:
    lack = mininet_lack()
    samples: list[Sample] = []
    failures: list[str] = []
    for count in QUICK_SIZES if settings.quick else SIZES:
        for number in range(1 if settings.quick else ROUNDS):
            settings.say(f"bring-up of {count} Mininet hosts, round {number + 1}")
            take(samples, failures, partial(layerlab, count, settings.scratch, "mininet"))
            if lack is None:
                take(samples, failures, partial(mininet, count))
            take(samples, failures, partial(layerlab, count, settings.scratch))
    notes = [f"Mininet was not measured: {lack}."] if lack else []
    return Report("mininet_driver", [_table(samples, [*notes, *failures])], [asdict(one) for one in samples], failures)


def _table(samples: list[Sample], notes: list[str]) -> Table:
    table = Table(
        "Bring-up of N hosts on one Linux bridge, and down: median (smallest to largest), s",
        ("N", "", "mininet driver", "Mininet", "Mininet / driver", "netns driver"),
        notes=notes,
    )
    for count in sorted({sample.nodes for sample in samples}):
        for title, field in (("up, wall", "wall"), ("up, CPU", "cpu"), ("down, wall", "down")):
            driver, theirs, netns = (
                [getattr(one, field) for one in samples if (one.side, one.nodes) == (side, count)] for side in SIDES
            )
            table.rows.append(
                (count, title, span(driver), span(theirs), ratio(median(theirs), median(driver)), span(netns))
            )
    return table
