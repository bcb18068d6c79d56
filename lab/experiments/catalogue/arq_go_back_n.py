"""Go-back-N: a window of frames on the way; when one is lost, it and all behind it go again (Tanenbaum, protocol 5).

With a = Tp / T, 1 + 2a frames fit into a round trip. A window of N frames fills the link if N >= 1 + 2a, and
N / (1 + 2a) of it otherwise. The receiver keeps nothing out of order, so one lost frame costs all that was sent until
its timer went off: 1 + 2a frames, or N where the window is smaller (Stallings, Data and Computer Communications, 2007):

    U = (1 - p) / (1 + 2ap)                              N >= 1 + 2a
    U = N (1 - p) / ((1 + 2a) (1 - p + Np))              N <  1 + 2a

The formula goes back just when the acknowledgment should have come. Here the timer is a little longer, and a frame
that has begun is sent to its end: 2a is chosen so that this is before the next frame begins.
"""

from __future__ import annotations

from lab.experiments.arq_trials import carry, in_order, meet
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: arq-go-back-n
defaults: {address_check: none, impair: {delay: 97ms}}
nodes: {a: host, b: host, c: host, d: host}
links:
  - {ends: [a, b], arq: $narrow, impair: {from: {a: {rate: 200kbit}}}}
  - {ends: [c, d], arq: $wide, impair: {from: {c: {rate: 200kbit}}}}
"""

RATE = 200_000
RATIO = 2.425
"""a: 97 ms on the way, 40 ms on the wire."""
NARROW = 3
NARROW_ALONE = "a small window: without losses, U = N / (1 + 2a)"
NARROW_LOSSY = "a small window: with losses, U = N (1 - p) / ((1 + 2a) (1 - p + Np))"
WIDE_ALONE = "a large window: without losses, U = 1"
WIDE_LOSSY = "a large window: with losses, U = (1 - p) / (1 + 2ap)"
ONCE = "every datagram arrives, once and in order"


@experiment(
    topic="Physical and data link",
    claim="Go-back-N fills a link with a window of 1 + 2a frames, and pays as many for each that is lost.",
    look_at="the share of the time in which the link carries something new, beside the formulas",
    topology=TOPOLOGY,
    parameters={
        "narrow": "{kind: go-back-n, window: 3, timeout: 197ms}",
        "wide": "{kind: go-back-n, window: 15, timeout: 197ms}",
        "count": 300,
        "loss": 2.5,
        "corrupt": 2.5,
    },
    variations={
        "no-arq": Variation(
            "Without ARQ both links are always in use, and what they lose is lost.",
            {"narrow": "false", "wide": "false"},
            breaks=(NARROW_ALONE, NARROW_LOSSY, WIDE_LOSSY, ONCE),
        ),
        "selective": Variation(
            "A receiver that keeps what comes early needs only the lost frame again.",
            {"wide": "{kind: selective-repeat, window: 32, timeout: 197ms}"},
            breaks=(WIDE_LOSSY,),
        ),
    },
    only_virtual="the formula's timer goes off as soon as the acknowledgment is due, and a real processor is later",
)
async def arq_go_back_n(trial: Trial) -> None:
    count, period = trial["count"], 1 + 2 * RATIO
    errors = {"loss": f"{trial['loss']}%", "corrupt": f"{trial['corrupt']}%"}
    await meet(trial, ("a", "b"), ("c", "d"))
    clean = await carry(trial, "a", "b", count), await carry(trial, "c", "d", count)
    lossy = await carry(trial, "a", "b", count, **errors), await carry(trial, "c", "d", count, **errors)
    trial.close(NARROW_ALONE, clean[0].use(RATE), NARROW / period, within=0.05)
    trial.close(WIDE_ALONE, clean[1].use(RATE), 1, within=0.05)
    p = lossy[0].errors
    theory = NARROW * (1 - p) / (period * (1 - p + NARROW * p))
    trial.close(NARROW_LOSSY, lossy[0].use(RATE), theory, within=0.12)
    p = lossy[1].errors
    trial.close(WIDE_LOSSY, lossy[1].use(RATE), (1 - p) / (1 + 2 * RATIO * p), within=0.12)
    in_order(trial, ONCE, count, *clean, *lossy)
