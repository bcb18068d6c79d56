"""When to acknowledge."""

import pytest

from nodes.transport.tcp.acknowledgment import DECAY, IDLE, MINIMUM_FULL, QUICK_ACKS, AckPolicy
from nodes.units import MILLISECOND, SECOND

DELAY = 40 * MILLISECOND
MSS = 1460
FULL = 1448


def make(quick_acks: int = 0) -> AckPolicy:
    return AckPolicy(MSS, DELAY, quick_acks)


def learned(quick_acks: int = 0) -> AckPolicy:
    """One that has seen a full segment."""
    policy = make(quick_acks)
    policy.received(FULL, 0)
    policy.sent()
    return policy


def feed(policy: AckPolicy, *lengths: int, now: int = 0) -> int:
    """How many acknowledgments leave at once."""
    count = 0
    for length in lengths:
        policy.received(length, now)
        if policy.now_needed:
            policy.sent()
            count += 1
    return count


def test_a_lone_segment_waits() -> None:
    """MUST-40, SHLD-18."""
    policy = make()
    policy.received(100, 5)
    assert (policy.now_needed, policy.deadline, policy.owed) == (False, 5 + DELAY, 100)
    policy.received(100, 6)
    assert policy.deadline == 5 + DELAY
    policy.timeout(4 + DELAY)
    assert not policy.now_needed
    policy.timeout(5 + DELAY)
    assert (policy.now_needed, policy.deadline) == (True, None)
    policy.sent()
    assert (policy.now_needed, policy.owed) == (False, 0)


def test_delay_is_at_most_half_a_second() -> None:
    """MUST-40."""
    policy = AckPolicy(MSS, 10 * SECOND, 0)
    policy.received(1, 0)
    assert policy.deadline == SECOND // 2


def test_every_second_full_segment() -> None:
    """SHLD-19, 5681-4.2: ten full segments, five acknowledgments, also where options make them shorter than the MSS."""
    policy = learned()
    assert policy.full == FULL
    assert feed(policy, *[FULL] * 10) == 5
    assert policy.deadline is None


def test_short_segments_count_by_their_octets() -> None:
    policy = learned()
    assert feed(policy, *[FULL // 2] * 8) == 2


def test_an_aggregate_is_acknowledged_at_once() -> None:
    """What the network put together, or offload never took apart, is many segments."""
    policy = learned()
    assert feed(policy, 65_160, 65_160, FULL, 2 * FULL) == 3
    assert policy.full <= MSS


def test_full_size_decays() -> None:
    """A peer whose path has a smaller MTU now."""
    policy = learned()
    feed(policy, *[1000] * DECAY)
    assert policy.full == 1000
    policy.sent()
    assert feed(policy, *[1000] * 10) == 5
    feed(policy, FULL)
    assert policy.full == FULL


def test_short_writes_are_not_short_segments() -> None:
    policy = learned()
    feed(policy, *[10] * DECAY)
    assert policy.full == MINIMUM_FULL
    small = AckPolicy(200, DELAY, 0)
    assert small.full == 200
    assert feed(small, 200, 200) == 1


def test_quick_acks_at_the_start() -> None:
    """SHLD-18: slow start needs acknowledgments."""
    policy = make(QUICK_ACKS)
    assert feed(policy, *[FULL] * QUICK_ACKS) == QUICK_ACKS
    assert feed(policy, *[FULL] * 10) == 5


def test_quick_acks_after_idling() -> None:
    """5681-4.1: the peer begins with a small window again."""
    policy = make(2)
    assert feed(policy, 100, 100) == 2
    assert feed(policy, 100, now=IDLE) == 0
    policy.sent()
    assert feed(policy, 100, 100, now=2 * IDLE + 1) == 2


def test_a_dialog_waits() -> None:
    """Where our data takes the acknowledgment along, waiting pays; until a wait was in vain."""
    policy = make(1)
    feed(policy, 100)
    policy.received(100, 1)
    assert policy.deadline is not None
    policy.sent(with_data=True)
    assert policy.deadline is None
    later = 10 * IDLE
    assert feed(policy, 100, now=later) == 0
    policy.timeout(later + DELAY)
    assert policy.now_needed
    policy.sent()
    assert feed(policy, 100, now=2 * later) == 1


def test_data_that_took_nothing_along_is_no_dialog() -> None:
    policy = make(2)
    policy.received(100, 0)
    assert policy.now_needed
    policy.sent(with_data=True)
    assert feed(policy, 100) == 1


def test_demand() -> None:
    """5681-4.2: out of order, a filled gap, a duplicate."""
    policy = learned()
    policy.demand()
    assert policy.now_needed
    policy.sent()
    assert not policy.now_needed


def test_demand_ends_the_wait() -> None:
    policy = learned()
    policy.received(100, 0)
    policy.demand()
    policy.sent()
    assert (policy.deadline, policy.owed) == (None, 0)


def test_ecn_echo() -> None:
    """SHLD-8, RFC 3168 section 6.1.3: ECE until CWR."""
    policy = learned()
    assert not policy.echo
    policy.ecn(marked=True, cwr=False)
    assert policy.echo
    assert policy.now_needed
    policy.sent()
    assert policy.echo
    policy.ecn(marked=True, cwr=False)
    assert not policy.now_needed
    policy.ecn(marked=False, cwr=True)
    assert not policy.echo
    assert policy.now_needed


def test_ecn_mark_on_cwr() -> None:
    policy = learned()
    policy.ecn(marked=True, cwr=False)
    policy.sent()
    policy.ecn(marked=True, cwr=True)
    assert policy.echo
    assert policy.now_needed
    policy.ecn(marked=False, cwr=False)
    assert policy.echo


@pytest.mark.parametrize("delay", [0, 1, DELAY])
def test_no_spinning(delay: int) -> None:
    """After `timeout(now)` the deadline is later, or none."""
    policy = AckPolicy(MSS, delay, 0)
    policy.received(1, 7)
    deadline = policy.deadline
    assert deadline is not None
    policy.timeout(deadline)
    assert policy.deadline is None
    policy.timeout(deadline)
    assert policy.now_needed
