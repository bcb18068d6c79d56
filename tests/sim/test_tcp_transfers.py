"""J-6: a stream arrives whole through everything a network can do to it, at a rate that is known to the octet.

`goodput.txt` is the table of `goodput.py`. After a change of TCP's behaviour that is meant, write it anew:

    python -m tests.sim.goodput > tests/sim/goodput.txt
"""

from math import sqrt
from pathlib import Path

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from tests.sim import goodput
from tests.sim.tcp_audit import audit
from tests.sim.tcp_network import LinkProfile, pair
from tests.sim.tcp_programs import Transfer

TABLE = Path(__file__).with_name("goodput.txt").read_text(encoding="utf-8").splitlines()
ROWS = {line[: goodput.NAME_WIDTH].strip(): line for line in TABLE[1:]}

MSS = 1448


def test_the_table_has_all_rows() -> None:
    assert TABLE[0] == goodput.heading()
    assert list(ROWS) == list(goodput.CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", goodput.CASES)
def test_goodput(name: str) -> None:
    """J-6: content equal, no stall, and exactly the goodput of the table."""
    assert goodput.row(name) == ROWS.get(name), "see the head of this file"


@pytest.mark.slow
@pytest.mark.parametrize("congestion", goodput.ALGORITHMS)
def test_the_same_seed_gives_the_same_packets(congestion: str) -> None:
    """Each simulation runs twice: same time, same headers, same fates; and another seed gives others."""
    case = goodput.CASES["all at once"]
    first = goodput.measure(case, congestion)
    assert goodput.measure(case, congestion) == first
    assert goodput.measure(case, congestion, seed=2).digest != first.digest


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.0, 0.001, 0.01, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("congestion", ["newreno", "cubic", "bbr"])
def test_four_megabytes(congestion: str, loss: float) -> None:
    """J-6 at length: 4 MB at 100 Mbit/s and 20 ms (less where most of the time is waiting for the
    retransmission timer), lost in both directions."""
    size = 4_000_000 if loss <= 0.01 else 1_000_000 if loss <= 0.05 else 100_000
    profile = LinkProfile(rate=100_000_000, delay=10 * MILLISECOND, queue=250_000, loss=loss)
    network = pair(profile, profile, seed=3)
    transfer = Transfer(network, size, congestion=congestion)
    assert network.run(1800 * SECOND, transfer.is_done)
    assert transfer.reader.received == size


@pytest.mark.slow
@pytest.mark.parametrize("congestion", ["tahoe", "newreno", "cubic", "bbr"])
@pytest.mark.parametrize(
    "options", ["no options", "sack", "sack timestamps scaling"], ids=["plain", "sack", "everything"]
)
@pytest.mark.parametrize("impairment", ["loss 1 %", "all at once", "reordering 5 %"])
def test_no_trace_breaks_a_rule(congestion: str, options: str, impairment: str) -> None:
    """J-1 to J-4: what holds for every trace of TCP, see `tcp_audit`."""
    case = goodput.CASES[impairment]
    network = pair(case.link, seed=4, settings=goodput.CASES[f"{options}, loss 1 %"].settings)
    network.capture = []
    transfer = Transfer(network, 400_000, congestion=congestion)
    assert network.run(goodput.LIMIT, transfer.is_done)
    audit(network)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_reno_obeys_the_square_root_law(seed: int) -> None:
    """At random loss p the window of Reno saws around sqrt(3/2p) segments (Mathis and others 1997): the goodput is
    within a third of MSS / RTT * sqrt(3/2p)."""
    loss, rtt = 0.01, 0.02
    network = pair(LinkProfile(rate=1_000_000_000, delay=10 * MILLISECOND, queue=10_000_000, loss=loss), seed=seed)
    transfer = Transfer(network, 4_000_000, congestion="reno")
    assert network.run(100 * SECOND, transfer.is_done)
    law = MSS * 8 / rtt * sqrt(1.5 / loss)
    assert 0.67 * law < transfer.goodput < 1.33 * law


@pytest.mark.slow
def test_cubic_is_ahead_of_reno_where_the_path_is_long() -> None:
    """RFC 9438 section 1: with 100 ms and one loss in a thousand Reno needs long to come back."""
    profile = LinkProfile(rate=100_000_000, delay=50 * MILLISECOND, queue=1_250_000, loss=0.001)
    rates = []
    for congestion in ("reno", "cubic"):
        network = pair(profile, seed=5)
        transfer = Transfer(network, 10_000_000, congestion=congestion)
        assert network.run(300 * SECOND, transfer.is_done)
        rates.append(transfer.goodput)
    assert rates[1] > 1.2 * rates[0]


@pytest.mark.slow
@pytest.mark.parametrize("duplication", [0.01, 0.05])
@pytest.mark.parametrize("congestion", ["tahoe", "reno", "cubic"])
def test_duplicates_from_the_network_undo_nothing(congestion: str, duplication: float) -> None:
    """RFC 3708 section 3: a DSACK for what was never retransmitted comes from the network, and is no reason to take a
    reduction back. All losses here are real."""
    network = pair(goodput.path(loss=0.01, duplication=duplication), seed=6)
    transfer = Transfer(network, 1_000_000, congestion=congestion)
    assert network.run(goodput.LIMIT, transfer.is_done)
    assert transfer.connection.recovery is not None
    counters = transfer.connection.recovery.counters
    assert counters.undone <= 1 + duplication * counters.retransmitted_segments  # those that were doubled themselves


@pytest.mark.slow
@pytest.mark.parametrize("congestion", ["tahoe", "reno", "cubic"])
def test_a_real_loss_is_never_undone(congestion: str) -> None:
    """RFC 3522, RFC 3708, RFC 5682: without reordering, duplication and delay spikes no reduction was a mistake."""
    for seed in range(4):
        network = pair(LinkProfile(rate=100_000_000, delay=10 * MILLISECOND, queue=250_000, loss=0.01), seed=seed)
        transfer = Transfer(network, 3_000_000, congestion=congestion)
        assert network.run(goodput.LIMIT, transfer.is_done)
        assert transfer.connection.recovery is not None
        assert transfer.connection.recovery.counters.undone == 0


def test_an_outage_is_no_black_hole() -> None:
    """RFC 4821 section 7.7: a link that is dead for some seconds swallows all segments, not only the full ones. When it
    is back, full segments must be used again."""
    network = pair(goodput.path(), seed=7)
    network.at(300 * MILLISECOND, 0, lambda now: setattr(network.links[0], "up", False))
    network.at(5 * SECOND, 0, lambda now: setattr(network.links[0], "up", True))
    transfer = Transfer(network, 1_000_000, congestion="reno")
    assert network.run(goodput.LIMIT, transfer.is_done)
    assert transfer.connection.mss == MSS


def test_heavy_loss_is_no_black_hole() -> None:
    """RFC 4821 section 7.7: at 10 % loss two losses of the same segment in a row happen now and then."""
    for seed in range(4):
        profile = goodput.path(loss=0.1)
        network = pair(profile, profile, seed=seed)
        transfer = Transfer(network, 500_000, congestion="reno")
        assert network.run(goodput.LIMIT_IN_HEAVY_LOSS, transfer.is_done)
        assert transfer.connection.mss == MSS


def test_one_octet_and_nothing() -> None:
    for size in (0, 1):
        network = pair(goodput.path(), settings=TcpSettings())
        transfer = Transfer(network, size)
        assert network.run(SECOND, transfer.is_done)
        assert transfer.reader.received == size
