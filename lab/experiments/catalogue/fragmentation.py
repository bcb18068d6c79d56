"""A packet that is too long for a link is cut into fragments, and put together at its destination only.

A router that has to send a packet over a link with a smaller MTU cuts its data at multiples of 8 octets, for that is
what the fragment offset counts in: with an MTU of M, a fragment carries at most M - 20 octets, rounded down to a
multiple of 8 (RFC 791, 3.2). All fragments have the identification of the packet. Routers behind pass them on one by
one, since they may go different ways; the destination puts them together. If one of them is lost, all is: what waits
for it is thrown away after a while.
"""

from __future__ import annotations

import math

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: fragmentation
defaults: {trace: packets}
nodes: {a: host, r1: router, r2: router, b: host}
links:
  - a -- r1
  - {ends: [r1, r2], mtu: $mtu, impair: {delay: 1ms, faults: $faults}}
  - r2 -- b
"""

HEADERS = 20, 8
"""Octets of the headers of IP and of ICMP echo."""
COUNT = "the router makes as many fragments as the MTU needs"
SAME = "they have one identification, and b gets each of them"
END = "nobody but b puts them together"
WHOLE = "b has the whole packet, and answers it"


@experiment(
    topic="Network",
    claim="A router cuts a packet into fragments that fit, and its destination puts them together.",
    look_at="the lengths of the fragments, their identification, and where they are put together",
    topology=TOPOLOGY,
    parameters={"mtu": 620, "size": 1400, "faults": "[]"},
    variations={
        "lost-fragment": Variation(
            "One fragment is lost: b waits for it in vain, and the whole packet is lost.",
            {"faults": "[{drop: {fragment: later}}]"},
            breaks=(SAME, END, WHOLE),
        ),
    },
)
async def fragmentation(trial: Trial) -> None:
    lab, mtu = trial.lab, trial["mtu"]
    await lab.sleep(1)
    for size in (56, trial["size"]):  # the first one is for ARP
        answer = await lab.node("a").ping("b", count=1, size=size)
    ip, icmp = HEADERS
    theory = math.ceil((icmp + trial["size"]) / ((mtu - ip) // 8 * 8))
    cut = [event["data"] for event in trial.events("network:packet_fragmented", "r1")]
    trial.equal(COUNT, [data["fragments"] for data in cut], [theory])
    pieces = trial.events("network:packet_received", "b", identification=cut[0]["identification"])
    trial.equal(SAME, len(pieces), theory)
    complete = {event["node"] for event in trial.events("network:reassembly_updated", new="complete")}
    trial.equal(END, sorted(complete - {"a"}), ["b"])
    trial.equal(WHOLE, (answer["received"], answer["corrupted"]), (1, 0))
