"""Faults, matches, schedules and trace files, whatever they are given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.impairment import NOTHING, Change, Direction, Fault, Impairment, Match, RandomLoss, encode_patch, merged
from nodes.physical.carried import Carried
from nodes.physical.faults import Faults
from nodes.physical.matching import Matcher
from nodes.physical.ramp import MAXIMUM_STEPS
from nodes.physical.schedule import Schedule
from nodes.physical.statistics import Statistics
from nodes.physical.traces import parse_mahimahi, parse_schedule
from nodes.units import MILLISECOND, SECOND

MATCHES = st.sampled_from(
    [
        Match(),
        Match(protocol="arp", source="10.0.0.1"),
        Match(protocol="ip", fragment="any"),
        Match(flags="SYN", not_flags="ACK"),
        Match(sequence=(1, 1 << 40), payload=True),
        Match(protocol="udp", destination_port=53, fragment="first"),
        Match(protocol="icmp", payload=False),
        Match(minimum_length=20, maximum_length=70),
    ]
)
HEADS = st.sampled_from(
    [
        b"",
        bytes(12) + b"\x08\x06",
        bytes(12) + b"\x08\x00",
        bytes(12) + bytes.fromhex("810000010800"),
        bytes(12) + bytes.fromhex("08004500002800010000400600000a0000010a000002"),
        bytes(12) + bytes.fromhex("08004500002800012000401100000a0000010a000002"),
    ]
)
FRAMES = st.builds(lambda head, rest: head + rest, HEADS, st.binary(max_size=80))
FAULTS = st.builds(
    Fault,
    action=st.sampled_from(["drop", "delay", "duplicate", "corrupt"]),
    match=MATCHES,
    first=st.integers(1, 4),
    count=st.integers(0, 4),
    every=st.integers(1, 3),
    delay=st.integers(1, 10**9),
    copies=st.integers(1, 3),
    bit=st.none() | st.integers(-700, 700),
)
DIRECTIONS: list[tuple[Direction, ...]] = [("ab",), ("ba",), ("ab", "ba")]
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.integers(0, SECOND),
        "jitter": st.integers(0, SECOND),
        "rate": st.integers(0, 10**9),
        "loss": st.none() | st.builds(RandomLoss, chance=st.floats(0, 1)),
        "corrupt": st.floats(0, 1),
        "ecn": st.booleans(),
    },
).map(encode_patch)
TIMES = st.integers(0, 40).map(lambda tenths: tenths * SECOND // 10)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    patch = draw(PATCHES)
    every = draw(st.sampled_from([0, 0, 300 * MILLISECOND, SECOND]))
    return Change(
        draw(TIMES),
        draw(st.sampled_from(DIRECTIONS)),
        patch,
        replace=draw(st.booleans()),
        ramp=draw(st.sampled_from([0, 1, 99_999_999, SECOND])) if patch else 0,
        up=draw(st.booleans()) if not patch else None,
        every=every,
        times=draw(st.integers(1, 4)) if every else 1,
    )


@given(st.lists(FRAMES, max_size=10), MATCHES)
def test_any_frame_is_judged(frames: list[bytes], match: Match) -> None:
    """Never an exception, and the same judgement for the same frames."""
    first, second = Matcher(match), Matcher(match)
    assert [first.matches(frame) for frame in frames] == [second.matches(frame) for frame in frames]


@given(st.lists(FRAMES, max_size=15), st.lists(FAULTS, max_size=4), st.integers(0, 2**64 - 1))
def test_faults_conserve_frames(frames: list[bytes], faults: list[Fault], seed: int) -> None:
    """In = out + dropped - copies; nothing goes on before it came; lengths stay; a fault acts at most `count` times."""
    statistics = Statistics()
    stage = Faults(faults, seed, statistics)
    out = 0
    for now, frame in enumerate(frames):
        gone = stage.apply(Carried(frame, now), now)
        out += len(gone)
        assert all(at >= now and carried.arrived == now and len(carried.frame) == len(frame) for at, carried in gone)
    assert len(frames) == out + statistics.dropped.total() - statistics.duplicated
    for fault, state in zip(faults, stage.snapshot(), strict=True):
        acted = state["acted"]
        assert isinstance(acted, int) and (not fault.count or acted <= fault.count)


@given(st.lists(changes(), max_size=5), st.lists(st.integers(0, 10 * SECOND), max_size=8))
def test_schedules_do_the_same_late_or_on_time(entries: list[Change], asked: list[int]) -> None:
    """Deadlines rise and never stand still; whenever it is asked, the same changes come in the same order."""

    def run(times: list[int] | None) -> tuple[list[object], dict[Direction, Impairment]]:
        schedule, holds = Schedule(entries, 0), dict[Direction, Impairment](ab=Impairment(rate=1000), ba=NOTHING)
        log: list[object] = []
        calls = 0
        while (deadline := schedule.deadline()) is not None:
            now = deadline if times is None else times[calls] if calls < len(times) else 100 * SECOND
            calls += 1
            assert calls <= 5 * 4 * (MAXIMUM_STEPS + 1) + 8
            dues = schedule.due(now, holds.__getitem__)
            after = schedule.deadline()
            assert after is None or after > now
            for due in dues:
                assert due.at <= now
                for direction in due.directions if due.patch is not None else ():
                    holds[direction] = merged(NOTHING if due.replace else holds[direction], due.patch or {})
            log += dues
        return log, holds

    punctual, late, once = run(None), run(sorted(asked)), run([])
    assert punctual == late == once


@given(st.integers(0, SECOND), st.integers(0, SECOND), st.integers(1, 30 * SECOND))
def test_ramps_are_monotone_and_exact(start: int, end: int, duration: int) -> None:
    """From one value to the other without a step back, and never beyond."""
    schedule = Schedule([Change(0, ("ab",), {"delay": end}, ramp=duration)], 0)
    dues = schedule.due(duration, lambda _: Impairment(delay=start))
    values = [start, *(due.patch["delay"] for due in dues if due.patch)]
    assert values == sorted(values, reverse=end < start)
    assert values[-1] == end
    assert schedule.deadline() is None


@given(st.text(max_size=60) | st.text("0123456789\n\r -.", max_size=30))
def test_any_rate_trace(text: str) -> None:
    """A trace that makes sense, or a ValueError with its line."""
    try:
        opportunities = parse_mahimahi(text).opportunities
    except ValueError as error:
        assert str(error).startswith("line ")
    else:
        assert opportunities == tuple(sorted(opportunities)) and opportunities[-1] > 0 <= opportunities[0]


@given(st.text(max_size=60) | st.text("t,delayrossup_m\n0123456789.% e-", max_size=60).map("t,delay,loss\n".__add__))
def test_any_schedule_file(text: str) -> None:
    """Changes that a schedule takes, in order, or a ValueError with its line."""
    try:
        found = parse_schedule(text)
    except ValueError as error:
        assert str(error).startswith("line ")
    else:
        Schedule(found, 0)
        assert [change.at for change in found] == sorted({change.at for change in found})
