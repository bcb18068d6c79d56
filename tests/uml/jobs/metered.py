"""In a guest: numbered frames through links that the kernel's executor carries, and the meter measures.

    packet socket ══ oN ═ lN ⇄ [netem] rN ═ iN ══ packet socket        the meter's taps are at lN and rN

The packet sockets have the kernel's own times, from outside of both taps: so each frame's delay is known without the
meter, and what the meter says can be held against it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lab.host.links import Interface, VethEnd, change_link, create_veth
from lab.host.namespaces import NO_IPV6, write_sysctls
from lab.host.netlink import Netlink
from lab.links.base import OpenedLink
from lab.links.kernel import KernelExecutor
from lab.links.link_meter import LinkMeter
from nodes.impairment import NOTHING
from tests.uml import numbered
from tests.uml.batches import BatchSocket
from tests.uml.jobs.netem import MTU, SETTLE_SECONDS, Track, run_paced, wait_until_empty
from tests.uml.traffic import Case, Passage

NEWS_SECONDS = 0.3
"""After that the meter knows what became of the last frame."""


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`cases`: by name, all with an interval. The passage of each, with what the executor says of its link, and two
    samples: from before and from after."""
    write_sysctls(NO_IPV6)
    cases = {name: Case.from_json(data) for name, data in arguments["cases"].items()}
    with Netlink() as netlink:
        executor = KernelExecutor(netlink, LinkMeter("test"))
        tracks = {name: MeteredTrack(netlink, executor, n, case) for n, (name, case) in enumerate(cases.items())}
        time.sleep(SETTLE_SECONDS)  # until the carrier of all has been taken note of
        before = executor.samples()
        run_paced(list(tracks.values()))
        wait_until_empty(list(tracks.values()))
        time.sleep(NEWS_SECONDS)
        after = executor.samples()
        for track in tracks.values():
            link = track.link
            track.passage.facts |= {"state": executor.state(link), "before": before[link], "after": after[link]}
        executor.close()
        return {name: track.finish().to_json() for name, track in tracks.items()}


class MeteredTrack(Track):
    """One opened link with one case on it, in the direction from `o` to `i`."""

    def __init__(self, netlink: Netlink, executor: KernelExecutor, number: int, case: Case) -> None:
        self.case = case
        self.link = f"link{number}"
        self.passage = Passage()
        self._netlink = netlink
        first = 100 + 4 * number
        left, right = Interface(f"l{number}", first + 1), Interface(f"r{number}", first + 2)
        self._out_index = right.index
        for outer, inner in ((VethEnd(f"o{number}", first), left), (VethEnd(f"i{number}", first + 3), right)):
            netlink.request(create_veth(outer, VethEnd(inner.name, inner.index), f"make {inner.name}", up=True))
            netlink.request(change_link(inner.index, f"set {inner.name} up", up=True))
        executor.add(OpenedLink(self.link, left, right, MTU, (case.impairment, NOTHING), (1, 2)))
        self._sender, self._receiver = BatchSocket(f"o{number}"), BatchSocket(f"i{number}")
        self._receiver.note_arrivals()
        self._sender.note_departures()

    def read_departures(self) -> None:
        """The kernel notes a departure again where the frame enters the queue of rN: the first one counts."""
        sent = self.passage.sent
        for frame, when in self._sender.departed():
            number = numbered.number_of(frame, ect=self.case.ect)
            if number is not None and not sent[number]:
                sent[number] = when

    def finish(self) -> Passage:
        """The netem is gone: no counters."""
        self.receive()
        self.read_departures()
        return self.passage
