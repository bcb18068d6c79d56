"""What the internet layer hands to the layer above: a datagram that arrived, an error about one that was sent.

Both are plain tuples. Their buffers are views into the frame, valid as long as somebody holds them: whoever keeps
octets for long copies them.
"""

from __future__ import annotations

from typing import NamedTuple

from nodes.wire.addresses import Ip4
from nodes.wire.ipv4 import IPv4Header

LOCAL_INTERFACE = -1
"""The interface index of a datagram that this node sent to itself."""


class Datagram(NamedTuple):
    """A complete datagram for this node. `interface` is the index of the interface it came in by, `packet` the header
    and the payload, as an ICMP error about it quotes them. `link_broadcast` tells that the frame below was a broadcast
    or a multicast, about which no ICMP error may be sent (RFC 1122 section 3.2.2). `checksum_valid`: the transport's
    checksum need not be verified, and may not even be there: the datagram never was on a wire."""

    interface: int
    header: IPv4Header
    payload: memoryview
    packet: memoryview
    link_broadcast: bool
    checksum_valid: bool = False


class IcmpError(NamedTuple):
    """An ICMP error about a packet that this node sent. `source` is who reported it (an address of this node where the
    error was found here), `rest` the second word of the message, `header` the quoted header, whose total length may be
    more than what was quoted, and `payload` what was quoted after it: at least eight octets, unless the packet was
    shorter."""

    source: Ip4
    type: int
    code: int
    rest: int
    header: IPv4Header
    payload: memoryview
