"""Which frames a fault means: a `Match` of the topology, made ready to look at frames.

A matcher reads headers at their places and no more than it needs. Most faults name a protocol, so that octet is looked
at first, and most frames go by after one comparison:

    Ethernet          IPv4 (RFC 791)                               TCP (RFC 9293)
    12    14          0    2              6         9    12   16   0     2     4         12      13
    +-----+--------   +----+--------------+---------+----+----+--- +-----+-----+---------+-------+-------
    |type | tags ...  |IHL | total length | MF, off | pr | src|dst | src | dst | sequence| offset| flags
    +-----+--------   +----+--------------+---------+----+----+--- +-----+-----+---------+-------+-------

Nothing is verified and nothing raises: a frame matches by the octets that it has. What is cut off, or contradicts
itself, does not match what would have to be read from there: a segment with a broken data offset has flags and ports,
but neither payload nor a place in the stream. Checksums are not looked at, so that a corrupted frame still counts.

**What belongs to what.** `ip` is IPv4. Addresses are those of IPv4, and of ARP its sender and target, as in
tcpdump's `src` and `dst`. Ports are of TCP and UDP. VLAN tags are passed over. Later fragments of a datagram have
addresses, protocol and payload, and no transport header: ports, flags and `sequence` never match them.

**Places in a stream.** `sequence` counts octets from the connection's SYN in this direction, so the first octet of data
is 1 whatever number TCP chose to begin with (RFC 9293 section 3.4). The matcher remembers that number for each
connection whose SYN it saw pass, even if another part of the match fails; a connection that it did not see begin has no
known places and does not match. Numbers of 32 bits wrap: each is taken for the place nearest to the furthest one seen,
which is right as long as windows stay below 2^30 octets (RFC 7323 section 2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.errors import WireError
from nodes.impairment import Match
from nodes.physical.congestion_mark import network_header
from nodes.wire import arp, tcp
from nodes.wire.addresses import parse_ip4
from nodes.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4
from nodes.wire.ipv4 import MORE_FRAGMENTS, OFFSET_MASK, PROTOCOL_ICMP, PROTOCOL_IGMP, PROTOCOL_TCP, PROTOCOL_UDP

CONNECTIONS_LIMIT = 4096
"""Connections whose first number a matcher remembers: more than a lab's link carries at once. The one that began first
is forgotten for a new one."""
FURTHEST_STEP = 1 << 30
"""Octets by which one segment may go beyond all before it: the largest window there is (RFC 7323 section 2.3)."""

_PROTOCOLS = {"icmp": PROTOCOL_ICMP, "igmp": PROTOCOL_IGMP, "tcp": PROTOCOL_TCP, "udp": PROTOCOL_UDP}
_IPV4 = ETHERTYPE_IPV4.to_bytes(2, "big")
_PROTOCOL_OCTET = 14 + 9  # of an IPv4 packet without VLAN tags before it
_PLAIN_HEADER = 0x45  # IPv4 without options
_FLAGS_OCTET = 14 + 20 + 13  # of TCP after such a header
_ARP = -1
_NOWHERE = -1
_SHORT_HEADER = 8  # of UDP and ICMP

_WHOLE, _FIRST, _LATER = range(3)
_FRAGMENTS = {"none": (_WHOLE,), "first": (_FIRST,), "later": (_LATER,), "any": (_FIRST, _LATER)}


class _Packet(NamedTuple):
    """`protocol` is IP's, or _ARP. `begin` and `end` are the offsets in the frame of what IP carries."""

    protocol: int
    source: int
    destination: int
    fragment: int
    begin: int
    end: int


_Test = Callable[[bytes, _Packet], bool]


class Matcher:
    """Raises ValueError for a match that contradicts itself: it would wait forever."""

    def __init__(self, match: Match) -> None:
        check(match)
        self.match = match
        self._minimum = match.minimum_length
        self._maximum = match.maximum_length or (1 << 62)
        self._other = b""
        """The protocol octet that must be there, where it can be told from the first look."""
        if _number_of(match):
            self._other = bytes((_number_of(match),))
        self._flags = parse_flags(match.flags) if not match.sequence else 0
        """Those that must be set, likewise; not used where every SYN has to be looked at."""
        self._tests = _tests_of(match)
        self._places: Connections | None = Connections() if match.sequence else None

    @property
    def forgotten(self) -> int:
        """Connections that had to be forgotten for newer ones: their segments no longer match a `sequence`."""
        return 0 if self._places is None else self._places.forgotten

    def matches(self, frame: bytes) -> bool:
        """Whether the fault means this frame, which is the next one of its direction."""
        if self._other and frame[12:14] == _IPV4:
            if frame[_PROTOCOL_OCTET : _PROTOCOL_OCTET + 1] != self._other:
                return False
            if self._flags and frame[14] == _PLAIN_HEADER and not _are_set(frame, self._flags):
                return False
        fits = self._minimum <= len(frame) <= self._maximum
        if not self._tests and self._places is None:
            return fits
        packet = _dissected(frame)
        if packet is None:
            return False
        if self._places is not None and not _overlap(self._places.place(frame, packet), self.match.sequence):
            return False  # asked before all else, as it also learns
        return fits and all(test(frame, packet) for test in self._tests)


class Connections:
    """Where segments lie in the streams of one direction."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, bytes], tuple[int, int]] = {}  # first number, furthest place
        self.forgotten = 0

    def place(self, frame: bytes, packet: _Packet) -> tuple[int, int] | None:
        """The half-open range of places that a segment takes, SYN and FIN being one each; None where unknown."""
        octets = _payload(frame, packet)
        if packet.protocol != PROTOCOL_TCP or packet.fragment == _LATER or octets is None:
            return None
        begin = packet.begin
        number, flags = int.from_bytes(frame[begin + 4 : begin + 8], "big"), frame[begin + 13]
        connection = packet.source, packet.destination, frame[begin : begin + 4]
        known = self._known.get(connection)
        if flags & tcp.SYN and (known is None or known[0] != number):
            known = self._learn(connection, number)
        if known is None:
            return None
        first, furthest = known
        start = furthest + _signed(number - first - furthest)
        end = start + octets + (flags & tcp.SYN != 0)
        if packet.fragment == _WHOLE:  # else the rest of the data comes before the FIN, in later fragments
            end += flags & tcp.FIN
        if 0 < end - furthest <= FURTHEST_STEP:
            self._known[connection] = first, end
        return start, end

    def _learn(self, connection: tuple[int, int, bytes], number: int) -> tuple[int, int]:
        self._known.pop(connection, None)
        if len(self._known) >= CONNECTIONS_LIMIT:
            del self._known[next(iter(self._known))]
            self.forgotten += 1
        self._known[connection] = number, 0
        return number, 0


def check(match: Match) -> None:
    """Raises ValueError for what is no address, flag, port or range, and for parts that exclude each other."""
    flags, not_flags = parse_flags(match.flags), parse_flags(match.not_flags)
    if flags & not_flags:
        raise ValueError("a TCP flag cannot be set and not set")
    for address in filter(None, (match.source, match.destination)):
        parse_ip4(address)
    if not 0 <= match.source_port <= 0xFFFF or not 0 <= match.destination_port <= 0xFFFF:
        raise ValueError("a port is 1 to 65535")
    if match.sequence and not (len(match.sequence) == 2 and 0 <= match.sequence[0] < match.sequence[1]):
        raise ValueError(f"sequence {list(match.sequence)}: two numbers, of which the second is larger")
    if match.minimum_length < 0 or match.maximum_length < 0:
        raise ValueError("a length is not negative")
    if 0 < match.maximum_length < match.minimum_length:
        raise ValueError(f"no frame has {match.minimum_length} octets or more and at most {match.maximum_length}")
    _check_protocol(match, bool(flags | not_flags))


def _check_protocol(match: Match, flags: bool) -> None:
    allowed = {"", "ip"}
    for name, given, protocols in (
        ("TCP flags", flags, {"tcp"}),
        ("a TCP sequence", bool(match.sequence), {"tcp"}),
        ("ports", bool(match.source_port or match.destination_port), {"tcp", "udp"}),
        ("a payload", match.payload is not None, {"tcp", "udp", "icmp"}),
        ("fragments", bool(match.fragment), set(_PROTOCOLS)),
    ):
        if given and match.protocol not in allowed | protocols:
            raise ValueError(f"{match.protocol} has no {name.removeprefix('a ')}")
    if match.fragment == "later" and (flags or match.sequence or match.source_port or match.destination_port):
        raise ValueError("a later fragment has no ports, TCP flags and sequence numbers")


def parse_flags(text: str) -> int:
    """`SYN,ACK` -> 0x12; in any case, with commas or blanks between. Raises ValueError for what is no TCP flag."""
    flags = 0
    for name in text.replace(",", " ").upper().split():
        if name not in tcp.FLAG_NAMES:
            raise ValueError(f"{name!r} is not one of the TCP flags {', '.join(tcp.FLAG_NAMES)}")
        flags |= 1 << tcp.FLAG_NAMES.index(name)
    return flags


# Making the tests


def _number_of(match: Match) -> int:
    """The IP protocol that the match implies, or 0."""
    if match.flags or match.not_flags or match.sequence:
        return PROTOCOL_TCP
    return _PROTOCOLS.get(match.protocol, 0)


def _tests_of(match: Match) -> tuple[_Test, ...]:
    """One per thing that is asked, the cheapest first."""
    tests: list[_Test] = []
    number = _number_of(match)
    if number:
        tests.append(lambda _, packet: packet.protocol == number)
    elif match.protocol == "arp":
        tests.append(lambda _, packet: packet.protocol == _ARP)
    elif match.protocol == "ip":
        tests.append(lambda _, packet: packet.protocol != _ARP)
    if match.source:
        source = parse_ip4(match.source)
        tests.append(lambda _, packet: packet.source == source)
    if match.destination:
        destination = parse_ip4(match.destination)
        tests.append(lambda _, packet: packet.destination == destination)
    if match.fragment:
        fragments = _FRAGMENTS[match.fragment]
        tests.append(lambda _, packet: packet.protocol != _ARP and packet.fragment in fragments)
    return (*tests, *_transport_tests(match))


def _transport_tests(match: Match) -> list[_Test]:
    tests: list[_Test] = []
    for place, port in ((0, match.source_port), (2, match.destination_port)):
        if port:
            tests.append(_port_test(place, port))
    wanted, unwanted = parse_flags(match.flags), parse_flags(match.not_flags)
    if wanted | unwanted:
        mask = wanted | unwanted
        tests.append(lambda frame, packet: _has_tcp(packet) and frame[packet.begin + 13] & mask == wanted)
    if match.payload is not None:
        empty = not match.payload
        tests.append(lambda frame, packet: (octets := _payload(frame, packet)) is not None and (octets == 0) is empty)
    return tests


def _port_test(place: int, port: int) -> _Test:
    octets = port.to_bytes(2, "big")

    def test(frame: bytes, packet: _Packet) -> bool:
        at = packet.begin + place
        has_ports = packet.protocol in (PROTOCOL_TCP, PROTOCOL_UDP) and packet.fragment != _LATER
        return has_ports and at + 2 <= packet.end and frame[at : at + 2] == octets

    return test


# Reading a frame


def _dissected(frame: bytes) -> _Packet | None:
    """None for a frame that is neither IPv4 nor ARP."""
    ethertype, offset = network_header(frame)
    if ethertype == ETHERTYPE_ARP:
        return _arp(frame, offset)
    if ethertype != ETHERTYPE_IPV4:
        return None
    header = (frame[offset] & 15) * 4
    end = min(offset + int.from_bytes(frame[offset + 2 : offset + 4], "big"), len(frame))  # the rest is padding
    begin = offset + header
    if header < 20 or begin > end:
        begin = end  # a header that contradicts itself carries nothing
    word = int.from_bytes(frame[offset + 6 : offset + 8], "big")
    fragment = _LATER if word & OFFSET_MASK else _FIRST if word & MORE_FRAGMENTS else _WHOLE
    source = int.from_bytes(frame[offset + 12 : offset + 16], "big")
    destination = int.from_bytes(frame[offset + 16 : offset + 20], "big")
    return _Packet(frame[offset + 9], source, destination, fragment, begin, end)


def _arp(frame: bytes, offset: int) -> _Packet:
    try:
        packet = arp.parse(memoryview(frame)[offset:])
    except WireError:
        return _Packet(_ARP, _NOWHERE, _NOWHERE, _WHOLE, offset, offset)
    return _Packet(_ARP, packet.sender_ip, packet.target_ip, _WHOLE, offset, offset)


def _has_tcp(packet: _Packet) -> bool:
    """Whether the fixed part of a TCP header is there."""
    whole = packet.end - packet.begin >= tcp.HEADER_LENGTH
    return whole and packet.protocol == PROTOCOL_TCP and packet.fragment != _LATER


def _are_set(frame: bytes, flags: int) -> bool:
    """Whether these TCP flags are set in a frame with an IP header of 20 octets."""
    return len(frame) > _FLAGS_OCTET and frame[_FLAGS_OCTET] & flags == flags


def _payload(frame: bytes, packet: _Packet) -> int | None:
    """Octets of data that TCP, UDP or ICMP carry in this packet; None for others and for broken headers."""
    octets = packet.end - packet.begin
    if packet.protocol not in (PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP):
        return None
    if packet.fragment == _LATER:
        return octets or None  # it exists to carry some: one without is broken
    header = _SHORT_HEADER
    if packet.protocol == PROTOCOL_TCP:
        header = (frame[packet.begin + 12] >> 4) * 4 if octets >= tcp.HEADER_LENGTH else 0
        if header < tcp.HEADER_LENGTH:
            return None
    return octets - header if octets >= header else None


def _signed(number: int) -> int:
    """The value nearest to zero that is `number` modulo 2^32."""
    return (number + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def _overlap(place: tuple[int, int] | None, wanted: tuple[int, ...]) -> bool:
    return place is not None and place[0] < place[1] and place[0] < wanted[1] and wanted[0] < place[1]
