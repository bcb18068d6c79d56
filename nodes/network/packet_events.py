"""The events of packets, filled in from their headers."""

from __future__ import annotations

from nodes.trace.events import PacketDropped, PacketFragmented, PacketReceived, PacketSent
from nodes.wire import ipv4
from nodes.wire.addresses import ANY
from nodes.wire.ipv4 import IPv4Header

LOOPBACK_NAME = "lo"
"""What events call the way from a node to itself."""


def malformed(interface: str, packet: memoryview, reason: str) -> PacketDropped:
    """As much of the header as can be read."""
    source, destination, protocol = ANY, ANY, 0
    if len(packet) >= ipv4.HEADER_LENGTH:
        *_, protocol, _, source, destination = ipv4.HEADER.unpack_from(packet)
    return PacketDropped(interface, source, destination, protocol, reason)


def dropped(interface: str, header: IPv4Header, reason: str) -> PacketDropped:
    return PacketDropped(interface, header.source, header.destination, header.protocol, reason)


def received(interface: str, header: IPv4Header) -> PacketReceived:
    _, _, length, identification, _, _, _, _, protocol, source, destination, _ = header
    return PacketReceived(interface, source, destination, protocol, length, identification)


def sent(interface: str, header: IPv4Header, length: int) -> PacketSent:
    return PacketSent(interface, header.source, header.destination, header.protocol, length, header.identification)


def fragmented(header: IPv4Header, fragments: int, mtu: int) -> PacketFragmented:
    return PacketFragmented(
        header.source, header.destination, header.identification, header.total_length, fragments, mtu
    )
