"""In a guest: numbered frames through tbf and a queue discipline in it, one veth pair for each case.

    packet socket ══ oN ─[tbf ─ discipline]─▶ iN ══ packet socket           both with the kernel's own times

All cases run at the same time, each after its plan, which goes on by itself: what is late is sent at once. The
disciplines are set by tc, which is not ours, and tc tells what they counted.
"""

from __future__ import annotations

import heapq
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.host import traffic_control
from lab.host.links import VethEnd, change_link, create_veth
from lab.host.namespaces import NO_IPV6, write_sysctls
from lab.host.netlink import Netlink
from tests.uml.batches import MOST, BatchSocket
from tests.uml.queueing import QueueCase, tc_words
from tests.uml.traffic import Passage
from tests.unit.queue_frames import number_of

SETTLE_SECONDS = 0.02
PATIENCE_SECONDS = 30.0
WATCH_INTERVAL = 2_000_000
BATCH = Path("/run/tc")
CHILD = 0x1_0001
"""1:1, the place in tbf."""


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`cases`: by name. The passage of each, with tc's words on its discipline."""
    write_sysctls(NO_IPV6)
    cases = {name: QueueCase.from_json(data) for name, data in arguments["cases"].items()}
    with Netlink() as netlink:
        tracks = {name: Track(netlink, number, case) for number, (name, case) in enumerate(cases.items())}
        lines = [words for track in tracks.values() for words in tc_words(track.case, track.device)]
        BATCH.write_text("\n".join(lines) + "\n")
        tc("-batch", str(BATCH))
        time.sleep(SETTLE_SECONDS)  # until the carrier of all has been taken note of
        run_plans(list(tracks.values()))
        wait_until_empty(list(tracks.values()))
        told = json.loads(tc("-s", "-d", "-j", "qdisc", "show"))
        return {name: track.finish(told).to_json() for name, track in tracks.items()}


def tc(*arguments: str) -> str:
    done = subprocess.run(["tc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise OSError(f"tc {' '.join(arguments)}: {done.stderr}")
    return done.stdout


class Track:
    """One veth pair with one case on it."""

    def __init__(self, netlink: Netlink, number: int, case: QueueCase) -> None:
        self.case = case
        self.device = f"o{number}"
        self._netlink = netlink
        self._out_index, self._in_index = 100 + 2 * number, 101 + 2 * number
        into = VethEnd(f"i{number}", self._in_index)
        for request in (
            create_veth(VethEnd(self.device, self._out_index), into, f"make pair {number}", up=True),
            change_link(self._in_index, f"set i{number} up", up=True),
        ):
            netlink.request(request)
        self._times = [at for at, _ in case.plan()]
        self._frames = case.frames()
        self._next = 0
        self._watch_next = 0
        self.passage = Passage(sent=[0] * len(self._frames))
        self._sender = BatchSocket(self.device)
        self._receiver = BatchSocket(into.name)
        self._receiver.note_arrivals()
        self._sender.note_departures()

    def due(self) -> int | None:
        """When the next frame is to be sent, in ns from the beginning."""
        return self._times[self._next] if self._next < len(self._times) else None

    def send(self, now: int) -> None:
        """What is due, as many to a system call as there can be."""
        end = self._next
        while end < len(self._times) and end < self._next + MOST and self._times[end] <= now:
            end += 1
        self._sender.send(self._frames[self._next : end])
        self._next = end

    def watch(self) -> None:
        """What the discipline tells of itself now, if that was not asked a moment ago."""
        if time.monotonic_ns() < self._watch_next:
            return
        self._watch_next = time.monotonic_ns() + WATCH_INTERVAL
        told = traffic_control.read_qdisc(self._netlink, self._out_index, "watch", parent=CHILD)
        self.passage.facts.setdefault("watched", []).append([time.time_ns(), told.extra.hex()])

    def waiting(self) -> int:
        return traffic_control.read_qdisc(self._netlink, self._out_index, "count frames").waiting

    def read(self) -> None:
        passage = self.passage
        for frame, when in self._receiver.arrived():
            number = number_of(frame)
            if number >= len(self._frames):
                passage.foreign += 1
                continue
            if frame != self._frames[number]:
                passage.changed[len(passage.arrived)] = frame[:34]
            passage.arrived.append(number)
            passage.times.append(when)
        for frame, when in self._sender.departed():
            passage.sent[number_of(frame)] = when

    def finish(self, told: list[dict[str, Any]]) -> Passage:
        self.read()
        missed = self._receiver.missed()
        if missed:
            raise OverflowError(f"{missed} frames did not fit into the receiver's memory")
        mine = {each["kind"]: each for each in told if each.get("dev") == self.device}
        self.passage.facts["tc"] = mine
        return self.passage


def run_plans(tracks: list[Track]) -> None:
    start = time.monotonic_ns() + 10_000_000
    queue = [(due, number) for number, track in enumerate(tracks) if (due := track.due()) is not None]
    heapq.heapify(queue)
    watched = [track for track in tracks if track.case.watched]
    while queue:
        due, number = queue[0]
        wait = start + due - time.monotonic_ns()
        if wait > 0:
            time.sleep(min(wait, WATCH_INTERVAL) / 1e9)
            for track in watched:
                track.watch()
        if wait > WATCH_INTERVAL:
            continue
        track = tracks[number]
        track.send(time.monotonic_ns() - start)
        following = track.due()
        if following is None:
            heapq.heappop(queue)
        else:
            heapq.heapreplace(queue, (following, number))


def wait_until_empty(tracks: list[Track]) -> None:
    """Raises TimeoutError when frames do not leave."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    for track in tracks:
        while waiting := track.waiting():
            if time.monotonic() > give_up:
                raise TimeoutError(f"{waiting} frames still inside")
            time.sleep(0.02)
            track.read()
    time.sleep(SETTLE_SECONDS)
