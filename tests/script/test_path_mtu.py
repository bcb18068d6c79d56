"""Path MTU discovery of a host (RFC 1191)."""

from random import Random

import pytest

from nodes.datalink.interface import PointToPointInterface
from nodes.errors import MisuseError
from nodes.network import path_mtu
from nodes.network.datagram import Datagram, IcmpError
from nodes.network.path_mtu import FLOOR, LIFETIME
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import ListTracer, PathMtuUpdated
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import ANY, Ip4, Prefix, parse_ip4

OWN, ROUTER, FAR = (parse_ip4(text) for text in ("10.0.0.1", "10.0.0.254", "192.0.2.9"))
PROTOCOL = 253


class Sink:
    def __init__(self) -> None:
        self.errors: list[IcmpError] = []

    def receive(self, datagram: Datagram, now: int) -> bool:
        return True

    def error(self, error: IcmpError, now: int) -> None:
        self.errors.append(error)


class Host:
    def __init__(self, mtu: int = 1500) -> None:
        self.tracer = ListTracer()
        self.stack = Stack(
            [PointToPointInterface(0, "eth0", mtu, self.tracer)], Random(1), self.tracer, forwarding=False
        )
        self.stack.add_address(0, Prefix(OWN, 24), 0)
        self.stack.add_route(Route(Prefix(ANY, 0), ROUTER, 0), 0)
        self.sink = self.stack.handlers[PROTOCOL] = Sink()

    def too_big(self, told: int, length: int = 1500, destination: Ip4 = FAR, now: int = 0) -> None:
        quoted = ipv4.build(OWN, destination, PROTOCOL, bytes(length - 20), dont_fragment=True)[:28]
        message = icmp.build(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, told, quoted)
        self.stack.receive(0, ipv4.build(ROUTER, OWN, 1, message), now)

    def mtu(self, now: int = 0, destination: Ip4 = FAR) -> int:
        return self.stack.ip.path_mtu(destination, now)

    def changes(self) -> list[tuple[int, int, str]]:
        events = self.tracer.of(PathMtuUpdated)
        return [(event.old, event.new, event.trigger) for event in events if isinstance(event, PathMtuUpdated)]


def test_the_estimate_falls_to_what_is_told() -> None:
    """1191-3: for this destination, and the transport hears of it."""
    host = Host()
    host.too_big(1000)
    assert host.mtu() == 1000
    assert host.mtu(destination=parse_ip4("192.0.2.10")) == 1500
    assert host.sink.errors[0].rest == 1000
    assert host.changes() == [(1500, 1000, "fragmentation_needed")]


def test_what_is_sent_follows_the_estimate() -> None:
    """1191-3: cut here where that is allowed, refused where it is not."""
    host = Host()
    host.too_big(1000)
    host.stack.ip.send(bytes(1480), FAR, PROTOCOL, 0)
    assert [len(frame) for _, frame in host.stack.transmit()] == [996, 524]
    host.stack.ip.send(bytes(980), FAR, PROTOCOL, 0, dont_fragment=True)
    assert [ipv4.parse(frame)[0].dont_fragment for _, frame in host.stack.transmit()] == [True]
    with pytest.raises(MisuseError, match="1000 fit"):
        host.stack.ip.send(bytes(981), FAR, PROTOCOL, 0, dont_fragment=True)


def test_it_never_rises_by_news() -> None:
    """1191-3."""
    host = Host()
    host.too_big(1000)
    host.too_big(1400, now=7)
    assert host.mtu() == 1000
    assert len(host.changes()) == 1
    assert host.stack.deadline() == LIFETIME


def test_routers_that_tell_no_mtu() -> None:
    """1191-7.1: the plateaus, from the length that did not fit, downwards."""
    host = Host()
    found = []
    for _ in range(4):
        host.too_big(0, length=host.mtu())
        found.append(host.mtu())
    assert found == [1492, 1006, FLOOR, FLOOR]


def test_nonsense_is_not_learned() -> None:
    """1191-3: only what a packet of ours can have caused."""
    host = Host()
    host.too_big(1000, length=900)
    host.too_big(1000, length=1501)
    host.too_big(1500, length=1500)
    assert host.mtu() == 1500
    assert host.changes() == []


@pytest.mark.parametrize("told", [1, 67, 68, 300, 551])
def test_the_floor(told: int) -> None:
    """1191-3: below 552, the path is marked instead: fragmentation is to be allowed."""
    host = Host()
    host.too_big(told)
    assert host.mtu() == FLOOR
    assert host.stack.ip.path_mtus.is_locked(FAR)
    assert host.changes() == [(1500, FLOOR, "below_floor")]
    host.too_big(0, length=FLOOR)
    assert host.mtu() == FLOOR


def test_a_first_link_below_the_floor() -> None:
    host = Host(mtu=296)
    host.too_big(100, length=296)
    assert host.mtu() == 296


def test_it_ages() -> None:
    """1191-6: after ten minutes without news, the first link's MTU is tried again."""
    host = Host()
    host.too_big(1000, now=5)
    assert host.stack.deadline() == LIFETIME + 5
    host.too_big(900, now=60, length=1000)
    host.stack.timeout(LIFETIME + 5)
    assert host.mtu() == 900
    host.stack.timeout(LIFETIME + 60)
    assert host.mtu() == 1500
    assert host.stack.deadline() is None
    assert host.changes()[-1] == (900, 1500, "aged")


def test_each_destination_ages_by_itself() -> None:
    host = Host()
    other = Ip4(FAR + 1)
    host.too_big(1000, now=0)
    host.too_big(1000, now=10, destination=other)
    host.too_big(900, now=20, length=1000)
    assert host.stack.deadline() == LIFETIME + 10
    host.stack.timeout(LIFETIME + 10)
    assert (host.mtu(), host.mtu(destination=other)) == (900, 1500)


def test_the_first_links_mtu_bounds_the_estimate() -> None:
    host = Host()
    host.too_big(1000)
    host.stack.set_mtu(0, 800, 0)
    assert host.mtu() == 800
    with pytest.raises(MisuseError):
        host.stack.set_mtu(0, 67, 0)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_mtu, "ENTRY_LIMIT", 3)
    host = Host()
    for number in range(5):
        host.too_big(1000, destination=Ip4(FAR + number), now=number)
    assert [host.mtu(destination=Ip4(FAR + number)) for number in range(5)] == [1500, 1500, 1000, 1000, 1000]
