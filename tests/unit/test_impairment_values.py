"""Impairments as JSON and back, and the limit that is sized for them."""

from __future__ import annotations

import json
from random import Random

import pytest

from nodes.impairment import (
    MINIMUM_LIMIT,
    NOTHING,
    Codel,
    Distribution,
    Fault,
    GilbertElliott,
    Impairment,
    MarkovLoss,
    Match,
    RandomLoss,
    RateTrace,
    Slot,
    TimedGilbertElliott,
    TokenBucket,
    beyond_netem,
    decode,
    decode_patch,
    effective_limit,
    encode,
    encode_patch,
    merged,
)
from nodes.units import MILLISECOND

FULL = Impairment(
    delay=20 * MILLISECOND,
    jitter=5,
    distribution=Distribution("table", (-8192, 0, 8192)),
    loss=GilbertElliott(p=0.01, r=0.25),
    slot=Slot(minimum=1, maximum=2, distribution=Distribution("normal")),
    queue=Codel(ecn=True),
    bucket=TokenBucket(1000, 2000),
    trace=RateTrace((0, 0, 1, 127, 255, 100_000)),
    faults=(Fault("corrupt", Match(protocol="tcp", flags="SYN"), bit=-1),),
    seed=(1 << 64) - 1,
)


@pytest.mark.parametrize(
    "impairment",
    [
        NOTHING,
        FULL,
        *(Impairment(loss=loss) for loss in (RandomLoss(chance=0.1), MarkovLoss(p13=0.5), TimedGilbertElliott(good=5))),
    ],
)
def test_json_and_back(impairment: Impairment) -> None:
    assert decode(json.loads(json.dumps(encode(impairment)))) == impairment


def test_only_what_is_said_is_encoded() -> None:
    assert encode(NOTHING) == {}
    assert encode(Impairment(delay=5)) == {"delay": 5}


def test_a_patch_has_what_it_turns_off() -> None:
    patch = {"loss": None, "delay": 0, "trace": RateTrace((5,))}
    assert decode_patch(json.loads(json.dumps(encode_patch(patch)))) == patch
    assert merged(FULL, patch).loss is None


def test_a_long_trace_is_short_text() -> None:
    """One of the recorded ones has some 600,000 lines, and a message of the control protocol 1 MiB."""
    random, times = Random(1), [0]
    while len(times) < 600_000:
        times.append(times[-1] + random.choice((0, 0, 0, 1, 1, 2, 7)))
    impairment = Impairment(trace=RateTrace(tuple(times)))
    text = json.dumps(encode(impairment))
    assert len(text) < 250_000
    assert decode(json.loads(text)) == impairment


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dely": 5}, "impairment: unknown field 'dely'"),
        ({"delay": "5"}, "impairment.delay: str, int expected"),
        ({"trace": {"packed": "?"}}, "impairment.trace: not a packed trace"),
        ({"trace": {"packed": "AAAA"}}, "impairment.trace: not a packed trace"),
        ({"loss": {"model": "magic"}}, "impairment.loss: dict is not allowed here"),
        ([], "impairment: list, an object expected"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(data: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(data)


def test_the_limit_is_twice_what_is_in_flight() -> None:
    assert effective_limit(NOTHING, 1500) == MINIMUM_LIMIT
    assert effective_limit(Impairment(limit=5, delay=10**9), 1500) == 5
    fast = Impairment(delay=100 * MILLISECOND, rate=1_000_000_000)
    assert effective_limit(fast, 1500) == 2 * (100_000_000 // (8 * 1514))
    assert effective_limit(Impairment(delay=100 * MILLISECOND), 1500) == effective_limit(fast, 1500)


def test_what_netem_has_not() -> None:
    assert list(beyond_netem(FULL)) == ["faults", "queue", "bucket", "trace"]
    assert beyond_netem(Impairment(delay=1, loss=RandomLoss(chance=0.5), rate=8)) == {}
