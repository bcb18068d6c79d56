"""The reassembler, against what networks and attackers do to fragments."""

from itertools import pairwise
from random import Random

import pytest

from nodes.errors import WireError
from nodes.network import reassembly
from nodes.network.counters import IpCounters
from nodes.network.datagram import Datagram
from nodes.network.reassembly import TIMEOUT, Reassembler
from nodes.trace.events import ListTracer, ReassemblyUpdated
from nodes.units import SECOND
from nodes.wire import ipv4
from nodes.wire.addresses import Ip4, parse_ip4

SOURCE, DESTINATION = parse_ip4("10.0.0.2"), parse_ip4("10.0.0.1")
DATA = Random(5).randbytes(4000)


def part(
    start: int,
    end: int,
    last: bool = False,
    data: bytes = DATA,
    identification: int = 1,
    source: Ip4 = SOURCE,
    traffic_class: int = 0,
    options: bytes = b"",
) -> Datagram:
    packet = memoryview(
        ipv4.build(
            source,
            DESTINATION,
            17,
            data[start:end],
            identification=identification,
            more_fragments=not last,
            fragment_offset=start,
            traffic_class=traffic_class,
            options=options,
        )
    )
    header, payload = ipv4.parse(packet)
    return Datagram(0, header, payload, packet, False)


class Bench:
    def __init__(self) -> None:
        self.tracer = ListTracer()
        self.counters = IpCounters()
        self.reassembler = Reassembler(self.counters, self.tracer)

    def feed(self, *parts: Datagram, now: int = 0) -> list[bytes]:
        whole = [self.reassembler.receive(item, now) for item in parts]
        return [bytes(datagram.payload) for datagram in whole if datagram is not None]

    @property
    def memory(self) -> int:
        return self.reassembler._memory

    def last_change(self) -> tuple[str, str]:
        event = self.tracer.of(ReassemblyUpdated)[-1]
        assert isinstance(event, ReassemblyUpdated)
        return event.new, event.trigger


def test_every_order_gives_the_original() -> None:
    """815-1: any permutation, each with duplicates."""
    for seed in range(100):
        random = Random(seed)
        bench = Bench()
        edges = sorted({0, 4000, *(random.randrange(0, 4000, 8) for _ in range(random.randint(1, 30)))})
        parts = [part(start, end, end == 4000) for start, end in pairwise(edges)]
        last = parts.pop(random.randrange(len(parts)))
        parts += random.sample(parts, len(parts) // 2)
        random.shuffle(parts)
        assert bench.feed(*parts) == []
        assert bench.feed(last) == [DATA]
        assert bench.memory == 0
        assert bench.reassembler.deadline() is None


def test_the_whole_datagram_has_the_header_of_the_first_fragment() -> None:
    alert = ipv4.ROUTER_ALERT
    bench = Bench()
    bench.reassembler.receive(part(2000, 4000, last=True), 0)
    whole = bench.reassembler.receive(part(0, 2000, options=alert), 0)
    assert whole is not None
    header, payload = ipv4.parse(whole.packet)  # its checksum is right
    assert header == whole.header
    assert (header.options, header.total_length, header.fragment_offset) == (alert, 4024, 0)
    assert not header.more_fragments
    assert payload == DATA


OVERLAPS = {
    "starts inside": [part(0, 1600), part(1592, 3200)],
    "ends inside": [part(800, 1600), part(0, 808)],
    "inside": [part(0, 1600), part(8, 16)],
    "around": [part(8, 16), part(0, 1600)],
    "same start, longer": [part(0, 800), part(0, 1600)],
    "same start, shorter": [part(0, 1600), part(0, 800)],
    "same end": [part(0, 1600), part(800, 1600)],
    "same range, other octets": [part(0, 1600), part(0, 1600, data=bytes(4000))],
    "over two": [part(0, 800), part(800, 1600), part(400, 1200)],
    "teardrop": [part(0, 40), part(24, 28, last=True)],
    "two ends": [part(3200, 4000, last=True), part(2400, 3200, last=True)],
    "beyond the end": [part(800, 1600, last=True), part(1600, 2400)],
    "end before what is here": [part(1600, 3200), part(8, 800, last=True)],
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_an_overlap_ends_the_datagram(name: str) -> None:
    """791-frag-1, 5722-4: nothing is delivered, and what comes later does not help, until the time is over."""
    bench = Bench()
    assert bench.feed(*OVERLAPS[name]) == []
    assert bench.last_change()[0] == "discarded"
    assert bench.memory == 0
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True), now=TIMEOUT - 1) == []
    assert bench.reassembler.timeout(TIMEOUT) == []
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True), now=TIMEOUT) == [DATA]


def test_a_copy_is_no_overlap() -> None:
    bench = Bench()
    pieces = [part(0, 1600), part(0, 1600), part(3200, 4000, last=True), part(3200, 4000, last=True)]
    assert bench.feed(*pieces, part(1600, 3200)) == [DATA]


@pytest.mark.parametrize("identification", [1, 2])
def test_datagrams_do_not_mix(identification: int) -> None:
    other = {"identification": 2} if identification == 1 else {"source": parse_ip4("10.0.0.3")}
    bench = Bench()
    zeros = bytes(4000)
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True, data=zeros, **other)) == []  # type: ignore[arg-type]
    assert bench.feed(part(0, 1600, data=zeros, **other)) == [zeros]  # type: ignore[arg-type]
    assert bench.feed(part(1600, 4000, last=True)) == [DATA]


@pytest.mark.parametrize(
    ("start", "end", "last", "why"),
    [(0, 1601, False, "not the last"), (0, 0, False, "without octets"), (800, 800, True, "without octets")],
)
def test_impossible_fragments(start: int, end: int, last: bool, why: str) -> None:
    """791-frag-1: a length that is no multiple of eight where more follow; nothing at all."""
    bench = Bench()
    with pytest.raises(WireError, match=why):
        bench.feed(part(start, end, last))
    assert bench.reassembler.deadline() is None


def test_a_datagram_of_more_than_65535_octets() -> None:
    """791-frag-1: the "ping of death", the last fragment ending at 65,535 + 8."""
    bench = Bench()
    packet = memoryview(ipv4.build(SOURCE, DESTINATION, 1, bytes(32), identification=1, fragment_offset=65512))
    header, payload = ipv4.parse(packet)
    with pytest.raises(WireError, match="at most 65535"):
        bench.feed(Datagram(0, header, payload, packet, False))


def test_a_long_header_on_the_first_fragment_counts_too() -> None:
    bench = Bench()
    data = bytes(65512)
    assert bench.feed(part(32768, 65512, last=True, data=data)) == []
    assert bench.feed(part(0, 32768, data=data, options=ipv4.ROUTER_ALERT)) == []
    assert bench.last_change() == ("discarded", "too_long")
    assert Bench().feed(part(32768, 65512, last=True, data=data), part(0, 32768, data=data)) == [data]


def test_timeout_is_fixed_at_60_seconds_from_the_first_fragment() -> None:
    """1122-3.3.2b: and the source is told only if the first fragment is here."""
    bench = Bench()
    bench.feed(part(0, 1600), now=0)
    bench.feed(part(1600, 3200), now=59 * SECOND)
    bench.feed(part(1600, 3200, identification=2), now=SECOND)
    assert bench.reassembler.deadline() == 60 * SECOND
    assert bench.reassembler.timeout(60 * SECOND - 1) == []
    expired = bench.reassembler.timeout(60 * SECOND)
    assert [item.packet for item in expired] == [bytes(part(0, 1600).packet)]
    assert bench.reassembler.deadline() == 61 * SECOND
    assert bench.reassembler.timeout(61 * SECOND) == []
    assert bench.reassembler.deadline() is None
    assert bench.counters.reasm_timeouts == 2
    assert bench.memory == 0


def test_a_flood_of_first_fragments_is_bounded_and_new_datagrams_get_through() -> None:
    """815-flood."""
    bench = Bench()
    for number in range(10_000):
        bench.feed(part(0, 1480, identification=number & 0xFFFF, source=Ip4(0x0A010000 + number)))
        assert bench.memory <= reassembly.MEMORY_LIMIT
    assert len(bench.reassembler._partials) <= reassembly.DATAGRAM_LIMIT
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True)) == [DATA]
    bench.reassembler.timeout(TIMEOUT)
    assert bench.memory == 0


def test_a_flood_of_long_datagrams_is_bounded() -> None:
    """815-flood: by octets, long before the number of datagrams is too high."""
    bench = Bench()
    data = bytes(60_000)
    for number in range(200):
        for start in range(0, 60_000, 1480):
            bench.feed(part(start, min(start + 1480, 59_992), data=data, identification=number))
            assert bench.memory <= reassembly.MEMORY_LIMIT
    assert len(bench.reassembler._partials) < 100
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True)) == [DATA]


def test_a_flood_of_refused_datagrams_is_bounded() -> None:
    bench = Bench()
    for number in range(3000):
        bench.feed(part(0, 80, identification=number), part(40, 120, identification=number))
    assert len(bench.reassembler._partials) <= reassembly.DATAGRAM_LIMIT
    assert bench.memory == 0


def test_the_smallest_fragments_are_enough_for_the_longest_datagram_and_no_more() -> None:
    data = bytes(65515)
    pieces = [part(start, min(start + 48, 65515), start + 48 >= 65515, data) for start in range(0, 65515, 48)]
    assert Bench().feed(*pieces) == [data]
    bench = Bench()
    for start in range(0, 8 * (reassembly.FRAGMENT_LIMIT + 1), 8):
        bench.feed(part(start, start + 8, data=data))
    assert bench.last_change() == ("discarded", "fragment_limit")


def test_congestion_marks() -> None:
    """3168-5.3: a mark on any fragment marks the datagram; marks among unmarkable fragments are a forgery."""
    bench = Bench()
    bench.reassembler.receive(part(0, 1600, traffic_class=2), 0)
    whole = bench.reassembler.receive(part(1600, 4000, last=True, traffic_class=3), 0)
    assert whole is not None
    assert whole.header.traffic_class == 3
    assert ipv4.parse(whole.packet)[0].traffic_class == 3
    assert bench.feed(part(0, 1600), part(1600, 4000, last=True, traffic_class=3)) == []
    assert bench.last_change() == ("discarded", "ecn_mixed")
