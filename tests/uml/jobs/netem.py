"""In a guest: numbered frames through the kernel's netem, one veth pair for each case.

    packet socket ══ oN ─[netem]─▶ iN ══ packet socket           both with the kernel's own times

netem is set by the product's own encoder, and read back with its decoder. Cases without an interval run one after
another: the frames of a burst are read before the next one leaves. Those with an interval run all at the same time,
each at its own pace, and are read when they are over.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from typing import Any

from lab.host import qdisc, traffic_control
from lab.host.links import VethEnd, change_link, create_veth
from lab.host.netlink import Netlink
from tests.uml import numbered
from tests.uml.batches import MOST, BatchSocket
from tests.uml.traffic import Case, Passage

MTU = 1500
SETTLE_SECONDS = 0.02
PATIENCE_SECONDS = 30.0


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`cases`: by name. The passage of each, with what the kernel says of its netem."""
    cases = {name: Case.from_json(data) for name, data in arguments["cases"].items()}
    with Netlink() as netlink:
        tracks = {name: Track(netlink, number, case) for number, (name, case) in enumerate(cases.items())}
        time.sleep(SETTLE_SECONDS)  # until the carrier of all has been taken note of
        for track in tracks.values():
            if not track.case.interval:
                track.run_bursts()
        run_paced([track for track in tracks.values() if track.case.interval])
        wait_until_empty(list(tracks.values()))
        return {name: track.finish().to_json() for name, track in tracks.items()}


class Track:
    """One veth pair with one case on it."""

    def __init__(self, netlink: Netlink, number: int, case: Case) -> None:
        self.case = case
        self._netlink = netlink
        self._out_index, self._in_index = 100 + 2 * number, 101 + 2 * number
        out, into = VethEnd(f"o{number}", self._out_index), VethEnd(f"i{number}", self._in_index)
        for request in (
            create_veth(out, into, f"make pair {number}", up=True),
            change_link(self._in_index, f"set i{number} up", up=True),
        ):
            netlink.request(request)
        self.passage = Passage()
        self._impair()
        self._sender = BatchSocket(out.name)
        self._receiver = BatchSocket(into.name)
        self._receiver.note_arrivals()
        self._sender.note_departures()

    def _impair(self) -> None:
        impairment = self.case.impairment
        request = qdisc.encode_netem(impairment, MTU, self._out_index, description="set netem", new=True)
        self._netlink.request(request)
        told = traffic_control.read_qdisc(self._netlink, self._out_index, "read netem back")
        asked = qdisc.settings_of(impairment, MTU)
        self.passage.facts["differences"] = qdisc.differences(asked, qdisc.decode_netem(told.options))

    def run_bursts(self) -> None:
        while len(self.passage.sent) < self.case.frames:
            self.send_burst()
            self.read_departures()
            self.receive()

    def send_burst(self) -> None:
        """As many to a system call as there can be: they enter within microseconds."""
        case, sent = self.case, self.passage.sent
        for _ in range(0, min(case.burst, case.frames - len(sent)), MOST):
            first = len(sent)
            numbers = range(first, min(first + case.burst, case.frames, first + MOST))
            frames = [numbered.build(number, case.octets, ect=case.ect) for number in numbers]
            self._sender.send(frames)
            sent += [0] * len(frames)

    def receive(self) -> bool:
        """All that waits; whether there was anything."""
        passage, case = self.passage, self.case
        anything = False
        for frame, when in self._receiver.arrived():
            anything = True
            number = numbered.number_of(frame, ect=case.ect)
            if number is None or number >= case.frames:
                passage.foreign += 1
                continue
            if frame != numbered.build(number, case.octets, ect=case.ect):
                passage.changed[len(passage.arrived)] = frame
            passage.arrived.append(number)
            passage.times.append(when)
        return anything

    def read_departures(self) -> None:
        """When frames entered netem."""
        for frame, when in self._sender.departed():
            number = numbered.number_of(frame, ect=self.case.ect)
            if number is not None:
                self.passage.sent[number] = when

    def state(self) -> traffic_control.QdiscState:
        return traffic_control.read_qdisc(self._netlink, self._out_index, "count frames")

    def finish(self) -> Passage:
        """When nothing is inside any more: read what came, and ask the kernel for its counters."""
        self.receive()
        self.read_departures()
        missed = self._receiver.missed()
        if missed:
            raise OverflowError(f"{missed} frames did not fit into the receiver's memory")
        state = self.state()
        self.passage.facts |= {"frames": state.frames, "drops": state.drops}
        return self.passage


def wait_until_empty(tracks: list[Track]) -> None:
    """Raises TimeoutError when frames do not leave."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    for track in tracks:
        while waiting := track.state().waiting:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{waiting} frames still inside")
            time.sleep(0.02)
            track.receive()
    time.sleep(SETTLE_SECONDS)


def run_paced(tracks: list[Track]) -> None:
    """Each burst at its time, whichever track is next. A burst that is late moves those after it: a crowd would not be
    the same traffic."""
    queue = [(time.monotonic_ns() + 1_000_000 * number, number) for number in range(len(tracks))]
    while queue:
        due, number = heapq.heappop(queue)
        track = tracks[number]
        wait = due - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        began = time.monotonic_ns()
        track.send_burst()
        if len(track.passage.sent) < track.case.frames:
            heapq.heappush(queue, (max(due, began) + track.case.interval, number))
