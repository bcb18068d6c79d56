"""A repeater with many ports (IEEE 802.3 clause 27): layer 1, no addresses, no table, no choice.

What arrives on one port leaves on every other port that is up, so all stations behind a hub see all frames and form one
shared medium:

    a ──┐                     a sends to b:   c sees the frame too, and its interface drops it because the
    b ──┤ hub                                 destination is not its own. With a switch in this place, c sees
    c ──┘                                     only the first frame, before b has been learned.

On a real shared medium two stations that send at once collide, back off and try again (CSMA/CD). Links of a lab are
full duplex and carry whole frames, so nothing collides here: what the medium shares is its content. A hub does not
look into frames, so it repeats the frames that a switch would drop: BPDUs, pause frames, frames of any length."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.trace.events import FrameDropped, FrameReceived, FrameSent, InterfaceUpdated, Tracer
from nodes.wire import ethernet
from nodes.wire.checksum import Buffer

QUEUE_LIMIT = 65_536
"""Frames waiting for `transmit`: 64 received frames at once on a hub of 1,023 ports. Only a caller that never drains
reaches it."""


class HubPort:
    """One port and its counters."""

    __slots__ = (
        "in_discards",
        "in_frames",
        "in_octets",
        "index",
        "name",
        "out_discards",
        "out_frames",
        "out_octets",
        "up",
    )

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.up = False
        self.in_frames = self.in_octets = self.in_discards = 0
        self.out_frames = self.out_octets = self.out_discards = 0

    def snapshot(self) -> dict[str, object]:
        return {
            "name": self.name,
            "up": self.up,
            "in_frames": self.in_frames,
            "in_octets": self.in_octets,
            "in_discards": self.in_discards,
            "out_frames": self.out_frames,
            "out_octets": self.out_octets,
            "out_discards": self.out_discards,
        }


class Hub:
    """A repeater. Ports are down until `set_port` says that they have a carrier."""

    def __init__(self, ports: Sequence[str], tracer: Tracer) -> None:
        self._ports = [HubPort(index, name) for index, name in enumerate(ports)]
        self._tracer = tracer
        self._out: list[tuple[int, bytes]] = []

    def receive(self, port: int, frame: bytes | memoryview, now: int) -> None:
        """Repeat `frame`, which arrived on `port`, to all other ports that are up."""
        arrival = self._ports[port]
        if not arrival.up or not frame:
            arrival.in_discards += 1
            self._tracer(now, FrameDropped(arrival.name, "empty frame" if arrival.up else "port is down", len(frame)))
            return
        arrival.in_frames += 1
        arrival.in_octets += len(frame)
        kept = bytes(frame)  # the caller may reuse its buffer
        if self._tracer.packets:
            self._trace(FrameReceived, arrival, kept, now)
        for other in self._ports:
            if other.up and other is not arrival:
                self._send(other, kept, now)

    def timeout(self, now: int) -> None:
        """A repeater has no timers."""

    def deadline(self) -> int | None:
        return None

    def transmit(self) -> list[tuple[int, bytes]]:
        """The frames to send since the last call, as (port, frame)."""
        drained, self._out = self._out, []
        return drained

    def set_port(self, port: int, up: bool, now: int) -> None:
        """Carrier on `port` came or went."""
        changed = self._ports[port]
        if changed.up is not up:
            changed.up = up
            old, new = ("down", "up") if up else ("up", "down")
            self._tracer(now, InterfaceUpdated(changed.name, old, new, "carrier"))

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002  (the surface of all devices)
        return {"ports": [port.snapshot() for port in self._ports]}

    def _send(self, port: HubPort, frame: bytes, now: int) -> None:
        if len(self._out) >= QUEUE_LIMIT:
            port.out_discards += 1
            self._tracer(now, FrameDropped(port.name, "transmit queue is full", len(frame)))
            return
        port.out_frames += 1
        port.out_octets += len(frame)
        self._out.append((port.index, frame))
        if self._tracer.packets:
            self._trace(FrameSent, port, frame, now)

    def _trace(self, kind: type[FrameReceived | FrameSent], port: HubPort, frame: Buffer, now: int) -> None:
        if len(frame) >= ethernet.HEADER_LENGTH:
            header = ethernet.parse(frame)[0]
            self._tracer(now, kind(port.name, header.source, header.destination, header.ethertype, len(frame)))
