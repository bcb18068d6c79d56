"""CUBIC's window follows a cubic curve of the time since the last loss.

Reno adds one segment per round trip, so that on a long fast path it takes minutes to come back after a loss. CUBIC
counts seconds instead (RFC 9438, 4.2): with the window W_max at the loss, it goes on with 0.7 of it, and then

    W(t) = 0.4 (t - K)^3 + W_max        K = cbrt(W_max (1 - 0.7) / 0.4)

It comes back to W_max in K seconds whatever the round trip time is, stays near it for a while, since that is where it
was too much the last time, and then looks for more, faster and faster.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial, latest

TOPOLOGY = """
name: cubic-curve
nodes:
  a: {kind: host, trace: packets, tcp: {congestion: $control, send_buffer: 16MiB}}
  b: {kind: host, tcp: {receive_buffer: 16MiB}}
links:
  - {ends: [a, b], impair: {delay: 50ms, faults: [{drop: {sequence: $lost-$lost}}]}}
"""

SEGMENT = 1448
C, BETA = 0.4, 0.7
REDUCED = "after the loss the window is 0.7 of what it was"
BACK = "it is back there after K seconds"
CURVE = "between, it follows the curve"


@experiment(
    topic="Congestion control",
    claim="After a loss CUBIC's window is a cubic function of time, back at its old value after K seconds.",
    look_at="the window over time: steep, flat around the old value, and steep again",
    topology=TOPOLOGY,
    parameters={"control": "cubic", "lost": 150 * SEGMENT + 1, "segments": 9000},
    variations={
        "reno": Variation(
            "Reno halves the window and adds one segment per round trip: a straight line.",
            {"control": "newreno"},
            breaks=(REDUCED, BACK, CURVE),
        ),
    },
)
async def cubic_curve(trial: Trial) -> None:
    lab = trial.lab
    serving = lab.node("b").start(sink, 80)
    await lab.sleep(1)
    await lab.node("a").run(send, "b", 80, trial["segments"] * SEGMENT)
    serving.cancel()

    states = trial.events("recovery:congestion_state_updated", "a")
    begun = next(event for event in states if event["data"]["new"] == "recovery")
    ended = next(event["time"] for event in states if event["data"]["old"] == "recovery")
    windows = [(time, cwnd / SEGMENT) for time, cwnd in trial.series("a", "cwnd")]
    w_max, start = trial.before(begun, "cwnd") / SEGMENT, latest(windows, ended)
    trial.close(REDUCED, start / w_max, BETA, within=0.05)
    k = (w_max * (1 - BETA) / C) ** (1 / 3)
    back = next(((time - ended) / 1000 for time, cwnd in windows if time > ended and cwnd >= w_max), 0.0)
    trial.close(BACK, back, k, within=0.2, unit="s")
    off = [_off(windows, ended, part * k / 10, w_max, k) for part in range(2, 13)]
    numbers = f"theory ± 5 %, seen at most {max(off):.1%} beside it in {1.2 * k:.1f} s, K is {k:.2f} s"
    trial.expect(CURVE, max(off) <= 0.05, numbers)


def _off(windows: list[tuple[float, float]], ended: float, t: float, w_max: float, k: float) -> float:
    """How far the window is from the curve, t seconds after the recovery. One of up to a round trip before will do."""
    seen = latest(windows, ended + t * 1000)
    return min(abs(seen - (C * (then - k) ** 3 + w_max)) for then in (t, t - 0.05, t - 0.1)) / w_max
