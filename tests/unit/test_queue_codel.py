"""CoDel, after the pseudocode of RFC 8289 section 5."""

from __future__ import annotations

import math

import pytest

from nodes.impairment import Codel, DropTail
from nodes.physical.carried import Carried
from nodes.physical.queues.base import make_queue
from nodes.physical.queues.codel import CodelQueue
from nodes.physical.server import RateServer
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND
from tests.unit.queue_frames import ECT, Bottleneck, is_ce, number_of, packet

RATE = 10_000_000


def codel(statistics: Statistics, **settings: object) -> CodelQueue:
    return CodelQueue(Codel(**settings), mtu=1500, statistics=statistics)  # type: ignore[arg-type]


def fill(queue: CodelQueue, count: int, now: int = 0, ecn: int = 0) -> None:
    for number in range(count):
        queue.enqueue(Carried(packet(0, number, ecn=ecn), now), now)


def drop_times(count: int, first: float = 105.0) -> list[int]:
    """In whole ms, when a queue that is asked each ms drops: RFC 8289 section 5.5."""
    times, at = [], first
    for number in range(1, count + 1):
        times.append(math.ceil(at))
        at += 100 / math.sqrt(number)
    return times


def test_drops_follow_the_control_law() -> None:
    """From the first wait above 5 ms (at 5 ms), 100 ms later the first drop, then each after 100 ms / √count."""
    statistics = Statistics()
    queue = codel(statistics)
    fill(queue, 1000)
    observed, sent = [], []
    for at in range(1, 600):
        before = statistics.dropped["codel"]
        carried = queue.dequeue(at * MILLISECOND)
        assert carried is not None
        sent.append(number_of(carried.frame))
        observed += [at] * (statistics.dropped["codel"] - before)
    assert observed == [at for at in drop_times(20) if at < 600]
    assert sent == sorted(sent)
    missing = sorted(set(range(sent[-1])) - set(sent))
    assert missing == [at - 1 + index for index, at in enumerate(observed)]  # the head, when it was asked for


def test_a_late_dequeue_drops_all_that_were_due() -> None:
    statistics = Statistics()
    queue = codel(statistics)
    fill(queue, 100)
    for at in (5, 105):
        queue.dequeue(at * MILLISECOND)
    assert statistics.dropped["codel"] == 1
    carried = queue.dequeue(405 * MILLISECOND)  # 205, 275.7, 333.4 and 383.4 ms have passed
    assert statistics.dropped["codel"] == 5
    assert carried is not None
    assert number_of(carried.frame) == 7
    assert queue.snapshot(0)["drop_next"] == pytest.approx(428.2 * MILLISECOND, abs=0.1 * MILLISECOND)


def test_one_good_wait_begins_the_interval_anew() -> None:
    statistics = Statistics()
    queue = codel(statistics)
    fill(queue, 50)
    for at in range(1, 50):
        queue.dequeue(at * MILLISECOND)
    fill(queue, 10, 98 * MILLISECOND)
    queue.dequeue(99 * MILLISECOND)  # the last of the old ones: has waited too long
    queue.dequeue(100 * MILLISECOND)  # 2 ms
    for at in range(110, 118):
        queue.dequeue(at * MILLISECOND)
    assert not statistics.dropped


def test_the_target_itself_is_too_long() -> None:
    """Section 5.6: below the target is well, the target is not."""
    for wait, dropped in ((5 * MILLISECOND - 1, 0), (5 * MILLISECOND, 1)):
        statistics = Statistics()
        queue = codel(statistics)
        for number in range(4):
            queue.enqueue(Carried(packet(0, number), 0), 0)
        queue.dequeue(wait)
        fill(queue, 4, 99 * MILLISECOND)
        queue.dequeue(100 * MILLISECOND + wait)
        assert statistics.dropped["codel"] == dropped


def test_never_less_than_one_full_frame_behind() -> None:
    """Section 5.6: `bytes() <= maxpacket`."""
    statistics = Statistics()
    queue = codel(statistics)
    for at in range(0, 5000, 10):
        while queue.packets < 2:
            queue.enqueue(Carried(packet(0), at * MILLISECOND), at * MILLISECOND)
        if at:
            queue.dequeue(at * MILLISECOND)
    assert not statistics.dropped
    while queue.packets < 3:
        queue.enqueue(Carried(packet(0), 5 * SECOND), 5 * SECOND)
    queue.dequeue(6 * SECOND)
    fill(queue, 2, 6 * SECOND)
    queue.dequeue(7 * SECOND)
    assert statistics.dropped == {"codel": 1}


def reach_count(queue: CodelQueue, now: int, count: int) -> int:
    """Let it drop until its count is that; the time (ms) after it."""
    fill(queue, 900, now * MILLISECOND)
    at = now
    while queue.snapshot(0)["count"] != count or not queue.snapshot(0)["dropping"]:
        at += 1
        queue.dequeue(at * MILLISECOND)
    return at


@pytest.mark.parametrize(("pause", "expected"), [(500, 4), (5000, 1)])
def test_dropping_again_soon_goes_on_at_the_rate_it_had(pause: int, expected: int) -> None:
    """Section 5.5: within 16 intervals, from the count that the last time added."""
    queue = codel(Statistics())
    at = reach_count(queue, 0, 5)
    queue.drain()
    at += pause
    assert queue.dequeue(at * MILLISECOND) is None
    assert queue.snapshot(0)["dropping"] is False
    fill(queue, 900, at * MILLISECOND)
    while not queue.snapshot(0)["dropping"]:
        at += 1
        queue.dequeue(at * MILLISECOND)
    assert queue.snapshot(0)["count"] == expected
    step = int(100 * MILLISECOND / math.sqrt(expected))
    assert queue.snapshot(0)["drop_next"] == at * MILLISECOND + step


def test_marks_instead_of_drops() -> None:
    """The same times, and nothing is lost; frames that cannot be marked are dropped."""
    statistics = Statistics()
    queue = codel(statistics, ecn=True)
    fill(queue, 1000, ecn=ECT)
    marked = []
    for at in range(1, 500):
        carried = queue.dequeue(at * MILLISECOND)
        assert carried is not None
        assert number_of(carried.frame) == at - 1
        if is_ce(carried.frame):
            marked.append(at)
    assert marked == [at for at in drop_times(20) if at < 500]
    assert statistics.marked == len(marked)
    assert not statistics.dropped

    queue = codel(statistics, ecn=True)
    fill(queue, 300)
    for at in (5, 105):
        queue.dequeue(at * MILLISECOND)
    assert statistics.dropped == {"codel": 1}


def test_bound_in_packets() -> None:
    statistics = Statistics()
    queue = codel(statistics, packets=3)
    fill(queue, 5)
    assert queue.packets == 3
    assert statistics.dropped == {"queue full": 2}


def test_a_change_keeps_the_state() -> None:
    statistics = Statistics()
    queue = codel(statistics)
    reach_count(queue, 0, 3)
    before = queue.snapshot(0)
    assert queue.change(Codel(interval=50 * MILLISECOND, packets=5), 1, 1500)
    after = queue.snapshot(0)
    assert (after["count"], after["drop_next"]) == (before["count"], before["drop_next"])
    assert after["limit_packets"] == 5
    assert not queue.change(DropTail(), 1, 1500)


@pytest.mark.slow
@pytest.mark.parametrize(("flows", "delay"), [(1, 20), (4, 80)])
def test_senders_that_react_wait_about_the_target(flows: int, delay: int) -> None:
    """With drop-tail of 1000 frames they wait for most of a second, with CoDel some ms, and the line stays busy."""
    waits = {}
    for settings in (DropTail(packets=1000), Codel()):
        queue = make_queue(settings, rate=RATE, mtu=1500, seed=1, statistics=Statistics())
        path = Bottleneck(queue, RateServer(RATE), flows=flows, delay=delay * MILLISECOND)
        path.run(12 * SECOND)
        assert sum(path.octets) * 8 > 0.9 * RATE * 12
        waits[settings.discipline] = path.waits(4 * SECOND)
    bloated, controlled = waits["drop_tail"], waits["codel"]
    assert bloated[len(bloated) // 2] > 400 * MILLISECOND
    assert MILLISECOND < controlled[len(controlled) // 2] < 8 * MILLISECOND
    assert controlled[len(controlled) * 95 // 100] < 25 * MILLISECOND
