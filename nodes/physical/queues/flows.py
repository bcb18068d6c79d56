"""Which flow a frame belongs to, as one of a few hundred numbers (RFC 8290 section 4.1).

    IPv4, IPv6      addresses, protocol, and the ports of TCP, UDP, DCCP, SCTP and UDP-Lite
    its fragments   addresses and protocol: only the first one has ports, and all should stay together
    all the rest    the Ethernet header: addresses and EtherType, so that ARP is a flow for each pair of stations

The key goes through a keyed hash (BLAKE2b, RFC 7693; its secret is the seed), so that flows spread evenly over the
queues whatever they are, and nobody can choose ports that hit somebody else's queue. A CRC with a secret start would
not do: whether two keys collide then does not depend on the secret."""

from __future__ import annotations

from hashlib import blake2b

from nodes.physical.congestion_mark import ETHERTYPE_IPV6, IPV6_HEADER, network_header
from nodes.wire.ethernet import ETHERTYPE_IPV4, HEADER_LENGTH

_SEED_LENGTH = 8
_WITH_PORTS = frozenset((6, 17, 33, 132, 136))
_FRAGMENT = 0x3FFF  # "more fragments" and the offset


class FlowHash:
    """Numbers from 0 to `flows` - 1. Any octets are allowed."""

    __slots__ = ("_begun", "_flows")

    def __init__(self, flows: int, seed: int) -> None:
        secret = (seed % (1 << 8 * _SEED_LENGTH)).to_bytes(_SEED_LENGTH, "big")
        self._begun = blake2b(digest_size=8, key=secret)  # copied for each frame: cheaper than to begin anew
        self._flows = flows

    def __call__(self, frame: bytes) -> int:
        hashed = self._begun.copy()
        hashed.update(flow_key(frame))
        return int.from_bytes(hashed.digest(), "big") % self._flows


def flow_key(frame: bytes) -> bytes:
    """What all frames of a flow have in common, and no other frames."""
    ethertype, offset = network_header(frame)
    if ethertype == ETHERTYPE_IPV4:
        protocol = frame[offset + 9]
        key = frame[offset + 12 : offset + 20] + frame[offset + 9 : offset + 10]
        if protocol in _WITH_PORTS and not int.from_bytes(frame[offset + 6 : offset + 8], "big") & _FRAGMENT:
            ports = offset + (frame[offset] & 15) * 4
            key += frame[ports : ports + 4]
        return key
    if ethertype == ETHERTYPE_IPV6:
        key = frame[offset + 8 : offset + 40] + frame[offset + 6 : offset + 7]
        if frame[offset + 6] in _WITH_PORTS:
            key += frame[offset + IPV6_HEADER : offset + IPV6_HEADER + 4]
        return key
    return frame[:HEADER_LENGTH]
