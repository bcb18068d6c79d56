"""Frames that queue: the same arrivals through the kernel's disciplines and through a `Line`.

    kernel   tbf rate R ─ child: codel, fq_codel, pie, red, pfifo, bfifo          (tc of iproute2)
    engine   Line(Impairment(bucket=R, queue=...))

Linux's tbf takes a frame out of its child before there are tokens for it, and keeps it until there are; our server does
that, too. For the child, that frame still counts as waiting: hard limits are therefore one frame higher in the kernel
(RED's average is another matter: linux_choices.py).

Two ways to compare. A guest's timers wake it late, so frames leave the kernel some tenths of a millisecond, sometimes
many milliseconds later than they should, and what a discipline decides depends on when they leave. So the engine may
be given the kernel's times of departure (`through_line(..., replay=...)`): its server then sends when the kernel did,
and a discipline without chance has to take the same decisions, frame by frame. Or the engine keeps its own time, and
what is compared are numbers that lateness does not change.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from unittest.mock import patch

from nodes import impairment as values
from nodes.impairment import Codel, DropTail, FqCodel, Impairment, Pie, Queue, Red, TokenBucket
from nodes.physical import line
from nodes.physical.line import Line
from nodes.units import MILLISECOND, SECOND
from tests.uml import boot
from tests.uml.traffic import Passage
from tests.unit.queue_frames import ECT, is_ce, number_of, packet

MODULES = ("veth", "sch_tbf", "sch_codel", "sch_fq_codel", "sch_pie", "sch_red")
MTU = 1500
OCTETS = 1000
LONG = 10 * SECOND
"""After the last frame, all queues here are empty."""
RATE = 4_000_000
BUCKET = TokenBucket(rate=RATE, burst=10_000)
FRAME = OCTETS * 8 * SECOND // RATE
"""How long a frame takes: 2 ms."""
NO_OPPORTUNITY = 300 * MILLISECOND
"""Longer than this machine lets a guest wait for the processor."""
RED_AVERAGE_PACKET = 1000


@dataclass(frozen=True, slots=True)
class Stream:
    """`frames` of one flow from `begin` on: `burst` of them at once, the next ones `interval` ns later."""

    frames: int
    interval: int
    begin: int = 0
    burst: int = 1
    flow: int = 0
    octets: int = OCTETS
    ect: bool = False


@dataclass(frozen=True, slots=True)
class QueueCase:
    """`impairment` has a bucket and a queue. `watched`: the kernel is asked all the time what the discipline is
    doing. In the guest, that exists a little longer than `streams` take to begin."""

    impairment: Impairment
    streams: tuple[Stream, ...]
    watched: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "impairment": values.encode(self.impairment),
            "streams": [dataclasses.asdict(stream) for stream in self.streams],
            "watched": self.watched,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        streams = tuple(Stream(**stream) for stream in data["streams"])
        return cls(values.decode(data["impairment"]), streams, data["watched"])

    def plan(self) -> tuple[tuple[int, Stream], ...]:
        """When each frame is to be sent, in ns from the beginning, and what it belongs to; its place is its number."""
        return _plan(self.streams)

    def frames(self) -> tuple[bytes, ...]:
        return _frames(self.streams)


def queue_case(queue: Queue, streams: tuple[Stream, ...], *, ect: bool = False, watched: bool = False) -> QueueCase:
    """Through BUCKET; `ect`: all frames may be marked."""
    streams = tuple(dataclasses.replace(stream, ect=stream.ect or ect) for stream in streams)
    return QueueCase(Impairment(bucket=BUCKET, queue=queue), streams, watched)


@functools.cache
def _plan(streams: tuple[Stream, ...]) -> tuple[tuple[int, Stream], ...]:
    planned = [
        (stream.begin + number // stream.burst * stream.interval, stream)
        for stream in streams
        for number in range(stream.frames)
    ]
    return tuple(sorted(planned, key=lambda item: item[0]))


@functools.cache
def _frames(streams: tuple[Stream, ...]) -> tuple[bytes, ...]:
    return tuple(
        packet(stream.flow, number, stream.octets, ECT * stream.ect)
        for number, (_, stream) in enumerate(_plan(streams))
    )


def tc_words(case: QueueCase, device: str) -> Iterator[str]:
    """What tc is told: tbf, and the discipline in it."""
    bucket = case.impairment.bucket
    assert bucket is not None
    peak = f" peakrate {bucket.peak}bit mtu {OCTETS}" if bucket.peak else ""
    overhead = f" overhead {case.impairment.overhead}" if case.impairment.overhead else ""
    burst = bucket.burst - case.impairment.overhead  # tbf adds it to the depth of the bucket, too
    shape = f"rate {bucket.rate}bit burst {burst} limit 1000000{overhead}{peak}"
    yield f"qdisc add dev {device} root handle 1: tbf {shape}"
    if case.impairment.queue is not None:
        yield f"qdisc add dev {device} parent 1:1 handle 2: {' '.join(_discipline(case.impairment.queue, bucket))}"


def _discipline(queue: Queue, bucket: TokenBucket) -> list[str]:
    match queue:
        case DropTail() if queue.packets:
            return ["pfifo", "limit", str(queue.packets + 1)]
        case DropTail():
            return ["bfifo", "limit", str(queue.octets + OCTETS)]
        case Codel():
            return ["codel", *_limit(queue), *_times(queue), "ecn" if queue.ecn else "noecn"]
        case FqCodel():
            shape = ["flows", str(queue.flows), "quantum", str(queue.quantum)]
            return ["fq_codel", *_limit(queue), *shape, *_times(queue), "ecn" if queue.ecn else "noecn"]
        case Pie():
            steer = ["alpha", str(round(queue.alpha * 16)), "beta", str(round(queue.beta * 16))]
            update = ["tupdate", f"{queue.update // 1000}us"]
            target = ["target", f"{queue.target // 1000}us"]
            return ["pie", *_limit(queue), *target, *update, *steer, "ecn" if queue.ecn else "noecn"]
        case Red():
            limits = f"limit {queue.octets} min {queue.minimum} max {queue.maximum} probability {queue.chance}"
            burst = _red_burst(queue.minimum, queue.weight)
            average = f"avpkt {RED_AVERAGE_PACKET} burst {burst} bandwidth {bucket.rate}bit"
            return ["red", limits, average, *(["ecn"] if queue.ecn else [])]


def _red_burst(minimum: int, weight: float) -> int:
    """tc takes no weight, but the length of a burst that shall not bring the average of an empty queue to the minimum,
    and takes the largest power of 1/2 with which it does not (Floyd and Jacobson 1993, section 6; tc-red(8))."""
    frames = minimum // RED_AVERAGE_PACKET
    return next(
        burst
        for burst in range(frames, 100 * frames)
        if burst + 1 - frames > (1 - (1 - 2 * weight) ** burst) / (2 * weight)
    )


def _limit(queue: Codel | FqCodel | Pie) -> list[str]:
    return ["limit", str(queue.packets + 1)]


def _times(queue: Codel | FqCodel) -> list[str]:
    return ["target", f"{queue.target // 1000}us", "interval", f"{queue.interval // 1000}us"]


class Replay:
    """A server that sends frames when somebody else has sent some: each of its departures is an opportunity for one.
    Where there is none for long, nobody had anything to send, and a frame lasts as long as it does on the line."""

    def __init__(self, times: Sequence[int], rate: int) -> None:
        self._times = times
        self._next = 0
        self.rate = rate

    def finish(self, octets: int, now: int) -> int:
        self._next = bisect.bisect_left(self._times, now, self._next)
        if self._next == len(self._times) or self._times[self._next] > now + NO_OPPORTUNITY:
            return now + octets * 8 * SECOND // self.rate
        self._next += 1
        return self._times[self._next - 1]

    def change(self, impairment: Impairment, now: int) -> bool:
        return True

    def snapshot(self, now: int) -> dict[str, object]:
        return {}


def through_line(case: QueueCase, seed: int, sent: Sequence[int] = (), replay: Sequence[int] | None = None) -> Passage:
    """`sent`: when each frame enters, as planned where not given. `replay`: when frames leave."""
    times = list(sent) or [SECOND + time for time, _ in case.plan()]
    if replay is None:
        direction = Line(case.impairment, MTU, seed, times[0])
    else:
        bucket = case.impairment.bucket
        assert bucket is not None
        with patch.object(line, "make_server", return_value=Replay(replay, bucket.rate)):
            direction = Line(case.impairment, MTU, seed, times[0])
    for frame, now in zip(case.frames(), times, strict=True):
        direction.receive(frame, now)
    direction.timeout(times[-1] + LONG)
    passage = Passage(sent=times)
    for due, _, frame in direction.transmit():
        if is_ce(frame):
            passage.changed[len(passage.arrived)] = b""
        passage.arrived.append(number_of(frame))
        passage.times.append(due)
    statistics = direction.statistics
    passage.facts = {"dropped": dict(statistics.dropped), "marked": statistics.marked}
    assert len(passage.arrived) + statistics.dropped.total() == len(times)
    return passage


def through_kernel(cases: Mapping[str, QueueCase], timeout: float = 90.0) -> dict[str, Passage]:
    """All cases at the same time in one guest."""
    arguments = {"cases": {name: case.to_json() for name, case in cases.items()}}
    answers = boot.run("tests.uml.jobs.queues", arguments, MODULES, timeout)
    passages = {name: Passage.from_json(answer) for name, answer in answers.items()}
    for name, passage in passages.items():
        assert passage.foreign == 0, name
    return passages


def lost(passage: Passage) -> list[int]:
    return [number for number, lost in enumerate(passage.lost()) if lost]


def marked(passage: Passage) -> list[int]:
    return sorted(passage.arrived[place] for place in passage.changed)


class QueueOracle:
    """As tests.uml.oracle.Oracle: a check that complains is made once more, with new frames through a new kernel.
    `groups` are cases by name; those of a group share a guest, which should have time for all of them."""

    def __init__(self, *groups: Mapping[str, QueueCase]) -> None:
        self.cases = {name: case for group in groups for name, case in group.items()}
        self._groups = groups
        self._first: dict[str, Passage] = {}

    def passage(self, name: str) -> Passage:
        """Of the first attempt."""
        if name not in self._first:
            self._first |= through_kernel(next(group for group in self._groups if name in group))
        return self._first[name]

    def confirm(self, name: str, check: Callable[[Passage], list[str]]) -> None:
        """Raises AssertionError where the check of the case `name` complains twice."""
        first = check(self.passage(name))
        if first:
            second = check(through_kernel({name: self.cases[name]})[name])
            assert not second, f"{name}, twice: {first}, then {second}"
