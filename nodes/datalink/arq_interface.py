"""An Ethernet interface whose link repeats what it loses: ARQ between the interface and the medium.

    EthernetInterface     frames                              frames, in order and once
                            | _put                                ^ receive
    ArqLink               send                                received
                            v transmit                            | receive
    medium                frames of EtherType 0x88B5, which carry the others

Everything above is as on any other interface: ARP, RARP and IPv4 do not know that their frames are numbered. An ARQ
frame is longer than the one that it carries, and the medium's longest frame stays what it is: so the MTU of the
interface is that of the link less the overhead, and fragmentation, path MTU discovery and TCP's segment size follow
from there. Counters and events of frames are of what is on the medium.

One frame from the medium can bring several up (the one that was missing), or none; and a receiver that needs time for a
frame hands it up later, by its timer. So whoever drives the interface asks `next_delivery` until there is none.
"""

from __future__ import annotations

from random import Random

from nodes.datalink.arp import ArpSettings
from nodes.datalink.arq.link import ArqLink
from nodes.datalink.arq.settings import ArqSettings
from nodes.datalink.interface import EthernetInterface
from nodes.datalink.port import DOWN, Delivery, Port
from nodes.trace.events import Tracer
from nodes.units import earliest
from nodes.wire.addresses import Mac
from nodes.wire.arq import ETHERTYPE_ARQ, OVERHEAD
from nodes.wire.checksum import Buffer
from nodes.wire.ethernet import HEADER, HEADER_LENGTH


class ArqInterface(EthernetInterface):
    """`mtu` is the link's, from which the overhead of ARQ is taken."""

    overhead = OVERHEAD

    def __init__(
        self,
        index: int,
        name: str,
        mac: Mac,
        mtu: int,
        random: Random,
        tracer: Tracer,
        settings: ArpSettings,
        arq: ArqSettings,
    ) -> None:
        self.link = ArqLink(name, mac, arq, tracer)
        super().__init__(index, name, mac, mtu - OVERHEAD, random, tracer, settings)

    def set_up(self, up: bool, now: int) -> None:
        if up != self.up:
            self.link.set_carrier(up, now)
        super().set_up(up, now)

    # --------------------------------------------------------------------------------------------------------- the pump

    def receive(self, frame: Buffer, now: int) -> Delivery | None:
        """The first packet that came of it, None for none; `next_delivery` has the others."""
        if not self.up:
            self._ignore(frame, DOWN, now)
            return None
        if len(frame) >= HEADER_LENGTH:
            destination, source, ethertype = HEADER.unpack_from(frame)
            super()._count(Mac(source), Mac(destination), ethertype, len(frame), now)
        corrupt = self.link.counters.corrupt
        self.link.receive(frame, now)
        self.counters.in_errors += self.link.counters.corrupt - corrupt
        self._drain(now)
        return self.next_delivery(now)

    def next_delivery(self, now: int) -> Delivery | None:
        """The next packet for the layer above."""
        for inner in self.link.received():
            frame = HEADER.pack(inner.destination, inner.source, inner.ethertype) + inner.payload
            delivery = super().receive(frame, now)
            self._drain(now)
            if delivery is not None:
                return delivery
        return None

    def timeout(self, now: int) -> None:
        super().timeout(now)
        if self.up:
            self.link.timeout(now)
            self._drain(now)

    def deadline(self) -> int | None:
        return earliest(super().deadline(), self.link.deadline() if self.up else None)

    def _put(self, destination: Mac, ethertype: int, frame: bytes, now: int) -> None:
        self.link.send(destination, ethertype, frame[HEADER_LENGTH:], now)
        self._drain(now)

    def _count(self, source: Mac, destination: Mac, ethertype: int, length: int, now: int) -> None:
        """A frame that ARQ handed up was counted when it came from the medium."""

    def _drain(self, now: int) -> None:
        for frame in self.link.transmit():
            Port._put(self, Mac(bytes(frame[:6])), ETHERTYPE_ARQ, frame, now)

    def snapshot(self, now: int) -> dict[str, object]:
        return {**super().snapshot(now), "arq": self.link.snapshot()}
