"""One end of a link with ARQ and a script of frames; or two ends and a wire that does what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush

from nodes.datalink.arq.link import ArqLink
from nodes.datalink.arq.settings import ArqSettings
from nodes.trace.events import ListTracer
from nodes.units import MILLISECOND
from nodes.wire import arq
from nodes.wire.addresses import Mac

A, B = Mac(bytes((2, 0, 0, 0, 0, 1))), Mac(bytes((2, 0, 0, 0, 0, 2)))
INNER = 0x0800
TIMEOUT = 100 * MILLISECOND

STOP_AND_WAIT = ArqSettings("stop-and-wait", 1, 1, TIMEOUT, 5, 100, 4)
GO_BACK_N = ArqSettings("go-back-n", 3, 7, TIMEOUT, 5, 100, 14)
SELECTIVE_REPEAT = ArqSettings("selective-repeat", 3, 4, TIMEOUT, 5, 100, 8)

Said = tuple[str, int, int]
"""Kind, N(S), N(R)."""
Fate = Callable[[str, int, bytes], list[bytes]]
"""What becomes of a frame, by its direction (`a` or `b` sends) and its number there."""


class End:
    """One end, with the other end's part played by the test."""

    def __init__(self, settings: ArqSettings, *, connected: bool = True) -> None:
        self.now = 0
        self.tracer = ListTracer()
        self.link = ArqLink("eth0", A, settings, self.tracer)
        if connected:
            self.hears(arq.SET_MODE)
            self.send(b"first")
            self.hears(arq.ACCEPTED)
            self.hears(arq.READY, receive=1)
            self.said()

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.link.send(B, INNER, payload, self.now)

    def hears(
        self, kind: int, *, send: int = 0, receive: int = 0, flags: int = 0, payload: bytes = b"", damaged: bool = False
    ) -> None:
        frame = arq.build(arq.ArqFrame(A, B, kind, flags, send, receive, INNER if kind == arq.DATA else 0, payload))
        self.link.receive(frame[:-5] + bytes((frame[-5] ^ 1,)) + frame[-4:] if damaged else frame, self.now)

    def said(self) -> list[Said]:
        """What was sent since the last call."""
        frames = [arq.parse(frame) for frame in self.link.transmit()]
        return [(arq.KINDS[frame.kind], frame.send, frame.receive) for frame in frames]

    def wait(self, nanoseconds: int) -> None:
        """Time goes on, and timers go off."""
        end = self.now + nanoseconds
        while (due := self.link.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            self.link.timeout(self.now)
        self.now = end

    def taken(self) -> list[bytes]:
        """What went up since the last call."""
        return [bytes(frame.payload) for frame in self.link.received()]


class Pair:
    """Two ends, and a wire that needs `delay` ns and keeps the order."""

    def __init__(self, settings: ArqSettings, fate: Fate = lambda *_: [], *, delay: int = 10 * MILLISECOND) -> None:
        self.now = 0
        self.tracers = {"a": ListTracer(), "b": ListTracer()}
        self.ends = {
            "a": ArqLink("a", A, settings, self.tracers["a"]),
            "b": ArqLink("b", B, replace(settings), self.tracers["b"]),
        }
        self.taken: dict[str, list[bytes]] = {"a": [], "b": []}
        self.sent = {"a": 0, "b": 0}
        self._fate = fate
        self._delay = delay
        self._wire: list[tuple[int, int, str, bytes]] = []
        self._number = 0

    def send(self, end: str, *payloads: bytes) -> None:
        for payload in payloads:
            self.ends[end].send(A if end == "b" else B, INNER, payload, self.now)
        self._drain(end)

    def run(self, seconds: float = 60.0) -> None:
        """Until nothing more happens, or so long."""
        end = self.now + int(seconds * 1e9)
        while True:
            times = [due for each in self.ends.values() if (due := each.deadline()) is not None]
            times += [self._wire[0][0]] if self._wire else []
            if not times or min(times) > end:
                return
            self.now = max(self.now, min(times))
            if self._wire and self._wire[0][0] <= self.now:
                _, _, to, frame = heappop(self._wire)
                self.ends[to].receive(frame, self.now)
            for each in self.ends.values():
                due = each.deadline()
                if due is not None and due <= self.now:
                    each.timeout(self.now)
            for name in self.ends:
                self._drain(name)

    def _drain(self, end: str) -> None:
        for frame in self.ends[end].transmit():
            fate = self._fate(end, self.sent[end], frame)
            self.sent[end] += 1
            for each in fate:
                self._number += 1
                heappush(self._wire, (self.now + self._delay, self._number, "b" if end == "a" else "a", each))
        self.taken[end] += [bytes(frame.payload) for frame in self.ends[end].received()]
