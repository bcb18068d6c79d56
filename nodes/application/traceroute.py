"""traceroute: the routers on the way, one by one (RFC 1812 section 5.3.1 makes each of them answer).

A probe with time to live n dies at the n-th router, whose "time exceeded" names it. Probes that reach the destination
end the trace: as UDP to a port that nobody uses, by "port unreachable"; as ICMP echo, by a reply.

    probe k (0, 1, 2 ...)   hop = first + k / probes      UDP: destination port 33434 + k      ICMP: sequence k + 1

Several probes are under way at a time, so a hop that does not answer delays nothing but its own line. Hops are
reported in order, each once all of its probes are answered or given up. A hop's report holds for each probe its
`address` (None for no answer), `rtt`, and a `mark` where the answer was an error other than "time exceeded": the words
of `nodes.transport.icmp_errors`, `host_unreachable` where others print !H, `fragmentation_needed` for !F.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nodes.application.base import Node, Reports, nanoseconds, option, resolve
from nodes.errors import StackError
from nodes.network.datagram import IcmpError
from nodes.transport.echo import EchoSocket, quoted_sequence
from nodes.transport.icmp_errors import word
from nodes.transport.udp import UdpSocket
from nodes.wire import icmp, udp
from nodes.wire.addresses import Ip4, format_ip4

PARALLEL_PROBES = 16
"""Probes under way at once, as in Linux's traceroute: routers limit the rate of their ICMP errors."""


@dataclass(frozen=True, slots=True)
class TracerouteOptions:
    to: str = option("address or name to trace the way to")
    method: str = option("what probes are", "udp", choices=("udp", "icmp"))
    first_hop: int = option("time to live of the first probes", 1, minimum=1, maximum=255)
    max_hops: int = option("time to live of the last probes", 30, minimum=1, maximum=255)
    probes: int = option("probes for each hop", 3, minimum=1, maximum=10)
    timeout: float = option("seconds to wait for each answer", 2.0, minimum=0.001, maximum=3600, unit="s")
    parallel: int = option("probes under way at once", PARALLEL_PROBES, minimum=1, maximum=64)
    size: int = option("octets of data in a probe", 32, minimum=0, maximum=65507)
    port: int = option("destination port of the first UDP probe", 33434, minimum=1, maximum=60000)
    dont_fragment: bool = option("forbid routers to fragment the probes", False)
    source: str = option("address to send from; empty for the route's", "")


@dataclass(slots=True)
class _Probe:
    sent: int
    open: bool = True
    address: Ip4 | None = None
    rtt: int | None = None
    mark: str = ""

    def describe(self) -> dict[str, object]:
        values: dict[str, object] = {"address": None if self.address is None else format_ip4(self.address)}
        values["rtt"] = self.rtt
        if self.mark:
            values["mark"] = self.mark
        return values


@dataclass(slots=True)
class _Trace:
    """What is known of the way. `last` is the last hop of interest: it falls when something ends the way earlier."""

    last: int
    probes: list[_Probe] = field(default_factory=list)
    reached: bool = False


class Traceroute:
    """Traces the way to one destination."""

    kind = "traceroute"

    def __init__(self, node: Node, options: TracerouteOptions) -> None:
        self._options = options
        self._report = Reports()
        self._destination = resolve(node, options.to)
        self._source = resolve(node, options.source) if options.source else None
        self._timeout = nanoseconds(options.timeout)
        self._trace = _Trace(last=max(options.max_hops, options.first_hop))
        self._hops: list[dict[str, object]] = []
        self._data = bytes(64 + index % 64 for index in range(options.size))
        self.done = False
        self._socket: UdpSocket | EchoSocket = node.udp.open() if options.method == "udp" else node.echo.open()
        self._socket.owner = self
        if isinstance(self._socket, UdpSocket):
            self._socket.record_errors = True

    def start(self, now: int) -> None:
        self._advance(now)

    def timeout(self, now: int) -> None:
        if self.done:
            return
        for probe in self._trace.probes:
            if probe.open and probe.sent + self._timeout <= now:
                probe.open = False
        self._advance(now)

    def ready(self, now: int) -> None:
        if self.done:
            return
        while (error := self._socket.receive_error()) is not None:
            self._failed(error, now)
        if isinstance(self._socket, UdpSocket):
            while (received := self._socket.receive()) is not None:
                self._answered(received.source_port - self._options.port, received.source, received.time, "")
        else:
            while (reply := self._socket.receive()) is not None:
                self._answered(reply.sequence - 1, reply.source, reply.time, "")
        self._advance(now)

    def deadline(self) -> int | None:
        sent = next((probe.sent for probe in self._trace.probes if probe.open), None)
        return None if self.done or sent is None else sent + self._timeout

    def stop(self, now: int) -> None:
        if not self.done:
            self.done = True
            self._socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self._report.drain()

    def result(self) -> dict[str, object]:
        return {"destination": format_ip4(self._destination), "reached": self._trace.reached, "hops": self._hops}

    def _advance(self, now: int) -> None:
        """Send what may be sent, report the hops that are complete, and end after the last of them."""
        under_way = sum(probe.open for probe in self._trace.probes)
        while under_way < self._options.parallel and self._hop(len(self._trace.probes)) <= self._trace.last:
            under_way += self._send(now)
        while self._complete_next():
            if self._options.first_hop + len(self._hops) > self._trace.last:
                self.stop(now)
                return

    def _send(self, now: int) -> bool:
        """One probe more; False where it could not leave, which then is its answer."""
        index = len(self._trace.probes)
        probe = _Probe(now)
        self._trace.probes.append(probe)
        ttl, whole = self._hop(index), self._options.dont_fragment
        try:
            if isinstance(self._socket, UdpSocket):
                port = self._options.port + index
                self._socket.send_to(
                    self._data, self._destination, port, now, ttl=ttl, dont_fragment=whole, source=self._source
                )
            else:
                self._socket.send_to(
                    self._data, self._destination, index + 1, now, ttl=ttl, dont_fragment=whole, source=self._source
                )
        except StackError as error:
            if not index:
                raise
            probe.open, probe.mark = False, error.message
        return probe.open

    def _failed(self, error: IcmpError, now: int) -> None:
        if error.header.destination != self._destination:
            return
        if isinstance(self._socket, UdpSocket):
            index = udp.HEADER.unpack_from(error.payload)[1] - self._options.port
        else:
            index = quoted_sequence(error) - 1
        if (error.type, error.code) == (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED):
            self._resolve(index, error.source, now, "")
        elif error.source == self._destination and (error.type, error.code) == (
            icmp.UNREACHABLE,
            icmp.PORT_UNREACHABLE,
        ):
            self._answered(index, error.source, now, "")
        else:
            self._answered(index, error.source, now, word(error.type, error.code))

    def _answered(self, index: int, source: Ip4, now: int, mark: str) -> None:
        """An answer that ends the way: from the destination, or an error that says there is no going on."""
        if self._resolve(index, source, now, mark):
            self._trace.last = min(self._trace.last, self._hop(index))
            self._trace.reached |= source == self._destination

    def _resolve(self, index: int, source: Ip4, now: int, mark: str) -> bool:
        """Note the answer to a probe; False where it was not open: late, twice, or forged."""
        if not 0 <= index < len(self._trace.probes) or not self._trace.probes[index].open:
            return False
        probe = self._trace.probes[index]
        probe.open, probe.address, probe.rtt, probe.mark = False, source, now - probe.sent, mark
        return True

    def _complete_next(self) -> bool:
        """Report the next hop in order, if all of its probes are through."""
        first = len(self._hops) * self._options.probes
        probes = self._trace.probes[first : first + self._options.probes]
        if len(probes) < self._options.probes or any(probe.open for probe in probes):
            return False
        hop = self._options.first_hop + len(self._hops)
        described = [probe.describe() for probe in probes]
        self._hops.append({"hop": hop, "probes": described})
        self._report("hop", hop=hop, probes=described)
        return True

    def _hop(self, index: int) -> int:
        return self._options.first_hop + index // self._options.probes
