"""The loop and its timer. Deadlines in the past and one real millisecond: nothing here waits for a fixed time."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from nodes.io.reactor import Reactor
from nodes.io.timer import Timer, monotonic_ns
from nodes.units import MILLISECOND, SECOND


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    one.setblocking(False)
    two.setblocking(False)
    yield one, two
    one.close()
    two.close()


def guard(reactor: Reactor) -> None:
    """End a loop that would hang, so that the test fails by its assertion."""
    reactor.call_at(monotonic_ns() + 10 * SECOND, reactor.stop)


def stopping(reactor: Reactor, action: Callable[[], object]) -> Callable[[], None]:
    def callback() -> None:
        action()
        reactor.stop()

    return callback


def test_timer_fires_at_its_deadline_and_not_before() -> None:
    timer = Timer()
    try:
        assert not timer.acknowledge()
        deadline = monotonic_ns() + MILLISECOND
        timer.set(deadline)
        os.set_blocking(timer.fileno(), True)
        assert timer.acknowledge()
        assert monotonic_ns() >= deadline
        assert timer.deadline is None
        os.set_blocking(timer.fileno(), False)
        timer.set(1)  # long past: due at once
        assert timer.acknowledge()
        timer.set(0)
        os.set_blocking(timer.fileno(), True)
        assert timer.acknowledge()
        os.set_blocking(timer.fileno(), False)
        timer.set(1)
        timer.set(None)
        assert not timer.acknowledge()
    finally:
        timer.close()
        timer.close()


def test_readable(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    guard(reactor)
    got: list[bytes] = []
    reactor.add(pair[0].fileno(), stopping(reactor, lambda: got.append(pair[0].recv(10))))
    pair[1].send(b"x")
    reactor.run()
    assert got == [b"x"]


def test_level_triggered_what_is_left_is_told_again(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    guard(reactor)
    got: list[bytes] = []

    def one_octet() -> None:
        got.append(pair[0].recv(1))
        if len(got) == 3:
            reactor.stop()

    reactor.add(pair[0].fileno(), one_octet)
    pair[1].send(b"abc")
    reactor.run()
    assert got == [b"a", b"b", b"c"]


def test_a_closed_peer_makes_readable(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    guard(reactor)
    got: list[bytes] = []
    reactor.add(pair[0].fileno(), stopping(reactor, lambda: got.append(pair[0].recv(10))))
    pair[1].close()
    reactor.run()
    assert got == [b""]


def test_writable_only_while_wanted(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    guard(reactor)
    calls: list[str] = []
    descriptor = pair[0].fileno()

    def on_writable() -> None:
        calls.append("write")
        reactor.set_writable(descriptor, None)
        pair[1].send(b"x")

    reactor.add(descriptor, stopping(reactor, lambda: calls.append("read")))
    reactor.set_writable(descriptor, on_writable)
    reactor.run()
    assert calls == ["write", "read"]


def test_pause_and_remove(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    calls: list[str] = []
    descriptor = pair[0].fileno()
    pair[1].send(b"x")
    reactor.add(descriptor, stopping(reactor, lambda: calls.append("read")))
    for take_away in (reactor.pause, reactor.remove):
        take_away(descriptor)
        take_away(descriptor)
        reactor.call_at(monotonic_ns() + MILLISECOND, reactor.stop)
        reactor.run()
        assert calls == []
        reactor.add(descriptor, stopping(reactor, lambda: calls.append("read")))
    reactor.run()
    assert calls == ["read"]


def test_a_callback_may_remove_another_that_is_ready_too(reactor: Reactor) -> None:
    guard(reactor)
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def callback(index: int) -> Callable[[], None]:
        def run() -> None:
            called.append(index)
            reactor.remove(pairs[1 - index][0].fileno())
            reactor.remove(pairs[index][0].fileno())
            reactor.call_at(monotonic_ns(), reactor.stop)

        return run

    for index, (one, two) in enumerate(pairs):
        two.send(b"x")
        reactor.add(one.fileno(), callback(index))
    reactor.run()
    assert len(called) == 1
    for one, two in pairs:
        one.close()
        two.close()


def test_deadline_hook(reactor: Reactor) -> None:
    guard(reactor)
    times: list[int] = []
    deadline = monotonic_ns() + MILLISECOND
    reactor.on_deadline = stopping(reactor, lambda: times.append(monotonic_ns()))
    reactor.set_deadline(deadline)
    reactor.run()
    assert times[0] >= deadline


def test_a_deadline_moved_later_or_away_does_not_fire_early(reactor: Reactor) -> None:
    guard(reactor)
    times: list[int] = []
    reactor.on_deadline = stopping(reactor, lambda: times.append(monotonic_ns()))
    start = monotonic_ns()
    reactor.set_deadline(start)
    reactor.set_deadline(start + 3 * MILLISECOND)
    reactor.run()
    assert len(times) == 1
    assert times[0] >= start + 3 * MILLISECOND
    reactor.set_deadline(start)
    reactor.set_deadline(None)
    reactor.call_at(monotonic_ns() + MILLISECOND, reactor.stop)
    reactor.run()
    assert len(times) == 1


def test_a_deadline_is_told_once(reactor: Reactor) -> None:
    calls: list[int] = []
    reactor.on_deadline = lambda: calls.append(monotonic_ns())
    reactor.set_deadline(monotonic_ns())
    reactor.call_at(monotonic_ns() + 2 * MILLISECOND, reactor.stop)
    reactor.run()
    assert len(calls) == 1


def test_moving_a_deadline_later_costs_no_system_call(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    sets: list[int | None] = []
    plain = Timer.set
    monkeypatch.setattr(Timer, "set", lambda timer, deadline: (sets.append(deadline), plain(timer, deadline)))
    now = monotonic_ns()
    for step in range(10):
        reactor.set_deadline(now + SECOND + step)
    reactor.set_deadline(now + SECOND - 1)
    assert sets == [now + SECOND, now + SECOND - 1]


def test_no_spinning_while_idle(reactor: Reactor) -> None:
    """A deadline that was moved from the past into the future wakes the loop once, not for ever."""
    fired: list[int] = []
    plain = reactor._fire

    def counted() -> None:
        fired.append(monotonic_ns())
        plain()

    reactor._readers[reactor._timer.fileno()] = counted
    now = monotonic_ns()
    reactor.set_deadline(now)
    reactor.set_deadline(now + 100 * SECOND)
    reactor.call_at(now + 5 * MILLISECOND, reactor.stop)
    reactor.run()
    assert len(fired) <= 2


def test_call_at_runs_in_order_once_and_can_be_cancelled(reactor: Reactor) -> None:
    guard(reactor)
    calls: list[str] = []
    now = monotonic_ns()
    reactor.call_at(now + 2, lambda: calls.append("second"))
    reactor.call_at(now + 1, lambda: calls.append("first"))
    reactor.call_at(now + 1, lambda: calls.append("never")).cancel()
    reactor.call_at(now + MILLISECOND, stopping(reactor, lambda: calls.append("third")))
    reactor.run()
    assert calls == ["first", "second", "third"]


def test_a_call_that_asks_for_itself_lets_descriptors_have_their_turn(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls = 0

    def again() -> None:
        nonlocal calls
        calls += 1
        if calls < 100_000:
            reactor.call_at(0, again)
        else:
            reactor.stop()

    reactor.call_at(0, again)
    reactor.add(pair[0].fileno(), reactor.stop)
    pair[1].send(b"x")
    reactor.run()
    assert calls < 100


def test_exceptions_propagate_and_the_loop_can_go_on(reactor: Reactor) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    now = monotonic_ns()
    reactor.call_at(now, broken)
    reactor.call_at(now + 1, reactor.stop)
    with pytest.raises(RuntimeError, match="a bug"):
        reactor.run()
    reactor.run()


def test_signals_are_callbacks_of_the_loop() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    reactor = Reactor()
    guard(reactor)
    got: list[int] = []
    reactor.add_signal(signal.SIGUSR1, stopping(reactor, lambda: got.append(signal.SIGUSR1)))
    os.kill(os.getpid(), signal.SIGUSR1)
    assert got == []
    reactor.run()
    assert got == [signal.SIGUSR1]
    reactor.close()
    assert signal.getsignal(signal.SIGUSR1) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_what_arrived_comes_before_what_is_due(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    """A process that had to wait finds both: nothing is to be held missing that is there."""
    guard(reactor)
    order: list[str] = []
    reactor.on_deadline = stopping(reactor, lambda: order.append("deadline"))
    reactor.set_deadline(1)  # long past: the timer is ready first
    reactor.add(pair[0].fileno(), lambda: order.append(pair[0].recv(10).decode()))
    pair[1].send(b"arrival")
    reactor.run()
    assert order == ["arrival", "deadline"]


def test_a_deadline_that_is_past_needs_no_timer(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    """Turn follows turn, and descriptors have theirs in between."""
    guard(reactor)
    order: list[str] = []

    def turn() -> None:
        order.append("turn")
        if len(order) == 2:
            pair[1].send(b"x")
        if len(order) == 6:
            reactor.stop()
        else:
            reactor.set_deadline(1)

    def read() -> None:
        order.append(pair[0].recv(10).decode())

    reactor.on_deadline = turn
    reactor.add(pair[0].fileno(), read)
    reactor.set_deadline(1)
    reactor.run()
    assert order == ["turn", "turn", "x", "turn", "turn", "turn"]


def test_a_deadline_moved_from_past_to_future_is_kept(reactor: Reactor) -> None:
    guard(reactor)
    called: list[int] = []
    reactor.on_deadline = stopping(reactor, lambda: called.append(monotonic_ns()))
    reactor.set_deadline(1)
    later = monotonic_ns() + 2 * MILLISECOND
    reactor.set_deadline(later)
    reactor.run()
    assert called and called[0] >= later
