"""Putting fragments together again (RFC 791 section 3.2, RFC 815), against a network that may mean harm.

Fragments of one datagram share source, destination, protocol and identification. Each is a range of octets; the ranges
that have come are kept in order, so the holes of RFC 815 are the gaps between them. As no two kept ranges overlap,
the datagram is whole when the octets kept are as many as the last fragment (MF = 0) says there are:

    kept   [0,1480)         [2960,4440)  [4440,5000) last       5000 expected, 3520 here: waiting
    new             [1480,2960)                                 5000 expected, 5000 here: complete

Senders never make fragments that overlap; those that do want a firewall and a host to read different things. So an
overlap ends the whole datagram, and what else comes of it is refused until its time is over (the rule of RFC 5722
section 4, brought to IPv4). A plain copy of a fragment is no overlap: networks duplicate.

A datagram waits 60 seconds from its first fragment on (RFC 1122 section 3.3.2); what arrives later does not prolong
it. Then it is given up, and its source is told if the fragment with the start of the datagram is here. Three bounds
hold against floods: octets, datagrams and fragments of a datagram. Where a bound is reached, the oldest datagram goes,
so that a flood drives out itself and new datagrams always find room.

    none --fragment--> waiting --last piece--> complete
                        |   |
           60 s         |   +--overlap, too long, two ends--> discarded --60 s--> (forgotten)
       timed_out <------+
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple, TypeAlias

from nodes.errors import WireError
from nodes.network.counters import IpCounters
from nodes.network.datagram import Datagram
from nodes.trace.events import ReassemblyUpdated, Tracer
from nodes.units import SECOND
from nodes.wire import ipv4
from nodes.wire.addresses import Ip4, format_ip4
from nodes.wire.checksum import checksum
from nodes.wire.ipv4 import IPv4Header

TIMEOUT = 60 * SECOND
"""RFC 1122 section 3.3.2: between 60 and 120 seconds."""

MEMORY_LIMIT = 4 << 20
"""Octets held for all datagrams, as Linux has it: 64 of the longest."""

DATAGRAM_LIMIT = 1024
"""Datagrams under reassembly, the refused ones included."""

FRAGMENT_LIMIT = 2048
"""Fragments of one datagram. 65,535 octets over a link of the smallest MTU, 68, come in 1366; where they were cut for
another link before, in some more, as each of those pieces has a short end of its own."""

OVERHEAD = 160
"""What keeping a fragment costs besides its octets, so that a flood of small ones is bounded as well."""

_CE, _NOT_ECT = 3, 0  # code points of RFC 3168

Key: TypeAlias = tuple[int, int, int, int]


class Piece(NamedTuple):
    """The octets from `start` to `end` of a datagram's payload."""

    start: int
    end: int
    data: bytes


class Expired(NamedTuple):
    """The first fragment of a datagram that was not completed in time: what a time exceeded message is about."""

    packet: bytes
    link_broadcast: bool


class Partial:
    """A datagram that is not complete yet, or is refused."""

    __slots__ = ("deadline", "ecn", "first", "held", "key", "length", "link_broadcast", "pieces", "refused")

    def __init__(self, key: Key, deadline: int) -> None:
        self.key = key
        self.deadline = deadline
        self.pieces: list[Piece] = []
        self.held = 0  # octets of payload
        self.length: int | None = None  # known when the last fragment came
        self.first = b""  # the fragment at offset 0, header and payload
        self.link_broadcast = False
        self.ecn: set[int] = set()
        self.refused = False

    @property
    def cost(self) -> int:
        return self.held + len(self.first) + OVERHEAD * len(self.pieces)

    def problem(self, start: int, end: int, data: memoryview, *, last: bool) -> str | None:
        """Why a fragment cannot belong to the same datagram as those kept: None where it can, `duplicate` where
        it is a copy of one."""
        if last and self.length not in (None, end):
            return "two_ends"
        highest = self.pieces[-1].end if self.pieces else 0
        if (last and highest > end) or (self.length is not None and end > self.length):
            return "beyond_end"
        index = bisect_left(self.pieces, start, key=_start)
        if index < len(self.pieces):
            after = self.pieces[index]
            if after.start == start and after.end == end:
                return "duplicate" if after.data == data else "overlap"
            if after.start < end:
                return "overlap"
        if index and self.pieces[index - 1].end > start:
            return "overlap"
        return "fragment_limit" if len(self.pieces) >= FRAGMENT_LIMIT else None

    def insert(self, start: int, data: memoryview, *, last: bool) -> None:
        piece = Piece(start, start + len(data), bytes(data))
        self.pieces.insert(bisect_left(self.pieces, start, key=_start), piece)
        self.held += len(data)
        if last:
            self.length = piece.end

    @property
    def complete(self) -> bool:
        return self.held == self.length and bool(self.first)


def _start(piece: Piece) -> int:
    return piece.start


class Reassembler:
    """The datagrams that wait for fragments, oldest first. `receive` gives back those that became complete."""

    def __init__(self, counters: IpCounters, tracer: Tracer) -> None:
        self._counters = counters
        self._tracer = tracer
        self._partials: dict[Key, Partial] = {}  # all wait equally long: in the order of their deadlines
        self._memory = 0

    def receive(self, datagram: Datagram, now: int) -> Datagram | None:
        """Takes a fragment, and returns the whole datagram if it was the last one missing. Raises WireError for one
        that no datagram can have, which changes nothing."""
        self._counters.reasm_requests += 1
        header = datagram.header
        _check(header, len(datagram.payload))
        key = (header.source, header.destination, header.protocol, header.identification)
        partial = self._partials.get(key)
        if partial is None:
            partial = self._open(key, now)
        elif partial.refused:
            self._counters.reasm_fails += 1
            return None
        return self._add(partial, datagram, now)

    def timeout(self, now: int) -> list[Expired]:
        """Gives up what is too old. Returns what sources are to be told about."""
        expired = []
        for key, partial in list(self._partials.items()):
            if partial.deadline > now:
                break
            del self._partials[key]
            self._memory -= partial.cost
            if partial.refused:
                continue
            self._counters.reasm_timeouts += 1
            self._counters.reasm_fails += 1
            self._trace(key, "waiting", "timed_out", "timeout", now)
            if partial.first:
                expired.append(Expired(partial.first, partial.link_broadcast))
        return expired

    def deadline(self) -> int | None:
        return next((partial.deadline for partial in self._partials.values()), None)

    def snapshot(self) -> dict[str, object]:
        return {
            "memory": self._memory,
            "datagrams": [
                {
                    "source": format_ip4(source),
                    "destination": format_ip4(destination),
                    "protocol": protocol,
                    "identification": identification,
                    "state": "discarded" if partial.refused else "waiting",
                    "octets": partial.held,
                    "length": partial.length,
                }
                for (source, destination, protocol, identification), partial in self._partials.items()
            ],
        }

    def _add(self, partial: Partial, datagram: Datagram, now: int) -> Datagram | None:
        header, payload = datagram.header, datagram.payload
        start, last = header.fragment_offset, not header.more_fragments
        reason = partial.problem(start, start + len(payload), payload, last=last)
        if reason == "duplicate":
            return None
        if reason is not None:
            self._discard(partial, reason, now)
            return None
        before = partial.cost
        partial.insert(start, payload, last=last)
        partial.ecn.add(header.traffic_class & 3)
        if start == 0:
            partial.first = bytes(datagram.packet)
            partial.link_broadcast = datagram.link_broadcast
        self._memory += partial.cost - before
        if partial.complete:
            return self._finish(partial, datagram.interface, now)
        self._make_room(now)
        return None

    def _finish(self, partial: Partial, interface: int, now: int) -> Datagram | None:
        first, length = ipv4.parse(partial.first)[0], partial.held
        if first.header_length + length > ipv4.MAXIMUM_LENGTH:
            self._discard(partial, "too_long", now)
            return None
        if _CE in partial.ecn and _NOT_ECT in partial.ecn:  # RFC 3168 section 5.3
            self._discard(partial, "ecn_mixed", now)
            return None
        del self._partials[partial.key]
        self._memory -= partial.cost
        self._counters.reasm_oks += 1
        self._trace(partial.key, "waiting", "complete", "fragment", now)
        header = first._replace(
            total_length=first.header_length + length,
            traffic_class=first.traffic_class | (_CE if _CE in partial.ecn else 0),
            more_fragments=False,
        )
        packet = memoryview(_header(header, partial.first) + b"".join(piece.data for piece in partial.pieces))
        return Datagram(interface, header, packet[header.header_length :], packet, partial.link_broadcast)

    def _open(self, key: Key, now: int) -> Partial:
        partial = self._partials[key] = Partial(key, now + TIMEOUT)
        self._trace(key, "none", "waiting", "fragment", now)
        return partial

    def _discard(self, partial: Partial, reason: str, now: int) -> None:
        """Frees what came, and keeps the key: later fragments are of no use, and must not start it anew."""
        self._memory -= partial.cost
        partial.pieces, partial.held, partial.first, partial.refused = [], 0, b"", True
        self._counters.reasm_fails += 1
        self._trace(partial.key, "waiting", "discarded", reason, now)

    def _make_room(self, now: int) -> None:
        while self._memory > MEMORY_LIMIT or len(self._partials) > DATAGRAM_LIMIT:
            key = next(iter(self._partials))
            partial = self._partials.pop(key)
            self._memory -= partial.cost
            if not partial.refused:
                self._counters.reasm_fails += 1
                self._trace(key, "waiting", "discarded", "memory_limit", now)

    def _trace(self, key: Key, old: str, new: str, trigger: str, now: int) -> None:
        source, destination, protocol, identification = key
        event = ReassemblyUpdated(Ip4(source), Ip4(destination), protocol, identification, old, new, trigger)
        self._tracer(now, event)


def _check(header: IPv4Header, length: int) -> None:
    """Raises WireError for what is wrong with a fragment by itself."""
    if length == 0:
        raise WireError("ipv4", "total length", 2, "a fragment without octets")
    if header.more_fragments and length % 8:
        raise WireError("ipv4", "total length", 2, f"{length} octets in a fragment that is not the last")
    end = header.header_length + header.fragment_offset + length
    if end > ipv4.MAXIMUM_LENGTH:
        raise WireError("ipv4", "fragment offset", 6, f"a datagram of {end} octets, at most 65535 fit")


def _header(header: IPv4Header, first: bytes) -> bytes:
    """The header octets of the whole datagram: those of the first fragment, with the length and the flags changed."""
    octets = bytearray(first[: header.header_length])
    octets[1] = header.traffic_class
    octets[2:4] = header.total_length.to_bytes(2, "big")
    octets[6:8] = (ipv4.DONT_FRAGMENT if header.dont_fragment else 0).to_bytes(2, "big")
    octets[10:12] = b"\0\0"
    octets[10:12] = checksum(octets).to_bytes(2, "big")
    return bytes(octets)
