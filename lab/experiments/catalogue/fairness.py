"""Who adds a little and halves at a loss ends up with a fair share, wherever he began.

Two senders at one bottleneck add the same (additive increase), so that the difference between them stays as it is; at a
loss both halve (multiplicative decrease), and the difference halves, too. After a few losses they are equal (Chiu and
Jain, 1989). How equal n shares x are is told by Jain's index, (sum x)^2 / (n sum x^2): 1 where all have the same,
1/n where one has everything.
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial, jain

TOPOLOGY = """
name: fairness
defaults:
  trace: 'off'
  tcp: {send_buffer: 64kB}
  impair: {delay: 20ms, rate: 4mbit, queue: {drop_tail: {octets: 30kB}}}
nodes: {a: host, b: host, c: host, d: host}
links: [a -- b, c -- d]
"""

RATE = 4_000_000
STEP = 2.0
"""Seconds over which a rate is measured."""
AT_FIRST = "at first the one that came first has nearly all"
TWO = "two flows end up with equal shares"
TEN = "so do ten"
FULL = "and the link is used well"


async def count_by_flow(port: int, seconds: float) -> list[list[int]]:
    """What each connection, in the order of their beginning, brings in each STEP seconds."""
    totals: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(totals)
        totals.append(0)
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                totals[number] += len(data)

    rows: list[list[int]] = []
    async with await asyncio.start_server(take, "0.0.0.0", port):
        before: list[int] = []
        for _ in range(round(seconds / STEP)):
            await asyncio.sleep(STEP)
            rows.append([now - (before[i] if i < len(before) else 0) for i, now in enumerate(totals)])
            before = totals.copy()
    return rows


async def fill(host: str, port: int, controls: list[str], apart: float) -> None:
    """Flows with these congestion controls, one after the other, until cancelled."""
    await asyncio.gather(*(_flow(host, port, control, number * apart) for number, control in enumerate(controls)))


async def _flow(host: str, port: int, control: str, wait: float) -> None:
    await asyncio.sleep(wait)
    _, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(ConnectionError), contextlib.closing(writer):
        writer.get_extra_info("socket").setsockopt(6, 13, control.encode())  # IPPROTO_TCP, TCP_CONGESTION
        while True:
            writer.write(bytes(16384))
            await writer.drain()


@experiment(
    topic="Congestion control",
    claim="Flows with additive increase and multiplicative decrease share a link fairly, however they began.",
    look_at="the rates of the flows and Jain's index over time",
    topology=TOPOLOGY,
    parameters={"first": "aimd", "control": "aimd", "seconds": 24.0},
    variations={
        "one-without": Variation(
            "The first flow has no congestion control: the other leaves it most of the link.",
            {"first": "none"},
            breaks=(TWO,),
        ),
    },
    only_virtual="rates of many flows over half a minute are disturbed by a busy machine",
)
async def fairness(trial: Trial) -> None:
    lab, control, seconds = trial.lab, trial["control"], trial["seconds"]
    counting = [lab.node(name).start(count_by_flow, 80, seconds) for name in "bd"]
    await lab.sleep(0.5)
    two = lab.node("a").start(fill, "b", 80, [trial["first"], control], 4.0)
    ten = lab.node("c").start(fill, "d", 80, [trial["first"], *[control] * 9], 0.1)
    pair, crowd = [await program.wait() for program in counting]
    two.cancel()
    ten.cancel()

    joined = next(row for row in pair if len(row) == 2)
    trial.at_least(AT_FIRST, joined[0] / sum(joined), 0.6, "of the link")
    for claim, rows, least in ((TWO, pair, 0.95), (TEN, crowd, 0.9)):
        late = [sum(column) for column in zip(*rows[len(rows) // 2 :], strict=True)]
        index = [jain(row) for row in rows if len(row) == len(late)]
        over_time = ", ".join(f"{value:.2f}" for value in index[:: max(1, len(index) // 5)])
        numbers = f"theory 1, expected at least {least}, seen {jain(late):.3f} ({over_time} over time)"
        trial.expect(claim, jain(late) >= least, numbers)
    used = [sum(map(sum, rows[len(rows) // 2 :])) * 8 / (seconds / 2) / RATE for rows in (pair, crowd)]
    numbers = f"expected at least 80 %, seen {', '.join(f'{each:.0%}' for each in used)}"
    trial.expect(FULL, min(used) >= 0.8, numbers)
