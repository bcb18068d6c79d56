"""What `lab impair` prints of a link."""

from __future__ import annotations

from typing import Any

from lab.cli.links_report import NOT_KNOWN, report
from nodes.impairment import Impairment, RandomLoss, encode
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND

ASKED = Impairment(delay=20 * MILLISECOND, loss=RandomLoss(chance=0.01))


def side(sender: str, receiver: str, measured: dict[str, Any] | None) -> dict[str, Any]:
    text = "delay 20ms, loss 1%"
    applied = None if measured is None else encode(ASKED)
    return {
        "from": sender, "to": receiver, "asked": encode(ASKED), "asked_text": text, "applied": applied,
        "measured": measured,
    }  # fmt: skip


def state(*sides: dict[str, Any], executor: str | None = "relay") -> dict[str, Any]:
    return {
        "link": "a--b", "ends": ["a:eth0", "b:eth0"], "up": True, "mtu": 1500, "executor": executor,
        "reason": "this kernel has no sch_netem", "directions": sides, "emulator": {},
    }  # fmt: skip


def measured() -> dict[str, Any]:
    statistics = Statistics()
    statistics.in_frames, statistics.reordered = 100, 2
    statistics.dropped["loss"] = 4
    for number in range(95):
        statistics.left(1000, number * MILLISECOND, (number + 20) * MILLISECOND)
        statistics.lateness.add(70_000)
    return statistics.snapshot(SECOND)


def test_a_link_that_was_measured() -> None:
    assert list(report(state(side("a", "b", measured())))) == [
        "link a--b: a:eth0 -- b:eth0, up, MTU 1500",
        "  carried by relay: this kernel has no sch_netem",
        "  a to b",
        "    asked    delay 20ms, loss 1%",
        "    applied  delay 20ms, loss 1%",
        "    frames   100 in, 95 out, 4 loss (4.00 %), 1 inside",
        "             2 reordered",
        "    delay    p1 20.00 ms, p50 20.00 ms, p99 20.00 ms, max 20.00 ms",
        "    rate     0 bit/s in the last second, at most 0 bit/s",
        "    late by  p1 0.07 ms, p50 0.07 ms, p99 0.07 ms, max 0.07 ms",
    ]


def test_what_an_executor_cannot_know_is_said() -> None:
    partly = {**measured(), "delay": None, "lateness": None, "rate": None, "inside": 0, "reordered": None}
    lines = [line.strip() for line in report(state(side("a", "b", partly), executor="kernel"))]
    assert f"delay    {NOT_KNOWN}" in lines
    assert f"rate     {NOT_KNOWN}" in lines
    assert not any("late by" in line or "reordered" in line for line in lines)
    assert f"measured {NOT_KNOWN}" in [line.strip() for line in report(state(side("a", "b", None)))]


def test_delays_of_a_sample() -> None:
    lines = list(report(state(side("a", "b", {**measured(), "sampled": 0.125}))))
    assert "    delay    p1 20.00 ms, p50 20.00 ms, p99 20.00 ms, max 20.00 ms (of one frame in 8)" in lines


def test_delays_that_are_not_measured() -> None:
    told = state(side("a", "b", {**measured(), "delay": None}), executor="kernel")
    lines = list(report({**told, "emulator": {"meter": {"problem": "the meter ended 4 times"}}}))
    assert lines[-1] == "  delays are not measured: the meter ended 4 times"


def test_no_frame_yet() -> None:
    assert "delay    no frame yet" in [line.strip() for line in report(state(side("a", "b", Statistics().snapshot(0))))]


def test_a_plain_link() -> None:
    assert list(report(state(executor=None)))[1:] == ["  only carries: nothing is asked of it"]
