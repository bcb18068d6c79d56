"""What the meter says of a real netem (Linux 6.1 in User Mode Linux), against what packet sockets outside of both taps
see of the same frames: counts are equal, delays are shorter by the way from the taps to the sockets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nodes.impairment import Distribution, Impairment, RandomLoss
from nodes.units import MILLISECOND
from tests.uml import boot
from tests.uml.traffic import Case, Passage

pytestmark = [pytest.mark.system, pytest.mark.slow]

MODULES = ("veth", "sch_netem", "sch_ingress", "act_mirred", "cls_matchall")
WAY = MILLISECOND
"""From a tap to the socket behind it, and from the socket to the tap before it; on a busy machine too."""


JITTERY = Impairment(delay=50 * MILLISECOND, jitter=10 * MILLISECOND, distribution=Distribution("normal"))
LOSS = RandomLoss(chance=0.2)


def case(impairment: Impairment, *, octets: int = 100, ect: bool = False) -> Case:
    return Case(impairment, 600, octets, burst=1, interval=5 * MILLISECOND, ect=ect)


CASES = {
    "plain": case(Impairment()),
    "delay": case(Impairment(delay=20 * MILLISECOND)),
    "jitter": case(JITTERY),
    "reorder": case(Impairment(delay=20 * MILLISECOND, reorder=0.25)),
    "duplicate": case(Impairment(delay=5 * MILLISECOND, duplicate=0.2)),
    "corrupt": case(Impairment(delay=5 * MILLISECOND, corrupt=0.2), octets=1400),
    "loss": case(Impairment(delay=5 * MILLISECOND, loss=LOSS)),
    "mark": case(Impairment(delay=5 * MILLISECOND, loss=LOSS, ecn=True), ect=True),
    "rate": case(Impairment(rate=400_000), octets=500),
    "everything": case(
        Impairment(delay=20 * MILLISECOND, jitter=9 * MILLISECOND, duplicate=0.1, corrupt=0.1, loss=LOSS)
    ),
}
NOTICED = {
    "jitter": "reordered", "reorder": "reordered", "duplicate": "duplicated", "corrupt": "corrupted",
}  # fmt: skip
"""What there must be some of, for the comparison to say something."""


@pytest.fixture(scope="module")
def passages() -> dict[str, Passage]:
    lack = boot.missing()
    if lack is not None:
        pytest.skip(lack)
    cases = {name: case.to_json() for name, case in CASES.items()}
    found = boot.run("tests.uml.jobs.metered", {"cases": cases}, MODULES)
    return {name: Passage.from_json(data) for name, data in found.items()}


def measured(passage: Passage) -> dict[str, Any]:
    found: dict[str, Any] = passage.facts["state"]["ab"]["measured"]
    return found


def unchanged(passage: Passage, *, marked: bool) -> list[int]:
    """The places of the arrivals that the meter can tell: of frames as they were sent, or only marked."""
    return [place for place in range(len(passage.arrived)) if marked or place not in passage.changed]


def overtakers(numbers: list[int]) -> int:
    """How many arrived before one that was sent earlier; of duplicates the first counts."""
    first = list(dict.fromkeys(numbers))
    return sum(any(later < number for later in first[place:]) for place, number in enumerate(first))


@pytest.mark.parametrize("name", CASES)
def test_counts(passages: dict[str, Passage], name: str) -> None:
    """Of each kind, as many as arrived so; nothing was missed, and all were looked at."""
    passage = passages[name]
    told = measured(passage)
    numbers = [passage.arrived[place] for place in unchanged(passage, marked=name == "mark")]
    assert told["corrupted"] == (0 if name == "mark" else len(passage.changed))
    assert told["marked"] is None  # the taps see a frame as it is after it was marked
    assert told["duplicated"] == len(numbers) - len(set(numbers))
    assert told["reordered"] == overtakers(numbers)
    assert told["in_frames"] == CASES[name].frames
    assert told["out_frames"] == len(passage.arrived)
    assert (told["alike"], told["unknown"], told["sampled"]) == (0, 0, 1.0)
    assert passage.facts["state"]["emulator"]["meter"]["missed"] == 0
    assert told.get(NOTICED.get(name)) != 0


@pytest.mark.parametrize("name", CASES)
def test_delays(passages: dict[str, Passage], name: str) -> None:
    """Of each frame that could be told, a little less than what the sockets saw; percentiles are exact to 1.6 %."""
    passage = passages[name]
    told = measured(passage)["delay"]
    delays = passage.delays()
    seen = sorted(delays[place] for place in unchanged(passage, marked=name == "mark"))
    assert told["count"] == len(seen)
    assert seen[0] - WAY <= told["minimum"] <= seen[0]
    assert sum(seen) / len(seen) - WAY <= told["mean"] <= sum(seen) / len(seen)
    for share, percentile in ((0.01, "p1"), (0.5, "p50"), (0.99, "p99")):
        value = seen[math.ceil(share * len(seen)) - 1]
        assert 0.98 * value - WAY <= told[percentile] <= 1.02 * value + WAY, percentile
    # The longest is one frame, which the machine may have held up on its way to the socket.
    assert told["p99"] <= told["maximum"] <= seen[-1] + WAY
    assert told["minimum"] >= (20 * MILLISECOND if name == "delay" else 0)


def test_jitter_is_seen(passages: dict[str, Passage]) -> None:
    """Of a normal distribution, 98 % lie within 2.33 deviations of 10 ms: 26.7 and 73.3 ms. A busy machine adds."""
    told = measured(passages["jitter"])["delay"]
    assert 20 * MILLISECOND < told["p1"] < 40 * MILLISECOND
    assert told["p50"] >= 48 * MILLISECOND
    assert told["p99"] > 65 * MILLISECOND


@pytest.mark.parametrize("name", CASES)
def test_samples(passages: dict[str, Passage], name: str) -> None:
    """What the table of seconds is made of: frames timed, and their delays. A rate needs two of them."""
    facts = passages[name].facts
    (*_, delay, timed, _late), before = facts["after"]["ab"], facts["before"]["ab"]
    told = measured(passages[name])
    assert before == [0, 0, 0, 0, 0, 0, -1]
    assert timed == told["delay"]["count"]
    assert delay // timed == told["delay"]["mean"]
    assert 0 < told["rate"] == told["peak_rate"] < 8 * told["out_octets"]
