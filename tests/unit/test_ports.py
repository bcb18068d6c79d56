"""Port spaces: conflicts, sharing, dynamic ports."""

from __future__ import annotations

import errno
from random import Random

import pytest

from nodes.errors import LimitError, MisuseError
from nodes.transport.ports import CLAIMS_PER_PORT, FIRST_DYNAMIC, LAST_PORT, PortSpace
from nodes.wire.addresses import ANY, Ip4, parse_ip4

A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [(A, A, True), (A, B, False), (A, ANY, True), (ANY, A, True), (ANY, ANY, True)],
)
def test_claims_conflict_where_addresses_overlap(first: Ip4, second: Ip4, conflict: bool) -> None:
    ports = PortSpace(Random(1))
    ports.claim(first, 53)
    if conflict:
        with pytest.raises(MisuseError) as caught:
            ports.claim(second, 53)
        assert caught.value.errno == errno.EADDRINUSE
        assert not ports.is_free(second, 53)
    else:
        assert ports.is_free(second, 53)
        ports.claim(second, 53)


@pytest.mark.parametrize(("one", "other", "shared"), [(True, True, True), (True, False, False), (False, True, False)])
def test_sharing_needs_both(one: bool, other: bool, shared: bool) -> None:
    ports = PortSpace(Random(1))
    ports.claim(ANY, 5353, reuse=one)
    if shared:
        ports.claim(ANY, 5353, reuse=other)
    else:
        with pytest.raises(MisuseError):
            ports.claim(ANY, 5353, reuse=other)


def test_release_frees_one_of_two_sharers_at_a_time() -> None:
    ports = PortSpace(Random(1))
    claims = [ports.claim(ANY, 5353, reuse=True) for _ in range(2)]
    ports.release(claims[0])
    with pytest.raises(MisuseError):
        ports.claim(ANY, 5353)
    with pytest.raises(MisuseError):
        ports.release(claims[0])
    ports.release(claims[1])
    ports.claim(ANY, 5353)


def test_sharers_are_bounded() -> None:
    ports = PortSpace(Random(1))
    for _ in range(CLAIMS_PER_PORT):
        ports.claim(ANY, 5353, reuse=True)
    with pytest.raises(LimitError):
        ports.claim(ANY, 5353, reuse=True)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_only_real_ports(port: int) -> None:
    with pytest.raises(MisuseError) as caught:
        PortSpace(Random(1)).claim(ANY, port)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.slow
def test_dynamic_ports_are_all_of_the_range_then_none() -> None:
    ports = PortSpace(Random(7))
    taken = [ports.claim_dynamic(ANY).port for _ in range(LAST_PORT - FIRST_DYNAMIC + 1)]
    assert sorted(taken) == list(range(FIRST_DYNAMIC, LAST_PORT + 1))
    with pytest.raises(LimitError) as caught:
        ports.claim_dynamic(ANY)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(LimitError) as caught:
        ports.claim_dynamic(ANY, full=errno.EAGAIN)
    assert caught.value.errno == errno.EAGAIN


def test_dynamic_start_is_random_and_repeatable() -> None:
    starts = {PortSpace(Random(seed)).claim_dynamic(ANY).port for seed in range(20)}
    assert len(starts) > 10
    assert PortSpace(Random(3)).claim_dynamic(ANY) == PortSpace(Random(3)).claim_dynamic(ANY)


def test_dynamic_ports_skip_overlapping_claims_even_shared_ones() -> None:
    ports = PortSpace(Random(1), first_dynamic=50000, last_dynamic=50001)
    ports.claim(A, 50000, reuse=True)
    assert ports.claim_dynamic(A, reuse=True).port == 50001
    assert ports.claim_dynamic(B).port in (50000, 50001)
    with pytest.raises(LimitError):
        ports.claim_dynamic(ANY, reuse=True)
    assert len(ports) == 2
