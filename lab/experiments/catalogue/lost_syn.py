"""A SYN that nobody answers is sent again, each time after twice as long.

Nobody knows the round trip time yet, so the first timeout is a second (RFC 6298, 2.1), and it doubles with each attempt
(5.5): a network that loses because it is full gets less and less. With n SYNs lost, the connection is open after
1 + 2 + 4 + ... = 2^n - 1 seconds and a round trip.
"""

from __future__ import annotations

from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import STATE, Trial, said, seconds

TOPOLOGY = """
name: lost-syn
nodes: {client: {kind: host, trace: packets}, server: host}
links:
  - {ends: [client, server], impair: {delay: 50ms, faults: $faults}}
"""

ATTEMPTS = "the SYN is sent until one arrives, once more than were lost"
DOUBLES = "the time between them is a second at first and doubles"
OPEN = "the connection is open 2^n - 1 seconds and a round trip after the first SYN"
LOST = 3


@experiment(
    topic="Opening a connection",
    claim="A lost SYN is sent again after 1, 2, 4 ... seconds.",
    look_at="the times of the SYNs",
    topology=TOPOLOGY,
    parameters={"faults": f'[{{drop: {{tcp: "SYN,!ACK", count: {LOST}}}}}]'},
    variations={
        "none-lost": Variation("No SYN is lost: one is enough.", {"faults": "[]"}, breaks=(ATTEMPTS, DOUBLES, OPEN)),
    },
)
async def lost_syn(trial: Trial) -> None:
    lab = trial.lab
    lab.node("server").start(sink, 80)
    await lab.node("client").ping("server", count=1)
    await lab.node("client").run(send, "server", 80, 1)

    syns = [event for event in trial.segments("client") if said(event) == "client SYN"]
    trial.equal(ATTEMPTS, len(syns), LOST + 1)
    gaps = [round(seconds(one, other), 1) for one, other in pairwise(syns)]
    trial.equal(DOUBLES, gaps, [float(2**n) for n in range(LOST)])
    opened = trial.events(STATE, "client", new="established")[0]
    trial.close(OPEN, seconds(syns[0], opened), 2**LOST - 1 + 0.1, within=0.05, unit="s")
