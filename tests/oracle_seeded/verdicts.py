"""Kernel and engine, frame by frame: how often each arrived, which of those harmed, and when.

The kernel's delays are a little longer: a frame enters netem some instructions after its time was taken, and frames
that are due together leave one after another. More than SLACK apart is a difference; drawn delays are spread over
hundreds of times that.

A frame that is to be marked (ecn) counts as marked if one of its two is: the kernel's copy shares its octets with the
frame, so a mark on one is on both, unless corruption gave the frame octets of its own. That is no decision of netem's.
"""

from __future__ import annotations

from nodes.physical.congestion_mark import mark
from nodes.quantities import format_duration
from nodes.units import MICROSECOND
from tests.oracle_seeded.cases import first_judged
from tests.uml import numbered
from tests.uml.traffic import Case, Passage

SLACK = 500 * MICROSECOND

Fate = list[tuple[bool, int]]
"""Of each arrival of one frame: whether it was harmed, and its delay in ns; the sound ones first. Empty: lost."""


def first_difference(case: Case, kernel: Passage, engine: Passage) -> str | None:
    """None, or what happened to the first frame that fared differently. Both have the same frames."""
    strange = _strange_mark(case, kernel)
    if strange is not None:
        return strange
    pairs = zip(_fates(case, kernel), _fates(case, engine), strict=True)
    for number, (here, there) in enumerate(pairs):
        if number >= first_judged(case) and not _alike(here, there):
            return f"frame {number}: kernel {_text(here)}, engine {_text(there)}"
    return None


def _fates(case: Case, passage: Passage) -> list[Fate]:
    fates: list[Fate] = [[] for _ in passage.sent]
    for place, (number, delay) in enumerate(zip(passage.arrived, passage.delays(), strict=True)):
        fates[number].append((place in passage.changed, delay))
    if not case.impairment.ecn:
        return [sorted(fate) for fate in fates]
    return [[(any(harmed for harmed, _ in fate), delay) for _, delay in fate] for fate in fates]


def _alike(here: Fate, there: Fate) -> bool:
    return [harmed for harmed, _ in here] == [harmed for harmed, _ in there] and all(
        0 <= mine - other <= SLACK for (_, mine), (_, other) in zip(here, there, strict=True)
    )


def _strange_mark(case: Case, passage: Passage) -> str | None:
    """Where nothing is corrupted, what arrives changed is just marked."""
    if not case.impairment.ecn or case.impairment.corrupt:
        return None
    for place, frame in passage.changed.items():
        number = passage.arrived[place]
        if frame != mark(numbered.build(number, case.octets, ect=True)):
            return f"frame {number}: kernel {frame.hex()}, which is no mark"
    return None


def _text(fate: Fate) -> str:
    arrivals = [f"{'harmed ' * harmed}after {format_duration(delay)}" for harmed, delay in fate]
    return " and ".join(arrivals) or "lost"
