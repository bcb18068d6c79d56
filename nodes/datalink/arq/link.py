"""One end of a link with ARQ: a sender and a receiver that share a wire.

    send(destination, ethertype, payload)             received() -> (destination, source, ethertype, payload)
              |                                                ^
          ArqSender  <-- RR RNR REJ SREJ UA DM --+             |
              |                                  |         ArqReceiver
              +--> I, SABM ----------+           |             |
                                     v           |             +--> RR RNR REJ SREJ UA DM
                              transmit() -> frames, receive(frame)

Four verbs, as everywhere: `receive`, `timeout`, `deadline`, `transmit`; and `send` from above, `received` to above. The
two directions have numbers of their own and know nothing of each other, but that every data frame carries the N(R) of
the other one, too. The time is the caller's, and nothing here is random: same inputs, same frames.

A link keeps the order of its frames. One that lets a frame overtake another makes a number of last round look like one
of this round; lint warns of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from nodes.datalink.arq.counters import ArqCounters
from nodes.datalink.arq.line import Line
from nodes.datalink.arq.receiver import ArqReceiver
from nodes.datalink.arq.sender import ArqSender, Outgoing
from nodes.datalink.arq.settings import ArqSettings
from nodes.errors import WireError
from nodes.trace.arq_events import ArqFrameDropped, ArqFrameSent
from nodes.trace.events import Tracer
from nodes.units import earliest
from nodes.wire import arq
from nodes.wire.addresses import BROADCAST_MAC, Mac
from nodes.wire.checksum import Buffer


class ArqLink:
    """`name` is the interface's, for events; `mac` is the source of control frames."""

    def __init__(self, name: str, mac: Mac, settings: ArqSettings, tracer: Tracer) -> None:
        self.settings = settings
        self.counters = ArqCounters()
        self._name = name
        self._mac = mac
        self._peer = BROADCAST_MAC
        self._trace = tracer
        self._line = Line(settings.rate)
        self._out: list[bytes] = []
        self._receiver = ArqReceiver(name, settings, self.counters, tracer, self._emit)
        self._sender = ArqSender(name, settings, self._line, self.counters, tracer, self._emit)

    # ------------------------------------------------------------------------------------------------------- from above

    def send(self, destination: Mac, ethertype: int, payload: bytes, now: int) -> None:
        """Have the peer's end give this to its upper layer, once and in order. What cannot be kept is dropped with an
        event."""
        self._sender.send(Outgoing(destination, ethertype, payload), now)

    def received(self) -> Iterator[arq.ArqFrame]:
        """What has come since the last call, oldest first."""
        ready = self._receiver.ready
        while ready:
            yield ready.popleft()

    @property
    def has_received(self) -> bool:
        return bool(self._receiver.ready)

    def set_carrier(self, up: bool, now: int) -> None:
        """Without a carrier, all that is on the way is lost, and numbers mean nothing any more."""
        if not up:
            self._sender.give_up("carrier", now, "carrier_lost")
            self._receiver.disconnect("carrier", now)
            self._out.clear()

    # --------------------------------------------------------------------------------------------------------- the pump

    def receive(self, frame: Buffer, now: int) -> None:
        try:
            parsed = arq.parse(frame)
        except WireError as error:
            self.counters.corrupt += 1
            self._trace(now, ArqFrameDropped(self._name, None, len(frame), "corrupt", str(error)))
            self._receiver.corrupt(now)
            return
        self._peer = parsed.source
        if parsed.kind == arq.DATA:
            if parsed.flags & arq.ACKNOWLEDGES:
                self._sender.acknowledge(parsed.receive, None, arq.KINDS[parsed.kind], now)
            self._receiver.take(parsed, now)
        else:
            self.counters.control_received += 1
            self._control(parsed, now)
        self._sender.pump(now)

    def timeout(self, now: int) -> None:
        self._receiver.timeout(now)
        self._sender.timeout(now)

    def deadline(self) -> int | None:
        """When `timeout` is wanted next, in ns."""
        return earliest(self._receiver.deadline(), self._sender.deadline())

    def transmit(self) -> list[bytes]:
        """The Ethernet frames to send since the last call, oldest first."""
        frames, self._out = self._out, []
        return frames

    def _control(self, frame: arq.ArqFrame, now: int) -> None:
        kind, sender = frame.kind, self._sender
        trigger = arq.KINDS[kind]
        if kind == arq.SET_MODE:
            self._receiver.set_mode(now)
        elif kind == arq.ACCEPTED:
            sender.accepted(now)
        elif kind == arq.DISCONNECTED:
            sender.refused(now)
        else:
            selected = frame.send if frame.flags & arq.SELECTIVE else None
            sender.acknowledge(frame.receive, selected, trigger, now)
            if kind == arq.REJECT:
                sender.reject(frame.receive, "reject", now)
            elif kind == arq.SELECTIVE_REJECT:
                sender.reject(frame.send, "selective_reject", now)
            sender.set_peer_ready(kind != arq.NOT_READY, trigger, now)
            if frame.flags & arq.POLL:
                self._receiver.poll(now)

    def _emit(
        self, kind: int, now: int, *, flags: int = 0, send: int = 0, frame: Outgoing | None = None, trigger: str = ""
    ) -> int:
        """Send a frame; returns when it has left."""
        expected = self._receiver.expected
        if frame is None:
            self.counters.control_sent += 1
            built = arq.build(arq.ArqFrame(self._peer, self._mac, kind, flags, send, expected))
        else:
            flags |= arq.ACKNOWLEDGES if self._receiver.connected else 0
            parts = (frame.destination, self._mac, kind, flags, send, expected, frame.ethertype, frame.payload)
            built = arq.build(arq.ArqFrame(*parts))
        self._out.append(built)
        if self._trace.packets:
            self._trace(now, ArqFrameSent(self._name, arq.KINDS[kind], send, expected, len(built), trigger))
        return self._line.occupy(len(built), now)

    def snapshot(self) -> dict[str, object]:
        """Settings, both halves and the counters, as values of JSON."""
        settings = self.settings
        return {
            "kind": settings.kind,
            "bits": settings.bits,
            "window": settings.window,
            "timeout": settings.timeout,
            "rate": settings.rate,
            "sender": self._sender.snapshot(),
            "receiver": self._receiver.snapshot(),
            "counters": {name: getattr(self.counters, name) for name in ArqCounters.__slots__},
        }
