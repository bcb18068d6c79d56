"""ARQ in a topology: what is chosen where nothing is written, what the ends are told, and what is warned about."""

from __future__ import annotations

import pytest

from lab.lint import check
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.render import plan_from_dict, plan_rows, plan_to_dict
from lab.plan.values import Plan
from nodes import contract
from nodes.contract import ArqConfig
from nodes.datalink.arq.settings import ArqSettings
from nodes.units import MILLISECOND

NODES = "nodes: {a: host, b: router}\n"


def planned(arq: str, more: str = "") -> Plan:
    return make_plan(loads(f"{NODES}links: [{{ends: [a, b], arq: {arq}{more}}}]", "t.yml"))


def config(plan: Plan, node: str = "a") -> ArqConfig:
    found = plan.by_name[node].interfaces[0].arq
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("arq", "bits", "window", "buffer"),
    [
        ("stop-and-wait", 1, 1, 2),
        ("go-back-n", 3, 7, 14),
        ("selective-repeat", 3, 4, 8),
        ("{kind: go-back-n, window: 2}", 3, 2, 4),
        ("{kind: go-back-n, window: 8}", 4, 8, 16),
        ("{kind: go-back-n, window: 15}", 4, 15, 30),
        ("{kind: go-back-n, window: 16}", 5, 16, 32),
        ("{kind: go-back-n, bits: 5}", 5, 31, 62),
        ("{kind: selective-repeat, window: 4}", 3, 4, 8),
        ("{kind: selective-repeat, window: 5}", 4, 5, 10),
        ("{kind: selective-repeat, window: 8}", 4, 8, 16),
        ("{kind: selective-repeat, window: 32}", 6, 32, 64),
        ("{kind: selective-repeat, bits: 5, buffer: 16}", 5, 16, 16),
    ],
)
def test_what_is_chosen(arq: str, bits: int, window: int, buffer: int) -> None:
    found = config(planned(arq))
    assert (found.bits, found.window, found.buffer) == (bits, window, buffer)
    assert ArqSettings.from_config(found).window == window


def test_the_ends_are_told_the_same_but_the_rate() -> None:
    plan = planned("{kind: go-back-n, timeout: 60ms}", ", impair: {delay: 5ms, from: {b: {rate: 1mbit}}}")
    assert config(plan, "a") == ArqConfig("go-back-n", 3, 7, 60 * MILLISECOND, 10, 1000, 14)
    assert config(plan, "b").rate == 1_000_000
    assert config(planned("{kind: go-back-n, rate: 2mbit}", ", impair: {rate: 1mbit}")).rate == 2_000_000


def test_it_is_written_and_read() -> None:
    plan = planned("go-back-n")
    assert plan_from_dict(plan_to_dict(plan)) == plan
    assert contract.from_json(contract.to_json(plan.by_name["a"])) == plan.by_name["a"]
    (table,) = (table for table in plan_rows(plan) if table.title == "ARQ")
    assert table.rows == (("a--b", "go-back-n", "7", "3", "200ms", "10", "1000", "14"),)
    assert (plan.links[0].least_mtu, planned("false").links[0].least_mtu) == (82, 68)
    assert not [table for table in plan_rows(planned("false")) if table.title == "ARQ"]


def test_there_is_no_offload() -> None:
    text = "nodes: {a: host, b: host}\nlinks: [{ends: [a, b], arq: ARQ}]"
    for arq, offload in (("stop-and-wait", False), ("false", True)):
        plan = make_plan(loads(text.replace("ARQ", arq)))
        assert {each.offload for node in plan.nodes for each in node.interfaces} == {offload}
        assert plan.links[0].offload is offload


@pytest.mark.parametrize(
    ("arq", "more", "said"),
    [
        ("go-back-n", ", impair: {delay: 99ms}", ()),
        (
            "go-back-n",
            ", impair: {delay: 100ms}",
            (
                "t.yml:2:29: the timer goes off after 200ms, an acknowledgment takes no less than 200ms\n"
                "    hint: every frame is sent again, needed or not",
            ),
        ),
        (
            "{kind: go-back-n, timeout: 10ms}",
            ", impair: {delay: 4ms, rate: 100kbit}",
            (
                "t.yml:2:56: the timer goes off after 10ms, an acknowledgment takes no less than 10.24ms\n"
                "    hint: every frame is sent again, needed or not",
            ),
        ),
        (
            "{kind: selective-repeat, bits: 2, window: 3}",
            "",
            (
                "t.yml:2:71: with numbers of 2 bits, a window above 2 lets an old frame pass for a new one\n"
                "    hint: window: 2, or more bits",
            ),
        ),
        (
            "{kind: go-back-n, bits: 2, window: 4}",
            "",
            (
                "t.yml:2:64: with numbers of 2 bits, a window above 3 lets an old frame pass for a new one\n"
                "    hint: window: 3, or more bits",
            ),
        ),
        (
            "go-back-n",
            ", impair: {delay: 1ms, reorder: 1%}",
            (
                "t.yml:2:24: ARQ needs a link that keeps order: a frame that overtakes others looks like one of"
                " another round\n    hint: leave 'reorder' and jitter out, or give it a rate",
            ),
        ),
        (
            "go-back-n",
            ", impair: {delay: 10ms 5ms}",
            (
                "t.yml:2:24: ARQ needs a link that keeps order: a frame that overtakes others looks like one of"
                " another round\n    hint: leave 'reorder' and jitter out, or give it a rate",
            ),
        ),
        ("go-back-n", ", impair: {faults: [{drop: {frame: 3}}, {drop: {minimum_length: 100, count: 2}}]}", ()),
        (
            "go-back-n",
            ", impair: {faults: [{drop: {protocol: tcp}}]}",
            (
                "t.yml:2:24: a fault that looks for protocols, addresses or ports finds none in frames of ARQ\n"
                "    hint: choose frames by their number, 'frame' or 'first', or length",
            ),
        ),
        (
            "go-back-n",
            ", offload: on",
            ("t.yml:2:49: ARQ numbers single frames: 'offload' stays off\n    hint: leave 'offload' out, or 'arq'",),
        ),
    ],
)
def test_what_is_warned_about(arq: str, more: str, said: tuple[str, ...]) -> None:
    report = check(loads(f"{NODES}links: [{{ends: [a, b], arq: {arq}{more}}}]", "t.yml"))
    assert report.errors == ()
    assert tuple(map(str, report.warnings)) == said
