"""What TCP leaves to a link with offload, written into the virtio-net header of its frames.

    TCP hands over      one segment with up to 65,000 octets of payload, the sum of the pseudo header as its checksum
    the note says       checksum at 14 + IP header + 16, cut into pieces of `segment_size`
    who does it         nobody, where the frame goes to a node that takes it as it is (both ends with offload, or a
                        Linux kernel); else the sender's or the bridge's kernel, just before the link that needs it

That is how TSO, checksum offload and LRO work together in a host with virtual machines, and it is what makes TCP there
faster than any wire: the work for each packet is done once for forty of them.
"""

from __future__ import annotations

from nodes.wire import ethernet, ipv4, virtio
from nodes.wire.checksum import Buffer

LONGEST_PACKET = 65_521
"""The longest packet that crosses a link in one piece, in octets: Linux cuts frames of 65,536 octets (the default of
gso_max_size) and more. A longer packet is no error, only slower."""

PLAIN_IPV4 = 0x45
"""The first octet of an IPv4 header without options."""

TCP_CHECKSUM = 16
"""Where a TCP header has its checksum (RFC 9293 section 3.1)."""

_TCP_OFFSET, _TCP_FLAGS, _CWR = 12, 13, 0x80
_HEADERS = virtio.LENGTH + ethernet.HEADER_LENGTH


def _note(gso_type: int, header_length: int, segment_size: int, ip_length: int) -> bytes:
    start = ethernet.HEADER_LENGTH + ip_length
    return virtio.HEADER.pack(virtio.NEEDS_CSUM, gso_type, header_length, segment_size, start, TCP_CHECKSUM)


PARTIAL_TCP = _note(virtio.GSO_NONE, 0, 0, ipv4.HEADER_LENGTH)
"""The note of a segment that only lacks its checksum, in a packet without IP options."""


def headers_length(packet: Buffer) -> int:
    """Octets of the IPv4 and the TCP header of a packet that begins with both."""
    ip_length = (packet[0] & 15) * 4
    return ip_length + (packet[ip_length + _TCP_OFFSET] >> 4) * 4


def longest_piece(packet: Buffer, segment_size: int) -> int:
    """The length of the longest packet that is left of `packet` after cutting; `segment_size` 0 cuts nothing."""
    return min(len(packet), headers_length(packet) + segment_size) if segment_size else len(packet)


def note_of(packet: Buffer, segment_size: int) -> bytes:
    """The virtio-net header of a TCP segment whose checksum is left to the link. It is to be cut where it has more than
    `segment_size` octets of payload and that is not 0."""
    ip_length = (packet[0] & 15) * 4
    length = headers_length(packet)
    if not segment_size or len(packet) - length <= segment_size:
        return _note(virtio.GSO_NONE, 0, 0, ip_length)
    reduced = packet[ip_length + _TCP_FLAGS] & _CWR
    kind = virtio.GSO_TCPV4 | (virtio.GSO_ECN if reduced else 0)
    return _note(kind, ethernet.HEADER_LENGTH + length, segment_size, ip_length)


def refusal(frame: Buffer, mtu: int) -> str | None:
    """Why a received frame that stands for several must not be taken, None where it may: only TCP over IPv4 is cut, and
    its pieces fit the link."""
    _, kind, _, segment_size, _, _ = virtio.HEADER.unpack_from(frame)
    if kind & ~virtio.GSO_ECN != virtio.GSO_TCPV4:
        return f"gso type {kind}"
    packet = memoryview(frame)[_HEADERS:]
    if len(packet) < ipv4.HEADER_LENGTH or len(packet) < (packet[0] & 15) * 4 + _TCP_FLAGS:
        return "no TCP header"
    longest = longest_piece(packet, segment_size)
    return f"pieces of {longest} octets exceed the MTU {mtu}" if longest > mtu else None
