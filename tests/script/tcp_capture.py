"""Reads and writes TCP segments for scripts, by code of its own: what is under test is not its own judge.

`build` makes any segment, the wrong ones included: the wrong checksum, a data offset past the end, options that no
stack should send. `read` is strict: it takes only what a good stack sends, and raises AssertionError for anything
else. `Flow` follows one direction of a connection and holds the rules that must hold for every segment of it,
whatever the script is about:

    J-1   IP and TCP checksums are right, the IP length is the length of what arrived
    J-2   the acknowledgment number and the right edge of the window never go back, TSval never goes back; new data
          begins where the last ended
    J-3   what is sent again is what was sent before
    J-4   no payload is longer than the peer's MSS (536 where it gave none, MUST-15) and the MTU allow, options
          counted (MUST-16, RFC 7323 appendix A)
    MUST-65, 2018-2, 7323-2.2a   MSS, SACK-permitted and window scale come with SYN only, and in a SYN-ACK only as
          answers; SACK blocks only to who permitted them
    MUST-68, MUST-69   options have their lengths, and zeros after the end of the list
    7323-3.2a, c  timestamps in every segment after they were agreed on, but RST; in none otherwise; TSecr is 0
          without ACK
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from nodes.units import SECOND
from nodes.wire import ipv4
from nodes.wire.addresses import Ip4, format_ip4
from nodes.wire.checksum import checksum, is_valid, pseudo_header_sum

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")

MODULUS = 1 << 32
PROTOCOL = 6
_HEADER = Struct("!HHIIBBHHH")
_HEADER_LENGTH = 20
_DEFAULT_MSS = 536
_LEAST_MSS = 48  # no stack cuts its data finer, whatever a peer asks for: that is an attack
_LARGEST_SHIFT = 14
_TSVAL_COMPARABLE = 24 * 24 * 3600 * SECOND  # RFC 7323 section 5.5: what a clock of 1 ms does in half its range

END = b"\0"
NOP = b"\1"


def flag_names(flags: int) -> str:
    return ",".join(name for bit, name in enumerate(_NAMES) if flags >> bit & 1) or "none"


# ----------------------------------------------------------------------------------------------- options, to send


def mss(value: int) -> bytes:
    return bytes((2, 4)) + value.to_bytes(2, "big")


def window_scale(shift: int) -> bytes:
    return bytes((3, 3, shift))


def sack_permitted() -> bytes:
    return bytes((4, 2))


def sack(*blocks: tuple[int, int]) -> bytes:
    """Blocks of absolute sequence numbers: `Peer.sack` takes relative ones."""
    edges = b"".join((edge % MODULUS).to_bytes(4, "big") for block in blocks for edge in block)
    return bytes((5, 2 + len(edges))) + edges


def timestamps(value: int, echo: int = 0) -> bytes:
    return bytes((8, 10)) + (value % MODULUS).to_bytes(4, "big") + (echo % MODULUS).to_bytes(4, "big")


def unknown(kind: int, data: bytes = b"") -> bytes:
    return bytes((kind, 2 + len(data))) + data


# ------------------------------------------------------------------------------------------------------ build, read


class Options(NamedTuple):
    """The options of a segment that was read; `kinds` in their order, without padding."""

    kinds: tuple[int, ...] = ()
    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    timestamps: tuple[int, int] | None = None
    user_timeout: int | None = None
    length: int = 0


class Segment(NamedTuple):
    """A segment of the node as it was on the wire: absolute `sequence` and `acknowledgment`, the field `window`."""

    time: int
    ip: ipv4.IPv4Header
    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    urgent: int
    options: Options
    payload: bytes

    @property
    def key(self) -> tuple[Ip4, int, Ip4, int]:
        """The connection: the node's socket, and the peer's."""
        return self.ip.source, self.source_port, self.ip.destination, self.destination_port

    @property
    def length(self) -> int:
        """Octets of sequence space (SEG.LEN of RFC 9293)."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def __str__(self) -> str:
        return (
            f"{format_ip4(self.ip.source)}:{self.source_port} > {format_ip4(self.ip.destination)}:"
            f"{self.destination_port} {flag_names(self.flags)} seq {self.sequence} ack {self.acknowledgment} "
            f"win {self.window} length {len(self.payload)}"
        )


def build(
    source: Ip4,
    destination: Ip4,
    source_port: int,
    destination_port: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    *,
    urgent: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    data_offset: int | None = None,
    reserved: int = 0,
    checksum_field: int | None = None,
) -> bytes:
    """A segment. Options are padded with zeros; `data_offset` (words) and `checksum_field` override what is right."""
    options += bytes(-len(options) % 4)
    offset = (_HEADER_LENGTH + len(options)) // 4 if data_offset is None else data_offset
    fields = (
        source_port,
        destination_port,
        sequence % MODULUS,
        acknowledgment % MODULUS,
        offset << 4 | reserved,
        flags,
        window,
    )
    rest = options + payload
    pseudo = pseudo_header_sum(source, destination, PROTOCOL, _HEADER_LENGTH + len(rest))
    value = checksum(_HEADER.pack(*fields, 0, urgent) + rest, pseudo) if checksum_field is None else checksum_field
    return _HEADER.pack(*fields, value, urgent) + rest


def read(packet: bytes, time: int) -> Segment:
    """The TCP segment in an IP packet that the node sent (J-1, MUST-2)."""
    header, view = ipv4.parse(packet)  # the header's checksum is verified there
    assert header.protocol == PROTOCOL, f"not TCP: protocol {header.protocol}"
    assert header.total_length == len(packet), "J-1: octets after the packet"
    assert not header.fragment_offset and not header.more_fragments, "a TCP segment in fragments"
    pseudo = pseudo_header_sum(header.source, header.destination, PROTOCOL, len(view))
    assert is_valid(view, pseudo), "MUST-2: wrong checksum"
    source_port, destination_port, sequence, acknowledgment, offset, flags, window, _, urgent = _HEADER.unpack_from(
        view
    )
    length = (offset >> 4) * 4
    assert _HEADER_LENGTH <= length <= len(view), f"data offset of {length} octets"
    assert not offset & 0x0F, "reserved bits are set"
    assert flags & ACK or not acknowledgment, "an acknowledgment number without ACK"
    assert flags & URG or not urgent, "an urgent pointer without URG"
    options = read_options(bytes(view[_HEADER_LENGTH:length]))
    payload = bytes(view[length:])
    ports = (source_port, destination_port)
    return Segment(time, header, *ports, sequence, acknowledgment, flags, window, urgent, options, payload)


def read_options(octets: bytes) -> Options:
    """Raises AssertionError for options that a good stack does not send."""
    kinds: list[int] = []
    found: dict[str, object] = {}
    position = 0
    while position < len(octets):
        kind = octets[position]
        if kind == 0:
            assert not any(octets[position:]), "MUST-69: padding after the end of the list is not zero"
            break
        if kind == 1:
            position += 1
            continue
        length = octets[position + 1]
        assert 2 <= length <= len(octets) - position, f"MUST-68: length {length} of option {kind}"
        assert kind not in kinds, f"option {kind} comes twice"
        kinds.append(kind)
        name, value = _read_option(kind, octets[position + 2 : position + length])
        found[name] = value
        position += length
    return Options(kinds=tuple(kinds), length=len(octets), **found)  # type: ignore[arg-type]


def _read_option(kind: int, data: bytes) -> tuple[str, object]:
    numbers = [int.from_bytes(data[start : start + 4], "big") for start in range(0, len(data), 4)]
    if (kind, len(data)) == (2, 2):
        return "mss", numbers[0]
    if (kind, len(data)) == (3, 1):
        return "window_scale", numbers[0]
    if (kind, len(data)) == (4, 0):
        return "sack_permitted", True
    if kind == 5 and len(data) in (8, 16, 24, 32):
        return "sack", tuple(zip(numbers[::2], numbers[1::2], strict=True))
    if (kind, len(data)) == (8, 8):
        return "timestamps", tuple(numbers)
    if (kind, len(data)) == (28, 2):
        value = numbers[0]
        return "user_timeout", (value & 0x7FFF) * (60 if value >> 15 else 1)
    raise AssertionError(f"option {kind} with {len(data)} octets of data")


# ------------------------------------------------------------------------------------------------------ whole flows


def distance(later: int, earlier: int) -> int:
    """`later - earlier` of two 32-bit numbers, the nearer way round: -2^31 to 2^31 - 1."""
    return (later - earlier + (MODULUS >> 1)) % MODULUS - (MODULUS >> 1)


@dataclass
class Flow:
    """What one connection of the node has sent, and the rules for what comes next. `offered` are the options of the
    peer's SYN, as soon as it has sent one."""

    mtu: int
    offered: Options | None = None
    own: Options | None = None
    iss: int = 0
    nxt: int = 0  # relative to the ISS, as are all below
    ack: int | None = None
    edge: int | None = None
    tsval: int | None = None
    tsval_at: int = 0
    past_handshake: bool = False
    sent: bytearray = field(default_factory=bytearray)

    @property
    def shift(self) -> int:
        """By how much the node's windows are scaled."""
        return self._agreed_shift(self.own)

    @property
    def peer_shift(self) -> int:
        return self._agreed_shift(self.offered)

    def _agreed_shift(self, options: Options | None) -> int:
        both = self.own is not None and self.offered is not None
        if not both or self.own.window_scale is None or self.offered.window_scale is None or options is None:
            return 0
        return min(options.window_scale or 0, _LARGEST_SHIFT)

    def peer_opens(self, options: Options) -> None:
        """The peer sent a SYN; a later one changes nothing."""
        if self.offered is None or not self.past_handshake:
            self.offered = options

    def check(self, segment: Segment) -> None:
        """Raises AssertionError where `segment` breaks a rule."""
        if segment.flags & RST:
            return  # a reset has no state: its numbers are what it answers
        if segment.flags & SYN:
            self._check_syn(segment)
        else:
            self.past_handshake = True
        self._check_options(segment)
        self._check_sequence(segment)
        if segment.flags & ACK:
            self._check_acknowledgment(segment)

    def window(self, segment: Segment) -> int:
        """The window of a segment of the node in octets."""
        return segment.window if segment.flags & SYN else segment.window << self.shift

    def _check_syn(self, segment: Segment) -> None:
        if self.own is not None and not self.past_handshake:
            assert segment.sequence == self.iss, "another ISS in a repeated SYN"
        assert (segment.options.window_scale or 0) <= _LARGEST_SHIFT, "7323-2.3: a window scale over 14"
        self.own, self.iss = segment.options, segment.sequence
        if not segment.flags & ACK:
            return
        assert self.offered is not None, "SYN-ACK without a SYN"
        for kind, name in ((3, "window scale"), (4, "SACK-permitted"), (8, "timestamps")):
            assert kind not in segment.options.kinds or kind in self.offered.kinds, f"{name} in SYN-ACK, not in SYN"

    def _check_options(self, segment: Segment) -> None:
        options = segment.options
        if not segment.flags & SYN:
            assert not {2, 3, 4} & set(options.kinds), "MUST-65: an option of SYN without it"
            agreed = self.own is not None and self.offered is not None
            stamped = agreed and self.own.timestamps is not None and self.offered.timestamps is not None
            assert (options.timestamps is not None) == stamped, f"7323-3.2a: timestamps {options.timestamps}"
            assert not options.sack or (agreed and self.offered.sack_permitted), "2018-2: SACK without permission"
        if options.timestamps is not None:
            value, echo = options.timestamps
            assert segment.flags & ACK or echo == 0, "7323-3.2c: TSecr without ACK"
            if self.tsval is not None and segment.time - self.tsval_at < _TSVAL_COMPARABLE:
                assert distance(value, self.tsval) >= 0, "J-2: TSval went back"
            self.tsval, self.tsval_at = value, segment.time
        if segment.payload:
            peer_mss = (self.offered and self.offered.mss) or _DEFAULT_MSS
            most = min(max(peer_mss, _LEAST_MSS), self.mtu - 40) - options.length
            assert len(segment.payload) <= most, f"J-4: {len(segment.payload)} octets of payload, {most} at most"

    def _check_sequence(self, segment: Segment) -> None:
        start = distance(segment.sequence, self.iss)
        assert -1 <= start <= self.nxt, f"J-2: sequence {start}, {self.nxt} at most"
        self.nxt = max(self.nxt, start + segment.length)
        first = start - (0 if segment.flags & SYN else 1)  # position in the stream
        if segment.payload and first >= 0:
            end = first + len(segment.payload)
            before = self.sent[first:end]
            assert segment.payload.startswith(before), "J-3: sent again, and not the same"
            self.sent[first:end] = segment.payload

    def _check_acknowledgment(self, segment: Segment) -> None:
        edge = (segment.acknowledgment + self.window(segment)) % MODULUS
        if self.ack is not None and self.edge is not None:
            assert distance(segment.acknowledgment, self.ack) >= 0, "J-2: the acknowledgment number went back"
            assert distance(edge, self.edge) >= 0, "SHLD-14: the right edge of the window went back"
        self.ack, self.edge = segment.acknowledgment, edge
