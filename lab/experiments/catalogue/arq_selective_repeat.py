"""Selective repeat: only the lost frame goes again, and the receiver keeps what came behind it (Tanenbaum, protocol 6).

As long as the window is large enough, a lost frame costs just itself: U = 1 - p, and N (1 - p) / (1 + 2a) for a window
below 1 + 2a (Stallings, Data and Computer Communications, 2007, section 7.B). The formula forgets something: until the
lost frame has come, the window does not move. A window of just 1 + 2a frames is used up before, and the link falls
silent; it takes several round trips of frames to make the formula true.

Numbers come round again. If all acknowledgments of a window are lost, the sender repeats frames that the receiver has
already, while that one expects the next window. Old and new are told apart only where the two windows have no number in
common: the window must not be larger than half of the numbers. Otherwise an old frame is taken for a new one.
"""

from __future__ import annotations

from lab.experiments.arq_trials import carry, in_order, meet
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: arq-selective-repeat
defaults: {address_check: none, impair: {delay: 19ms}}
nodes: {a: host, b: host, c: host, d: host, e: host, f: host}
links:
  - {ends: [a, b], arq: $wide, impair: {from: {a: {rate: 1mbit}}}}
  - {ends: [c, d], arq: $narrow, impair: {from: {c: {rate: 1mbit}}}}
  - {ends: [e, f], arq: $small, impair: {from: {e: {rate: 1mbit}}}}
"""

RATE = 1_000_000
RATIO = 2.375
"""a: 19 ms on the way, 8 ms on the wire."""
NARROW = 3
ALONE = "a large window: without losses, U = 1"
LOSSY = "a large window: with losses, U = 1 - p"
NARROW_ALONE = "a small window: without losses, U = N / (1 + 2a)"
ONCE = "every datagram arrives, once and in order"
SAFE = "also where the numbers come round and acknowledgments are lost"


@experiment(
    topic="Physical and data link",
    claim="Selective repeat pays one frame for each that is lost, if the window is large, and no more than half of the"
    " numbers.",
    look_at="the share of the time in which the link carries something new, beside the formulas; and what arrives",
    topology=TOPOLOGY,
    parameters={
        "wide": "{kind: selective-repeat, window: 32, timeout: 60ms}",
        "narrow": "{kind: selective-repeat, window: 3, timeout: 60ms}",
        "small": "{kind: selective-repeat, bits: 2, window: 2, timeout: 60ms, retries: 50}",
        "count": 300,
        "loss": 2.0,
        "corrupt": 8.0,
    },
    variations={
        "no-arq": Variation(
            "Without ARQ what the link loses is lost.",
            {"wide": "false", "narrow": "false", "small": "false"},
            breaks=(NARROW_ALONE, ONCE, SAFE),
        ),
        "window-of-a-round-trip": Variation(
            "A window of 6 frames fills a link that loses none, and stands still for each that is lost.",
            {"wide": "{kind: selective-repeat, window: 6, timeout: 60ms}"},
            breaks=(LOSSY,),
        ),
        "window-above-half": Variation(
            "With numbers of 2 bits and a window of 3, old frames pass for new ones.",
            {"small": "{kind: selective-repeat, bits: 2, window: 3, timeout: 60ms, retries: 50}"},
            breaks=(SAFE,),
        ),
    },
)
async def arq_selective_repeat(trial: Trial) -> None:
    count = trial["count"]
    await meet(trial, ("a", "b"), ("c", "d"), ("e", "f"))
    clean = await carry(trial, "a", "b", count)
    lossy = await carry(trial, "a", "b", count, loss=f"{trial['loss']}%", corrupt=f"{trial['corrupt']}%")
    narrow = await carry(trial, "c", "d", count)
    trial.close(ALONE, clean.use(RATE), 1, within=0.05)
    trial.close(LOSSY, lossy.use(RATE), 1 - lossy.errors, within=0.06)
    trial.close(NARROW_ALONE, narrow.use(RATE), NARROW / (1 + 2 * RATIO), within=0.08)
    in_order(trial, ONCE, count, clean, lossy, narrow)
    await trial.lab.link("e--f").impair(from_="f", loss="40%")
    in_order(trial, SAFE, count, await carry(trial, "e", "f", count, loss="5%"))
