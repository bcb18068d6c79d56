"""Whatever a connection, a network or a fool does with the hooks of a congestion control: never an exception, always a
window of at least one segment and no more than a peer can offer. And BBR's filters against simple ones."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given, note, settings
from hypothesis import strategies as st

from nodes.transport.tcp.congestion.base import Ack, CongestionControl, CongestionSettings, RateSample
from nodes.transport.tcp.congestion.bbr_filters import FlightLog, MaxFilter
from nodes.transport.tcp.congestion.registry import ALGORITHMS, create
from nodes.transport.tcp.congestion.window import MAXIMUM_WINDOW
from nodes.units import SECOND

OCTETS = st.one_of(st.integers(0, 100_000), st.integers(0, 1 << 40))
TIMES = st.one_of(st.integers(0, SECOND), st.integers(0, 1 << 60))
MSS = st.integers(1, 65_000)
RATES = st.one_of(
    st.none(),
    st.builds(
        RateSample,
        delivered=OCTETS,
        interval=st.one_of(st.integers(-5, 5), TIMES),
        prior_delivered=OCTETS,
        total_delivered=OCTETS,
        is_app_limited=st.booleans(),
    ),
)
ACKS = st.builds(
    Ack,
    now=st.just(0),
    acknowledged=OCTETS,
    delivered=OCTETS,
    lost=st.one_of(st.just(0), OCTETS),
    in_flight=OCTETS,
    prior_in_flight=OCTETS,
    una=OCTETS,
    nxt=OCTETS,
    rtt=st.one_of(st.none(), TIMES),
    min_rtt=st.one_of(st.none(), TIMES),
    srtt=st.one_of(st.none(), TIMES),
    in_recovery=st.booleans(),
    cwnd_limited=st.booleans(),
    rate=RATES,
)
EVENTS = st.one_of(
    ACKS,
    ACKS,
    st.tuples(st.sampled_from(["sent", "congestion", "timeout", "repeated", "recovered", "spurious", "idle"]), OCTETS),
    st.tuples(st.just("mss"), MSS),
)
LOSS_BASED = [name for name in ALGORITHMS if name not in ("none", "bbr")]
THOROUGH = settings(max_examples=min(2 * settings().max_examples, 400))
"""For tests that try each example with all controls: to make one costs more than to run it."""


def apply(control: CongestionControl, event: Ack | tuple[str, int], now: int) -> None:
    if isinstance(event, Ack):
        control.acknowledged(event._replace(now=now))
        return
    kind, octets = event
    match kind:
        case "sent":
            control.sent(octets, octets + now % 3 * 1000, now)
        case "congestion":
            control.congestion(octets, now)
        case "timeout" | "repeated":
            control.timeout(octets, now, repeated=kind == "repeated")
        case "recovered":
            control.recovered(now)
        case "spurious":
            control.spurious(now)
        case "idle":
            control.idle(now)
        case _:
            control.set_mss(octets)


@THOROUGH
@given(
    mss=MSS,
    events=st.lists(st.tuples(st.one_of(st.just(0), st.integers(0, 20 * SECOND), TIMES), EVENTS), max_size=60),
)
def test_any_sequence_of_hooks(mss: int, events: list[tuple[int, Ack | tuple[str, int]]]) -> None:
    for name in ALGORITHMS:
        note(name)
        live(name, mss, events)


def live(name: str, mss: int, events: list[tuple[int, Ack | tuple[str, int]]]) -> None:
    control = create(name, CongestionSettings(mss, 10 * mss, Random(1)), 0)
    now = 0
    for step, event in events:
        now += step
        apply(control, event, now)
        if not isinstance(event, Ack) and event[0] == "mss":
            mss = event[1]
        assert type(control.cwnd) is int
        assert mss <= control.cwnd <= MAXIMUM_WINDOW
        assert type(control.ssthresh) is int
        assert control.ssthresh >= min(mss, 1)
        assert control.pacing_rate is None or control.pacing_rate >= 1
        json.dumps(control.snapshot(), allow_nan=False)


@THOROUGH
@given(acks=st.lists(ACKS, max_size=40))
def test_only_what_is_acknowledged_outside_recovery_and_fills_the_window_makes_it_grow(acks: list[Ack]) -> None:
    for name in LOSS_BASED:
        control = create(name, CongestionSettings(1000, 10_000, Random(1)), 0)
        for now, ack in enumerate(acks):
            before = control.cwnd
            control.acknowledged(ack._replace(now=now))
            assert before <= control.cwnd, name
            assert control.cwnd - before <= max(ack.acknowledged, 1000), name
            if ack.in_recovery or not ack.cwnd_limited or not ack.acknowledged:
                assert control.cwnd == before, name


@THOROUGH
@given(octets=OCTETS, in_flight=OCTETS, timeout=st.booleans())
def test_a_reduction_and_its_undoing(octets: int, in_flight: int, timeout: bool) -> None:
    for name in LOSS_BASED:
        control = create(name, CongestionSettings(1000, 10_000, Random(1)), 0)
        control.cwnd = max(min(octets, MAXIMUM_WINDOW), 1000)
        before = control.cwnd
        if timeout:
            control.timeout(in_flight, 0, repeated=False)
        else:
            control.congestion(in_flight, 0)
        assert control.cwnd <= before, name
        control.spurious(1)
        assert control.cwnd == before, name


@given(
    values=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=60), length=st.integers(1, 6)
)
def test_max_filter_is_the_maximum_of_the_last_ticks(values: list[tuple[int, int]], length: int) -> None:
    maximum = MaxFilter()
    tick = 0
    seen: list[tuple[int, int]] = []
    for value, step in values:
        tick += step
        seen.append((tick, value))
        expected = max(value for at, value in seen if at > tick - length)
        assert maximum.update(value, tick, length) == expected


@given(
    sends=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 100)), min_size=1, max_size=60),
    asks=st.lists(st.integers(0, 100), min_size=1, max_size=20),
)
def test_flight_log_finds_the_last_flight_that_began_before(sends: list[tuple[int, int]], asks: list[int]) -> None:
    log = FlightLog()
    delivered = 0
    flights: dict[int, int] = {}
    for step, in_flight in sends:
        delivered += step
        flights[delivered] = in_flight
        log.sent(delivered, 0, in_flight)
    for prior in sorted(asks):
        flight = log.find(prior)
        assert flight is not None
        assert flight.in_flight == flights[max((at for at in flights if at <= prior), default=min(flights))]
