"""Segments that arrive in another order are not lost, and whoever takes them for lost sends in vain.

Each segment that overtakes another one causes a duplicate acknowledgment. TCP waits for the third of them before it
concludes that the first is lost, so that it may be overtaken by two without harm (RFC 5681, 3.2; RFC 6675, 5); by
three, and it is sent again, and the window is reduced, for nothing. RACK (RFC 8985) goes by time instead: a quarter of
a round trip at first, and when the receiver tells that something came twice (DSACK, RFC 2883) another quarter. So it is
wrong once or twice, and then has learned how much the path reorders.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import sink
from lab.experiments.trial import Event, Trial

TOPOLOGY = """
name: reordering
defaults:
  impair:
    delay: 150ms
    faults:
      - delay: {by: $late, sequence: 20001-20001}
      - delay: {by: $late, sequence: 40001-40001}
      - delay: {by: $late, sequence: 60001-60001}
      - delay: {by: $late, sequence: 80001-80001}
nodes:
  counts: {kind: host, trace: packets, tcp: {rack: false}}
  learns: {kind: host, trace: packets}
  b: host
  c: host
links: [counts -- b, learns -- c]
"""

PIECE = 1000
PLACES = (20, 40, 60, 80)
"""Pieces before each one that is late."""
OVERTAKEN = "each of the late segments is overtaken by as many as asked"
COUNTS = "who counts to three sends none of them again"
KEEPS = "and its window is not reduced"
LEARNS = "who goes by time sends one again, and has learned then"


async def drip(host: str, port: int, pieces: int, every: float) -> None:
    """Send so many pieces, each in a segment of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.closing(writer):
        for _ in range(pieces):
            writer.write(bytes(PIECE))
            await asyncio.sleep(every)
        writer.write_eof()
        await reader.read()


@experiment(
    topic="Congestion control",
    claim="A segment that is overtaken by two others is not sent again, one that is overtaken by three is.",
    look_at="the duplicate acknowledgments for each late segment, and what is sent again",
    topology=TOPOLOGY,
    parameters={"late": "125ms", "overtaken": 2},
    variations={
        "by-three": Variation(
            "Each late segment is overtaken by three others: it is taken for lost, and sent again in vain.",
            {"late": "175ms", "overtaken": 3},
            breaks=(COUNTS, KEEPS),
        ),
    },
)
async def reordering(trial: Trial) -> None:
    lab = trial.lab
    for name in "bc":
        lab.node(name).start(sink, 80)
    await lab.sleep(1)
    dripping = [lab.node(name).start(drip, to, 80, 100, 0.05) for name, to in (("counts", "b"), ("learns", "c"))]
    for program in dripping:
        await program.wait()

    numbers = _numbers(trial, "counts")
    duplicates = [_repeated(trial, numbers[place]) for place in PLACES]
    trial.equal(OVERTAKEN, duplicates, [trial["overtaken"]] * len(PLACES))
    again = _again(trial, "counts")
    trial.expect(COUNTS, not again, f"expected 0 sent again, seen {len(again)}")
    reduced = trial.events("recovery:congestion_state_updated", "counts", new="recovery")
    trial.expect(KEEPS, not reduced, f"expected 0 reductions, seen {len(reduced)}")
    places = [_numbers(trial, "learns").index(event["data"]["sequence"]) for event in _again(trial, "learns")]
    trial.expect(LEARNS, places == [PLACES[0]], f"expected segment {PLACES[0]}, seen {places}")


def _numbers(trial: Trial, node: str) -> list[int]:
    """The sequence numbers of a sender's data, in order."""
    return [event["data"]["sequence"] for event in trial.segments(node, trigger="data")]


def _again(trial: Trial, node: str) -> list[Event]:
    return [event for event in trial.segments(node) if event["data"]["trigger"] in ("retransmission", "probe")]


def _repeated(trial: Trial, number: int) -> int:
    """Acknowledgments that asked for this number, but for the first."""
    return len(trial.segments("counts", sent=False, acknowledgment=number)) - 1
