"""TCP sends segments that fit through the narrowest link of the path, and learns its width from the routers.

Fragments are a burden, so TCP forbids them (don't fragment). A router that cannot pass such a packet on drops it and
says how long it may be: ICMP type 3, code 4, with the MTU of the next link (RFC 1191, 4). The sender remembers that for
the path and sends what is missing in smaller segments. Where something on the way drops the ICMP messages, the path
becomes a black hole for long segments; then only trying shorter ones helps (RFC 4821), and that takes time.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: path-mtu-discovery
defaults: {trace: packets}
nodes: {a: host, r1: router, r2: router, b: host}
links:
  - {ends: [a, r1], impair: {delay: 5ms, from: {r1: {faults: $faults}}}}
  - {ends: [r1, r2], mtu: $mtu}
  - r2 -- b
"""

HEADERS = 20 + 32
"""Octets of the headers of IP, and of TCP with timestamps."""
TOLD = "r1 says how long a packet may be"
LEARNED = "a remembers that for the path"
FITS = "from then on each segment is as long as fits"
QUICK = "it costs a round trip or two, not a timeout"
ARRIVES = "all octets arrive"


@experiment(
    topic="Network",
    claim="TCP learns from a router how long its packets may be on a path.",
    look_at="the ICMP message, and the length of the segments before and after it",
    topology=TOPOLOGY,
    parameters={"mtu": 1000, "octets": 50_000, "faults": "[]"},
    variations={
        "black-hole": Variation(
            "Something on the way drops ICMP: a has to find out by itself, after timeouts.",
            {"faults": "[{drop: {protocol: icmp, count: 0}}]"},
            breaks=(LEARNED, QUICK),
        ),
    },
)
async def path_mtu_discovery(trial: Trial) -> None:
    lab, mtu = trial.lab, trial["mtu"]
    serving = lab.node("b").start(sink, 80)
    await lab.sleep(1)
    seconds = await lab.node("a").run(send, "b", 80, trial["octets"])
    told = trial.events("network:icmp_sent", "r1", type=3, code=4)
    trial.at_least(TOLD, len(told), 1)
    learned = [event["data"] for event in trial.events("network:path_mtu_updated", "a")]
    seen = [(data["new"], data["trigger"]) for data in learned]
    trial.equal(LEARNED, seen, [(mtu, "fragmentation_needed")])
    arrived = trial.segments("b", sent=False)
    longest = max(event["data"]["length"] for event in arrived)
    trial.expect(FITS, longest <= mtu - HEADERS, f"theory at most {mtu - HEADERS} octets, seen {longest}")
    trial.at_most(QUICK, seconds, 0.5, "s")
    trial.at_least(ARRIVES, sum(event["data"]["length"] for event in arrived), trial["octets"])
    serving.cancel()
