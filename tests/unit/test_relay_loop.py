"""The relay's inner loop with a clock, sockets and lines that are told what to do."""

from __future__ import annotations

import gc
import heapq
import json
import os
import select
import socket
import threading
from collections.abc import Callable

import pytest

from lab.links.relay import LONGEST_PATIENCE, Relay, _Link, patience
from lab.links.relay_loop import LEAST_TO_SWEEP, SERVICES_PER_TURN, Direction, RelayLoop
from nodes.contract import PROTOCOL_VERSION
from nodes.impairment import Distribution, Impairment, TokenBucket
from nodes.io.control import ControlServer
from nodes.io.reactor import Reactor
from nodes.io.stamped_socket import BATCH
from nodes.physical.statistics import Statistics
from nodes.units import MICROSECOND, MILLISECOND, SECOND

DELAY = 20 * MILLISECOND
PATIENCE = MILLISECOND
ROOM = 8 << 20


class FakeReactor:
    """A clock that stands still between calls, and a record of what is watched."""

    def __init__(self) -> None:
        self.now = 0
        self.watched: dict[int, Callable[[], None]] = {}
        self.deadline: int | None = None
        self.on_deadline: Callable[[], None] | None = None

    def clock(self) -> int:
        return self.now

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        self.watched[descriptor] = callback

    def pause(self, descriptor: int) -> None:
        del self.watched[descriptor]

    def remove(self, descriptor: int) -> None:
        self.watched.pop(descriptor, None)

    def set_deadline(self, deadline: int | None) -> None:
        self.deadline = deadline

    def advance(self, to: int) -> None:
        """Let the timer fire at its deadline until `to`."""
        while self.deadline is not None and self.deadline <= to:
            self.now = max(self.deadline, self.now)
            before, self.deadline = self.deadline, None
            self.on_deadline()
            assert self.deadline is None or self.deadline > before, "the loop spins"
        self.now = to


class FakeSocket:
    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: list[tuple[int, bytes]] = []
        self.sent: list[bytes] = []
        self.reads = 0

    def fileno(self) -> int:
        return self.number

    def receive_stamped(self) -> list[tuple[int, bytes]]:
        self.reads += 1
        batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        return batch

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
        return True


class FakeLine:
    """Delays by DELAY, and refuses frames from before a time that it was told."""

    def __init__(self, delay: int = DELAY) -> None:
        self.delay = delay
        self.statistics = Statistics()
        self.held: list[tuple[int, int, bytes]] = []
        self.out: list[tuple[int, int, bytes]] = []
        self.told = 0

    def receive(self, frame: bytes, now: int) -> None:
        assert now >= self.told, "the line was told a time before this frame was read"
        self.told = now
        heapq.heappush(self.held, (now + self.delay, now, frame))

    def timeout(self, now: int) -> None:
        assert now >= self.told
        self.told = now
        while self.held and self.held[0][0] <= now:
            self.out.append(heapq.heappop(self.held))

    def deadline(self) -> int | None:
        return self.held[0][0] if self.held else None

    def transmit(self) -> list[tuple[int, int, bytes]]:
        out, self.out = self.out, []
        return out


class Rig:
    def __init__(self, patience: int = 0, count: int = 1) -> None:
        self.reactor = FakeReactor()
        self.loop = RelayLoop(self.reactor)
        self.directions = [
            Direction(FakeSocket(2 * number), FakeLine(), FakeSocket(2 * number + 1), patience)
            for number in range(count)
        ]
        for direction in self.directions:
            self.loop.add(direction)
        self.one = self.directions[0]
        self.source, self.line, self.sink = self.one.source, self.one.line, self.one.sink

    def arrive(self, *times: int, wake: bool = True) -> None:
        """Frames that came at those times. A watched socket wakes the relay at once, unless it is busy elsewhere."""
        for time in times:
            self.source.waiting.append((time, str(time).encode()))
            if wake and 0 in self.reactor.watched:
                self.reactor.now = max(self.reactor.now, time)
                self.reactor.watched[0]()

    @property
    def lateness(self) -> list[int | None]:
        lateness = self.line.statistics.lateness
        return [lateness.count, lateness.minimum, lateness.maximum]


def test_a_frame_leaves_when_it_is_due() -> None:
    rig = Rig()
    rig.arrive(100)
    assert rig.reactor.deadline == 100 + DELAY
    rig.reactor.advance(99 + DELAY)
    assert rig.sink.sent == []
    rig.reactor.advance(100 + DELAY)
    assert rig.sink.sent == [b"100"]
    assert rig.lateness == [1, 0, 0]
    assert rig.reactor.deadline is None


def test_a_late_turn_is_the_emulators_lateness_and_not_the_links_delay() -> None:
    rig = Rig()
    rig.arrive(100, 200, wake=False)
    rig.reactor.now = 100 + DELAY + 5000  # nobody let us run for so long
    rig.reactor.watched[0]()
    assert rig.sink.sent == [b"100", b"200"]
    assert rig.lateness == [2, 4900, 5000]


def test_frames_that_wait_are_read_before_the_line_is_told_the_time() -> None:
    """At the deadline of the first frame, a second one waits that came before: FakeLine refuses it if told too late."""
    rig = Rig()
    rig.arrive(100)
    rig.arrive(DELAY, wake=False)
    rig.reactor.advance(100 + DELAY)
    assert rig.sink.sent == [b"100"]
    rig.reactor.advance(2 * DELAY)
    assert rig.sink.sent == [b"100", str(DELAY).encode()]


def test_a_full_batch_holds_the_lines_time_back() -> None:
    """More than a batch waits, and all of it is overdue: no frame may meet a line that is ahead of it."""
    rig = Rig()
    times = list(range(1, 3 * BATCH + 10))
    rig.arrive(*times, wake=False)
    rig.reactor.now = SECOND
    for _ in range(3):
        rig.reactor.watched[0]()
        assert rig.line.told == rig.one.now == rig.source.waiting[0][0] - 1
    rig.reactor.watched[0]()
    assert rig.sink.sent == [str(time).encode() for time in times]
    assert rig.one.now == SECOND


def test_a_frame_that_is_held_for_long_leaves_no_trail_in_the_heap() -> None:
    """As by a fault that delays one frame by an hour, while others pass: each of these is due before it."""
    rig = Rig()
    rig.line.delay = 3600 * SECOND
    rig.arrive(0)
    rig.line.delay = DELAY
    for number in range(1, 2 * LEAST_TO_SWEEP):
        rig.arrive(number * 2 * DELAY)
        rig.reactor.advance(number * 2 * DELAY + DELAY)
    assert len(rig.sink.sent) == 2 * LEAST_TO_SWEEP - 1
    assert len(rig.loop._heap) <= LEAST_TO_SWEEP
    rig.reactor.advance(3600 * SECOND)
    assert rig.sink.sent[-1] == b"0"


def test_quick_successions_are_looked_at_instead_of_waking_us() -> None:
    rig = Rig(PATIENCE)
    start = 10 * SECOND
    rig.arrive(start)
    assert 0 in rig.reactor.watched, "a lone frame is no succession"
    rig.arrive(start + PATIENCE - 1)
    assert 0 not in rig.reactor.watched
    assert rig.reactor.deadline == start + 2 * PATIENCE - 1
    reads = rig.source.reads
    for number in range(30):
        at = start + PATIENCE + number * PATIENCE // 10
        rig.reactor.advance(at)
        rig.arrive(at)
    assert rig.source.reads - reads == 2, "30 frames in three times the patience, one look for each"
    rig.reactor.advance(start + 5 * PATIENCE)
    assert len(rig.line.held) == 32


def test_a_socket_whose_frames_cease_is_watched_again() -> None:
    rig = Rig(PATIENCE)
    rig.arrive(SECOND)
    rig.arrive(SECOND + 1)
    rig.reactor.advance(SECOND + PATIENCE)
    assert 0 not in rig.reactor.watched
    rig.reactor.advance(SECOND + 1 + PATIENCE)
    assert 0 in rig.reactor.watched
    assert rig.reactor.deadline == SECOND + DELAY, "no looks any more"
    rig.reactor.advance(2 * SECOND)
    assert rig.sink.sent == [b"1000000000", b"1000000001"]
    assert rig.lateness == [2, 0, 0]


def test_frames_at_long_intervals_are_watched_for() -> None:
    rig = Rig(PATIENCE)
    for number in range(1, 10):
        rig.arrive(number * PATIENCE)
        assert 0 in rig.reactor.watched
        rig.reactor.advance(number * PATIENCE + 1)


def test_looks_make_no_frame_late() -> None:
    rig = Rig(PATIENCE)
    times = [SECOND + number * 130 * MICROSECOND for number in range(2000)]
    for time in times:
        rig.reactor.advance(time)
        rig.arrive(time)
    rig.reactor.advance(times[-1] + DELAY)
    assert rig.sink.sent == [str(time).encode() for time in times]
    assert rig.lateness == [len(times), 0, 0]


def test_with_another_line_a_socket_is_watched_at_once() -> None:
    rig = Rig(PATIENCE)
    rig.arrive(SECOND)
    rig.arrive(SECOND + 1)
    rig.loop.set_patience(rig.one, 0)
    assert rig.one.look is None
    rig.arrive(SECOND + 2)
    rig.arrive(SECOND + 3)
    assert 0 in rig.reactor.watched


def test_an_entry_that_is_too_early_does_no_harm() -> None:
    rig = Rig()
    rig.arrive(100)
    rig.line.held = [(5 * DELAY, 100, b"later")]
    rig.reactor.advance(4 * DELAY)
    assert rig.sink.sent == []
    assert rig.reactor.deadline == 5 * DELAY
    rig.reactor.advance(5 * DELAY)
    assert rig.sink.sent == [b"later"]


def test_a_deadline_that_moves_earlier_is_entered_again() -> None:
    rig = Rig()
    rig.arrive(100)
    rig.line.delay = MILLISECOND
    rig.arrive(200)
    assert rig.reactor.deadline == 200 + MILLISECOND
    rig.reactor.advance(DELAY + 100)
    assert rig.sink.sent == [b"200", b"100"]
    assert rig.lateness == [2, 0, 0]


def test_a_turn_has_an_end() -> None:
    """More lines are due than one turn may serve: the reactor gets its turn between, and is told to come back."""
    rig = Rig(count=SERVICES_PER_TURN + 10)
    for direction in rig.directions:
        direction.source.waiting.append((100, b"frame"))
        rig.reactor.watched[direction.source.fileno()]()
    rig.reactor.now = 100 + DELAY
    rig.reactor.on_deadline()
    assert sum(len(direction.sink.sent) for direction in rig.directions) == SERVICES_PER_TURN
    assert rig.reactor.deadline == 100 + DELAY
    rig.reactor.on_deadline()
    assert all(direction.sink.sent == [b"frame"] for direction in rig.directions)


def test_a_direction_that_is_removed_is_not_served_again() -> None:
    rig = Rig(count=2)
    rig.arrive(100)
    other = rig.directions[1]
    other.source.waiting.append((300, b"other"))
    rig.reactor.watched[2]()
    rig.loop.remove(rig.one)
    assert set(rig.reactor.watched) == {2}
    rig.reactor.advance(SECOND)
    assert rig.sink.sent == []
    assert other.sink.sent == [b"other"]


@pytest.mark.parametrize(
    ("impairment", "expected"),
    [
        (Impairment(), 0),
        (Impairment(delay=100), 50),
        (Impairment(delay=1000, jitter=400), 300),
        (Impairment(delay=1000, jitter=1400), 0),
        (Impairment(delay=1000, jitter=200, distribution=Distribution("normal")), 102),  # cut at 3.98 jitters
        (Impairment(delay=1000, jitter=400, distribution=Distribution("table", (-8192, 5, 8192))), 300),
        (Impairment(delay=SECOND), LONGEST_PATIENCE),
        (Impairment(delay=SECOND, reorder=0.1), 0),
        (Impairment(delay=SECOND, gap=5), 0),
        (Impairment(bucket=TokenBucket(1000, 1000)), 0),
    ],
)
def test_patience_is_half_of_what_a_frame_stays_at_least(impairment: Impairment, expected: int) -> None:
    assert patience(impairment, ROOM) == pytest.approx(expected, abs=5)


def test_patience_leaves_half_of_the_sockets_memory_free() -> None:
    assert patience(Impairment(delay=SECOND), 1 << 20) == SECOND // 2048


def test_deadlines_that_are_close_are_served_once_each() -> None:
    rig = Rig(count=2)
    other = rig.directions[1]
    rig.arrive(100)
    other.source.waiting.append((120, b"other"))
    rig.reactor.watched[2]()
    before = rig.loop.services
    rig.reactor.advance(SECOND)
    assert rig.loop.services - before == 2
    assert (rig.sink.sent, other.sink.sent) == ([b"100"], [b"other"])


def test_stale_entries_are_passed_over() -> None:
    rig = Rig()
    for number in range(10):
        rig.line.delay = DELAY - number * MILLISECOND
        rig.arrive(100 + number)
    before = rig.loop.services
    rig.reactor.advance(SECOND)
    assert rig.loop.services - before == 10
    assert len(rig.sink.sent) == 10


def test_requests_leave_nothing_for_the_garbage_collector() -> None:
    """A relay does without it while frames fly."""
    reactor = Reactor()
    relay = Relay(reactor)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as peer:
        listener.bind(f"\0relay-test-{os.getpid()}")
        listener.listen()
        server = ControlServer(listener, reactor, relay.handle)
        peer.connect(listener.getsockname())
        requests = [("hello", {"version": PROTOCOL_VERSION}), ("state", {})]
        requests += [("state", {"links": ["none"]}), ("up", {"link": "none"}), ("fly", {}), ("add", {"link": "x"})] * 20

        def ask() -> None:
            for number, (method, params) in enumerate(requests, 1):
                peer.send(json.dumps({"id": number, "method": method, "params": params}).encode() + b"\n")
            answers = b""
            while answers.count(b"\n") < len(requests):
                reactor.call_at(0, reactor.stop)
                reactor.run()
                answers += peer.recv(1 << 20, socket.MSG_DONTWAIT) if select.select([peer], [], [], 0)[0] else b""

        ask()
        gc.collect()
        gc.disable()
        try:
            requests.pop(0)
            ask()
            assert gc.collect() == 0
        finally:
            gc.enable()
            server.close()
            reactor.close()


def test_sockets_are_closed_at_the_same_time() -> None:
    """Each takes the kernel 20 ms, and a relay may have thousands. Here none is closed before all are being closed."""
    barrier = threading.Barrier(4, timeout=10)
    closed: list[int] = []

    class Slow(FakeSocket):
        def close(self) -> None:
            barrier.wait()
            closed.append(self.number)

    relay = Relay(Reactor())
    relay._links = {name: _Link((Slow(number), Slow(number + 1)), {}, 1500) for number, name in ((0, "a"), (2, "b"))}
    relay.close()
    assert sorted(closed) == [0, 1, 2, 3]
    relay._reactor.close()
