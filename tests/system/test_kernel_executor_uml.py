"""The kernel's executor against a real netem, Linux 6.1's in User Mode Linux (tests/uml). One guest plays all scenes of
tests/uml/jobs/kernel_executor.py; delays are bounded from below only, so that a busy machine decides nothing."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.units import MILLISECOND
from tests.uml import boot

pytestmark = [pytest.mark.system, pytest.mark.slow]

MODULES = ("veth", "sch_netem", "sch_ingress", "act_mirred", "cls_matchall")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    lack = boot.missing()
    if lack is not None:
        pytest.skip(lack)
    return boot.run("tests.uml.jobs.kernel_executor", {}, MODULES)


def numbers(arrivals: list[list[int]]) -> list[int]:
    return [number for number, _delay in arrivals]


def delays(arrivals: list[list[int]]) -> list[int]:
    return [delay for _number, delay in arrivals]


def test_the_probe(found: dict[str, Any]) -> None:
    assert found["support"] == {"missing": None, "seeds": False}


def test_both_directions(found: dict[str, Any]) -> None:
    scene = found["both_ways"]
    for arrivals, delay in ((scene["there"], 20), (scene["back"], 5)):
        assert numbers(arrivals) == list(range(200))
        assert min(delays(arrivals)) >= delay * MILLISECOND
    assert min(delays(scene["back"])) < 20 * MILLISECOND
    state = scene["state"]
    assert state["ab"]["applied"] == {"delay": 20 * MILLISECOND, "limit": 3302}
    for direction in ("ab", "ba"):
        measured = state[direction]["measured"]
        assert (measured["in_frames"], measured["out_frames"], measured["inside"]) == (200, 200, 0)
        assert (measured["in_octets"], measured["out_octets"], measured["dropped"]) == (20_000, 20_000, {})
    assert [sample[:4] for sample in scene["samples"]["a--b"].values()] == [[200, 200, 20_000, 0]] * 2
    assert state["emulator"]["filter"] == "matchall"
    assert state["emulator"]["seeded"] is False


def test_uniform_after_normal(found: dict[str, Any]) -> None:
    """With 200 ms and jitter 50 ms, one frame in six of a normal distribution is faster than 150 ms; of a uniform one,
    none."""
    scene = found["distributions"]
    fast = {name: sum(delay < 150 * MILLISECOND for delay in delays(scene[name])) for name in scene}
    assert fast["uniform"] == 0
    assert 20 < fast["normal"] < 110  # of 400; expected 63, deviation 7.3; a busy machine makes them fewer
    assert len(set(numbers(scene["uniform"]))) == 400


def test_loss_is_counted(found: dict[str, Any]) -> None:
    """Expected 100 of 500, deviation 9."""
    scene = found["loss"]
    lost = 500 - len(scene["arrived"])
    assert 50 < lost < 150
    before, after = scene["before"], scene["after"]
    assert after["dropped"]["netem"] == lost
    assert after["in_frames"] - before["in_frames"] == 500
    assert after["out_frames"] - before["out_frames"] == 500 - lost


def test_a_change_loses_no_frames(found: dict[str, Any]) -> None:
    """Those inside keep their time; those after them overtake."""
    arrivals = found["frames_in_flight"]["arrived"]
    assert numbers(arrivals) == [*range(10, 20), *range(10)]
    assert min(delays(arrivals[10:])) >= 200 * MILLISECOND


def test_a_refused_change_changes_nothing(found: dict[str, Any]) -> None:
    scene = found["refused"]
    assert scene["message"].startswith("set netem on interface 11: the kernel has not what it was asked for: seed: 7")
    assert numbers(scene["arrived"]) == list(range(20))
    assert min(delays(scene["arrived"])) >= 30 * MILLISECOND


def test_a_link_that_goes_down_loses_what_is_inside(found: dict[str, Any]) -> None:
    scene = found["pulled_out"]
    assert scene["inside"] == [10, 0]
    assert numbers(scene["arrived"]) == list(range(20))
    assert min(delays(scene["arrived"])) >= 20 * MILLISECOND


def test_nothing_is_left(found: dict[str, Any]) -> None:
    assert found["undone"] == {"kinds": ["noqueue"], "arrived": []}
