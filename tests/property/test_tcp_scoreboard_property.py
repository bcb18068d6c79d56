"""Loss recovery under any network: counts agree with a recount, nothing SACKed is resent, every transfer ends."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.transport.tcp.congestion.base import CongestionSettings
from nodes.transport.tcp.congestion.cubic import Cubic
from nodes.transport.tcp.congestion.fixed import FixedWindow
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.transport.tcp.congestion.reno import Reno
from nodes.transport.tcp.congestion.tahoe import Tahoe
from nodes.transport.tcp.congestion.window import WindowControl
from nodes.transport.tcp.retransmission_queue import RetransmissionQueue, SentSegment
from tests.property.tcp_recovery_network import MSS, Fate, Network, check_counts, new_recovery

FATES = st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=80)
FEW_LOSSES = st.lists(st.tuples(st.integers(0, 9).map(bool), st.integers(5, 15)), max_size=200)
SPIKES = st.lists(st.tuples(st.just(True), st.sampled_from([10, 10, 10, 30, 3000])), max_size=60)


class Measuring(NewReno):
    """Has the delivery rate measured, which must never be more than what was sent."""

    wants_rate = True


def congestion(algorithm: type[WindowControl]) -> WindowControl:
    control = algorithm(CongestionSettings(MSS, 10 * MSS, Random(1)), 0)
    if isinstance(control, FixedWindow):
        control.cwnd = 20 * MSS
    return control


@settings(max_examples=120, deadline=None)
@given(
    fates=st.one_of(FATES, FEW_LOSSES, SPIKES),
    ack_fates=st.one_of(st.just([]), FATES),
    sack=st.booleans(),
    rack=st.booleans(),
    timestamps=st.booleans(),
    algorithm=st.sampled_from([NewReno, Cubic, Tahoe, Reno, FixedWindow, Measuring]),
    total=st.integers(1, 60 * MSS),
    burst=st.sampled_from([1, 1, 7]),
)
def test_every_transfer_ends_and_all_counts_agree(
    fates: list[Fate],
    ack_fates: list[Fate],
    sack: bool,
    rack: bool,
    timestamps: bool,
    algorithm: type[WindowControl],
    total: int,
    burst: int,
) -> None:
    """J-3, 6675-5.1: each octet arrives; pipe, SACKed and lost octets are what a recount gives, after every step;
    nothing acknowledged or, before a timeout, SACKed is resent; no timer spins."""
    recovery = new_recovery(sack=sack, rack=rack, congestion=congestion(algorithm))
    network = Network(recovery, total, fates, ack_fates, burst=burst, timestamps=timestamps, check=check_counts)
    network.run(20_000)
    assert recovery.una == recovery.nxt == 1 + total
    assert recovery.deadline() is None
    assert (recovery.in_flight, recovery.queue.pipe, recovery.queue.sacked, recovery.queue.lost) == (0, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 100 * MSS), sack=st.booleans(), delays=st.lists(st.integers(10, 14), max_size=50))
def test_without_loss_nothing_is_sent_twice(total: int, sack: bool, delays: list[int]) -> None:
    """9293-3.8.1: a network that only delays a little, in order, causes no retransmission."""
    recovery = new_recovery(sack=sack)
    times = sorted(delays)
    Network(recovery, total, [(True, delay) for delay in times] + [(True, 15)] * 200).run()
    assert recovery.counters.retransmitted_segments == 0
    assert recovery.counters.fast_recoveries == recovery.counters.timeouts == 0


# ------------------------------------------------------------------------------------- the queue, against a naive one


class NaiveQueue:
    """Every octet apart: copies in the network, SACKed, lost, and the record that it belongs to."""

    def __init__(self) -> None:
        self.una = self.nxt = 0
        self.copies: dict[int, int] = {}
        self.sacked: set[int] = set()
        self.lost: set[int] = set()
        self.records: list[tuple[int, int]] = []

    def send(self, length: int) -> None:
        for octet in range(self.nxt, self.nxt + length):
            self.copies[octet] = 1
        self.records.append((self.nxt, self.nxt + length))
        self.nxt += length

    def ack(self, ack: int) -> set[int]:
        gone = set(range(self.una, ack))
        fresh = gone - self.sacked
        self.una = ack
        self.sacked -= gone
        self.lost -= gone
        self.records = [(max(start, ack), end) for start, end in self.records if end > ack]
        return fresh

    def sack(self, start: int, end: int) -> set[int]:
        """Whole pieces of records: beginning and ending at an edge of a record, or at a multiple of the MSS in it."""
        fresh = set()
        for left, right in list(self.records):
            low = left if start <= left else left + -(-(start - left) // MSS) * MSS
            high = right if end >= right else left + max(end - left, 0) // MSS * MSS
            if low < high and left <= low and high <= right:
                octets = set(range(low, high)) - self.sacked
                if octets:
                    fresh |= octets
                    self._split(left, right, min(octets), max(octets) + 1)
        self.sacked |= fresh
        self.lost -= fresh
        for octet in fresh:
            self.copies[octet] = 0
        return fresh

    def _split(self, left: int, right: int, low: int, high: int) -> None:
        self.records.remove((left, right))
        self.records += [(a, b) for a, b in ((left, low), (low, high), (high, right)) if a < b]
        self.records.sort()

    def pipe(self) -> int:
        return sum(count for octet, count in self.copies.items() if octet >= self.una)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 7 * MSS), st.just(0)),
        st.tuples(st.just("ack"), st.integers(0, 1200), st.just(0)),
        st.tuples(st.just("sack"), st.integers(0, 4000), st.integers(1, 2500)),
        st.tuples(st.just("lose"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("resend"), st.integers(0, 50), st.just(0)),
        st.tuples(st.sampled_from(["forgive", "renege"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


def octets_of(segments: list[SentSegment]) -> set[int]:
    return {octet for segment in segments for octet in range(segment.start, segment.end)}


def apply(queue: RetransmissionQueue, naive: NaiveQueue, operation: tuple[str, int, int]) -> None:
    name, first, second = operation
    live = queue.segments[queue.head :]
    if name == "send":
        queue.append(SentSegment(naive.nxt, naive.nxt + first, 0))
        naive.send(first)
    elif name == "ack":
        ack = min(naive.una + first, naive.nxt)
        assert octets_of(queue.acknowledge(ack)) == naive.ack(ack)
    elif name == "sack":
        start = min(naive.una + first, naive.nxt)
        end = min(start + second, naive.nxt)
        if start < end:
            assert octets_of(queue.sack(start, end)) == naive.sack(start, end)
    elif name in ("lose", "resend"):
        segment = live[first % len(live)] if live else None
        if segment is None or segment.sacked or (name == "lose" and segment.lost):
            return
        octets = range(segment.start, segment.end)
        if name == "lose":
            queue.lose(segment)
            naive.lost.update(octets)
            naive.copies.update(dict.fromkeys(octets, 0))
        else:
            queue.resend(segment, 1)
            naive.lost.difference_update(octets)
            naive.copies.update({octet: naive.copies[octet] + 1 for octet in octets})
    elif name == "forgive":
        queue.forgive()
        naive.copies.update(dict.fromkeys(naive.lost, 1))
        naive.lost.clear()
    else:
        queue.renege()
        naive.lost |= naive.sacked
        naive.sacked.clear()


@settings(max_examples=200, deadline=None)
@given(operations=OPERATIONS)
def test_queue_agrees_with_a_naive_one(operations: list[tuple[str, int, int]]) -> None:
    queue, naive = RetransmissionQueue(MSS), NaiveQueue()
    for operation in operations:
        apply(queue, naive, operation)
        assert (queue.pipe, queue.sacked, queue.lost) == (naive.pipe(), len(naive.sacked), len(naive.lost))
        live = queue.segments[queue.head :]
        assert octets_of(live) == set(range(naive.una, naive.nxt))
        lost = queue.next_lost()
        assert (lost.start if lost else None) == min(naive.lost, default=None)
        marked = {octet for start, end in queue.ranges() for octet in range(start, end)}
        assert marked == naive.sacked
        assert len(live) <= naive.nxt // MSS + 2 * len(operations)  # bounded by what was sent
