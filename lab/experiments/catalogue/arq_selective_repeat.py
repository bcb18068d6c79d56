"""Selective repeat: only the lost frame goes again, and the receiver keeps what came behind it (Tanenbaum, protocol 6).

As long as the window is large enough, a lost frame costs just itself: U = 1 - p, and N (1 - p) / (1 + 2a) for a window
below 1 + 2a (Stallings, Data and Computer Communications, 2007). The formulas forget something: until the
lost frame has come, the window does not move. It takes a window of several round trips to make the first one true; one
of just 1 + 2a frames is used up before, and the link falls silent. The second one is never quite true: a small window
waits for its lost frame as go-back-N does, and is little better than that.

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
defaults: {address_check: none, impair: {delay: 38ms}}
nodes: {a: host, b: host, c: host, d: host, e: host, f: host}
links:
  - {ends: [a, b], arq: $wide, impair: {from: {a: {rate: 500kbit}}}}
  - {ends: [c, d], arq: $narrow, impair: {from: {c: {rate: 500kbit}}}}
  - {ends: [e, f], arq: $small, impair: {delay: 5ms, from: {e: {rate: 4mbit}}}}
"""

RATE = 500_000
RATIO = 2.375
"""a: 38 ms on the way, 16 ms on the wire."""
NARROW = 3
ALONE = "a large window: without losses, U = 1"
LOSSY = "a large window: with losses, U = 1 - p"
NARROW_ALONE = "a small window: without losses, U = N / (1 + 2a)"
NARROW_LOSSY = "a small window: with losses, between go-back-N's formula and U = N (1 - p) / (1 + 2a)"
ONCE = "every datagram arrives, once and in order"
SAFE = "also where the numbers come round and acknowledgments are lost"


@experiment(
    topic="Physical and data link",
    claim="Selective repeat pays one frame for each that is lost, if the window is large, and no more than half of the"
    " numbers.",
    look_at="the share of the time in which the link carries something new, beside the formulas; and what arrives",
    topology=TOPOLOGY,
    parameters={
        "wide": "{kind: selective-repeat, window: 32, timeout: 200ms}",
        "narrow": "{kind: selective-repeat, window: 3, timeout: 84ms}",
        "small": "{kind: selective-repeat, bits: 2, window: 2, timeout: 20ms, retries: 50}",
        "count": 300,
        "loss": 2.0,
        "corrupt": 8.0,
    },
    variations={
        "no-arq": Variation(
            "Without ARQ what the link loses is lost.",
            {"wide": "false", "narrow": "false", "small": "false"},
            breaks=(NARROW_ALONE, NARROW_LOSSY, ONCE, SAFE),
        ),
        "window-of-a-round-trip": Variation(
            "A window of 6 frames fills a link that loses none, and stands still for each that is lost.",
            {"wide": "{kind: selective-repeat, window: 6, timeout: 120ms}"},
            breaks=(LOSSY,),
        ),
        "window-above-half": Variation(
            "With numbers of 2 bits and a window of 3, old frames pass for new ones.",
            {"small": "{kind: selective-repeat, bits: 2, window: 3, timeout: 20ms, retries: 50}"},
            breaks=(SAFE,),
        ),
    },
)
async def arq_selective_repeat(trial: Trial) -> None:
    count = trial["count"]
    await meet(trial, ("a", "b"), ("c", "d"), ("e", "f"))
    clean = await carry(trial, "a", "b", count)
    errors = {"loss": f"{trial['loss']}%", "corrupt": f"{trial['corrupt']}%"}
    lossy = await carry(trial, "a", "b", count, **errors)
    narrow = await carry(trial, "c", "d", count)
    narrow_lossy = await carry(trial, "c", "d", count, **errors)
    trial.close(ALONE, clean.use(RATE), 1, within=0.05)
    trial.close(LOSSY, lossy.use(RATE), 1 - lossy.errors, within=0.06)
    trial.close(NARROW_ALONE, narrow.use(RATE), NARROW / (1 + 2 * RATIO), within=0.08)
    used, p = narrow_lossy.use(RATE), narrow_lossy.errors
    most = NARROW * (1 - p) / (1 + 2 * RATIO)
    least = most / (1 - p + NARROW * p)
    numbers = f"expected {least:.4g} (less 5%) to {most:.4g}, seen {used:.4g}"
    trial.expect(NARROW_LOSSY, 0.95 * least <= used <= most, numbers)
    in_order(trial, ONCE, count, clean, lossy, narrow, narrow_lossy)
    await trial.lab.link("e--f").impair(from_="f", loss="40%")
    in_order(trial, SAFE, count, await carry(trial, "e", "f", count, loss="5%"))
