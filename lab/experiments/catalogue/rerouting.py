"""A packet finds its way router by router, and another one when a router is gone.

No packet knows its path. Each router looks its destination up, takes the most particular route that it can use (the
longest prefix; RFC 1812, 5.2.4.3), and passes it on. Here r1 and r4 know the way over r2, and in general (10.0.0.0/8)
one over r3. When r2 dies, its neighbours see no carrier, the route over that interface is of no use, and the next
packet goes the other way. A connection does not notice more than a gap: its state is in its ends, not in between.
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import echo
from lab.experiments.trial import STATE, Trial

TOPOLOGY = """
name: rerouting
nodes:
  a: {kind: host, address: 10.1.0.2/24}
  r1: {kind: router, routes: $over_r3_at_r1}
  r2: router
  r3: router
  r4: {kind: router, routes: $over_r3_at_r4}
  b: {kind: host, address: 10.2.0.2/24}
links:
  - a -- r1
  - r1 -- r2
  - r2 -- r4
  - {ends: [r1, r3], addresses: {r1: 10.3.0.1/24, r3: 10.3.0.2/24}}
  - {ends: [r3, r4], addresses: {r3: 10.4.0.1/24, r4: 10.4.0.2/24}}
  - r4 -- b
"""

SHORTEST = "at first the way leads over r2"
OTHER = "when r2 is dead it leads over r3"
CONNECTION = "a connection over the dead router goes on"
BACK = "when r2 is back, so is the first way"


async def count_up(host: str, port: int, count: int, every: float) -> int:
    """Numbers that come back from an echo, one after the other, over one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer):
        for number in range(count):
            writer.write(b"%d\n" % number)
            try:
                await asyncio.wait_for(reader.readline(), 10)
            except (TimeoutError, OSError):
                return number
            await asyncio.sleep(every)
    return count


@experiment(
    topic="Network",
    claim="Routing finds the path, and another one when a router dies.",
    look_at="the routers that a traceroute meets, before and after r2 dies",
    topology=TOPOLOGY,
    parameters={"over_r3_at_r1": "[10.0.0.0/8 via 10.3.0.2]", "over_r3_at_r4": "[10.0.0.0/8 via 10.4.0.1]"},
    variations={
        "one-way": Variation(
            "Nobody knows the way over r3: when r2 is dead, r1 answers that the network is unreachable.",
            {"over_r3_at_r1": "[]", "over_r3_at_r4": "[]"},
            breaks=(OTHER, CONNECTION),
        ),
    },
)
async def rerouting(trial: Trial) -> None:
    lab = trial.lab
    echoing = lab.node("b").start(echo, 7)
    await lab.sleep(1)
    trial.equal(SHORTEST, await _way(trial), ["r1", "r2", "r4", "b"])
    counting = lab.node("a").start(count_up, "b", 7, 20, 0.2)
    await lab.wait_until(STATE, node="a", new="established")
    await lab.sleep(1)
    await lab.node("r2").kill()
    await lab.sleep(1)
    trial.equal(OTHER, await _way(trial), ["r1", "r3", "r4", "b"])
    trial.equal(CONNECTION, await counting.wait(), 20)
    await lab.node("r2").restart()
    await lab.sleep(2)
    trial.equal(BACK, await _way(trial), ["r1", "r2", "r4", "b"])
    echoing.cancel()


async def _way(trial: Trial) -> list[str]:
    """The nodes that a traceroute from a to b meets."""
    nodes = {address: node.name for node in trial.lab.nodes.values() for address in node.addresses}
    found = await trial.lab.node("a").application("traceroute", to="b", probes=1, max_hops=8, timeout=1)
    return [nodes.get(hop["probes"][0].get("address"), "nobody") for hop in found["hops"]]
