"""Several flows at one bottleneck: who gets what.

Jain's index of the rates x is (Σx)² / (n Σx²): 1 if all are equal, 1/n if one has everything. The rates are of the
second half of the time, when all flows have been running for a while.
"""

from __future__ import annotations

import pytest

from nodes.units import MILLISECOND, SECOND
from tests.sim.tcp_network import LinkProfile, Network, dumbbell
from tests.sim.tcp_programs import Transfer

RATE = 10_000_000
DELAY = 10 * MILLISECOND
QUEUE = 50_000
"""Two bandwidth-delay products."""
BOTTLENECK = LinkProfile(delay=DELAY, rate=RATE, queue=QUEUE)
SPREAD = 100 * MILLISECOND
"""Between the starts of two flows."""
ENDLESS = 1 << 40


def jain(rates: list[float]) -> float:
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def compete(
    algorithms: list[str],
    seconds: int = 10,
    *,
    extra: tuple[int, ...] = (),
    bottleneck: LinkProfile = BOTTLENECK,
    send_limit: int = 400_000,
) -> tuple[list[float], Network]:
    """The rates of the flows in Mbit/s."""
    network = dumbbell(len(algorithms), bottleneck, extra=extra, seed=len(algorithms))
    flows = [
        Transfer(
            network,
            ENDLESS,
            source=2 * number,
            destination=2 * number + 1,
            start=number * SPREAD,
            congestion=congestion,
            send_limit=send_limit,
        )
        for number, congestion in enumerate(algorithms)
    ]
    network.run(seconds * SECOND // 2)
    before = [flow.reader.received for flow in flows]
    network.run(seconds * SECOND)
    elapsed = seconds / 2 * 1e6
    return [(flow.reader.received - old) * 8 / elapsed for flow, old in zip(flows, before, strict=True)], network


@pytest.mark.slow
@pytest.mark.parametrize("flows", [2, 10])
@pytest.mark.parametrize(
    ("congestion", "least"),
    [("aimd", 0.9), ("tahoe", 0.85), ("reno", 0.85), ("newreno", 0.85), ("cubic", 0.85), ("bbr", 0.6)],
)
def test_equals_share_equally(congestion: str, least: float, flows: int) -> None:
    """RFC 5681, RFC 9438, Chiu and Jain 1989: flows of the same kind and the same round trip, and the link is full."""
    rates, _ = compete([congestion] * flows)
    assert jain(rates) >= least, [f"{rate:.2f}" for rate in rates]
    assert sum(rates) >= 0.8 * RATE / 1e6


@pytest.mark.slow
@pytest.mark.parametrize("marks", [False, True], ids=["tail drop", "ecn"])
def test_reno_and_cubic_live_together(marks: bool) -> None:
    """RFC 9438 section 4.3: on a short path CUBIC is no more aggressive than Reno."""
    bottleneck = LinkProfile(delay=DELAY, rate=RATE, queue=QUEUE, mark_above=QUEUE // 3 if marks else None)
    rates, network = compete(["newreno", "cubic", "newreno", "cubic"], bottleneck=bottleneck)
    reno, cubic = rates[0] + rates[2], rates[1] + rates[3]
    assert 1 / 3 <= reno / cubic <= 3, rates
    assert jain(rates) >= 0.7
    if marks:
        assert network.links[0].fates["marked"]


@pytest.mark.slow
def test_bbr_and_cubic_live_together() -> None:
    """Neither starves: at two bandwidth-delay products of queue each gets a tenth at least."""
    rates, _ = compete(["bbr", "cubic", "bbr", "cubic"])
    assert min(rates) >= RATE / 1e6 / 40, rates
    assert min(rates[0] + rates[2], rates[1] + rates[3]) >= RATE / 1e7, rates


@pytest.mark.slow
def test_no_control_is_no_neighbor() -> None:
    """RFC 2914 section 5: with four senders of a fixed window of 64 KB, more than the path and its queue hold together,
    much of what is sent is dropped, and all five flows get less than they would."""
    rates, network = compete(["none"] * 4 + ["newreno"], 20, send_limit=65_536)
    controlled, _ = compete(["newreno"] * 5, send_limit=65_536)
    assert sum(rates) < 0.9 * sum(controlled), rates
    counters = [stack.tcp.counters for stack in network.stacks[:8:2]]
    assert sum(c.retransmitted_segments for c in counters) > 0.1 * sum(c.out_segments for c in counters)


@pytest.mark.slow
@pytest.mark.parametrize("congestion", ["newreno", "cubic", "bbr"])
def test_a_short_round_trip_is_an_advantage(congestion: str) -> None:
    """Reno's rate goes with 1 / RTT at least (Mathis and others 1997); at 20 ms against 100 ms and a queue of 40 ms the
    nearer flow gets more, and the farther one does not starve."""
    bottleneck = LinkProfile(delay=DELAY, rate=20_000_000, queue=100_000)
    rates, _ = compete([congestion] * 2, extra=(0, 40 * MILLISECOND), bottleneck=bottleneck)
    if congestion == "newreno":
        assert rates[0] > 1.3 * rates[1]
    assert min(rates) > 20 / 40, rates


@pytest.mark.slow
def test_a_late_flow_gets_its_share() -> None:
    """A flow alone has the link; one that comes five seconds later gets half of it."""
    network = dumbbell(2, BOTTLENECK, seed=3)
    first = Transfer(network, ENDLESS, send_limit=400_000, congestion="newreno")
    second = Transfer(
        network, ENDLESS, source=2, destination=3, start=5 * SECOND, send_limit=400_000, congestion="newreno"
    )
    network.run(5 * SECOND)
    assert first.reader.received * 8 / 5 > 0.85 * RATE
    network.run(12 * SECOND)
    before = first.reader.received, second.reader.received
    network.run(20 * SECOND)
    rates = [now - old for now, old in zip((first.reader.received, second.reader.received), before, strict=True)]
    assert jain([float(rate) for rate in rates]) > 0.85


@pytest.mark.slow
def test_the_same_seed_gives_the_same_packets_for_all() -> None:
    first = compete(["newreno", "cubic", "bbr"], 4)
    again = compete(["newreno", "cubic", "bbr"], 4)
    assert first[1].digest == again[1].digest
    assert first[0] == again[0]
