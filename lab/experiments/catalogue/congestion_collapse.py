"""Without congestion control a network carries ever more that never arrives.

Two flows share a link of 10 Mbit/s. One of them has to pass a link of 1 Mbit/s behind it, so that 1 Mbit/s is all that
it can ever deliver, and 9 are left for the other. A sender with congestion control finds that out. One without sends
as much as its peer's window allows: half of the shared link carries segments that are thrown away a router later, and
the other flow has half as much. That is congestion collapse from undelivered packets (Floyd and Fall, 1999; RFC 2914);
in October 1986 the Internet fell from 32 kbit/s to 40 bit/s between two places in Berkeley (Jacobson, 1988).
"""

from __future__ import annotations

import asyncio

from lab.experiments.catalogue.fairness import count_by_flow, fill
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: congestion-collapse
defaults: {trace: 'off', tcp: {send_buffer: 1MB}}
nodes: {a: host, b: host, r1: router, r2: router, slow: host, fast: host}
links:
  - a -- r1
  - b -- r1
  - {ends: [r1, r2], name: shared, impair: {delay: 10ms, rate: 10mbit, queue: {drop_tail: {octets: 50kB}}}}
  - {ends: [r2, slow], name: narrow, impair: {delay: 1ms, rate: 1mbit, queue: {drop_tail: {octets: 20kB}}}}
  - r2 -- fast
"""

SHARED, NARROW = 10.0, 1.0
"""Mbit/s."""
ARRIVES = "what arrives is nearly all that the shared link can carry"
OTHER = "the flow that could have the rest of the shared link has it"
WASTED = "hardly anything passes the shared link only to be thrown away behind it"


@experiment(
    topic="Congestion control",
    claim="Congestion control keeps a network from being full of segments that never arrive.",
    look_at="what both flows deliver, and what is dropped at the narrow link",
    topology=TOPOLOGY,
    parameters={"control": "newreno", "seconds": 12.0},
    variations={
        "without": Variation(
            "Nobody has congestion control (`none`): half of the shared link carries what is dropped behind it.",
            {"control": "none"},
            breaks=(ARRIVES, OTHER, WASTED),
        ),
    },
)
async def congestion_collapse(trial: Trial) -> None:
    lab, seconds = trial.lab, trial["seconds"]
    counting = [lab.node(name).start(count_by_flow, 80, seconds) for name in ("slow", "fast")]
    await lab.sleep(0.5)
    ways = (("a", "slow"), ("b", "fast"))
    sending = [lab.node(name).start(fill, to, 80, [trial["control"]], 0.0) for name, to in ways]
    both = [await program.wait() for program in counting]
    for program in sending:
        program.cancel()
    await asyncio.sleep(0)

    narrow, wide = (sum(map(sum, rows[2:])) * 8 / 1e6 / (2 * len(rows[2:])) for rows in both)
    total = f"{narrow:.2f} + {wide:.2f} Mbit/s"
    trial.expect(ARRIVES, narrow + wide >= 0.85 * SHARED, f"theory {SHARED:g}, at least 85 % of it; seen {total}")
    theory = SHARED - NARROW
    trial.close(OTHER, wide, theory, within=0.15, unit="Mbit/s")
    there = (await lab.link("narrow").state())["directions"][0]["measured"]
    share = 1 - there["out_frames"] / there["in_frames"]
    trial.at_most(WASTED, share, 0.1, "of the frames")
