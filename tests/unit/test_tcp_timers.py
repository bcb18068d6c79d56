"""The timers of one connection, and the queue of many."""

from __future__ import annotations

from random import Random

import pytest

from nodes.transport.tcp.timers import SLACK, Timer, TimerQueue, Timers


def test_earliest_follows_every_change() -> None:
    timers = Timers()
    seen = [timers.earliest]
    for timer, at in (
        (Timer.RETRANSMISSION, 100),
        (Timer.DELAYED_ACK, 40),
        (Timer.DELAYED_ACK, 120),
        (Timer.RETRANSMISSION, 110),
        (Timer.KEEP_ALIVE, 7200),
        (Timer.RETRANSMISSION, 130),
    ):
        timers.set(timer, at)
        seen.append(timers.earliest)
    for timer in (Timer.KEEP_ALIVE, Timer.KEEP_ALIVE, Timer.DELAYED_ACK, Timer.PERSIST, Timer.RETRANSMISSION):
        timers.cancel(timer)
        seen.append(timers.earliest)
    assert seen == [None, 100, 40, 100, 110, 110, 120, 120, 120, 130, 130, None]


def test_expired_in_the_order_of_time() -> None:
    timers = Timers()
    for timer, at in ((Timer.DELAYED_ACK, 10), (Timer.RETRANSMISSION, 10), (Timer.PACING, 5), (Timer.LINGER, 11)):
        timers.set(timer, at)
    assert timers.expired(4) == []
    assert timers.expired(10) == [Timer.PACING, Timer.RETRANSMISSION, Timer.DELAYED_ACK]
    assert timers.earliest == 11
    assert timers.expired(10) == []
    assert (timers.get(Timer.PACING), timers.get(Timer.LINGER)) == (None, 11)
    assert timers.expired(11) == [Timer.LINGER]
    assert timers.earliest is None
    assert timers.expired(99) == []


def test_running_is_for_people() -> None:
    timers = Timers()
    timers.set(Timer.DELAYED_ACK, 40)
    timers.set(Timer.FIN_WAIT_2, 60)
    assert timers.running(10) == {"fin_wait_2": 50, "delayed_ack": 30}
    timers.cancel_all()
    assert (timers.running(10), timers.earliest) == ({}, None)


def test_timers_against_a_plain_table() -> None:
    random = Random(1)
    timers = Timers()
    table: dict[Timer, int] = {}
    now = 0
    for _ in range(5000):
        timer = random.choice(list(Timer))
        step = random.randrange(10)
        if step < 6:
            table[timer] = now + random.randrange(30)
            timers.set(timer, table[timer])
        elif step < 8:
            table.pop(timer, None)
            timers.cancel(timer)
        else:
            now += random.randrange(20)
            due = sorted((at, timer) for timer, at in table.items() if at <= now)
            assert timers.expired(now) == [timer for _, timer in due]
            table = {timer: at for timer, at in table.items() if at > now}
        assert timers.earliest == min(table.values(), default=None)
        assert timers.get(timer) == table.get(timer)


class Connection:
    """An item with a deadline of its own, as a connection has."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.scheduled: int | None = None
        self.wants: int | None = None


def test_an_item_comes_out_once() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one, other = Connection(), Connection()
    queue.schedule(one, 20)
    queue.schedule(other, 10)
    assert (queue.deadline(), len(queue)) == (10, 2)
    assert queue.due(9) == []
    assert queue.due(30) == [other, one]
    assert (queue.deadline(), len(queue), one.scheduled) == (None, 0, None)
    assert queue.due(99) == []


def test_none_asks_for_nothing() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one = Connection()
    queue.schedule(one, None)
    assert (queue.deadline(), len(queue)) == (None, 0)
    queue.schedule(one, 10)
    queue.schedule(one, None)
    assert queue.deadline() == 10


def test_a_later_deadline_costs_nothing() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one = Connection()
    for at in range(10, 10_010):
        queue.schedule(one, at)
    assert len(queue._heap) == 1
    assert queue.due(10) == [one]
    queue.schedule(one, 10_009)
    assert queue.due(10_008) == []
    assert queue.due(10_009) == [one]


def test_an_earlier_deadline_comes_first_and_the_old_one_is_forgotten() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one = Connection()
    queue.schedule(one, 50)
    queue.schedule(one, 10)
    assert queue.due(10) == [one]
    assert queue.deadline() is None
    assert queue.due(50) == []


def test_the_same_time_twice_comes_out_once() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one = Connection()
    queue.schedule(one, 50)
    queue.schedule(one, 10)
    assert queue.due(10) == [one]
    queue.schedule(one, 50)
    assert queue.due(50) == [one]
    assert queue.due(50) == []


def test_cancel() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one, other = Connection(), Connection()
    queue.schedule(one, 10)
    queue.schedule(other, 20)
    queue.cancel(one)
    queue.cancel(one)
    assert (queue.deadline(), len(queue)) == (20, 1)
    assert queue.due(30) == [other]


def test_equal_times_in_the_order_of_asking() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    connections = [Connection(str(number)) for number in range(100)]
    for connection in connections:
        queue.schedule(connection, 5)
    assert queue.due(5) == connections


def test_far_deadlines_do_not_pile_up() -> None:
    """A keep-alive timer of two hours beside a delayed acknowledgment, over and over."""
    queue: TimerQueue[Connection] = TimerQueue()
    one, other = Connection(), Connection()
    queue.schedule(other, 1_000_000)
    for now in range(0, 100_000, 10):
        queue.schedule(one, now + 500_000)
        queue.schedule(one, now + 5)
        assert queue.due(now + 5) == [one]
        assert len(queue._heap) <= 2 * 2 + SLACK + 1
    assert len(queue) == 1
    assert queue.deadline() == 1_000_000


def test_the_rebuild_drops_doubles() -> None:
    queue: TimerQueue[Connection] = TimerQueue()
    one = Connection()
    for _ in range(SLACK * 3):
        queue.schedule(one, 1000)
        queue.schedule(one, 1)
        assert queue.due(1) == [one]
    queue.schedule(one, 1000)
    assert queue.due(1000) == [one]
    assert queue.due(1000) == []
    assert queue.deadline() is None


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_late_and_nobody_spins(seed: int) -> None:
    """Each item is handed out at its deadline, and uselessly at most once for each deadline that it asked for."""
    random = Random(seed)
    queue: TimerQueue[Connection] = TimerQueue()
    connections = [Connection(str(number)) for number in range(50)]
    asked = useless = now = 0
    for _ in range(4000):
        connection = random.choice(connections)
        connection.wants = random.choice((None, now + random.randrange(1, 200)))
        asked += connection.wants is not None
        queue.schedule(connection, connection.wants)
        if random.random() < 0.5:
            now += random.randrange(10)
            for item in queue.due(now):
                if item.wants is None or item.wants > now:
                    useless += 1
                    queue.schedule(item, item.wants)
                else:
                    item.wants = None
            late = [item for item in connections if item.wants is not None and item.wants <= now]
            assert not late
            deadline = queue.deadline()
            assert deadline is None or deadline > now
    assert useless <= asked
