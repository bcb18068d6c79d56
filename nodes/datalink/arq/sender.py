"""The sending half of ARQ: a window of frames that are not acknowledged, and what makes one of them go again.

                 una                      nxt
    ... acked  |  a  .  .  a  .  .  .  .  |  new ones may go until una + window
               +--------------------------+
                 frames in the window; `a` acknowledged by itself (selective repeat)

Stop-and-wait is go-back-N with a window of one. Inside, numbers count from 0 without end; on the wire they are modulo
2^bits, and an acknowledgment is read as the first number from `una` on that it can mean.

Each frame has a timer from the end of its transmission. Timers are set in the order of time, so a dictionary that is
filled at its end has the earliest in front. When one is due,

    go-back-N           all frames from the oldest on go again (Tanenbaum, protocol 5)
    selective repeat    this frame goes again (protocol 6)

A REJ or SREJ does the same sooner. It is about the first copy of its frame and counts only for that: the receiver says
it once, and a second copy that is lost too is the timer's. A frame that was sent `retries` times more in vain ends the
connection: it is dropped with all that waits behind it, each with an event, and numbers are agreed on anew (SABM, UA)
when there is something to send again. Without that, both ends would never again mean the same frame by a number.

A peer without room (RNR) is left in peace, but for a question each timeout (RR with the poll flag): the frame that says
it is ready may be lost. Timers of frames stand still in that time.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from nodes.datalink.arq.counters import ArqCounters
from nodes.datalink.arq.line import Line
from nodes.datalink.arq.settings import ArqSettings
from nodes.trace.arq_events import (
    ArqConnectionUpdated,
    ArqFrameAcknowledged,
    ArqFrameBlocked,
    ArqFrameDropped,
    ArqFrameRetransmitted,
    ArqReadinessUpdated,
)
from nodes.trace.events import Tracer
from nodes.units import earliest
from nodes.wire import arq
from nodes.wire.addresses import Mac

DISCONNECTED, CONNECTING, CONNECTED = "disconnected", "connecting", "connected"


class Emit(Protocol):
    """Sends a data frame with the acknowledgment that is due, or a control frame; returns when it has left."""

    def __call__(
        self, kind: int, now: int, *, flags: int = 0, send: int = 0, frame: Outgoing | None = None, trigger: str = ""
    ) -> int: ...


class Outgoing:
    """A frame from above, on its way."""

    __slots__ = ("acknowledged", "again", "blamed", "destination", "ethertype", "payload", "retries")

    def __init__(self, destination: Mac, ethertype: int, payload: bytes) -> None:
        self.destination = destination
        self.ethertype = ethertype
        self.payload = payload
        self.reset()

    def reset(self) -> None:
        self.retries = 0
        self.acknowledged = False
        self.blamed = False  # it was itself why something was sent again
        self.again = ""  # why it is to be sent again, empty where it is not


class ArqSender:
    """`state` is disconnected, connecting or connected; `una` the oldest frame that is not acknowledged, counted from
    0. The line's transmissions and the counters are shared with the other half."""

    def __init__(
        self, name: str, settings: ArqSettings, line: Line, counters: ArqCounters, tracer: Tracer, emit: Emit
    ) -> None:
        self.state = DISCONNECTED
        self.peer_ready = True
        self.una = 0
        self._name = name
        self._settings = settings
        self._line = line
        self._counters = counters
        self._trace = tracer
        self._emit = emit
        self._frames: deque[Outgoing] = deque()
        self._queue: deque[Outgoing] = deque()
        self._again: deque[int] = deque()
        self._timers: dict[int, int] = {}
        self._ask_at: int | None = None  # SABM or poll
        self._asked = 0
        self._full = False

    @property
    def nxt(self) -> int:
        return self.una + len(self._frames)

    # ------------------------------------------------------------------------------------------------------- from above

    def send(self, frame: Outgoing, now: int) -> None:
        """Queue a frame, and send what may go."""
        if len(self._queue) >= self._settings.queue:
            self._counters.queue_full += 1
            self._drop(frame, None, "queue_full", f"{self._settings.queue} frames wait", now)
            return
        self._queue.append(frame)
        self.pump(now)

    def pump(self, now: int) -> None:
        """Send what may go, as long as the line is free."""
        if self.state == DISCONNECTED and self._queue:
            self._connect("frame to send", now)
        sent = False
        while self._has_next() and self._line.ready(now):
            sent = True
            if self._again:
                number = self._again.popleft()
                frame = self._frames[number - self.una]
            else:
                number, frame = self.nxt, self._queue.popleft()
                self._frames.append(frame)
            self._timers[number] = self._transmit(number % self._settings.modulus, frame, now) + self._settings.timeout
        self._tell_window("frame_sent" if sent else "frame_queued", now)

    def _transmit(self, on_wire: int, frame: Outgoing, now: int) -> int:
        """Returns when the frame has left."""
        trigger, frame.again = frame.again or "first", ""
        self._counters.sent += 1
        if frame.retries:
            self._counters.retransmitted += 1
            self._trace(now, ArqFrameRetransmitted(self._name, on_wire, frame.retries, trigger))
        return self._emit(arq.DATA, now, send=on_wire, frame=frame, trigger=trigger)

    def _has_next(self) -> bool:
        if self.state != CONNECTED or not self.peer_ready:
            return False
        while self._again and not self._is_missing(self._again[0]):
            self._again.popleft()
        return bool(self._again) or (bool(self._queue) and len(self._frames) < self._settings.window)

    def _is_missing(self, number: int) -> bool:
        return number >= self.una and not self._frames[number - self.una].acknowledged

    # -------------------------------------------------------------------------------------------------------- from peer

    def acknowledge(self, receive: int, selected: int | None, trigger: str, now: int) -> None:
        """All before N(R) have come, and so has `selected`. An N(R) that is outside the window says nothing."""
        if self.state != CONNECTED:
            return
        count = (receive - self.una) % self._settings.modulus
        if count > len(self._frames):
            return
        for _ in range(count):
            frame = self._frames.popleft()
            self._timers.pop(self.una, None)
            self.una += 1
            if not frame.acknowledged:
                self._say_acknowledged(self.una - 1, trigger, now)
        if selected is not None:
            number = self._number(selected)
            if number is not None and not self._frames[number - self.una].acknowledged:
                self._frames[number - self.una].acknowledged = True
                self._timers.pop(number, None)
                self._say_acknowledged(number, trigger, now)
        self._tell_window(trigger, now)

    def reject(self, number_on_wire: int, trigger: str, now: int) -> None:
        """The receiver misses this frame. Go-back-N has acknowledged all before it."""
        number = self._number(number_on_wire)
        if self.state != CONNECTED or number is None or (number != self.una and not self._settings.selective):
            return
        frame = self._frames[number - self.una]
        if not (frame.blamed or frame.again or frame.acknowledged):
            self._counters.rejects += 1
            self._repeat(number, trigger, now)

    def set_peer_ready(self, ready: bool, trigger: str, now: int) -> None:
        """What its last acknowledgment said of the peer's room."""
        if self.state != CONNECTED:
            return
        self._asked = 0
        if ready == self.peer_ready:
            return
        self.peer_ready = ready
        names = ("not_ready", "ready") if ready else ("ready", "not_ready")
        self._trace(now, ArqReadinessUpdated(self._name, "peer", *names, trigger))
        self._timers.clear()
        if ready:
            self._ask_at = None
            for number, frame in enumerate(self._frames, self.una):
                if not (frame.again or frame.acknowledged):
                    self._timers[number] = now + self._settings.timeout
        else:
            self._ask_at = now + self._settings.timeout

    def accepted(self, now: int) -> None:
        """UA: the peer takes numbers from 0."""
        if self.state == CONNECTING:
            self._ask_at = None
            self._change(CONNECTED, "UA", now)

    def refused(self, now: int) -> None:
        """DM: the peer knows of no numbers, it has begun anew. What it has not acknowledged goes again."""
        if self.state == CONNECTED:
            self._queue.extendleft(reversed([frame for frame in self._frames if not frame.acknowledged]))
            self._forget()
            self._change(DISCONNECTED, "DM", now)

    # ----------------------------------------------------------------------------------------------------------- timers

    def deadline(self) -> int | None:
        free = self._line.free_at if self._has_next() else None
        return earliest(self._ask_at, next(iter(self._timers.values()), None), free)

    def timeout(self, now: int) -> None:
        if self._ask_at is not None and self._ask_at <= now:
            self._ask_again(now)
        while self._timers:
            number, due = next(iter(self._timers.items()))
            if due > now:
                break
            self._counters.timeouts += 1
            self._repeat(number, "timeout", now)
        self.pump(now)

    def _repeat(self, number: int, trigger: str, now: int) -> None:
        frame = self._frames[number - self.una]
        frame.blamed = True
        frame.retries += 1
        if frame.retries > self._settings.retries:
            self.give_up(f"{self._settings.retries} retransmissions without an answer", now)
            return
        if self._settings.selective:
            again = [number]
            self._again.append(number)
        else:
            again = list(range(self.una, self.nxt))
            self._again = deque(again)
        for each in again:
            repeated = self._frames[each - self.una]
            self._timers.pop(each, None)
            repeated.again = trigger
            repeated.retries = max(repeated.retries, 1)

    def _ask_again(self, now: int) -> None:
        """No answer to SABM, or nothing from a peer that is not ready."""
        self._asked += 1
        if self._asked > self._settings.retries:
            self.give_up(f"{self._settings.retries} questions without an answer", now)
        elif self.state == CONNECTING:
            self._ask_at = self._emit(arq.SET_MODE, now, trigger="timeout") + self._settings.timeout
        else:
            self._ask_at = self._emit(arq.READY, now, flags=arq.POLL, trigger="poll") + self._settings.timeout

    # ------------------------------------------------------------------------------------------------------- connection

    def _connect(self, trigger: str, now: int) -> None:
        self._change(CONNECTING, trigger, now)
        self._asked = 0
        self._ask_at = self._emit(arq.SET_MODE, now, trigger=trigger) + self._settings.timeout

    def give_up(self, reason: str, now: int, cause: str = "given_up") -> None:
        """Drop all that is on the way and all that waits; agree on numbers anew when there is something to send."""
        for number, frame in enumerate(self._frames, self.una):
            if not frame.acknowledged:
                self._counters.given_up += 1
                self._drop(frame, number % self._settings.modulus, cause, reason, now)
        for frame in self._queue:
            self._counters.given_up += 1
            self._drop(frame, None, cause, reason, now)
        self._queue.clear()
        self._forget()
        if self.state != DISCONNECTED:
            self._change(DISCONNECTED, reason, now)

    def _forget(self) -> None:
        for frame in self._queue:
            frame.reset()
        self._frames.clear()
        self._again.clear()
        self._timers.clear()
        self._ask_at = None
        self._asked = self.una = 0
        self.peer_ready = True
        self._full = False

    def _change(self, state: str, trigger: str, now: int) -> None:
        old, self.state = self.state, state
        self._trace(now, ArqConnectionUpdated(self._name, "send", old, state, trigger))

    # ---------------------------------------------------------------------------------------------------------- telling

    def _number(self, on_wire: int) -> int | None:
        """Which frame of the window a number means, None where it means none."""
        offset = (on_wire - self.una) % self._settings.modulus
        return self.una + offset if offset < len(self._frames) else None

    def _say_acknowledged(self, number: int, trigger: str, now: int) -> None:
        self._counters.acknowledged += 1
        if self._trace.packets:
            left = sum(not frame.acknowledged for frame in self._frames)
            self._trace(now, ArqFrameAcknowledged(self._name, number % self._settings.modulus, left, trigger))

    def _tell_window(self, trigger: str, now: int) -> None:
        full = bool(self._queue) and len(self._frames) >= self._settings.window
        if full != self._full:
            self._full = full
            self._counters.window_full += full
            if full and self._trace.packets:
                self._trace(now, ArqFrameBlocked(self._name, len(self._frames), len(self._queue), trigger))

    def _drop(self, frame: Outgoing, number: int | None, reason: str, detail: str, now: int) -> None:
        self._trace(now, ArqFrameDropped(self._name, number, len(frame.payload), reason, detail))

    def snapshot(self) -> dict[str, object]:
        return {
            "state": self.state,
            "peer_ready": self.peer_ready,
            "next": self.nxt % self._settings.modulus,
            "unacknowledged": len(self._frames),
            "queued": len(self._queue),
        }
