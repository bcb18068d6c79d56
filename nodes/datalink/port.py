"""What all interfaces share: a name, an MTU, a state, counters, and the frames that wait to be sent."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TypeAlias

from nodes.errors import MisuseError
from nodes.trace.events import FrameDropped, FrameReceived, FrameSent, InterfaceUpdated, Tracer
from nodes.wire import virtio
from nodes.wire.addresses import Mac
from nodes.wire.checksum import Buffer

TRANSMIT_FRAMES = 16_384
"""Frames that wait for `transmit`. A driver drains after each input, which brings about a handful; this bounds one that
does not, at 25 MB of full-sized frames."""

DOWN = "interface is down"

Delivery: TypeAlias = tuple[memoryview, bool, bool]
"""What an interface hands up: an IPv4 packet, with padding; was the frame a link broadcast or multicast; need the
checksum of the transport not be verified?"""


@dataclass(slots=True)
class InterfaceCounters:
    """As in ifTable (RFC 2863): octets include the header; `in_filtered` are frames for other stations."""

    in_octets: int = 0
    in_frames: int = 0
    in_group_frames: int = 0
    in_filtered: int = 0
    in_errors: int = 0
    in_unknown_protocols: int = 0
    in_discards: int = 0
    out_octets: int = 0
    out_frames: int = 0
    out_discards: int = 0
    arp_requests_received: int = 0
    arp_replies_received: int = 0
    arp_replies_sent: int = 0


class Port:
    """Base of the interfaces. `index` is the port number, `mtu` the longest packet in octets. With `offload`, frames
    begin with a virtio-net header (nodes.wire.virtio), in both directions. `given_up` has the packets that `failed`
    is to hand out: one look tells that there are none. `overhead` is what the interface itself takes of the medium's
    MTU."""

    overhead = 0

    def __init__(self, index: int, name: str, mac: Mac, mtu: int, tracer: Tracer, *, offload: bool = False) -> None:
        self.index = index
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.up = True
        self.offload = offload
        self.given_up: list[bytes] = []
        self.counters = InterfaceCounters()
        self._trace = tracer
        self._out: list[bytes] = []
        self._lead = virtio.LENGTH if offload else 0
        """Octets before the Ethernet header, which count nowhere."""

    def transmit(self) -> list[bytes]:
        """The frames to send since the last call, oldest first."""
        frames, self._out = self._out, []
        return frames

    def _too_long(self, length: int) -> MisuseError:
        return MisuseError(
            f"a packet of {length} octets exceeds the MTU {self.mtu} of {self.name}",
            hint="fragment it first",
            errno=errno.EMSGSIZE,
        )

    def _put(self, destination: Mac, ethertype: int, frame: bytes, now: int) -> None:
        if len(self._out) >= TRANSMIT_FRAMES:
            self._discard(len(frame) - self._lead, "transmit queue full", now)
            return
        self._out.append(frame)
        self.counters.out_frames += 1
        length = len(frame) - self._lead
        self.counters.out_octets += length
        if self._trace.packets:
            self._trace(now, FrameSent(self.name, self.mac, destination, ethertype, length))

    def _count(self, source: Mac, destination: Mac, ethertype: int, length: int, now: int) -> None:
        self.counters.in_frames += 1
        self.counters.in_octets += length
        if self._trace.packets:
            self._trace(now, FrameReceived(self.name, source, destination, ethertype, length))

    def _discard(self, length: int, reason: str, now: int) -> None:
        self.counters.out_discards += 1
        self._trace(now, FrameDropped(self.name, reason, length))

    def _refuse(self, frame: Buffer, reason: str, now: int) -> None:
        self.counters.in_errors += 1
        self._trace(now, FrameDropped(self.name, reason, self._length(frame)))

    def _ignore(self, frame: Buffer, reason: str, now: int) -> None:
        self.counters.in_discards += 1
        self._trace(now, FrameDropped(self.name, reason, self._length(frame)))

    def _length(self, frame: Buffer) -> int:
        return max(len(frame) - self._lead, 0)

    def _change(self, up: bool, now: int) -> None:
        """Take the new state. What waits to be sent is lost with the carrier."""
        frames = self.transmit()
        names = ("up", "down") if self.up else ("down", "up")
        self.up = up
        self._trace(now, InterfaceUpdated(self.name, *names, trigger="carrier"))
        for frame in frames:
            self._discard(len(frame) - self._lead, DOWN, now)
