"""Impairments in a topology: short forms, merging, directions, schedules, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.model.impaired import carries_only
from lab.model.impairment import FIELDS_OF, Impair, impairment_of
from lab.model.impairment_text import describe, describe_change, describe_patch
from lab.model.layout import layout_of
from lab.model.load import load, loads
from lab.model.settings import parse_settings
from nodes.impairment import (
    NOTHING,
    Change,
    Codel,
    Distribution,
    DropTail,
    Fault,
    FqCodel,
    GilbertElliott,
    Impairment,
    LinkImpairment,
    MarkovLoss,
    Match,
    RandomLoss,
    RateTrace,
    Red,
    Slot,
    TimedGilbertElliott,
    TokenBucket,
    beyond_netem,
    decode,
    decode_patch,
    encode,
)
from nodes.units import MILLISECOND, SECOND

MS = MILLISECOND


def _link(text: str, defaults: str = "") -> LinkImpairment | None:
    """`text` is flow YAML beside `ends`."""
    head = f"defaults: {{{defaults}}}\n" if defaults else ""
    topology = loads(f"{head}nodes: {{a: , b: }}\nlinks:\n  - {{ends: [a, b], {text}}}\n", "t.yml")
    return layout_of(topology).impaired.link(0)


def _impaired(text: str, defaults: str = "") -> LinkImpairment:
    link = _link(text, defaults)
    assert link is not None
    return link


def _patch(*words: str) -> dict[str, object]:
    return parse_settings(words).patch()


@pytest.mark.parametrize(
    ("word", "patch"),
    [
        ("delay=20ms", {"delay": 20 * MS}),
        ("delay=0", {"delay": 0}),
        ("delay=20ms 5ms", {"delay": 20 * MS, "jitter": 5 * MS}),
        (
            "delay=20 ms 5 ms 25 % normal",
            {
                "delay": 20 * MS,
                "jitter": 5 * MS,
                "delay_correlation": 0.25,
                "distribution": Distribution("normal"),
            },
        ),
        ("jitter=5ms", {"jitter": 5 * MS}),
        ("distribution=pareto", {"distribution": Distribution("pareto")}),
        ("delay_correlation=25%", {"delay_correlation": 0.25}),
        ("steadiness=99%", {"steadiness": 0.99}),
        ("loss=1%", {"loss": RandomLoss(chance=0.01)}),
        ("loss=0", {"loss": None}),
        ("loss=1% 25%", {"loss": RandomLoss(chance=0.01, correlation=0.25)}),
        ("loss=random 1%", {"loss": RandomLoss(chance=0.01)}),
        ("loss={random: 1%, correlation: 25%}", {"loss": RandomLoss(chance=0.01, correlation=0.25)}),
        ("loss=gemodel 1% 10% 70% 0.1%", {"loss": GilbertElliott(p=0.01, r=0.1, bad_loss=0.7, good_loss=0.001)}),
        ("loss={gemodel: {p: 1%}}", {"loss": GilbertElliott(p=0.01, r=0.99)}),
        ("loss=state 2% 20% 10% 50% 1%", {"loss": MarkovLoss(p13=0.02, p31=0.2, p32=0.1, p23=0.5, p14=0.01)}),
        ("loss=state 2%", {"loss": MarkovLoss(p13=0.02, p31=0.98)}),
        (
            "loss={timed: {good: 10s, bad: 200ms, bad_loss: 50%}}",
            {"loss": TimedGilbertElliott(good=10 * SECOND, bad=200 * MS, bad_loss=0.5)},
        ),
        ("ecn=true", {"ecn": True}),
        ("corrupt=0.1%", {"corrupt": 0.001, "corrupt_correlation": 0.0}),
        ("duplicate=1% 25%", {"duplicate": 0.01, "duplicate_correlation": 0.25}),
        ("reorder={chance: 5%, correlation: 50%}", {"reorder": 0.05, "reorder_correlation": 0.5}),
        ("gap=5", {"gap": 5}),
        ("rate=10mbit", {"rate": 10_000_000}),
        ("rate=9600bit", {"rate": 9600}),
        ("rate=10mbit -4 48 5", {"rate": 10_000_000, "overhead": -4, "cell": 48, "cell_overhead": 5}),
        ("rate={rate: 1gbit, overhead: 24}", {"rate": 10**9, "overhead": 24}),
        ("slot=10ms", {"slot": Slot(minimum=10 * MS, maximum=10 * MS)}),
        (
            "slot={minimum: 5ms, maximum: 9ms, packets: 4, octets: 6kB}",
            {"slot": Slot(minimum=5 * MS, maximum=9 * MS, packets=4, octets=6000)},
        ),
        (
            "slot={distribution: normal, delay: 9ms, jitter: 1ms}",
            {"slot": Slot(distribution=Distribution("normal"), delay=9 * MS, jitter=MS)},
        ),
        ("limit=1000", {"limit": 1000}),
        ("limit=64KiB", {"queue": DropTail(octets=65536)}),
        ("queue=codel", {"queue": Codel()}),
        ("queue={fq_codel: {target: 15ms, ecn: false}}", {"queue": FqCodel(target=15 * MS, ecn=False)}),
        ("queue={red: {minimum: 10kB, chance: 5%}}", {"queue": Red(minimum=10_000, chance=0.05)}),
        ("queue={drop_tail: {packets: 50}}", {"queue": DropTail(packets=50)}),
        (
            "bucket={rate: 10mbit, burst: 32kB, peak: 20mbit}",
            {"bucket": TokenBucket(rate=10_000_000, burst=32_000, peak=20_000_000)},
        ),
        ("seed=42", {"seed": 42}),
        ("faults=none", {"faults": ()}),
    ],
)
def test_each_key(word: str, patch: dict[str, object]) -> None:
    """One word of `lab impair` is one key of the file; the patch has what was written and no more."""
    assert _patch(word) == patch
    assert decode(encode(impairment_of(patch))) == impairment_of(patch)


def test_every_key_has_its_fields() -> None:
    assert set(FIELDS_OF) == set(Impair.model_fields)
    assert {field for fields in FIELDS_OF.values() for field in fields} == set(NOTHING.__slots__)


@pytest.mark.parametrize("key", [*FIELDS_OF])
def test_none_turns_a_key_off(key: str) -> None:
    word = f"{key}=false" if key == "ecn" else f"{key}=none"
    assert _patch(word) == {field: getattr(NOTHING, field) for field in FIELDS_OF[key]}


def test_burst_is_a_gilbert_elliott_loss_of_that_share_and_length() -> None:
    """r = 1/mean, p = loss r / (1 - loss): stationary loss p/(p+r)."""
    loss = _patch("burst={loss: 1%, mean: 3}")["loss"]
    assert isinstance(loss, GilbertElliott)
    assert 1 / loss.r == pytest.approx(3)
    assert loss.p / (loss.p + loss.r) == pytest.approx(0.01)
    assert (loss.bad_loss, loss.good_loss) == (1, 0)


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("drop: {tcp: SYN}", Fault("drop", Match("tcp", flags="SYN"))),
        ("drop: {frame: 3}", Fault("drop", first=3)),
        (
            "delay: {by: 200ms, tcp: 'SYN,!ack', first: 2, count: 3, every: 4}",
            Fault("delay", Match("tcp", flags="SYN", not_flags="ACK"), first=2, count=3, every=4, delay=200 * MS),
        ),
        ("duplicate: {protocol: udp, copies: 2, count: 0}", Fault("duplicate", Match("udp"), count=0, copies=2)),
        ("corrupt: {sequence: 1-1460, bit: -1}", Fault("corrupt", Match("tcp", sequence=(1, 1461)), bit=-1)),
        ("drop: {sequence: 0}", Fault("drop", Match("tcp", sequence=(0, 1)))),
        ("drop: {tcp: [SYN, ACK]}", Fault("drop", Match("tcp", flags="SYN,ACK"))),
        (
            "drop: {source: 10.0.0.1, destination: 10.0.0.2, source_port: 80, destination_port: 81, payload: true}",
            Fault("drop", Match("", "", "", (), True, "", "10.0.0.1", "10.0.0.2", 80, 81)),
        ),
        (
            "drop: {fragment: later, minimum_length: 60, maximum_length: 90}",
            Fault("drop", Match(fragment="later", minimum_length=60, maximum_length=90)),
        ),
    ],
)
def test_faults(fault: str, value: Fault) -> None:
    assert _patch(f"faults=[{{{fault}}}]") == {"faults": (value,)}


def test_files_are_read_and_are_in_the_plan(tmp_path: Path) -> None:
    (tmp_path / "x.dist").write_text("# a comment\n-8192 0 0\n8192\n")
    (tmp_path / "lte.trace").write_text("0\n3\n5\n")
    (tmp_path / "t.yml").write_text(
        "nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 9ms 1ms x.dist, trace: lte.trace}}]"
    )
    link = layout_of(load(tmp_path / "t.yml")).impaired.link(0)
    assert link is not None
    assert link.ab.distribution == Distribution("table", (-8192, 0, 0, 8192))
    assert link.ab.trace == RateTrace((0, 3, 5))
    assert decode(encode(link.ab)) == link.ab


# Merging


def test_nothing_is_none() -> None:
    for text in ("", "impair: {}", "impair: false", "impair: {seed: 3, limit: 5}", "impair_by: relay"):
        assert _link(text) is None
    assert _link("impair: false", "impair: {delay: 1ms}") is None
    assert _link("impair: {delay: none}", "impair: {delay: 1ms}") is None


def test_the_link_is_merged_over_the_defaults_and_the_direction_over_both() -> None:
    link = _impaired(
        "impair: {loss: 1%, rate: 5mbit 24, from: {b: {loss: none, rate: 1mbit}}}", "impair: {delay: 9ms, loss: 3%}"
    )
    both = Impairment(delay=9 * MS, loss=RandomLoss(chance=0.01), rate=5_000_000, overhead=24)
    assert link.ab == both
    assert link.ba == Impairment(delay=9 * MS, rate=1_000_000, overhead=24)
    assert link.of("ba") is link.ba


def test_from_names_a_node_or_an_interface() -> None:
    text = "nodes: {a: , b: }\nlinks:\n  - {ends: ['a:x', b], impair: {from: {'a:x': {delay: 1ms}, b: {delay: 2ms}}}}"
    link = layout_of(loads(text)).impaired.link(0)
    assert link is not None
    assert (link.ab.delay, link.ba.delay) == (MS, 2 * MS)


def test_who_does_it() -> None:
    assert _impaired("impair: {delay: 1ms}").by == "auto"
    assert _impaired("impair: {delay: 1ms}", "impair_by: kernel").by == "kernel"
    assert _impaired("impair: {delay: 1ms}, impair_by: relay", "impair_by: kernel").by == "relay"


@pytest.mark.parametrize(
    ("impairment", "field"),
    [
        (Impairment(delay=1, jitter=1, loss=GilbertElliott(p=0.1), rate=8, slot=Slot(minimum=5)), ""),
        (Impairment(loss=TimedGilbertElliott(good=1, bad=1)), "loss"),
        (Impairment(jitter=1, steadiness=0.5), "steadiness"),
        (Impairment(queue=Codel(), rate=10), "queue"),
        (Impairment(bucket=TokenBucket(1, 1)), "bucket"),
        (Impairment(trace=RateTrace((1,))), "trace"),
        (Impairment(faults=(Fault("drop"),)), "faults"),
    ],
)
def test_what_only_the_relay_can(impairment: Impairment, field: str) -> None:
    assert list(beyond_netem(impairment)) == ([field] if field else [])
    assert not carries_only(impairment)


def test_an_impaired_link_carries_single_frames() -> None:
    links = "{ends: [a, b], impair: {delay: 1ms}}, b -- c, {ends: [a, c], schedule: [{at: 1s, up: false}]}"
    text = f"nodes: {{a: , b: , c: }}\nlinks: [{links}]"
    layout = layout_of(loads(text))
    assert [layout.offload(index) for index in layout.links] == [False, True, False]


# Schedules


def _changes(*entries: str) -> tuple[Change, ...]:
    return _impaired(f"schedule: [{', '.join(entries)}]").changes


def test_entries() -> None:
    assert _changes(
        "{at: 10s, impair: {delay: 50ms, queue: codel}}",
        "{at: 20s, ramp: 10s, from: b, impair: {rate: 1mbit}}",
        "{at: 30s, up: false}",
        "{at: 50s, every: 10s, times: 4, impair: {loss: none}}",
        "{at: 55s, every: 10s, up: true, impair: {loss: 1%}}",
        "{at: 60s, impair: false}",
        "{at: 70s, replace: true, impair: {delay: 1ms}}",
    ) == (
        Change(at=10 * SECOND, patch={"delay": 50 * MS, "queue": _codel()}),
        Change(at=20 * SECOND, directions=("ba",), patch={"rate": 1_000_000}, ramp=10 * SECOND),
        Change(at=30 * SECOND, up=False),
        Change(at=50 * SECOND, patch={"loss": None}, every=10 * SECOND, times=4),
        Change(at=55 * SECOND, patch=_loss(), up=True, every=10 * SECOND, times=0),
        Change(at=60 * SECOND, replace=True),
        Change(at=70 * SECOND, patch={"delay": MS}, replace=True),
    )


def _codel() -> dict[str, Any]:
    return dict(encode(Impairment(queue=Codel()))["queue"])


def _loss() -> dict[str, Any]:
    return encode(Impairment(loss=RandomLoss(chance=0.01)))


def test_entries_are_put_in_the_order_of_their_times() -> None:
    changes = _changes("{at: 9s, up: true}", "{at: 3s, up: false}", "{at: 3s, impair: {delay: 1ms}}")
    assert [(change.at, change.up) for change in changes] == [
        (3 * SECOND, False),
        (3 * SECOND, None),
        (9 * SECOND, True),
    ]


def test_a_flap_is_down_and_up() -> None:
    down = Change(at=40 * SECOND, up=False, every=5 * SECOND, times=3, origin="flap")
    up = Change(at=41 * SECOND, up=True, every=5 * SECOND, times=3, origin="flap")
    assert _changes("{at: 40s, flap: {down: 1s, every: 5s, times: 3}}") == (down, up)
    assert [(change.every, change.times) for change in _changes("{at: 0, flap: {down: 1s}}")] == [(0, 1)] * 2
    assert [change.times for change in _changes("{at: 0, flap: {down: 1s, every: 2s}}")] == [0] * 2


def test_rows_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,delay,rate,loss,up\n0,25ms,80mbit,1%,1\n15,,64mbit,,0\n")
    (tmp_path / "t.yml").write_text(
        "nodes: {a: , b: }\nlinks: [{ends: [a, b], schedule: [{at: 60s, from: b, trace: x.csv}]}]"
    )
    link = layout_of(load(tmp_path / "t.yml")).impaired.link(0)
    assert link is not None
    first, second = link.changes
    assert (first.at, second.at) == (60 * SECOND, 75 * SECOND)
    assert first.directions == second.directions == ("ba",)
    assert (first.origin, first.up, second.up) == ("trace x.csv", True, False)
    assert decode_patch(first.patch) == {"delay": 25 * MS, "rate": 80_000_000, "loss": RandomLoss(chance=0.01)}
    assert decode_patch(second.patch) == {"rate": 64_000_000}


# Texts


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "nothing"),
        (["delay=20ms 5ms normal", "loss=1%", "rate=10mbit"], "delay 20ms, jitter 5ms normal, loss 1%, rate 10mbit"),
        (["burst={loss: 1%, mean: 3}"], "loss 1% in bursts of 3"),
        (["loss=gemodel 1% 10% 70%"], "loss gemodel 1% 10% 70% 0%"),
        (["loss=state 2% 20%"], "loss state 2% 20% 0% 100% 0%"),
        (["loss={timed: {good: 10s, bad: 200ms}}"], "loss 100% for 200ms, 0% for 10s on average"),
        (["corrupt=1% 25%", "ecn=true", "gap=5"], "ecn, corrupt 1% correlation 25%, gap 5"),
        (["rate=10mbit 24 48 5", "limit=9"], "rate 10mbit, overhead 24, cell 48, cell overhead 5, limit 9"),
        (["bucket={rate: 1mbit, burst: 32kB, peak: 2mbit}"], "bucket 1mbit burst 32kB peak 2mbit"),
        (["queue=codel"], "queue codel target 5ms interval 100ms"),
        (["queue={pie: {packets: 9, ecn: true}}"], "queue pie target 15ms 9 packets ecn"),
        (["limit=100kB"], "queue drop_tail octets 100kB"),
        (["slot={minimum: 5ms, maximum: 9ms, packets: 4}"], "slots every 5ms to 9ms of 4 packets"),
        (["slot={distribution: normal, delay: 9ms, jitter: 1ms}"], "slots every 9ms 1ms normal"),
        (["faults=[{drop: {tcp: 'SYN,!ACK', first: 2}}]", "seed=7"], "faults drop the 2nd tcp SYN,!ACK, seed 7"),
        (["faults=[{delay: {by: 1s, count: 0, every: 11}}]"], "faults delay by 1s every 11th frame"),
        (
            ["faults=[{corrupt: {bit: -1, count: 3, first: 12}}, {duplicate: {protocol: udp}}]"],
            "faults corrupt bit -1 of every frame from the 12th on, 3 times; duplicate the 1st udp",
        ),
        (["delay=1ms", "delay_correlation=25%", "steadiness=50%"], "delay 1ms, delay correlation 25%, steadiness 50%"),
    ],
)
def test_description(words: list[str], text: str) -> None:
    assert describe(impairment_of(_patch(*words))) == text


def test_description_of_a_trace() -> None:
    assert describe(Impairment(trace=RateTrace((0, 0, 3, 5)))) == "trace of 5ms, 9.6mbit"


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("{at: 1s, impair: {delay: 50ms}}", "delay 50ms"),
        ("{at: 1s, impair: {loss: none, rate: none}}", "no loss, no rate"),
        ("{at: 1s, ramp: 10s, impair: {rate: 1mbit}}", "to rate 1mbit within 10s"),
        ("{at: 1s, up: false}", "down"),
        ("{at: 1s, up: true, impair: {delay: 1ms}}", "up, delay 1ms"),
        ("{at: 1s, impair: false}", "nothing"),
        ("{at: 1s, replace: true, impair: {delay: 1ms}}", "only delay 1ms"),
        ("{at: 1s, every: 2s, times: 3, impair: {delay: 1ms}}", "delay 1ms, every 2s, 3 times"),
    ],
)
def test_description_of_a_change(entry: str, text: str) -> None:
    (change,) = _changes(entry)
    assert describe_change(change) == text


def test_description_of_a_patch() -> None:
    assert describe_patch({"delay": MS, "corrupt": 0.0, "corrupt_correlation": 0.0}) == "delay 1ms, no corrupt"
