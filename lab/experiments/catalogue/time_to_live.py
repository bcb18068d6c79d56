"""Each router takes one from a packet's time to live, and ends it at zero.

Without that, a packet in a loop of routers would go round for ever, and with it each that follows. The router at which
it ends says so: ICMP type 11 (RFC 791, 3.2; RFC 1812, 5.3.1). Traceroute makes use of it: packets with a time to live
of 1, 2, 3 ... end at the first, second, third router, and each of them gives itself away.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Event, Trial

TOPOLOGY = """
name: time-to-live
defaults: {trace: packets}
nodes:
  a: host
  r1: {kind: router, routes: [192.168.0.0/16 via 10.9.0.2]}
  r2: {kind: router, routes: [192.168.0.0/16 via 10.9.0.1]}
  r3: router
  b: host
links:
  - {ends: [a, r1], impair: {delay: 1ms, from: {r1: {faults: $faults}}}}
  - {ends: [r1, r2], addresses: {r1: 10.9.0.1/24, r2: 10.9.0.2/24}}
  - r2 -- r3
  - r3 -- b
"""

WAY = "traceroute meets r1, r2, r3 and b"
LESS = "a packet with 64 has 63, 62 and 61 behind the three routers"
ENDS = "a ping with a time to live of 2 ends at r2"
TOLD = "and a is told so, by r2"
LOOP = "in a loop of two routers a packet is passed on until nothing is left, and no longer"


@experiment(
    topic="Network",
    claim="A packet lives for as many routers as its time to live says; traceroute is made of that.",
    look_at="the time to live in each packet that is forwarded, and who sends ICMP type 11",
    topology=TOPOLOGY,
    parameters={"faults": "[]"},
    variations={
        "silent": Variation(
            "Something in front of a drops what the routers have to say: traceroute is blind.",
            {"faults": "[{drop: {protocol: icmp, count: 0}}]"},
            breaks=(WAY, TOLD),
        ),
    },
)
async def time_to_live(trial: Trial) -> None:
    lab, a = trial.lab, trial.lab.node("a")
    await lab.sleep(1)
    nodes = {address: node.name for node in lab.nodes.values() for address in node.addresses}
    found = await a.application("traceroute", to="b", probes=1, max_hops=6, timeout=1)
    hops = [nodes.get(hop["probes"][0].get("address"), "nobody") for hop in found["hops"]]
    trial.equal(WAY, hops, ["r1", "r2", "r3", "b"])

    since = lab.now * 1000
    await a.ping("b", count=1)
    forwarded = [each for each in _forwarded(trial, since) if each["data"]["destination"] == lab.node("b").address]
    trial.equal(LESS, [each["data"]["ttl"] for each in forwarded], [63, 62, 61])

    since = lab.now * 1000
    await a.ping("b", count=1, ttl=2)
    ended = [each["node"] for each in trial.events("network:icmp_sent", type=11) if each["time"] >= since]
    trial.equal(ENDS, ended, ["r2"])
    told = [nodes[each["data"]["source"]] for each in trial.events("network:icmp_received", "a", type=11)]
    trial.equal(TOLD, told[-1:], ["r2"])

    since = lab.now * 1000
    await a.ping("192.168.1.1", count=1, ttl=20)
    trial.equal(LOOP, len(_forwarded(trial, since)), 19)


def _forwarded(trial: Trial, since: float) -> list[Event]:
    found = [each for each in trial.events("network:packet_forwarded") if each["time"] >= since]
    return [each for each in found if each["data"]["source"] == trial.lab.node("a").address]
