"""Rates, buckets and traces."""

from __future__ import annotations

import pytest

from nodes.errors import MisuseError
from nodes.impairment import Codel, Impairment, RateTrace, TokenBucket
from nodes.physical.server import BucketServer, LineLength, RateServer, TraceServer, make_server
from nodes.units import MICROSECOND, MILLISECOND, SECOND

MEGABIT = 1_000_000


def test_rate_is_length_over_rate() -> None:
    server = RateServer(10 * MEGABIT)
    assert server.finish(1250, 0) == MILLISECOND
    assert server.finish(1250, MILLISECOND) == 2 * MILLISECOND
    assert server.finish(125, 5 * MILLISECOND) == 5 * MILLISECOND + 100 * MICROSECOND
    assert server.finish(0, 7 * MILLISECOND) == 7 * MILLISECOND


def test_rate_rounds_nothing_away_while_frames_follow_each_other() -> None:
    """Three frames of 8/3 ns end after 8 ns; a pause forgets the third of a nanosecond."""
    server = RateServer(3 * SECOND)
    assert [server.finish(1, 0), server.finish(1, 2), server.finish(1, 5)] == [2, 5, 8]
    assert server.finish(1, 100) == 102
    assert server.finish(1, 103) == 105


@pytest.mark.parametrize(
    ("overhead", "cell", "cell_overhead", "expected"),
    [
        (0, 0, 0, 100),
        (24, 0, 0, 124),
        (-14, 0, 0, 86),
        (-200, 0, 0, 0),
        (0, 48, 5, 159),
        (20, 60, 0, 120),
        (0, 0, 5, 100),
    ],
)
def test_line_length(overhead: int, cell: int, cell_overhead: int, expected: int) -> None:
    """Facts A4: whole cells, each with its overhead; overheads may be negative, lengths not."""
    assert LineLength(overhead, cell, cell_overhead)(100) == expected
    assert RateServer(8, overhead, cell, cell_overhead).finish(100, 0) == expected * SECOND


def test_bucket_sends_a_burst_and_then_at_its_rate() -> None:
    server = BucketServer(TokenBucket(rate=8 * MEGABIT, burst=3000), 0)
    assert [server.finish(1000, 0) for _ in range(3)] == [0, 0, 0]
    assert server.finish(1000, 0) == MILLISECOND
    assert server.finish(500, MILLISECOND) == MILLISECOND + 500 * MICROSECOND
    assert server.finish(1000, 2 * MILLISECOND) == 2 * MILLISECOND + 500 * MICROSECOND  # 500 octets since then


def test_bucket_never_holds_more_than_its_burst() -> None:
    server = BucketServer(TokenBucket(rate=8 * MEGABIT, burst=1000), 0)
    assert server.finish(1000, 10 * SECOND) == 10 * SECOND
    assert server.finish(1000, 10 * SECOND) == 10 * SECOND + MILLISECOND


def test_bucket_peak_is_the_speed_of_the_line() -> None:
    server = BucketServer(TokenBucket(rate=8 * MEGABIT, burst=2000, peak=80 * MEGABIT), 0)
    assert server.finish(1000, 0) == 100 * MICROSECOND
    assert server.finish(1000, 100 * MICROSECOND) == 200 * MICROSECOND  # 200 octets of tokens came meanwhile
    assert server.finish(1000, 200 * MICROSECOND) == MILLISECOND + 100 * MICROSECOND
    assert server.finish(1000, MILLISECOND + 100 * MICROSECOND) == 2 * MILLISECOND + 100 * MICROSECOND


def test_bucket_tokens_are_exact() -> None:
    """At 3 bit/s an octet takes 8/3 s; the thirds are not lost."""
    server = BucketServer(TokenBucket(rate=3, burst=2), 0)
    ends, now = [], 0
    for _ in range(5):
        now = server.finish(1, now)
        ends.append(now)
    assert ends == [0, 0, 2_666_666_667, 5_333_333_334, 8 * SECOND]


def test_bucket_frame_larger_than_it_leaves_a_debt() -> None:
    server = BucketServer(TokenBucket(rate=8 * MEGABIT, burst=1000), 0)
    assert server.finish(3000, 0) == 0
    assert server.finish(500, 0) == 2500 * MICROSECOND


def test_bucket_change_keeps_tokens() -> None:
    server = BucketServer(TokenBucket(rate=8 * MEGABIT, burst=3000), 0)
    server.finish(3000, 0)
    assert server.change(Impairment(bucket=TokenBucket(rate=16 * MEGABIT, burst=9000)), MILLISECOND)
    assert server.snapshot(MILLISECOND)["tokens"] == 1000
    assert server.finish(3000, MILLISECOND) == 2 * MILLISECOND
    assert server.change(Impairment(bucket=TokenBucket(rate=8 * MEGABIT, burst=500)), SECOND)
    assert server.snapshot(SECOND)["tokens"] == 500
    assert server.finish(500, SECOND) == SECOND
    assert server.finish(500, SECOND) == SECOND + 500 * MICROSECOND


def test_trace_opportunities_carry_1500_octets() -> None:
    """Facts A8: a packet of 1500 octets for each, the next one only at the next."""
    server = TraceServer(RateTrace((3, 3, 8, 10)), 0)
    now, ends = 0, []
    for _ in range(6):
        now = server.finish(1514, now)
        ends.append(now // MILLISECOND)
    assert ends == [3, 3, 8, 10, 13, 13]


def test_trace_small_packets_share_and_large_ones_span() -> None:
    server = TraceServer(RateTrace((2, 4, 6, 8, 10)), 0)
    assert server.finish(514, 0) == 2 * MILLISECOND
    assert server.finish(514, 2 * MILLISECOND) == 2 * MILLISECOND
    assert server.finish(514, 2 * MILLISECOND) == 2 * MILLISECOND
    assert server.finish(514, 2 * MILLISECOND) == 4 * MILLISECOND
    assert server.finish(1514, 4 * MILLISECOND) == 6 * MILLISECOND  # 1000 octets at 4, 500 at 6
    assert server.finish(1014, 6 * MILLISECOND) == 6 * MILLISECOND
    assert server.finish(4014, 6 * MILLISECOND) == 12 * MILLISECOND  # 8, 10 and 1000 octets at 12
    assert server.finish(514, 12 * MILLISECOND) == 12 * MILLISECOND


def test_trace_unused_opportunities_are_wasted() -> None:
    """Whole ones, and what is left of one when the queue was empty."""
    server = TraceServer(RateTrace((2, 4, 6, 8)), 0)
    assert server.finish(514, 0) == 2 * MILLISECOND
    assert server.finish(514, 2 * MILLISECOND + 1) == 4 * MILLISECOND
    assert server.finish(514, 7 * MILLISECOND) == 8 * MILLISECOND
    assert server.finish(1514, 80 * MILLISECOND) == 80 * MILLISECOND
    assert server.finish(1514, 80 * MILLISECOND) == 82 * MILLISECOND


def test_trace_begins_where_it_is_told() -> None:
    server = TraceServer(RateTrace((5,)), 1000)
    assert server.finish(60, 0) == 5 * MILLISECOND + 1000
    assert server.snapshot(6 * MILLISECOND)["next"] == 10 * MILLISECOND + 1000


def test_trace_rate_is_its_average() -> None:
    """Facts A8: `1` alone is 12 Mbit/s."""
    assert TraceServer(RateTrace((1,)), 0).rate == 12 * MEGABIT
    assert TraceServer(RateTrace((1, 1, 4)), 0).rate == 9 * MEGABIT


def test_trace_of_no_length_is_refused() -> None:
    for opportunities in ((), (0,)):
        with pytest.raises(MisuseError):
            TraceServer(RateTrace(opportunities), 0)


def test_make_server_takes_the_most_specific() -> None:
    rate, bucket, trace = 8 * MEGABIT, TokenBucket(MEGABIT, 2000), RateTrace((1,))
    assert isinstance(make_server(Impairment(rate=rate), 0), RateServer)
    assert isinstance(make_server(Impairment(rate=rate, bucket=bucket), 0), BucketServer)
    assert isinstance(make_server(Impairment(rate=rate, bucket=bucket, trace=trace), 0), TraceServer)
    assert make_server(Impairment(rate=rate, cell=48, cell_overhead=5), 0).finish(1, 0) == 53 * MICROSECOND
    full = make_server(Impairment(bucket=bucket, overhead=1000), 0)
    assert full.finish(1000, 0) == 0
    assert full.finish(1, 0) == 8 * MILLISECOND + 8 * MICROSECOND
    with pytest.raises(MisuseError, match="without anything that empties it"):
        make_server(Impairment(queue=Codel()), 0)


def test_make_server_changes_one_of_the_same_kind() -> None:
    impairments = [
        Impairment(rate=8 * MEGABIT),
        Impairment(bucket=TokenBucket(MEGABIT, 2000)),
        Impairment(trace=RateTrace((1,))),
    ]
    for old in impairments:
        for new in impairments:
            before = make_server(old, 0)
            assert (make_server(new, 5, before) is before) is (old is new)


def test_rate_change_holds_for_the_next_frame() -> None:
    server = RateServer(8 * MEGABIT)
    assert server.finish(1000, 0) == MILLISECOND
    assert make_server(Impairment(rate=16 * MEGABIT, overhead=1000), 500, server) is server
    assert server.finish(1000, MILLISECOND) == 2 * MILLISECOND
    assert server.rate == 16 * MEGABIT


def test_trace_change_begins_the_new_one_and_goes_on_with_the_old_one() -> None:
    server = TraceServer(RateTrace((2, 9)), 0)
    server.finish(1514, 0)
    assert server.change(Impairment(trace=RateTrace((2, 9))), MILLISECOND)
    assert server.finish(1514, 2 * MILLISECOND) == 9 * MILLISECOND
    assert server.change(Impairment(trace=RateTrace((5,))), 20 * MILLISECOND)
    assert server.finish(1514, 20 * MILLISECOND) == 25 * MILLISECOND


def test_nonsense_is_refused() -> None:
    for bucket in (TokenBucket(0, 1), TokenBucket(1, 0)):
        with pytest.raises(MisuseError):
            BucketServer(bucket, 0)
    with pytest.raises(MisuseError):
        RateServer(0)


def test_snapshots_name_the_server() -> None:
    assert RateServer(5).snapshot(0) == {"server": "rate", "rate": 5}
    assert BucketServer(TokenBucket(5, 6), 0).snapshot(0) == {"server": "bucket", "rate": 5, "burst": 6, "tokens": 6}
