"""A partition: the node neither hears from nor sends to certain addresses.

The barrier stands between the interfaces of a device and whatever carries its frames, so that it needs nothing of
either. It looks for the addresses where frames carry them:

                 Ethernet, + 10 with a virtio-net header        bare IP
    IPv4         source 26..30, destination 30..34              12..16, 16..20
    ARP          sender 28..32, target 38..42                   -

Inbound, a frame is dropped for its source; outbound, for its destination. Two groups that shall not reach each other
each get the addresses of the other: then broadcasts, which have no address to look for on their way out, end at whom
they must not reach, and so do ARP requests. A router does not forward from or to these addresses either, because it
cannot hear the one and send to the other; what others send to each other passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from nodes.contract import InterfaceConfig
from nodes.trace.events import FrameDropped, PartitionUpdated, Tracer
from nodes.wire import arq, virtio
from nodes.wire.addresses import Ip4, format_ip4, parse_ip4
from nodes.wire.checksum import Buffer
from nodes.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, HEADER_LENGTH

REASON = "partition"
"""Of the events `frame_dropped`."""

_ETHERTYPE = Struct("!H")
_ADDRESS = Struct("!I")
_BARE_IP = -1


class Barrier:
    """Of the interfaces of one device. While `blocked` is empty, its driver need not ask."""

    __slots__ = ("_offsets", "_ports", "_trace", "blocked", "dropped_in", "dropped_out")

    def __init__(self, interfaces: Sequence[InterfaceConfig], tracer: Tracer) -> None:
        self.blocked: frozenset[Ip4] = frozenset()
        self.dropped_in = 0
        self.dropped_out = 0
        self._trace = tracer
        self._ports = tuple(interface.name for interface in interfaces)
        self._offsets = tuple(_header_offset(interface) for interface in interfaces)

    def block(self, addresses: Iterable[str], now: int) -> None:
        """From now on these, and no others; none ends the partition. Raises ValueError for what is no address."""
        blocked = frozenset(parse_ip4(address) for address in addresses)
        if blocked != self.blocked:
            old, self.blocked = self.blocked, blocked
            self._trace(now, PartitionUpdated(_names(old), _names(blocked), "command"))

    def hears(self, port: int, frame: Buffer, now: int) -> bool:
        """Whether a frame that arrived may come in; one that may not is counted and traced."""
        if self._address(port, frame, 12, 14) not in self.blocked:
            return True
        self.dropped_in += 1
        self._trace(now, FrameDropped(self._ports[port], REASON, len(frame)))
        return False

    def sends(self, port: int, frame: Buffer, now: int) -> bool:
        """Whether a frame may leave; one that may not is counted and traced."""
        if self._address(port, frame, 16, 24) not in self.blocked:
            return True
        self.dropped_out += 1
        self._trace(now, FrameDropped(self._ports[port], REASON, len(frame)))
        return False

    def snapshot(self) -> dict[str, object]:
        """The addresses, and the frames that were dropped because of them."""
        return {
            "blocked": [format_ip4(address) for address in sorted(self.blocked)],
            "dropped_in": self.dropped_in,
            "dropped_out": self.dropped_out,
        }

    def _address(self, port: int, frame: Buffer, in_ipv4: int, in_arp: int) -> int | None:
        """The address at this offset of the packet, depending on what it is; None where there is none."""
        offset = self._offsets[port]
        place = in_ipv4
        if offset != _BARE_IP:
            if len(frame) < offset + HEADER_LENGTH:
                return None
            ethertype = _ETHERTYPE.unpack_from(frame, offset + HEADER_LENGTH - 2)[0]
            if ethertype == arq.ETHERTYPE_ARQ and len(frame) >= arq.HEADER.size:
                ethertype = arq.HEADER.unpack_from(frame)[7]
                place += arq.HEADER.size - HEADER_LENGTH
                in_arp += arq.HEADER.size - HEADER_LENGTH
            if ethertype == ETHERTYPE_ARP:
                place = in_arp
            elif ethertype != ETHERTYPE_IPV4:
                return None
            place += offset + HEADER_LENGTH
        if len(frame) < place + _ADDRESS.size:
            return None
        return int(_ADDRESS.unpack_from(frame, place)[0])


def _header_offset(interface: InterfaceConfig) -> int:
    """Where the Ethernet header begins."""
    if interface.kind == "ip":
        return _BARE_IP
    return virtio.LENGTH if interface.offload else 0


def _names(addresses: Iterable[Ip4]) -> str:
    return " ".join(format_ip4(address) for address in sorted(addresses)) or "none"
