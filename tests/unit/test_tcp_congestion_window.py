"""The loss-based algorithms that move a window up by octets and down by halves: none, aimd, tahoe, reno, newreno; and
the registry. Small steps by hand first, then what they make of a bottleneck."""

from __future__ import annotations

import errno
from itertools import pairwise
from random import Random

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.congestion import registry
from nodes.transport.tcp.congestion.aimd import Aimd
from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings, FastRecovery
from nodes.transport.tcp.congestion.fixed import FixedWindow
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.transport.tcp.congestion.reno import Reno
from nodes.transport.tcp.congestion.tahoe import Tahoe
from nodes.transport.tcp.congestion.window import MAXIMUM_WINDOW, WindowControl
from nodes.units import MILLISECOND, SECOND
from tests.unit.ack_clock import Clock, Path, fairness

MSS = 1000
RENO_LIKE = [Tahoe, Reno, NewReno]


def settings(mss: int = MSS, segments: int = 10) -> CongestionSettings:
    return CongestionSettings(mss=mss, initial_window=segments * mss, random=Random(1))


def ack(acknowledged: int = MSS, *, in_recovery: bool = False, cwnd_limited: bool = True, now: int = 0) -> Ack:
    return Ack(
        now=now,
        acknowledged=acknowledged,
        delivered=acknowledged,
        lost=0,
        in_flight=0,
        prior_in_flight=acknowledged,
        una=0,
        nxt=0,
        rtt=None,
        min_rtt=None,
        srtt=None,
        in_recovery=in_recovery,
        cwnd_limited=cwnd_limited,
        rate=None,
    )


def one_round(control: WindowControl, octets: int = MSS) -> None:
    """Acknowledge what the window held at its begin, `octets` at a time."""
    left = control.cwnd
    while left > 0:
        control.acknowledged(ack(min(octets, left)))
        left -= octets


@pytest.fixture(params=RENO_LIKE, ids=lambda kind: kind.name)
def control(request: pytest.FixtureRequest) -> WindowControl:
    return request.param(settings(), 0)


# --- growth --------------------------------------------------------------------------------------------------------


def test_begins_with_the_initial_window(control: WindowControl) -> None:
    """5681-3.1a."""
    assert (control.cwnd, control.ssthresh, control.pacing_rate) == (10 * MSS, INFINITE, None)


def test_an_acknowledgment_of_nothing_does_not_grow_it(control: WindowControl) -> None:
    """5681-3.1b: those of the handshake cover no data; 5681-2: duplicates neither."""
    for _ in range(100):
        control.acknowledged(ack(0))
    assert control.cwnd == 10 * MSS


def test_slow_start_doubles_in_a_round(control: WindowControl) -> None:
    one_round(control)
    assert control.cwnd == 20 * MSS


def test_slow_start_with_every_second_segment_acknowledged_doubles_too(control: WindowControl) -> None:
    """RFC 3465: octets count, with L = 2."""
    one_round(control, 2 * MSS)
    assert control.cwnd == 20 * MSS


def test_one_acknowledgment_may_stand_for_many(control: WindowControl) -> None:
    """A receiver that coalesces does not make slow start linear: no L of RFC 3465 section 2.2."""
    control.acknowledged(ack(10 * MSS))
    assert control.cwnd == 20 * MSS


def test_divided_acknowledgments_give_no_more(control: WindowControl) -> None:
    """5681-3.1d: ten acknowledgments for one segment give one segment."""
    for _ in range(10):
        control.acknowledged(ack(MSS // 10))
    assert control.cwnd == 11 * MSS


def test_slow_start_ends_at_ssthresh(control: WindowControl) -> None:
    control.ssthresh = 15 * MSS + 300
    one_round(control)
    assert control.cwnd == control.ssthresh


@pytest.mark.parametrize("octets", [MSS, 2 * MSS, MSS // 4, 7 * MSS])
def test_congestion_avoidance_grows_one_segment_per_round(control: WindowControl, octets: int) -> None:
    """5681-3.1e, however acknowledgments are cut."""
    control.ssthresh = control.cwnd
    before = control.cwnd
    for _ in range(20):
        one_round(control, octets)
    assert 18 * MSS <= control.cwnd - before <= 20 * MSS


def test_one_acknowledgment_of_many_windows_gives_one_segment(control: WindowControl) -> None:
    control.ssthresh = control.cwnd
    control.acknowledged(ack(1000 * MSS))
    assert control.cwnd == 11 * MSS


@pytest.mark.parametrize("ssthresh", [INFINITE, 10 * MSS])
def test_does_not_grow_in_recovery_nor_without_need(control: WindowControl, ssthresh: int) -> None:
    """RFC 7661: a window that was not filled is not tested by what arrived."""
    control.ssthresh = ssthresh
    for _ in range(50):
        control.acknowledged(ack(in_recovery=True))
        control.acknowledged(ack(cwnd_limited=False))
    assert control.cwnd == 10 * MSS


def test_never_grows_beyond_what_a_peer_can_offer(control: WindowControl) -> None:
    control.cwnd = MAXIMUM_WINDOW - 10
    control.acknowledged(ack())
    assert control.cwnd == MAXIMUM_WINDOW
    control.ssthresh = 2 * MSS
    control.acknowledged(ack(MAXIMUM_WINDOW))
    assert control.cwnd == MAXIMUM_WINDOW


# --- reduction -----------------------------------------------------------------------------------------------------


def test_congestion_halves_what_was_in_flight(control: WindowControl) -> None:
    """5681-3.2b."""
    control.cwnd = 40 * MSS
    control.congestion(30 * MSS, 0)
    assert (control.ssthresh, control.cwnd) == (15 * MSS, 15 * MSS)


def test_ssthresh_is_at_least_two_segments(control: WindowControl) -> None:
    """RFC 5681 equation 4."""
    control.congestion(MSS, 0)
    assert (control.ssthresh, control.cwnd) == (2 * MSS, 2 * MSS)


def test_a_reduction_never_raises_the_window(control: WindowControl) -> None:
    control.cwnd = MSS
    control.congestion(50 * MSS, 0)
    assert (control.cwnd, control.ssthresh) == (MSS, 25 * MSS)


def test_timeout(control: WindowControl) -> None:
    """5681-3.1f: one segment, ssthresh half of what was in flight, then slow start up to it."""
    control.cwnd = 40 * MSS
    control.timeout(40 * MSS, 0, repeated=False)
    assert (control.cwnd, control.ssthresh) == (MSS, 20 * MSS)
    windows = []
    for _ in range(6):
        windows.append(control.cwnd // MSS)
        one_round(control)
    assert windows == [1, 2, 4, 8, 16, 20]


def test_a_repeated_timeout_keeps_ssthresh(control: WindowControl) -> None:
    """5681-3.1g."""
    control.cwnd = 40 * MSS
    control.timeout(40 * MSS, 0, repeated=False)
    control.timeout(MSS, 1, repeated=True)
    assert (control.cwnd, control.ssthresh) == (MSS, 20 * MSS)


def test_what_had_arrived_long_before_does_not_count(control: WindowControl) -> None:
    """RFC 3465 section 2.3: after a timeout an acknowledgment covers what SACK had told before."""
    control.timeout(40 * MSS, 0, repeated=False)
    control.acknowledged(ack(20 * MSS)._replace(delivered=MSS))
    assert control.cwnd == 2 * MSS


def test_a_spurious_reduction_is_undone(control: WindowControl) -> None:
    control.cwnd, control.ssthresh = 40 * MSS, 30 * MSS
    control.congestion(40 * MSS, 0)
    control.spurious(1)
    assert (control.cwnd, control.ssthresh) == (40 * MSS, 30 * MSS)


def test_undoing_a_timeout_goes_back_before_the_first(control: WindowControl) -> None:
    control.cwnd = 40 * MSS
    control.timeout(40 * MSS, 0, repeated=False)
    control.timeout(MSS, 1, repeated=True)
    control.spurious(2)
    assert (control.cwnd, control.ssthresh) == (40 * MSS, INFINITE)
    control.acknowledged(ack(2 * MSS))
    assert control.cwnd == 42 * MSS


def test_undoing_happens_once_and_never_lowers(control: WindowControl) -> None:
    control.congestion(10 * MSS, 0)
    control.cwnd = 50 * MSS
    control.spurious(1)
    control.cwnd = 60 * MSS
    control.ssthresh = 7 * MSS
    control.spurious(2)
    assert (control.cwnd, control.ssthresh) == (60 * MSS, 7 * MSS)


def test_idle_goes_back_to_the_initial_window(control: WindowControl) -> None:
    """5681-4.1, and RFC 2861: ssthresh remembers three quarters."""
    control.cwnd, control.ssthresh = 40 * MSS, 20 * MSS
    control.idle(0)
    assert (control.cwnd, control.ssthresh) == (10 * MSS, 30 * MSS)


def test_idle_never_raises(control: WindowControl) -> None:
    """5681-4.1: min(IW, cwnd)."""
    control.cwnd = 3 * MSS
    control.idle(0)
    assert (control.cwnd, control.ssthresh) == (3 * MSS, INFINITE)


def test_a_smaller_segment_counts_from_then_on(control: WindowControl) -> None:
    control.set_mss(500)
    assert control.cwnd == 10 * MSS
    control.timeout(10 * MSS, 0, repeated=False)
    assert control.cwnd == 500
    control.set_mss(9000)
    assert control.cwnd == 9000


# --- what sets them apart --------------------------------------------------------------------------------------------


def test_how_they_recover() -> None:
    assert [kind.fast_recovery for kind in RENO_LIKE] == [FastRecovery.NONE, FastRecovery.RENO, FastRecovery.FULL]


def test_none_never_reduces() -> None:
    control = FixedWindow(settings(), 0)
    assert control.cwnd == MAXIMUM_WINDOW
    control.congestion(40 * MSS, 0)
    control.timeout(40 * MSS, 0, repeated=False)
    control.idle(0)
    control.spurious(0)
    control.acknowledged(ack())
    assert (control.cwnd, control.ssthresh) == (MAXIMUM_WINDOW, INFINITE)
    assert not control.uses_recovery_window


def test_none_with_a_window_of_its_own() -> None:
    assert FixedWindow(settings(), 0, 30_000).cwnd == 30_000
    assert FixedWindow(settings(), 0, 1).cwnd == MSS


def test_aimd_has_no_slow_start() -> None:
    control = Aimd(settings(), 0)
    for _ in range(20):
        one_round(control)
    assert control.cwnd == 30 * MSS
    control.timeout(30 * MSS, 0, repeated=False)
    assert control.cwnd == 15 * MSS
    control.timeout(MSS, 0, repeated=True)
    assert control.cwnd == 7500
    one_round(control)
    one_round(control)
    assert control.cwnd == 9500
    control.spurious(1)
    assert control.cwnd == control.ssthresh == 30 * MSS
    control.congestion(20 * MSS, 2)
    assert control.cwnd == control.ssthresh == 10 * MSS
    for _ in range(20):
        control.timeout(MSS, 3, repeated=True)
    assert control.cwnd == MSS


# --- the registry ----------------------------------------------------------------------------------------------------


def test_every_name_is_its_class() -> None:
    assert list(registry.ALGORITHMS) == ["none", "aimd", "tahoe", "reno", "newreno", "cubic", "bbr"]
    for name in registry.ALGORITHMS:
        control = registry.create(name, settings(), 7)
        assert control.name == name
        assert control.cwnd >= 10 * MSS
        assert isinstance(control.snapshot()["phase"], str)


@pytest.mark.parametrize(("name", "hint"), [("cubik", "'cubic'"), ("BBR", "'bbr'"), ("xyz", "aimd, bbr, cubic, none")])
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(MisuseError, match=f"no congestion control '{name}'") as raised:
        registry.create(name, settings(), 0)
    assert raised.value.errno == errno.ENOENT
    assert hint.split(",")[0] in raised.value.hint


@pytest.fixture
def algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ALGORITHMS", dict(registry.ALGORITHMS))


@pytest.mark.usefixtures("algorithms")
def test_register() -> None:
    class Own(Reno):
        name = "own"

    registry.register("own", Own)
    registry.register("own", Own)
    assert isinstance(registry.create("own", settings(), 0), Own)
    with pytest.raises(MisuseError, match="already") as raised:
        registry.register("reno", Own)
    assert raised.value.errno == errno.EEXIST


@pytest.mark.usefixtures("algorithms")
@pytest.mark.parametrize("name", ["", "My Own", "a/b", "Own", "-"])
def test_a_name_must_be_a_word(name: str) -> None:
    with pytest.raises(MisuseError, match="no name"):
        registry.register(name, Reno)


@pytest.mark.usefixtures("algorithms")
def test_what_is_registered_must_fit() -> None:
    with pytest.raises(MisuseError, match="not a class or a function"):
        registry.register("own", "reno")  # type: ignore[arg-type]
    registry.register("own", lambda settings, now: object())  # type: ignore[arg-type, return-value]
    with pytest.raises(MisuseError, match="has no 'name'"):
        registry.create("own", settings(), 0)


# --- at a bottleneck -------------------------------------------------------------------------------------------------


def test_reno_saws() -> None:
    """Half after each loss, then one segment per round trip: the saw-tooth, and no more than that is lost."""
    path = Path(rate=1_250_000, delay=40 * MILLISECOND, buffer=50_000)
    clock = Clock(path)
    flow = clock.add(NewReno)
    clock.run(20 * SECOND)
    points = flow.between(5 * SECOND, 20 * SECOND)
    drops = [(a, b) for a, b in pairwise(points) if b.cwnd < a.cwnd]
    assert len(drops) >= 4
    assert all(0.47 < b.cwnd / a.cwnd < 0.53 for a, b in drops)
    rise = [point for point in points if drops[0][1].time < point.time < drops[1][0].time]
    rounds = sum(1448 / point.cwnd for point in rise)  # each acknowledgment is a part of one
    assert (rise[-1].cwnd - rise[0].cwnd) / 1448 == pytest.approx(rounds, abs=2.5)
    assert flow.timeouts == 0
    assert flow.goodput(5 * SECOND, 20 * SECOND) > 0.93 * path.rate


def test_tahoe_starts_over_after_each_loss() -> None:
    path = Path(rate=1_250_000, delay=40 * MILLISECOND, buffer=50_000)
    clock = Clock(path)
    flow = clock.add(Tahoe)
    clock.run(10 * SECOND)
    assert flow.reductions >= 3
    assert min(point.cwnd for point in flow.between(2 * SECOND, 10 * SECOND)) <= 2 * 1448


@pytest.mark.slow
def test_two_aimd_flows_become_equal() -> None:
    """Chiu and Jain: whatever they began with. The second begins when the first has everything; marks reach both."""
    path = Path(rate=2_500_000, delay=80 * MILLISECOND, buffer=100_000, mark=60_000)
    clock = Clock(path)
    flows = [clock.add(Aimd), clock.add(Aimd, start=20 * SECOND)]
    clock.run(60 * SECOND)
    early = fairness([flow.goodput(20 * SECOND, 25 * SECOND) for flow in flows])
    late = fairness([flow.goodput(40 * SECOND, 60 * SECOND) for flow in flows])
    assert early < 0.8
    assert late > 0.995


def test_none_keeps_the_buffer_full() -> None:
    """Congestion collapse in small: most of what a fixed window sends is dropped."""
    path = Path(rate=1_250_000, delay=40 * MILLISECOND, buffer=50_000)
    clock = Clock(path)
    flow = clock.add(lambda settings, now: FixedWindow(settings, now, 4 * path.bdp))
    clock.run(2 * SECOND)
    assert path.peak > 48_000
    assert flow.lost > flow.delivered / 2
    assert flow.control.cwnd == 4 * path.bdp
