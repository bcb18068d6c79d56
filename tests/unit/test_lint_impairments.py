"""What lint warns about impairments: netem's surprises, each with what comes out; and what it lets pass.

The errors are in `broken_impairments.txt`.
"""

from __future__ import annotations

import pytest

from lab.lint import check, impairment_rules
from lab.lint.impairments import errors_of, warnings_of
from lab.model.load import loads
from nodes.impairment import Distribution, Impairment, RandomLoss
from nodes.physical.tausworthe import effective_chance
from nodes.units import MILLISECOND

HEAD = "nodes: {a: , b: }\nlinks:\n  - ends: [a, b]\n    "


def _warnings(text: str) -> list[str]:
    report = check(loads(HEAD + text, "t.yml"))
    assert report.errors == ()
    return list(map(str, report.warnings))


@pytest.mark.parametrize(
    ("impair", "warning"),
    [
        (
            "loss: 1% 25%",
            "t.yml:4:20: loss 1% with correlation 25% loses 0.00024%, and hardly in bursts\n"
            "    hint: burst: {loss: 1%, mean: 3}",
        ),
        (
            "loss: 1% 75%",
            "t.yml:4:20: loss 1% with correlation 75% loses nothing, and hardly in bursts\n"
            "    hint: burst: {loss: 1%, mean: 3}",
        ),
        (
            "corrupt: 10% 25%",
            "t.yml:4:23: corrupt 10% with correlation 25% happens to 1.8% of the frames\n"
            "    hint: leave the correlation out",
        ),
        (
            "delay: 9ms, reorder: 25% 50%",
            "t.yml:4:35: reorder 25% with correlation 50% happens to 6.9% of the frames\n"
            "    hint: leave the correlation out",
        ),
        (
            "delay: 20ms 5ms 25%",
            "t.yml:4:21: a delay correlation of 25% does nothing: netem throws away the digits that are correlated\n"
            "    hint: steadiness: 25% is one that works",
        ),
        (
            "delay: 100ms, limit: 100, rate: 100mbit",
            "t.yml:4:35: limit 100 lets 12.1mbit pass at most: it counts frames on the way\n"
            "    hint: 826 frames are, at 100mbit and 100ms; left out, it is sized from both",
        ),
        (
            "delay: 1s, limit: 1000",
            "t.yml:4:32: limit 1000 lets 12.1mbit pass at most: it counts frames on the way\n"
            "    hint: 8257 frames are, at 100mbit and 1s; left out, it is sized from both",
        ),
        (
            "limit: 100, rate: 10mbit, queue: codel",
            "t.yml:4:21: limit 100 is of the frames in flight behind the queue, and does not bound the queue\n"
            "    hint: queue: {codel: {packets: 100}}",
        ),
        (
            "delay: 20ms 5ms, rate: 10mbit",
            "t.yml:4:21: with a rate in netem, jitter reorders nothing: frames leave in the order in which they came\n"
            "    hint: queue: drop_tail puts the rate in front of the delay",
        ),
        (
            "delay: 20ms 5ms pareto",
            "t.yml:4:21: a jitter of 5ms by pareto deviates by 4.1ms: the table is cut at four jitters\n"
            "    hint: jitter: 6.1ms deviates by 5ms",
        ),
        (
            "delay: 2ms, jitter: 5ms",
            "t.yml:4:34: 30% of the delays would be negative and are 0: the mean is 2.45ms\n"
            "    hint: a delay of several jitters has no such cut",
        ),
        (
            "delay: 5ms 5ms normal",
            "t.yml:4:21: 16% of the delays would be negative and are 0: the mean is 5.41ms\n"
            "    hint: a delay of several jitters has no such cut",
        ),
        (
            "delay: 9ms, ecn: true",
            "t.yml:4:31: ecn marks frames instead of losing them, and no loss is asked for\n    hint: loss: 1%",
        ),
        (
            "rate: 9mbit, queue: red, ecn: true",
            "t.yml:4:44: ecn marks frames instead of losing them, and no loss is asked for\n"
            "    hint: queue: {red: {ecn: true}} lets the queue mark",
        ),
        (
            "duplicate: 10%, loss: 10%",
            "t.yml:4:25: duplicates make up for losses: 9% are lost and 8.1% come twice\n"
            "    hint: netem decides on both for a frame, and one of its copies is enough",
        ),
        (
            "rate: 1mbit, queue: codel",
            "t.yml:4:34: the target of 5ms is shorter than a frame's transmission, 12.1ms\n"
            "    hint: queue: {codel: {target: 18.2ms}}",
        ),
        (
            "loss: gemodel 0% 10%",
            "t.yml:4:20: this model loses nothing\n    hint: loss: none says the same",
        ),
        (
            "loss: gemodel 1% 0%",
            "t.yml:4:20: r 0%: once the bad state is reached, it is never left\n"
            "    hint: r: 10% for 10 frames on average",
        ),
    ],
)
def test_surprises(impair: str, warning: str) -> None:
    assert _warnings(f"impair: {{{impair}}}") == [warning]


@pytest.mark.parametrize(
    "impair",
    [
        "delay: 20ms 5ms normal, loss: 1%, duplicate: 1%, corrupt: 0.1%, reorder: 5%, gap: 5",
        "delay: 20ms 5ms, rate: 10mbit, queue: drop_tail",
        "delay: 20ms 20ms",
        "delay: 9s, jitter: 1500ms, delay_correlation: 90%",
        "delay: 20ms 5ms normal, steadiness: 90%",
        "delay: 100ms, limit: 1000",
        "delay: 100ms, limit: 84, rate: 10mbit",
        "rate: 10mbit, limit: 10",
        "rate: 10mbit, queue: codel",
        "loss: 60% 10%",
        "loss: 1%, ecn: true",
        "slot: 10ms",
    ],
)
def test_what_is_no_surprise(impair: str) -> None:
    assert _warnings(f"impair: {{{impair}}}") == []


def test_offload_that_is_asked_for() -> None:
    assert _warnings("offload: on\n    impair: {delay: 1ms}") == [
        "t.yml:4:14: a link that does something to frames is given single frames: 'offload' stays off\n"
        "    hint: leave 'offload' out, or the impairment"
    ]


def test_what_a_change_makes_surprising_is_said_at_the_change() -> None:
    text = "impair: {delay: 20ms 5ms}\n    schedule:\n      - {at: 1s, impair: {loss: 1%}}\n"
    text += "      - {at: 2s, from: b, impair: {rate: 10mbit}}\n      - {at: 3s, impair: {delay: 21ms}}"
    (warning,) = _warnings(text)
    assert warning.startswith("t.yml:7:35: with a rate in netem, jitter reorders nothing")


def test_what_is_surprising_already_is_not_said_again() -> None:
    text = "impair: {loss: 1% 25%}\n    schedule: [{at: 1s, impair: {delay: 9ms}}, {at: 2s, impair: {loss: none}}]"
    (warning,) = _warnings(text)
    assert warning.startswith("t.yml:4:20: loss 1% with correlation 25%")


def test_one_sentence_for_all_links_that_have_it_from_the_defaults() -> None:
    text = "defaults: {impair: {loss: 1% 25%}}\nnodes: {a: , b: , c: }\nlinks: [a -- b, b -- c]"
    (warning,) = map(str, check(loads(text, "t.yml")).warnings)
    assert warning.startswith("t.yml:1:27: ")


def test_rules_of_values() -> None:
    """As `lab impair` asks them of a running link."""
    wrong = Impairment(delay=20 * MILLISECOND, distribution=Distribution("normal"), gap=3)
    assert [said.field for said in errors_of(wrong, 1500)] == ["distribution", "gap"]
    odd = Impairment(loss=RandomLoss(chance=0.01, correlation=0.5))
    assert errors_of(odd, 1500) == []
    assert [said.field for said in warnings_of(odd, 1500)] == ["loss"]


def test_what_many_links_have_in_common_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An effective chance takes some 50 ms, and a lab may have thousands of links."""
    asked: list[float] = []

    def counted(chance: float, correlation: float) -> float:
        asked.append(chance)
        return effective_chance(chance, correlation)

    monkeypatch.setattr(impairment_rules, "effective_chance", counted)
    links = ", ".join(f"h{number} -- s" for number in range(20))
    nodes = ", ".join(f"h{number}: host" for number in range(20))
    text = f"defaults: {{impair: {{loss: 1.5% 15%}}}}\nnodes: {{s: switch, {nodes}}}\nlinks: [{links}]"
    assert len(check(loads(text, "t.yml")).warnings) == 1
    assert asked == [0.015]
