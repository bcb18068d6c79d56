"""Slow start is not slow: the congestion window doubles with every round trip.

A sender does not know the network. It begins with ten segments (RFC 6928) and adds one for each that is acknowledged,
so that after a round trip it has twice as many on the way (RFC 5681, 3.1). It goes on like that until something is lost
or the threshold is reached.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial, latest

TOPOLOGY = """
name: slow-start
nodes: {a: {kind: host, trace: packets, tcp: {congestion: $control}}, b: host}
links:
  - {ends: [a, b], impair: {delay: 50ms}}
"""

SEGMENT = 1448
INITIAL = 10
ROUND_TRIP = 100.0
FIRST = "ten segments leave in the first round trip"
DOUBLES = "the window doubles in each round trip"


@experiment(
    topic="Congestion control",
    claim="In slow start the congestion window doubles with every round trip.",
    look_at="the congestion window at the end of each round trip: 10, 20, 40, 80 segments",
    topology=TOPOLOGY,
    parameters={"control": "reno", "octets": 1_500_000},
    variations={
        "fixed": Variation(
            "Without congestion control (`none`) the window is what it is from the beginning.",
            {"control": "none"},
            breaks=(FIRST, DOUBLES),
        ),
    },
)
async def slow_start(trial: Trial) -> None:
    lab = trial.lab
    lab.node("b").start(sink, 80)
    await lab.sleep(1)
    await lab.node("a").run(send, "b", 80, trial["octets"])

    begin = trial.events("transport:connection_state_updated", "a", new="established")[0]["time"]
    burst = [event for event in trial.segments("a", trigger="data") if event["time"] < begin + ROUND_TRIP / 2]
    trial.equal(FIRST, len(burst), INITIAL, f"a, {begin:.3f} ms")
    windows = trial.series("a", "cwnd")
    ends = [latest(windows, begin + (trip + 0.5) * ROUND_TRIP) / SEGMENT for trip in range(1, 5)]
    theory = [INITIAL * 2**trip for trip in range(1, 5)]
    off = max(abs(seen - wanted) / wanted for seen, wanted in zip(ends, theory, strict=True))
    numbers = f"theory {', '.join(map(str, theory))} segments, seen {', '.join(f'{seen:.0f}' for seen in ends)}"
    trial.expect(DOUBLES, off <= 0.1, numbers, f"a, {begin:.3f} ms and 450 ms from there")
