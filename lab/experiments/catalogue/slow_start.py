"""Slow start is not slow: the congestion window doubles with every round trip.

A sender does not know the network. It begins with ten segments (RFC 6928) and adds one for each that is acknowledged,
so that after a round trip it has twice as many on the way (RFC 5681, 3.1). It goes on like that until something is lost
or the threshold is reached.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import METRICS, Trial

TOPOLOGY = """
name: slow-start
nodes: {a: {kind: host, trace: packets, tcp: {congestion: $control}}, b: host}
links:
  - {ends: [a, b], impair: {delay: 50ms}}
"""

SEGMENT = 1448
INITIAL = 10
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
    ends, burst = _rounds(trial, 4)
    trial.equal(FIRST, burst, INITIAL, f"a, {begin:.3f} ms")
    theory = [INITIAL * 2**trip for trip in range(1, 5)]
    ends += [0.0] * (4 - len(ends))
    off = max(abs(seen - wanted) / wanted for seen, wanted in zip(ends, theory, strict=True))
    numbers = f"theory {', '.join(map(str, theory))} segments, seen {', '.join(f'{seen:.0f}' for seen in ends)}"
    trial.expect(DOUBLES, off <= 0.1, numbers, f"a, from {begin:.3f} ms")


def _rounds(trial: Trial, count: int) -> tuple[list[float], int]:
    """The window at the end of each of the first round trips, in segments, and how many segments left in the first one.
    A round trip ends when all is acknowledged that had left at its beginning (RFC 9002 calls it so, too): a machine
    that is busy makes it longer, and nothing else."""
    ends: list[float] = []
    base, fresh = None, False
    sent = first = marker = acknowledged = 0
    for event in trial.events("*", "a"):
        name, data = event["name"], event["data"]
        if name == "transport:segment_sent" and data["length"]:
            base = data["sequence"] if base is None else base
            sent = (data["sequence"] - base) % 2**32 + data["length"]
            first += not acknowledged
            fresh = True
        elif name == "transport:segment_received" and base is not None:
            if fresh and not marker:
                marker = sent
            acknowledged = (data["acknowledgment"] - base) % 2**32
        elif name == METRICS and marker and acknowledged >= marker and len(ends) < count:
            ends.append(data["cwnd"] / SEGMENT)
            marker, fresh = 0, False  # the next one begins with what is sent from now on
    return ends, first
