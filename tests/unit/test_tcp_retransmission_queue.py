"""The retransmission queue: records, SACK marks, pipe."""

from __future__ import annotations

import pytest

from nodes.transport.tcp.retransmission_queue import RetransmissionQueue, SentSegment

MSS = 100


def filled(count: int, mss: int = MSS) -> RetransmissionQueue:
    """`count` segments from 1000 on, sent one nanosecond apart."""
    queue = RetransmissionQueue(mss)
    for index in range(count):
        start = 1000 + index * mss
        queue.append(SentSegment(start, start + mss, index))
    return queue


def edges(segments: list[SentSegment]) -> list[tuple[int, int]]:
    return [(segment.start, segment.end) for segment in segments]


def test_acknowledge_removes_and_reports() -> None:
    queue = filled(5)
    assert edges(queue.acknowledge(1200)) == [(1000, 1100), (1100, 1200)]
    assert (queue.pipe, len(queue)) == (300, 3)
    assert queue.acknowledge(1200) == []


def test_partial_acknowledgment_cuts_a_record() -> None:
    queue = filled(2)
    assert edges(queue.acknowledge(1130)) == [(1000, 1100), (1100, 1130)]
    first = queue.first()
    assert first is not None and (first.start, first.end, first.sent_at) == (1130, 1200, 1)
    assert queue.pipe == 70


def test_all_acknowledged_leaves_nothing() -> None:
    queue = filled(3)
    queue.acknowledge(1300)
    assert (len(queue), queue.pipe, queue.first(), queue.last_outstanding()) == (0, 0, None, None)
    queue.append(SentSegment(1300, 1400, 9))
    assert queue.index(1300) == queue.head


def test_memory_of_acknowledged_records_is_given_back() -> None:
    """The front is an index; what is dead must not stay for ever."""
    queue = RetransmissionQueue(1)
    for index in range(20_000):
        queue.append(SentSegment(index, index + 1, 0))
        if index >= 100:
            queue.acknowledge(index - 99)
    assert len(queue) == 100
    assert len(queue.segments) <= 700


def test_sack_marks_whole_segments_once() -> None:
    queue = filled(6)
    assert edges(queue.sack(1200, 1400)) == [(1200, 1300), (1300, 1400)]
    assert (queue.pipe, queue.sacked, queue.ranges()) == (400, 200, [(1200, 1400)])
    assert queue.sack(1200, 1400) == [] and queue.sack(1250, 1390) == []
    assert edges(queue.sack(1100, 1500)) == [(1100, 1200), (1400, 1500)]
    assert queue.ranges() == [(1100, 1500)]


def test_sack_over_several_holes() -> None:
    queue = filled(8)
    queue.sack(1100, 1200)
    queue.sack(1300, 1400)
    queue.sack(1500, 1600)
    assert queue.ranges() == [(1100, 1200), (1300, 1400), (1500, 1600)]
    assert edges(queue.sack(1100, 1600)) == [(1200, 1300), (1400, 1500)]
    assert queue.ranges() == [(1100, 1600)]


def test_part_of_a_segment_is_not_sacked() -> None:
    """A SACK of less than a segment keeps it as it is: one octet must not make records without bound."""
    queue = filled(3)
    assert queue.sack(1110, 1190) == []
    assert (queue.sacked, len(queue), queue.ranges()) == (0, 3, [])
    assert edges(queue.sack(1050, 1250)) == [(1100, 1200)]


def test_large_records_are_split_at_multiples_of_the_mss() -> None:
    queue = RetransmissionQueue(MSS)
    queue.append(SentSegment(1000, 1950, 7))
    assert edges(queue.sack(1210, 1570)) == [(1300, 1500)]
    assert [(s.start, s.end, s.sacked, s.sent_at) for s in queue.segments] == [
        (1000, 1300, False, 7),
        (1300, 1500, True, 7),
        (1500, 1950, False, 7),
    ]
    assert queue.pipe == 750
    assert edges(queue.sack(1900, 1950)) == [(1900, 1950)]


def test_sacked_data_stays_until_acknowledged() -> None:
    """2018-8: the receiver may renege."""
    queue = filled(4)
    queue.sack(1100, 1300)
    assert len(queue) == 4
    assert edges(queue.acknowledge(1300)) == [(1000, 1100)]
    assert (queue.sacked, queue.ranges(), queue.pipe) == (0, [], 100)


def test_acknowledgment_inside_a_sacked_range() -> None:
    queue = filled(5)
    queue.sack(1100, 1400)
    assert edges(queue.acknowledge(1200)) == [(1000, 1100)]
    assert (queue.sacked, queue.ranges()) == (200, [(1200, 1400)])


def test_lost_and_resent_records_in_the_pipe() -> None:
    queue = filled(3)
    first, second = queue.segments[:2]
    queue.lose(second)
    queue.lose(first)
    assert (queue.pipe, queue.lost) == (100, 200)
    assert queue.next_lost() is first
    queue.resend(first, 50)
    assert (queue.pipe, queue.lost, first.retransmissions, first.sent_at, first.first_sent_at) == (200, 100, 1, 50, 0)
    assert queue.next_lost() is second
    queue.resend(queue.segments[2], 60)  # a probe: both copies count (SetPipe of RFC 6675)
    assert queue.pipe == 400 - 100
    queue.sack(1200, 1300)
    assert queue.pipe == 100


def test_lost_records_that_arrive_wait_no_more() -> None:
    queue = filled(4)
    for segment in list(queue.segments):
        queue.lose(segment)
    queue.sack(1000, 1100)
    queue.acknowledge(1250)
    lost = queue.next_lost()
    assert lost is not None and (lost.start, lost.end) == (1250, 1300)
    assert queue.lost == 150


def test_split_lost_record_is_found_in_both_parts() -> None:
    queue = RetransmissionQueue(MSS)
    queue.append(SentSegment(1000, 1300, 0))
    queue.lose(queue.segments[0])
    left = queue.split(queue.segments[0], 1100)
    assert queue.next_lost() is left
    queue.resend(left, 5)
    rest = queue.next_lost()
    assert rest is not None and (rest.start, rest.end) == (1100, 1300)


def test_forgive_puts_the_lost_back_into_the_pipe() -> None:
    queue = filled(4)
    for segment in queue.segments[:3]:
        queue.lose(segment)
    queue.resend(queue.segments[0], 9)
    queue.forgive()
    assert (queue.pipe, queue.lost, queue.next_lost()) == (400, 0, None)


def test_renege_forgets_all_marks() -> None:
    """2018-8: what was SACKed has to be sent again."""
    queue = filled(4)
    queue.sack(1000, 1100)
    queue.sack(1200, 1400)
    queue.renege()
    assert (queue.sacked, queue.ranges(), queue.lost, queue.pipe) == (0, [], 300, 100)
    assert queue.next_lost() is queue.segments[0]


@pytest.mark.parametrize(
    ("blocks", "below"),
    [
        ([(1100, 1200)], None),
        ([(1100, 1300)], None),  # two segments, one range
        ([(1100, 1310)], None),  # the last ten octets are no whole segment
        ([(1100, 1400)], 1100),  # more than two segments' octets
        ([(1100, 1200), (1300, 1400)], None),
        ([(1100, 1200), (1300, 1400), (1500, 1600)], 1100),  # three ranges
        ([(1100, 1200), (1300, 1400), (1500, 1600), (1700, 1800)], 1300),
        ([(1100, 1200), (1500, 1800)], 1500),
    ],
)
def test_is_lost(blocks: list[tuple[int, int]], below: int | None) -> None:
    """6675-4: DupThresh ranges, or more than (DupThresh - 1) * SMSS octets SACKed above."""
    queue = filled(10)
    for start, end in blocks:
        queue.sack(start, end)
    assert queue.lost_below() == below


def test_is_lost_with_small_segments() -> None:
    """6675-4: three ranges are enough, however short."""
    queue = RetransmissionQueue(MSS)
    for start in range(0, 80, 10):
        queue.append(SentSegment(start, start + 10, 0))
    queue.sack(10, 20)
    queue.sack(30, 40)
    assert queue.lost_below() is None
    queue.sack(50, 60)
    assert queue.lost_below() == 10


def test_last_outstanding_is_below_a_sacked_tail() -> None:
    queue = filled(4)
    queue.sack(1200, 1400)
    last = queue.last_outstanding()
    assert last is not None and last.start == 1100
    queue.sack(1000, 1400)
    assert queue.last_outstanding() is None


def test_sacked_until() -> None:
    queue = filled(4)
    queue.sack(1100, 1300)
    assert [queue.sacked_until(n) for n in (1000, 1100, 1299, 1300)] == [1000, 1300, 1300, 1300]
