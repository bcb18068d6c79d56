"""What a capture of a simulation shows: TCP segments with numbers that count from the start of the stream; and rules
that drop chosen segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.wire import ipv4, tcp
from tests.sim.tcp_network import Network


class Observed(NamedTuple):
    """A TCP segment on the wire. `start`, `end` and `ack` count from the initial sequence numbers; SYN and FIN take a
    number. `sack` like them. `arrived` is None where it was lost."""

    time: int
    source: int
    flags: int
    start: int
    end: int
    ack: int
    window: int
    sack: tuple[tuple[int, int], ...]
    timestamp: tuple[int, int] | None
    length: int
    arrived: int | None
    fate: str
    ecn: int


def observe(network: Network, source: int | None = None) -> list[Observed]:
    """The captured TCP segments of the only connection, in the order they left; those of one side if `source` is
    given. Raises WireError if a checksum is wrong."""
    assert network.capture is not None
    initial: dict[int, int] = {}
    observed = []
    for packet in network.capture:
        header, payload = ipv4.parse(packet.frame)
        if header.protocol != tcp.PROTOCOL:
            continue
        segment = tcp.parse(payload, header.source, header.destination)
        initial.setdefault(packet.source, segment.sequence)
        peer = initial.get(1 - packet.source, 0)
        start = (segment.sequence - initial[packet.source]) & 0xFFFF_FFFF
        length = len(segment.payload)
        end = start + length + bool(segment.flags & tcp.FIN) + bool(segment.flags & tcp.SYN)
        if source is not None and packet.source != source:
            continue
        observed.append(
            Observed(
                packet.sent_at,
                packet.source,
                segment.flags,
                start,
                end,
                (segment.acknowledgment - peer) & 0xFFFF_FFFF,
                segment.window,
                tuple(((a - peer) & 0xFFFF_FFFF, (b - peer) & 0xFFFF_FFFF) for a, b in segment.options.sack),
                segment.options.timestamp,
                length,
                min(packet.arrivals, default=None),
                packet.fate,
                header.traffic_class & 3,
            )
        )
    return observed


def data_number(*numbers: int) -> Callable[[bytes, int], bool]:
    """A rule that drops the data segments of these numbers, counted from 1 in the order they enter the link."""
    wanted = frozenset(numbers)
    seen = 0

    def rule(frame: bytes, now: int) -> bool:
        nonlocal seen
        if payload_length(frame) == 0:
            return False
        seen += 1
        return seen in wanted

    return rule


def payload_length(frame: bytes) -> int:
    """Octets of TCP payload in a packet; 0 if it is none."""
    if frame[9] != tcp.PROTOCOL:
        return 0
    header = (frame[0] & 15) * 4
    return len(frame) - header - (frame[header + 12] >> 4) * 4
