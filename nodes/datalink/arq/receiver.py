"""The receiving half of ARQ: what is taken, what is answered, and how much room there is.

Go-back-N takes the one number that it expects (`vr`), and nothing else. Selective repeat takes any of the `window`
numbers from there on and holds what comes early. Both hand frames up in their order, once.

Every data frame is answered at once: with RR, with RNR where there is no room for another window, and with REJ or SREJ,
once for each frame that is missing, where a gap shows that it is. A corrupt frame is no data frame, since no field of
it can be believed; all it says is that something came, so the expected frame is asked for. RR of selective repeat also
names the frame that it answers, so that those behind a gap need not be sent again.

**Unsafe windows.** After a frame comes a window that the sender may not know of, if the answers were lost: it sends the
old frames again. They are told from new ones by their numbers, as long as the old window and the new one have none in
common: window + 1 <= 2^bits for go-back-N, 2 * window <= 2^bits for selective repeat. Else an old frame is new.

**Room.** A receiver that needs time for a frame (`processing`) keeps those that wait in a buffer. It says RNR while the
room is less than a window, since so much may be on the way already, and RR when it is more again.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from nodes.datalink.arq.counters import ArqCounters
from nodes.datalink.arq.settings import ArqSettings
from nodes.trace.arq_events import ArqConnectionUpdated, ArqFrameDropped, ArqReadinessUpdated
from nodes.trace.events import Tracer
from nodes.wire import arq
from nodes.wire.arq import ArqFrame


class Answer(Protocol):
    """Sends a control frame with N(R)."""

    def __call__(self, kind: int, now: int, *, flags: int = 0, send: int = 0, trigger: str = "") -> int: ...


class ArqReceiver:
    """`ready` are the frames to hand up, oldest first."""

    def __init__(self, name: str, settings: ArqSettings, counters: ArqCounters, tracer: Tracer, answer: Answer) -> None:
        self.connected = False
        self.ready: deque[ArqFrame] = deque()
        self._name = name
        self._settings = settings
        self._counters = counters
        self._trace = tracer
        self._answer = answer
        self._vr = 0
        self._held: dict[int, ArqFrame] = {}
        self._rejected: set[int] = set()
        self._pending: deque[ArqFrame] = deque()
        self._done_at: int | None = None
        self._busy = False

    @property
    def expected(self) -> int:
        """N(R)."""
        return self._vr % self._settings.modulus

    # -------------------------------------------------------------------------------------------------------- from peer

    def set_mode(self, now: int) -> None:
        """SABM: the peer's numbers begin at 0."""
        self._change(True, "SABM", now)
        self._begin()
        self._answer(arq.ACCEPTED, now, trigger="SABM")

    def take(self, frame: ArqFrame, now: int) -> None:
        """A data frame that is whole."""
        self._counters.received += 1
        if not self.connected:
            self._counters.not_connected += 1
            self._drop(frame, "not_connected", "no SABM came", now)
            self._answer(arq.DISCONNECTED, now, trigger="data frame")
            return
        offset = (frame.send - self._vr) % self._settings.modulus
        number = self._vr + offset
        if offset >= (self._settings.window if self._settings.selective else 1):
            self._refuse(frame, offset, now)
        elif number in self._held:
            self._duplicate(frame, now)
        elif len(self._pending) + len(self._held) >= self._settings.buffer:
            self._counters.no_room += 1
            self._drop(frame, "no_room", f"{len(self._pending)} frames wait", now)
            if self._settings.flow_control:
                self._acknowledge("no room", now)
        else:
            self._accept(frame, number, now)

    def corrupt(self, now: int) -> None:
        """Something came that cannot be read."""
        if self.connected:
            self._ask_for(self._vr, "corrupt", now)

    def poll(self, now: int) -> None:
        """The peer asks whether there is room."""
        if self.connected:
            self._acknowledge("poll", now, flags=arq.FINAL)
        else:
            self._answer(arq.DISCONNECTED, now, trigger="poll")

    def _accept(self, frame: ArqFrame, number: int, now: int) -> None:
        self._held[number] = frame._replace(payload=bytes(frame.payload))
        self._rejected.discard(number)
        while self._vr in self._held:
            self._hand_up(self._held.pop(self._vr), now)
            self._vr += 1
        self._tell_room("data frame", now)
        flags = arq.SELECTIVE if self._settings.selective else 0
        self._acknowledge("data frame", now, flags=flags, send=frame.send)
        for missing in range(self._vr, number):
            if missing not in self._held:
                self._ask_for(missing, "gap", now)

    def _refuse(self, frame: ArqFrame, offset: int, now: int) -> None:
        """A number that is not expected. In go-back-N, those of the window from `vr` on can be of frames behind a lost
        one; the others are of frames that have come."""
        if self._settings.selective or offset >= self._settings.window:
            self._duplicate(frame, now)
            return
        self._counters.out_of_order += 1
        self._drop(frame, "out_of_order", f"{self.expected} expected", now)
        if not self._ask_for(self._vr, "gap", now):
            self._acknowledge("out of order", now)

    def _duplicate(self, frame: ArqFrame, now: int) -> None:
        self._counters.duplicate += 1
        self._drop(frame, "duplicate", f"{self.expected} expected", now)
        flags = arq.SELECTIVE if self._settings.selective else 0
        self._acknowledge("duplicate", now, flags=flags, send=frame.send)

    def _ask_for(self, number: int, trigger: str, now: int) -> bool:
        """False where it was asked for before, or asking is off."""
        if not self._settings.reject or number in self._rejected or self._busy:
            return False
        self._rejected.add(number)
        if self._settings.selective:
            self._answer(arq.SELECTIVE_REJECT, now, send=number % self._settings.modulus, trigger=trigger)
        else:
            self._answer(arq.REJECT, now, trigger=trigger)
        return True

    def _acknowledge(self, trigger: str, now: int, *, flags: int = 0, send: int = 0) -> None:
        kind = arq.NOT_READY if self._busy else arq.READY
        self._answer(kind, now, flags=flags, send=send if flags & arq.SELECTIVE else 0, trigger=trigger)

    # ------------------------------------------------------------------------------------------------------------- room

    def _hand_up(self, frame: ArqFrame, now: int) -> None:
        if not self._settings.processing:
            self._counters.delivered += 1
            self.ready.append(frame)
            return
        self._pending.append(frame)
        if self._done_at is None:
            self._done_at = now + self._settings.processing

    def deadline(self) -> int | None:
        return self._done_at

    def timeout(self, now: int) -> None:
        while self._done_at is not None and self._done_at <= now:
            self._counters.delivered += 1
            self.ready.append(self._pending.popleft())
            self._done_at = self._done_at + self._settings.processing if self._pending else None
        if self._tell_room("frame processed", now) and self.connected:
            self._acknowledge("room", now)

    def _tell_room(self, trigger: str, now: int) -> bool:
        """Whether there is more room than was last said."""
        busy = self._settings.flow_control and self._settings.buffer - len(self._pending) < self._settings.window
        if busy == self._busy:
            return False
        self._busy = busy
        names = ("ready", "not_ready") if busy else ("not_ready", "ready")
        self._trace(now, ArqReadinessUpdated(self._name, "local", *names, trigger))
        return not busy

    # ------------------------------------------------------------------------------------------------------- connection

    def disconnect(self, trigger: str, now: int) -> None:
        """Forget the numbers. What was taken is still handed up."""
        self._change(False, trigger, now)
        self._begin()

    def _begin(self) -> None:
        self._vr = 0
        self._held.clear()
        self._rejected.clear()

    def _change(self, connected: bool, trigger: str, now: int) -> None:
        if connected != self.connected:
            self.connected = connected
            names = ("disconnected", "connected") if connected else ("connected", "disconnected")
            self._trace(now, ArqConnectionUpdated(self._name, "receive", *names, trigger))

    def _drop(self, frame: ArqFrame, reason: str, detail: str, now: int) -> None:
        self._trace(now, ArqFrameDropped(self._name, frame.send, len(frame.payload), reason, detail))

    def snapshot(self) -> dict[str, object]:
        return {
            "connected": self.connected,
            "ready": not self._busy,
            "expected": self.expected,
            "held": len(self._held),
            "pending": len(self._pending),
        }
