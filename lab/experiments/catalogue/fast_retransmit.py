"""Three duplicate acknowledgments tell of a loss long before the timer does.

A receiver acknowledges what it has in order. When one segment is lost, each one that comes after it is answered with
the same acknowledgment as before: a duplicate. One or two may come of reordering; at the third the sender takes the
segment for lost and sends it again at once, a round trip after the loss and not a timeout later (RFC 5681, 3.2;
RFC 6675, 4).
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import sink
from lab.experiments.trial import Event, Trial

TOPOLOGY = """
name: fast-retransmit
nodes:
  a: {kind: host, trace: packets, tcp: {congestion: reno, rack: false}}
  b: {kind: host, trace: packets}
links:
  - ends: [a, b]
    impair: {delay: 25ms, rate: 10mbit, faults: [{drop: {protocol: tcp, payload: true, first: $lost}}]}
"""

RECEIVED = "transport:segment_received"
SEGMENT = 1448
ROUND_TRIP = 0.05
TIMER = 1.0
PAUSE = 1.0
FAST = "it is sent again after about a round trip, and not when the timer of a second expires"
THREE = "the third duplicate acknowledgment tells that it is lost"
STATE = "the sender is in fast recovery then, not in loss"


@experiment(
    topic="Congestion control",
    claim="At the third duplicate acknowledgment, not at the second, a lost segment is sent again without a timeout.",
    look_at="the acknowledgments that the sender gets between the loss and the retransmission",
    topology=TOPOLOGY,
    parameters={"lost": 3, "after": 5},
    variations={
        "two-duplicates": Variation(
            "One segment and the FIN follow the lost one: two duplicates are not enough, and the timer has to do it.",
            {"after": 1},
            breaks=(FAST, THREE, STATE),
        ),
    },
)
async def fast_retransmit(trial: Trial) -> None:
    lab = trial.lab
    lab.node("b").start(sink, 80)
    await lab.sleep(1)
    await lab.node("a").run(send_in_two, "b", 80, (trial["lost"] - 1) * SEGMENT, (trial["after"] + 1) * SEGMENT)

    data = [event for event in trial.segments("a") if event["data"]["length"]]
    lost = data[trial["lost"] - 1]
    again = next(event for event in data if event is not lost and event["data"]["sequence"] == lost["data"]["sequence"])
    trial.at_most(FAST, (again["time"] - lost["time"]) / 1000, (ROUND_TRIP + TIMER) / 2, "s")
    until = trial.events("*", "a")
    # Where several acknowledgments arrive at once, all are taken before anything is sent: the conclusion counts.
    concluded = next((each for each in until if each["name"] == "recovery:segment_lost"), again)
    duplicates = [event for event in until[: until.index(concluded)] if _arrived(event) and _repeats(event, lost)]
    until = until[: until.index(again)]
    trial.equal(THREE, len(duplicates) - 1, 3)  # the first of them acknowledged what was sent before
    states = [event["data"]["new"] for event in until if event["name"] == "recovery:congestion_state_updated"]
    trial.equal(STATE, states[-1:], ["recovery"])


async def send_in_two(host: str, port: int, first: int, second: int) -> None:
    """The second only when the first is acknowledged: on a busy machine a receiver takes many segments at once, and its
    first acknowledgment of one out of order would also be that of those in order, and no duplicate."""
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer):
        writer.write(bytes(first))
        await asyncio.sleep(PAUSE)
        writer.write(bytes(second))
        writer.write_eof()
        await reader.read()


def _arrived(event: Event) -> bool:
    return bool(event["name"] == RECEIVED)


def _repeats(event: Event, lost: Event) -> bool:
    return bool(event["data"]["acknowledgment"] == lost["data"]["sequence"])
