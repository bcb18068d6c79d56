"""SYN cookies: what comes back is what went out, for a minute or two, and nothing else passes."""

from __future__ import annotations

from random import Random

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.cookies import (
    MINUTE,
    MSS_TABLE,
    CookieOptions,
    SynCookies,
    Tuple4,
    decode_timestamp,
    encode_timestamp,
)
from nodes.units import SECOND
from nodes.wire.addresses import Ip4

A, B = Ip4(0x0A000001), Ip4(0x0A000002)
TUPLE: Tuple4 = (A, 80, B, 49152)
COOKIES = SynCookies(bytes(range(16)))
ROUND = 1 << 32


@pytest.mark.parametrize(
    ("mss", "read"),
    [(0, 64), (64, 64), (255, 64), (256, 256), (536, 536), (1400, 1360), (1459, 1440), (1460, 1460), (9000, 8960)],
)
def test_the_mss_comes_back_rounded_down(mss: int, read: int) -> None:
    cookie = COOKIES.make(TUPLE, 1000, mss, 0)
    assert COOKIES.check(TUPLE, 1000, cookie, 0) == read


@pytest.mark.parametrize("mss", MSS_TABLE)
@pytest.mark.parametrize("irs", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("now", [0, 255 * MINUTE, 256 * MINUTE, 10**6 * MINUTE])
def test_wherever_the_numbers_wrap(mss: int, irs: int, now: int) -> None:
    """B-WRAP"""
    cookie = COOKIES.make(TUPLE, irs, mss, now)
    assert 0 <= cookie < ROUND
    assert COOKIES.check(TUPLE, irs, cookie, now + SECOND) == mss


def test_a_cookie_lives_for_one_to_two_minutes() -> None:
    cookie = COOKIES.make(TUPLE, 5, 1460, MINUTE - 1)
    assert COOKIES.check(TUPLE, 5, cookie, 2 * MINUTE - 1) == 1460
    assert COOKIES.check(TUPLE, 5, cookie, 2 * MINUTE) is None
    cookie = COOKIES.make(TUPLE, 5, 1460, MINUTE)
    assert COOKIES.check(TUPLE, 5, cookie, 3 * MINUTE - 1) == 1460
    assert COOKIES.check(TUPLE, 5, cookie, 3 * MINUTE) is None


def test_a_cookie_of_the_future_is_none() -> None:
    cookie = COOKIES.make(TUPLE, 5, 1460, MINUTE)
    assert COOKIES.check(TUPLE, 5, cookie, 0) is None


def test_an_old_cookie_does_not_come_alive_when_the_minutes_go_round() -> None:
    """The eight bits of them that travel are the same again after 256."""
    cookie = COOKIES.make(TUPLE, 5, 1460, 0)
    alive = [minutes for minutes in range(1000) if COOKIES.check(TUPLE, 5, cookie, minutes * MINUTE) is not None]
    assert alive == [0, 1]


def test_everything_is_bound_to_the_cookie() -> None:
    cookie = COOKIES.make(TUPLE, 5, 1460, 0)
    others: list[Tuple4] = [(B, 80, B, 49152), (A, 81, B, 49152), (A, 80, A, 49152), (A, 80, B, 49153)]
    assert [COOKIES.check(other, 5, cookie, 0) for other in others] == [None] * 4
    assert COOKIES.check(TUPLE, 6, cookie, 0) is None
    assert COOKIES.check(TUPLE, 5, cookie ^ 0x0100, 0) is None
    assert SynCookies(bytes(16)).check(TUPLE, 5, cookie, 0) is None


def test_guessing_hopeless() -> None:
    """RFC 4987 section 3.6: 16 of 2^32 numbers pass at any time, so none of 20,000."""
    random = Random(4987)
    hits = [COOKIES.check(TUPLE, 5, random.getrandbits(32), 5 * MINUTE) for _ in range(20_000)]
    assert set(hits) == {None}


def test_later_connections_have_later_numbers() -> None:
    """RFC 9293 section 3.4.1: with the peer's number a clock, ours grows with it."""
    first = COOKIES.make(TUPLE, 1000, 1460, 0)
    second = COOKIES.make(TUPLE, 1000 + 64 * 250_000, 1460, MINUTE)
    assert 0 < (second - first) % ROUND < ROUND // 2


@pytest.mark.parametrize("length", [0, 15, 33])
def test_a_secret_that_is_none(length: int) -> None:
    with pytest.raises(MisuseError, match=f"a secret of {length} octets, 16 to 32 expected"):
        SynCookies(bytes(length))


@pytest.mark.parametrize("window_scale", [None, 0, 7, 14])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("ecn", [False, True])
def test_options_in_a_timestamp(window_scale: int | None, sack: bool, ecn: bool) -> None:
    """The latest such timestamp that is not later than the clock, also across its wrap."""
    for value in (0, 1, 62, 63, 64, 1_000_000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
        echo = encode_timestamp(value, window_scale, sack, ecn)
        assert 0 <= echo < ROUND
        assert (value - echo) % ROUND <= 63
        assert decode_timestamp(echo) == CookieOptions(window_scale, sack, ecn)


def test_any_echo_means_something() -> None:
    read = [decode_timestamp(bits) for bits in range(64)]
    assert len(set(read)) == 64
    assert {options.window_scale for options in read} == {None, *range(15)}
    assert decode_timestamp(0xFFFF_FFC0) == decode_timestamp(0)


@pytest.mark.parametrize("window_scale", [-1, 15])
def test_a_shift_that_tcp_does_not_have(window_scale: int) -> None:
    """7323-2.3"""
    with pytest.raises(MisuseError, match="window scale"):
        encode_timestamp(0, window_scale, False, False)
