"""Segments that claim to be somebody else's, for `node.send_frame`: what an attacker sends who knows, or guesses,
addresses, ports and numbers.

The frame's own source is the attacker's, or the switches would learn that the victim has moved.
"""

from __future__ import annotations

from lab.api.nodes import Node
from nodes.wire import ethernet, ipv4, tcp
from nodes.wire.addresses import parse_ip4, parse_mac


def forged_segment(
    by: Node,
    source: tuple[str, int],
    to: Node,
    port: int,
    flags: str,
    sequence: int,
    acknowledgment: int = 0,
    *,
    data: bytes = b"",
    window: int = 65_535,
) -> bytes:
    """A frame from `by` to `to` on the same network, with a segment that claims to be from `source` (address and port).
    `flags` are names with commas, as `RST,ACK`. Raises ValueError for one that does not exist."""
    bits = sum(1 << tcp.FLAG_NAMES.index(name) for name in flags.split(","))
    address, target = parse_ip4(source[0]), parse_ip4(to.address)
    segment = tcp.build(
        address, target, source[1], port, sequence % 2**32, acknowledgment % 2**32, bits, window, payload=data
    )
    packet = ipv4.build(address, target, ipv4.PROTOCOL_TCP, segment)
    return ethernet.build(parse_mac(to.mac), parse_mac(by.mac), ethernet.ETHERTYPE_IPV4, packet)
