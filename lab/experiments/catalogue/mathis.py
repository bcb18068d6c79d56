"""How fast a connection is follows from its round trip time and from how much is lost.

Where each segment is lost with probability p, the window of a sender that adds one segment per round trip and halves at
a loss goes up and down between W and W/2, with one loss in 1/p segments. The area under such a saw tooth gives W, and
from it the rate (Mathis, Semke, Mahdavi and Ott, 1997):

    rate = segment / round trip * sqrt(3/2) / sqrt(p)

Four times the loss is half the rate, and twice the round trip, too. That is why a loss of 1 % is little on a short
path and fatal on a long one. The saw tooth of the formula has no round trips in which a loss is repaired; the more
there are of those, the further below it a real connection is.
"""

from __future__ import annotations

import math

from lab.experiments.catalogue.fairness import STEP, count_by_flow, fill
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: mathis
defaults: {trace: 'off', tcp: {minimum_rto: 0.2}}
nodes: {a: host, b: host, c: host, d: host, e: host, f: host}
links:
  - {ends: [a, b], impair: {delay: 25ms, rate: 16mbit, from: {a: {loss: 0.25%}}}}
  - {ends: [c, d], impair: {delay: 50ms, rate: 16mbit, from: {c: {loss: 0.25%}}}}
  - {ends: [e, f], impair: {delay: 25ms, rate: 8mbit, from: {e: {loss: 1%}}}}
"""

SEGMENT = 1448
RATE = "the rate with 0.25 % of loss and 50 ms is that of the formula"
TWICE = "with twice the round trip, it is half of that"
LOSS = "with four times the loss, too"


@experiment(
    topic="Congestion control",
    claim="The rate of a connection is segment / round trip * sqrt(1.5 / loss).",
    look_at="the rates of three connections beside the formula",
    topology=TOPOLOGY,
    parameters={"control": "newreno", "seconds": 50.0},
    variations={
        "bbr": Variation(
            "BBR does not take losses for congestion: the formula says nothing about it.",
            {"control": "bbr", "seconds": 8.0},
            breaks=(RATE, TWICE, LOSS),
        ),
    },
    only_virtual="it takes a minute until the average is good enough",
)
async def mathis(trial: Trial) -> None:
    lab, seconds = trial.lab, trial["seconds"]
    counting = [lab.node(name).start(count_by_flow, 80, seconds) for name in "bdf"]
    await lab.sleep(0.5)
    pairs = (("a", "b"), ("c", "d"), ("e", "f"))
    sending = [lab.node(name).start(fill, to, 80, [trial["control"]], 0.0) for name, to in pairs]
    rates = [_rate(await program.wait()) for program in counting]
    for program in sending:
        program.cancel()
    trial.close(RATE, rates[0], _formula(0.05, 0.0025), within=0.25, unit="octets/s")
    trial.close(TWICE, rates[1], _formula(0.1, 0.0025), within=0.25, unit="octets/s")
    trial.close(LOSS, rates[2], _formula(0.05, 0.01), within=0.25, unit="octets/s")


def _formula(round_trip: float, loss: float) -> float:
    return SEGMENT / round_trip * math.sqrt(1.5 / loss)


def _rate(rows: list[list[int]]) -> float:
    """Octets per second, without the slow start at the beginning."""
    return sum(map(sum, rows[2:])) / (STEP * len(rows[2:]))
