"""Stop-and-wait: one frame, then its acknowledgment, then the next frame (Tanenbaum, protocol 3).

A frame takes T on the wire and Tp on the way, and its acknowledgment Tp back. With a = Tp / T the link is used 1 of
1 + 2a parts of the time: nearly all of it on a slow line of a few kilometres, next to nothing over a satellite, or on
any fast line. Each frame that is lost costs another T + 2 Tp, if the timer goes off just when the acknowledgment
would have come: U = (1 - p) / (1 + 2a) (Stallings, Data and Computer Communications, 2007). A timer that
waits longer costs more, and the formula knows nothing of it; one that is too early sends frames twice. A frame with a
turned bit is found by the check sequence and asked for at once.

One bit is enough for the number: the receiver only has to tell the next frame from a copy of the last one.
"""

from __future__ import annotations

from lab.experiments.arq_trials import carry, in_order, meet
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: arq-stop-and-wait
defaults: {address_check: none}
nodes: {a: host, b: host}
links:
  - {ends: [a, b], arq: $arq, impair: {delay: 38ms, from: {a: {rate: 500kbit}}}}
"""

RATE = 500_000
RATIO = 2.375
"""a: 38 ms on the way, 16 ms on the wire."""
ALONE = "without losses, U = 1 / (1 + 2a)"
LOSSY = "with losses, U = (1 - p) / (1 + 2a)"
ONCE = "every datagram arrives, once and in order"


@experiment(
    topic="Physical and data link",
    claim="Stop-and-wait uses a link for one part of 1 + 2a, and less the more frames are lost.",
    look_at="the share of the time in which the link carries something new, beside the formula",
    topology=TOPOLOGY,
    parameters={"arq": "{kind: stop-and-wait, timeout: 84ms}", "count": 120, "loss": 5.0, "corrupt": 5.0},
    variations={
        "no-arq": Variation(
            "Without ARQ the link is always in use, and what it loses is lost.",
            {"arq": "false"},
            breaks=(ALONE, LOSSY, ONCE),
        ),
        "long-timer": Variation(
            "The timer waits for ten round trips: lost frames cost more than the formula says.",
            {"arq": "{kind: stop-and-wait, timeout: 800ms, reject: false}"},
            breaks=(LOSSY,),
        ),
    },
)
async def arq_stop_and_wait(trial: Trial) -> None:
    count = trial["count"]
    await meet(trial, ("a", "b"))
    clean = await carry(trial, "a", "b", count)
    lossy = await carry(trial, "a", "b", count, loss=f"{trial['loss']}%", corrupt=f"{trial['corrupt']}%")
    alone = 1 / (1 + 2 * RATIO)
    trial.close(ALONE, clean.use(RATE), alone, within=0.08)
    trial.close(LOSSY, lossy.use(RATE), (1 - lossy.errors) * alone, within=0.08)
    in_order(trial, ONCE, count, clean, lossy)
