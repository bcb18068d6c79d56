"""ping: is it there, how far, and does it bring back what was sent?

Requests leave at start + n * interval, whatever comes back. Each is open until its reply, an ICMP error about it, or
its timeout:

    sent ──reply──▶ answered ──another reply──▶ (duplicate)
      ├───error──▶ refused
      └───timeout─▶ lost ──reply──▶ (late: counted, and still lost)

The data of a request is a pattern, and of a reply it must be the same, octet for octet (RFC 792); the first octet that
differs is reported. Sequence numbers are 16 bits and wrap, so only the last few thousand requests are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.application.base import Node, Reports, nanoseconds, option, resolve
from nodes.application.statistics import Durations
from nodes.errors import MisuseError, StackError
from nodes.network.datagram import IcmpError
from nodes.transport.echo import MAXIMUM_DATA, EchoReply, quoted_sequence
from nodes.transport.icmp_errors import word
from nodes.units import earliest
from nodes.wire import icmp
from nodes.wire.addresses import format_ip4

REMEMBERED = 4096
"""Requests for which a duplicate or a late reply is still recognized: an eighth of the sequence space."""


@dataclass(frozen=True, slots=True)
class PingOptions:
    to: str = option("address or name to ping")
    count: int = option("requests to send; 0 goes on until stopped", 4, minimum=0)
    interval: float = option("seconds from one request to the next", 1.0, minimum=0.001, maximum=3600, unit="s")
    size: int = option("octets of data in a request", 56, minimum=0, maximum=MAXIMUM_DATA)
    ttl: int = option("time to live of the requests", 64, minimum=1, maximum=255)
    dont_fragment: bool = option("forbid routers to fragment the requests", False)
    timeout: float = option("seconds to wait for each reply", 1.0, minimum=0.001, maximum=3600, unit="s")
    pattern: str = option("data as hexadecimal digits, repeated; empty for 00 01 02 ...", "")
    source: str = option("address to send from; empty for the route's", "")
    broadcast: bool = option("allow a broadcast address", False)


@dataclass(slots=True)
class _Request:
    """`state` is one of the essay above: sent, answered, refused, lost."""

    sent: int
    state: str = "sent"


class Ping:
    """Pings one destination; see the module for what becomes of a request."""

    kind = "ping"

    def __init__(self, node: Node, options: PingOptions) -> None:
        self._options = options
        self._report = Reports()
        self._data = _pattern(options.pattern, options.size)
        self._destination = resolve(node, options.to)
        self._source = resolve(node, options.source) if options.source else None
        self._interval = nanoseconds(options.interval)
        self._timeout = nanoseconds(options.timeout)
        self._requests: dict[int, _Request] = {}
        self._open: dict[int, int] = {}  # sequence -> when it is given up; the oldest first
        self._next: int | None = None
        self._rtt = Durations()
        self._started = self._ended = 0
        self._sent = self._duplicates = self._corrupted = self._late = self._errors = 0
        self.done = False
        self._socket = node.echo.open()
        self._socket.owner = self
        self._socket.broadcast = options.broadcast

    def start(self, now: int) -> None:
        self._started = self._next = now
        self.timeout(now)

    def timeout(self, now: int) -> None:
        for sequence in [sequence for sequence, end in self._open.items() if end <= now]:
            self._finish(sequence, "lost")
            self._report("timeout", sequence=sequence)
        if self._next is not None and self._next <= now:
            self._send(self._next, now)
        self._end_if_complete(now)

    def ready(self, now: int) -> None:
        if self.done:
            return
        while (reply := self._socket.receive()) is not None:
            self._replied(reply)
        while (error := self._socket.receive_error()) is not None:
            self._failed(error)
        self._end_if_complete(now)

    def deadline(self) -> int | None:
        """All requests wait equally long, so the oldest open one ends first."""
        if self.done:
            return None
        return earliest(self._next, next(iter(self._open.values()), None))

    def stop(self, now: int) -> None:
        if self.done:
            return
        self.done = True
        self._ended = now
        self._socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self._report.drain()

    def result(self) -> dict[str, object]:
        """`loss` is the share of requests without a reply in time, 0 to 1; those still open do not count."""
        ended = self._sent - len(self._open)
        return {
            "destination": format_ip4(self._destination),
            "transmitted": self._sent,
            "received": self._rtt.count,
            "loss": (ended - self._rtt.count) / ended if ended else 0.0,
            "duplicates": self._duplicates,
            "corrupted": self._corrupted,
            "late": self._late,
            "errors": self._errors,
            "duration": self._ended - self._started if self.done else None,
            "reports_dropped": self._report.dropped,
            **self._rtt.summary(),
        }

    def _send(self, due: int, now: int) -> None:
        """One request. What was missed is not made up for: two requests at once would measure each other."""
        self._sent += 1
        sequence = self._sent & 0xFFFF
        missed = (now - due) // self._interval
        last = self._options.count and self._sent >= self._options.count
        self._next = None if last else due + (missed + 1) * self._interval
        self._remember(sequence, now)
        try:
            self._socket.send_to(
                self._data,
                self._destination,
                sequence,
                now,
                ttl=self._options.ttl,
                dont_fragment=self._options.dont_fragment,
                source=self._source,
            )
        except StackError as error:
            self._errors += 1
            self._finish(sequence, "refused")
            self._report("error", sequence=sequence, source="local", error=error.message)

    def _remember(self, sequence: int, now: int) -> None:
        if len(self._requests) >= REMEMBERED:
            oldest = next(iter(self._requests))
            del self._requests[oldest]
            self._open.pop(oldest, None)
        self._requests[sequence] = _Request(now)
        self._open[sequence] = now + self._timeout

    def _finish(self, sequence: int, state: str) -> None:
        self._requests[sequence].state = state
        self._open.pop(sequence, None)

    def _replied(self, reply: EchoReply) -> None:
        request = self._requests.get(reply.sequence)
        if request is None:
            return
        values: dict[str, object] = {
            "sequence": reply.sequence,
            "source": format_ip4(reply.source),
            "ttl": reply.ttl,
            "rtt": reply.time - request.sent,
            "octets": len(reply.data) + icmp.HEADER_LENGTH,
        }
        match request.state:
            case "sent":
                self._finish(reply.sequence, "answered")
                self._rtt.add(reply.time - request.sent)
            case "answered":
                self._duplicates += 1
                values["duplicate"] = True
            case _:
                self._late += 1
                values["late"] = True
        if reply.data != self._data:
            self._corrupted += 1
            values["corrupted_at"] = _first_difference(reply.data, self._data)
        self._report("reply", **values)

    def _failed(self, error: IcmpError) -> None:
        sequence = quoted_sequence(error)
        self._errors += 1
        values: dict[str, object] = {
            "sequence": sequence,
            "source": format_ip4(error.source),
            "error": word(error.type, error.code),
            "type": error.type,
            "code": error.code,
        }
        if (error.type, error.code) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED):
            values["mtu"] = error.rest & 0xFFFF
        self._report("error", **values)
        if sequence in self._open:
            self._finish(sequence, "refused")

    def _end_if_complete(self, now: int) -> None:
        if self._next is None and not self._open and not self.done:
            self.stop(now)


def _pattern(digits: str, size: int) -> bytes:
    """`size` octets of the pattern, repeated. Raises MisuseError for what is not hexadecimal."""
    try:
        unit = bytes.fromhex(digits) if digits else bytes(range(256))
    except ValueError:
        raise MisuseError(f"pattern {digits!r} is not an even number of hexadecimal digits such as 'ff00'") from None
    return (unit * (size // len(unit) + 1))[:size]


def _first_difference(one: bytes, other: bytes) -> int:
    """The index of the first octet that differs; the length of the shorter where one is the start of the other."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
