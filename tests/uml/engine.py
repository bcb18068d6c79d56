"""Numbered frames through the engine, at the times at which the kernel got them, or at any.

No clock: `Netem` is given each arrival, and gives each departure with its own time.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.physical.carried import Carried
from nodes.physical.netem import Netem
from nodes.physical.statistics import Statistics
from tests.uml import numbered
from tests.uml.traffic import Case, Passage

MTU = 1500
LONG = 1 << 62


def through_engine(case: Case, seed: int, sent: Sequence[int] = ()) -> Passage:
    """`sent`: when each frame enters; where not given, as the case says, its bursts 1 ms apart if it gives no
    interval."""
    statistics = Statistics()
    netem = Netem(case.impairment, MTU, seed, statistics)
    passage = Passage(sent=list(sent) or _sent(case))
    for number, now in enumerate(passage.sent):
        _release(netem, case, passage, now)
        netem.receive(Carried(numbered.build(number, case.octets, ect=case.ect), now), now)
    _release(netem, case, passage, LONG)
    passage.facts["drops"] = statistics.dropped.total()
    return passage


def _sent(case: Case) -> list[int]:
    interval = case.interval or 1_000_000
    return [number // case.burst * interval for number in range(case.frames)]


def _release(netem: Netem, case: Case, passage: Passage, until: int) -> None:
    """Looks as often as an executor that is never late."""
    while (deadline := netem.deadline()) is not None and deadline <= until:
        while (carried := netem.release(deadline)) is not None:
            number = numbered.number_of(carried.frame, ect=case.ect)
            if number is None:
                passage.foreign += 1
                continue
            if carried.frame != numbered.build(number, case.octets, ect=case.ect):
                passage.changed[len(passage.arrived)] = carried.frame
            passage.arrived.append(number)
            passage.times.append(carried.due)
