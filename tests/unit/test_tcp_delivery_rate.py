"""The delivery rate (draft-cheng-iccrg-delivery-rate-estimation)."""

from __future__ import annotations

from nodes.transport.tcp.delivery_rate import DeliveryRate
from nodes.transport.tcp.retransmission_queue import SentSegment
from nodes.units import MILLISECOND, SECOND

MS = MILLISECOND


class Flow:
    """Segments of 1000 octets, by number."""

    def __init__(self) -> None:
        self.rate = DeliveryRate()
        self.in_flight = 0
        self.segments: dict[int, SentSegment] = {}

    def send(self, number: int, now: int) -> None:
        segment = SentSegment(number * 1000, number * 1000 + 1000, now)
        self.rate.sent(segment, self.in_flight, now)
        self.segments[number] = segment
        self.in_flight += 1000


def test_rate_of_a_steady_flow() -> None:
    """A segment per millisecond, 10 ms round trip: 1 MB/s, whatever the window."""
    flow = Flow()
    for number in range(50):
        now = number * MS
        if number >= 10:
            flow.rate.arrived(flow.segments[number - 10])
            flow.in_flight -= 1000
            sample = flow.rate.sample(1000, now, 10 * MS)
            if number >= 20:
                assert sample is not None
                assert sample.delivered * SECOND // sample.interval == 1_000_000
                assert not sample.is_app_limited
        flow.send(number, now)


def test_compressed_acknowledgments_show_no_higher_rate() -> None:
    """Two milliseconds after the other, but sent ten apart: the sending took longer, and counts."""
    flow = Flow()
    flow.send(0, 0)
    flow.rate.arrived(flow.segments[0])
    flow.rate.sample(1000, 10 * MS, 1 * MS)
    flow.send(1, 10 * MS)
    flow.rate.arrived(flow.segments[1])
    sample = flow.rate.sample(1000, 12 * MS, 1 * MS)
    assert sample is not None and sample.interval == 10 * MS


def test_too_short_an_interval_is_no_sample() -> None:
    flow = Flow()
    flow.send(0, 0)
    flow.rate.arrived(flow.segments[0])
    assert flow.rate.sample(1000, 2 * MS, 10 * MS) is None
    assert flow.rate.delivered == 1000


def test_application_limited_samples_are_marked_until_delivered() -> None:
    flow = Flow()
    flow.send(0, 0)
    flow.rate.app_limited(1000)
    flow.send(1, 1 * MS)
    flow.rate.arrived(flow.segments[0])
    first = flow.rate.sample(1000, 10 * MS, 1 * MS)
    flow.rate.arrived(flow.segments[1])
    second = flow.rate.sample(1000, 11 * MS, 1 * MS)
    assert first is not None and second is not None
    assert (first.is_app_limited, second.is_app_limited) == (False, True)
    flow.in_flight = 0
    flow.send(2, 12 * MS)
    flow.rate.arrived(flow.segments[2])
    third = flow.rate.sample(1000, 22 * MS, 1 * MS)
    assert third is not None and not third.is_app_limited


def test_a_new_flight_does_not_count_the_pause() -> None:
    flow = Flow()
    flow.send(0, 0)
    flow.rate.arrived(flow.segments[0])
    flow.rate.sample(1000, 10 * MS, None)
    flow.in_flight = 0
    flow.send(1, 5 * SECOND)
    flow.rate.arrived(flow.segments[1])
    sample = flow.rate.sample(1000, 5 * SECOND + 10 * MS, None)
    assert sample is not None and sample.interval == 10 * MS


def test_the_one_sent_last_makes_the_sample() -> None:
    flow = Flow()
    flow.send(0, 0)
    flow.send(1, 1 * MS)
    flow.rate.arrived(flow.segments[0])
    flow.rate.sample(1000, 10 * MS, None)
    flow.send(2, 10 * MS)
    flow.rate.arrived(flow.segments[2])
    flow.rate.arrived(flow.segments[1])
    sample = flow.rate.sample(2000, 20 * MS, None)
    assert sample is not None
    assert (sample.prior_delivered, sample.delivered, sample.total_delivered) == (1000, 2000, 3000)


def test_nothing_delivered_is_no_sample() -> None:
    assert DeliveryRate().sample(0, 5, None) is None
