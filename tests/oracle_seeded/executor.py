"""In a guest: the kernel's executor on a kernel that knows seeds, and what a change does to the numbers there.

    packet socket ══ a ═ m1 ⇄ m2 [netem] ═ b ══ packet socket       m1 and m2 are joined by the executor

Behind the redirection a sender does not see that netem is full: it would be told so, and sendmmsg(2) would stop there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lab.host import probe, qdisc, traffic_control
from lab.host.links import Interface, VethEnd, change_link, create_veth
from lab.host.netlink import Netlink
from lab.links.base import OpenedLink
from lab.links.kernel import KernelExecutor
from nodes import impairment as values
from nodes.impairment import NOTHING, Impairment
from tests.uml.batches import BatchSocket
from tests.uml.jobs.netem import MTU, SETTLE_SECONDS, Track, run_paced, wait_until_empty
from tests.uml.traffic import Case, Passage

LEFT, RIGHT = Interface("m1", 11), Interface("m2", 21)
LINK = "a--b"


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`phases`: cases that the one link passes through, by its executor, with `seeds` of its own. `steps`: netem's
    options set by bare messages, one after another. Of each the passage, and what the kernel said then."""
    with Netlink() as netlink:
        for inner, outer in ((LEFT, VethEnd("a", 10)), (RIGHT, VethEnd("b", 20))):
            netlink.request(create_veth(outer, VethEnd(inner.name, inner.index), f"make {inner.name}", up=True))
            netlink.request(change_link(inner.index, f"set {inner.name} up", up=True))
        time.sleep(SETTLE_SECONDS)  # until the carrier of all has been taken note of
        first, second = arguments["seeds"]
        executor = KernelExecutor(netlink)
        executor.add(OpenedLink(LINK, LEFT, RIGHT, MTU, (NOTHING, NOTHING), (first, second)))
        phases = [_phase(netlink, executor, Case.from_json(data)) for data in arguments["phases"]]
        steps = [_step(netlink, Case.from_json(data)) for data in arguments["steps"]]
        return {"seeds": probe.netem_support().seeds, "phases": phases, "steps": steps}


class LinkTrack(Track):
    """The frames of a case through the link, whose netem is set by others."""

    def __init__(self, netlink: Netlink, case: Case) -> None:
        self.case = case
        self.passage = Passage()
        self._netlink = netlink
        self._out_index = RIGHT.index
        self._sender, self._receiver = BatchSocket("a"), BatchSocket("b")
        self._receiver.note_arrivals()
        self._sender.note_departures()


def _phase(netlink: Netlink, executor: KernelExecutor, case: Case) -> dict[str, Any]:
    executor.change(LINK, (case.impairment, NOTHING), MTU)
    applied = executor.applied(RIGHT.index)
    return _told(netlink, applied.impairment) | {
        "applied": values.encode(applied.impairment),
        "seeded": applied.seeded,
        "passage": _passage(netlink, case),
    }


def _step(netlink: Netlink, case: Case) -> dict[str, Any]:
    netlink.request(qdisc.encode_netem(case.impairment, MTU, RIGHT.index))
    return _told(netlink, case.impairment) | {"passage": _passage(netlink, case)}


def _told(netlink: Netlink, asked: Impairment) -> dict[str, Any]:
    got = qdisc.decode_netem(traffic_control.read_qdisc(netlink, RIGHT.index, "read netem back").options)
    return {"seed": got.seed, "differences": qdisc.differences(qdisc.settings_of(asked, MTU, got.seed), got)}


def _passage(netlink: Netlink, case: Case) -> dict[str, Any]:
    track = LinkTrack(netlink, case)
    run_paced([track]) if case.interval else track.run_bursts()
    time.sleep(SETTLE_SECONDS)
    wait_until_empty([track])
    return track.finish().to_json()
