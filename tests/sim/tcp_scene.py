"""One transfer with its trace, taken apart for questions: which segments, how many per round trip, which events.

The usual link is 1 Gbit/s and 50 ms each way: a window leaves within a few milliseconds, and its segments can be
counted.
"""

from __future__ import annotations

from collections.abc import Callable

from nodes.trace.events import ListTracer
from nodes.trace.tcp_events import TimerUpdated
from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from tests.sim.tcp_network import LinkProfile, Network, pair
from tests.sim.tcp_observe import Observed, observe
from tests.sim.tcp_programs import Transfer

MSS = 1448
ONE_WAY = 50 * MILLISECOND
RTT = 2 * ONE_WAY
LONG = LinkProfile(delay=ONE_WAY, rate=1_000_000_000, queue=10_000_000)
Rule = Callable[[bytes, int], bool]


class Scene:
    """One transfer with its trace; it ends, or `until` comes."""

    def __init__(
        self,
        size: int,
        congestion: str = "newreno",
        *,
        rule: Rule | None = None,
        until: int = 100 * SECOND,
        profile: LinkProfile = LONG,
        settings: TcpSettings | None = None,
        before: Callable[[Network], None] | None = None,
        **options: object,
    ) -> None:
        self.tracer = ListTracer(packets=False)
        self.network = network = pair(profile, settings=settings, tracers=[self.tracer])
        network.capture = []
        network.links[0].rule = rule
        self.transfer = Transfer(network, size, congestion=congestion, **options)  # type: ignore[arg-type]
        network.programs = [self.transfer]
        self.transfer.watch(ONE_WAY)
        if before is not None:
            before(network)
        self.done = network.run(until, self.transfer.is_done)
        self.segments = observe(network)
        self.counters = network.stacks[0].tcp.counters

    @property
    def data(self) -> list[Observed]:
        return [segment for segment in self.segments if segment.source == 0 and segment.length]

    @property
    def resent(self) -> list[Observed]:
        highest, again = 0, []
        for segment in self.data:
            if segment.start < highest:
                again.append(segment)
            highest = max(highest, segment.end)
        return again

    def flights(self, count: int) -> list[int]:
        """Data segments that left in each round trip, from the end of the handshake on."""
        begin = self.data[0].time - MILLISECOND
        return [
            sum(begin + number * RTT <= segment.time < begin + (number + 1) * RTT for segment in self.data)
            for number in range(count)
        ]

    def of(self, kind: type, **fields: object) -> list[tuple[int, object]]:
        """Events of a class with these values, and when they were."""
        return [
            (now, event)
            for now, event in self.tracer.events
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
        ]

    def expirations(self) -> list[int]:
        return [now for now, _ in self.of(TimerUpdated, timer="retransmit")]

    def window_at(self, time: int) -> int:
        """The congestion window that was seen last before `time`, octets."""
        return [cwnd for now, cwnd, _ in self.transfer.watched if now <= time][-1]
