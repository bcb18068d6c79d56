"""A bad link for TCP tests: forwards frames between two interfaces; loses, doubles, delays, reorders or marks some.

    left ── packet socket ──▶ fate of each frame, by a seed and a direction of its own ──▶ packet socket ── right

A frame that is reordered is held until `behind` others have passed it, or for 20 ms where nothing follows. Delay is a
fixed time for each frame. At the end of its standard input it says how many frames met which fate, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, deque
from random import Random
from time import monotonic_ns

from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.units import MILLISECOND
from nodes.wire.checksum import checksum

BATCH = 64
HELD_AT_MOST = 20 * MILLISECOND
QUEUE = 2000
"""Frames that a link with delay carries at most; more are lost, as in a router."""


class Direction:
    def __init__(self, source: PacketSocket, sink: PacketSocket, random: Random, fates: argparse.Namespace) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()
        self._sink = sink
        self._random = random
        self._fates = fates
        self._delay = round(fates.delay * MILLISECOND)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._held: tuple[int, int, bytes] | None = None  # until when at the latest, frames to pass, the frame

    def receive(self, now: int) -> None:
        for frame in self.source.receive_batch(BATCH):
            self._meet_fate(frame, now)
        self.release(now)

    def release(self, now: int) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._leave(self._waiting.popleft()[1], now)
        if self._held is not None and self._held[0] <= now:
            self._let_go()

    def deadline(self) -> int | None:
        times = [held[0] for held in (self._held,) if held is not None] + [item[0] for item in list(self._waiting)[:1]]
        return min(times, default=None)

    def _meet_fate(self, frame: bytes, now: int) -> None:
        fates, random = self._fates, self._random
        self.counts["frames"] += 1
        if random.random() < fates.loss / 100:
            self.counts["lost"] += 1
            return
        if frame[12:14] == b"\x08\x00" and frame[15] & 3 in (1, 2) and random.random() < fates.mark / 100:
            self.counts["marked"] += 1
            frame = marked(frame)
        copies = 1
        if random.random() < fates.duplicate / 100:
            self.counts["doubled"] += 1
            copies = 2
        for _ in range(copies):
            self._pass(frame, now)

    def _pass(self, frame: bytes, now: int) -> None:
        if not self._delay:
            self._leave(frame, now)
        elif len(self._waiting) < QUEUE:
            self._waiting.append((now + self._delay, frame))
        else:
            self.counts["overflowed"] += 1

    def _leave(self, frame: bytes, now: int) -> None:
        if self._held is None and self._random.random() < self._fates.reorder / 100:
            self.counts["reordered"] += 1
            self._held = now + HELD_AT_MOST, self._fates.behind, frame
            return
        self._sink.send(frame)
        if self._held is not None:
            until, left, held = self._held
            self._held = until, left - 1, held
            if left <= 1:
                self._let_go()

    def _let_go(self) -> None:
        assert self._held is not None
        frame, self._held = self._held[2], None
        self._sink.send(frame)


def marked(frame: bytes) -> bytes:
    """An IPv4 packet without options, with Congestion Experienced (RFC 3168 section 5)."""
    header = bytearray(frame[14:34])
    header[1] |= 3
    header[10:12] = bytes(2)
    header[10:12] = checksum(header).to_bytes(2, "big")
    return frame[:14] + header + frame[34:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("left")
    parser.add_argument("right")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--behind", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds")
    for name in ("loss", "duplicate", "reorder", "mark"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="percent of the frames")
    arguments = parser.parse_args()
    left, right = PacketSocket(arguments.left), PacketSocket(arguments.right)
    random = Random(arguments.seed)
    directions = [
        Direction(source, sink, Random(random.random()), arguments) for source, sink in ((left, right), (right, left))
    ]
    reactor = Reactor()

    def set_deadline() -> None:
        times = [time for direction in directions if (time := direction.deadline()) is not None]
        reactor.set_deadline(min(times, default=None))

    def release() -> None:
        for direction in directions:
            direction.release(monotonic_ns())
        set_deadline()

    def receive(direction: Direction) -> None:
        direction.receive(monotonic_ns())
        set_deadline()

    reactor.on_deadline = release
    reactor.add(left.fileno(), lambda: receive(directions[0]))
    reactor.add(right.fileno(), lambda: receive(directions[1]))
    reactor.add(sys.stdin.fileno(), reactor.stop)
    print(json.dumps({"ready": True}), flush=True)
    reactor.run()
    print(json.dumps({"to_right": directions[0].counts, "to_left": directions[1].counts}), flush=True)


if __name__ == "__main__":
    main()
