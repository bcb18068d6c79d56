"""The line: stages in their order, each thing at its own time, and nothing lost without a cause."""

from __future__ import annotations

import pytest

from nodes.impairment import (
    NOTHING,
    Codel,
    DropTail,
    Fault,
    Impairment,
    RandomLoss,
    RateTrace,
    TokenBucket,
)
from nodes.physical.line import HELD_LIMIT, Line
from nodes.units import MILLISECOND, SECOND

MTU = 1500
FULL = bytes(1514)


def line(impairment: Impairment, seed: int = 7) -> Line:
    return Line(impairment, MTU, seed, 0)


def run(tested: Line, arrivals: list[tuple[int, bytes]], until: int = 10 * SECOND) -> list[tuple[int, int, bytes]]:
    """Everything that leaves, each seen at its own deadline."""
    out = []
    for at, frame in arrivals:
        while (due := tested.deadline()) is not None and due <= at:
            tested.timeout(due)
            out += tested.transmit()
        tested.receive(frame, at)
        out += tested.transmit()
    while (due := tested.deadline()) is not None and due <= until:
        tested.timeout(due)
        out += tested.transmit()
    return out


def numbered(count: int, gap: int = MILLISECOND, size: int = 1000) -> list[tuple[int, bytes]]:
    return [(n * gap, n.to_bytes(4, "big") + bytes(size - 4)) for n in range(count)]


def test_a_line_that_only_carries_does_so_at_once() -> None:
    tested = line(NOTHING)
    tested.receive(FULL, 5)
    assert tested.transmit() == [(5, 5, FULL)]
    assert tested.deadline() is None


def test_delay_is_exact_and_measured() -> None:
    tested = line(Impairment(delay=20 * MILLISECOND))
    assert [due for due, _, _ in run(tested, numbered(3))] == [20 * MILLISECOND, 21 * MILLISECOND, 22 * MILLISECOND]
    told = tested.snapshot(SECOND)
    assert (told["in_frames"], told["out_frames"], told["inside"]) == (3, 3, 0)
    assert told["delay"]["p50"] == told["delay"]["maximum"] == 20 * MILLISECOND  # type: ignore[index]


STAGES = Impairment(
    delay=5 * MILLISECOND,
    jitter=MILLISECOND,
    loss=RandomLoss(chance=0.05),
    duplicate=0.05,
    corrupt=0.05,
    rate=10_000_000,
    queue=Codel(),
    faults=(Fault("delay", first=10, count=3, delay=50 * MILLISECOND), Fault("drop", first=20)),
)


@pytest.mark.parametrize("impairment", [STAGES, Impairment(delay=MILLISECOND, jitter=MILLISECOND)])
def test_a_late_caller_gets_the_same_frames_with_the_same_times(impairment: Impairment) -> None:
    arrivals = numbered(300, gap=500_000)
    punctual = run(line(impairment), arrivals)
    late = line(impairment)
    for at, frame in arrivals:
        late.receive(frame, at)  # nobody looked since the last one came
    late.timeout(10 * SECOND)
    assert late.transmit() == punctual
    assert len(punctual) > 200


def test_what_leaves_is_in_the_order_of_the_due_times() -> None:
    out = run(line(STAGES), numbered(300, gap=500_000))
    assert [due for due, _, _ in out] == sorted(due for due, _, _ in out)


def test_the_queue_is_in_front_of_the_delay() -> None:
    """12 frames of 1000 octets at 8 Mbit/s need 1 ms each; the first leaves after 1 ms of line and 20 of delay."""
    tested = line(Impairment(delay=20 * MILLISECOND, rate=8_000_000, queue=DropTail(packets=100)))
    out = run(tested, [(0, bytes(1000))] * 12)
    assert [due for due, _, _ in out] == [(21 + n) * MILLISECOND for n in range(12)]


def test_a_full_queue_drops_and_says_so() -> None:
    tested = line(Impairment(rate=8_000_000, queue=DropTail(packets=3)))
    assert len(run(tested, [(0, bytes(1000))] * 10)) == 4, "three wait and one is being sent"
    assert tested.statistics.dropped == {"queue full": 6}


def test_a_token_bucket_lets_a_burst_through() -> None:
    tested = line(Impairment(bucket=TokenBucket(rate=8_000_000, burst=5000)))
    out = run(tested, [(0, bytes(1000))] * 7)
    assert [due for due, _, _ in out] == [0] * 5 + [MILLISECOND, 2 * MILLISECOND]


def test_a_trace_is_a_server() -> None:
    tested = line(Impairment(trace=RateTrace((3, 10))))
    out = run(tested, [(0, FULL), (0, FULL), (0, FULL)])
    assert [due for due, _, _ in out] == [3 * MILLISECOND, 10 * MILLISECOND, 13 * MILLISECOND]


def test_faults_come_first() -> None:
    """A dropped frame is not seen by the queue; a delayed one is overtaken by those behind it."""
    faults = (Fault("drop", first=1), Fault("delay", first=2, delay=10 * MILLISECOND))
    tested = line(Impairment(faults=faults, rate=8_000_000, queue=DropTail(packets=100)))
    out = run(tested, numbered(4, gap=0))
    assert [int.from_bytes(frame[:4], "big") for _, _, frame in out] == [2, 3, 1]
    assert tested.statistics.dropped == {"fault": 1}


def test_frames_that_faults_hold_are_bounded() -> None:
    tested = line(Impairment(faults=(Fault("delay", count=0, delay=3600 * SECOND),)))
    for number in range(HELD_LIMIT + 5):
        tested.receive(b"x" * 60, number)
    assert tested.statistics.dropped == {"fault queue full": 5}


def test_a_change_leaves_what_is_in_flight_alone() -> None:
    tested = line(Impairment(delay=20 * MILLISECOND))
    tested.receive(b"old", 0)
    tested.change(Impairment(delay=5 * MILLISECOND), MTU, MILLISECOND)
    tested.receive(b"new", MILLISECOND)
    assert run(tested, []) == [(6 * MILLISECOND, MILLISECOND, b"new"), (20 * MILLISECOND, 0, b"old")]


def test_a_server_that_goes_lets_what_waits_pass() -> None:
    tested = line(Impairment(rate=8000, queue=DropTail(packets=10)))
    for _ in range(4):
        tested.receive(bytes(1000), 0)
    tested.change(NOTHING, MTU, MILLISECOND)
    assert [due for due, _, _ in run(tested, [])] == [MILLISECOND] * 4


def test_a_queue_that_comes_takes_what_enters_from_then_on() -> None:
    tested = line(NOTHING)
    tested.change(Impairment(rate=8_000_000, queue=DropTail(packets=10)), MTU, 0)
    assert [due for due, _, _ in run(tested, [(0, bytes(1000))] * 2)] == [MILLISECOND, 2 * MILLISECOND]


def test_a_faster_rate_does_not_empty_the_queue() -> None:
    tested = line(Impairment(rate=8_000_000, queue=DropTail(packets=10)))
    for _ in range(5):
        tested.receive(bytes(1000), 0)
    tested.change(Impairment(rate=80_000_000, queue=DropTail(packets=10)), MTU, MILLISECOND // 2)
    dues = [due for due, _, _ in run(tested, [])]
    assert dues == [MILLISECOND + n * MILLISECOND // 10 for n in range(5)], "the first is on the line already"


@pytest.mark.parametrize("impairment", [STAGES, Impairment(delay=SECOND), NOTHING])
def test_a_link_that_goes_down_loses_what_is_inside(impairment: Impairment) -> None:
    tested = line(impairment)
    for at, frame in numbered(40, gap=0):
        tested.receive(frame, at)
    left = len(tested.transmit())
    tested.set_up(False, 1)
    tested.receive(FULL, 2)
    assert tested.deadline() is None or tested.deadline() > 2  # type: ignore[operator]
    tested.timeout(10 * SECOND)
    assert tested.transmit() == []
    told = tested.statistics
    assert told.inside == 0
    assert told.dropped["link down"] >= 1
    assert told.in_frames + told.duplicated == left + told.dropped.total()
    tested.set_up(True, 11 * SECOND)
    tested.receive(FULL, 11 * SECOND)
    assert (
        tested.statistics.inside + tested.statistics.out_frames + tested.statistics.dropped.total()
        == 42 + told.duplicated
    )


def test_a_frame_that_is_told_late_enters_after_what_has_happened() -> None:
    tested = line(Impairment(delay=MILLISECOND))
    tested.timeout(SECOND)
    tested.receive(FULL, 5)
    assert run(tested, []) == [(SECOND + MILLISECOND, SECOND, FULL)]


def test_after_a_timeout_the_deadline_is_later() -> None:
    """A caller that sleeps until the deadline never spins."""
    tested = line(STAGES)
    for at, frame in numbered(100, gap=100_000):
        tested.receive(frame, at)
        now = at
        while (due := tested.deadline()) is not None and due < at + 50 * MILLISECOND:
            assert due > now or due == at
            tested.timeout(due)
            assert tested.deadline() is None or tested.deadline() > due  # type: ignore[operator]
            now = due
            break


def test_a_seed_of_its_own_goes_before_that_of_the_run() -> None:
    def losses(seed: int, own: int | None) -> list[int]:
        tested = line(Impairment(loss=RandomLoss(chance=0.2), seed=own), seed)
        return [int.from_bytes(frame[:4], "big") for _, _, frame in run(tested, numbered(100))]

    assert losses(1, 42) == losses(2, 42)
    assert losses(1, None) != losses(2, None)
    assert losses(1, None) == losses(1, None)
