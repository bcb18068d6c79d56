"""The first sequence number of a connection is neither zero nor a number that others can guess.

Who can guess the numbers of a connection that he cannot hear can put octets into it, or end it with a reset. So the
number is a clock that ticks every 4 us, which keeps old segments out of new connections, plus a keyed hash of the
addresses and ports (RFC 9293, 3.4.1; RFC 6528): someone who opens a connection of his own and sees its number learns
nothing about those of others. Between the same ports the hash is the same, and only the clock moves.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import sink
from lab.experiments.trial import Trial, said

TOPOLOGY = """
name: initial-sequence-number
defaults: {trace: packets, tcp: {msl: 0}}
nodes: {client: host, server: host}
links:
  - {ends: [client, server], impair: {delay: 10ms}}
"""

TICKS = 250_000
"""Of the clock, in a second."""
FIRST = 50_000
SPREAD = "connections between different ports begin all over the space of numbers"
UNKNOWN = "who has seen one number finds no other in a window of 65,535 around what the clock says"
CLOCK = "between the same ports the numbers follow the clock, 250,000 a second"


async def call_again(host: str, port: int, local_ports: list[int], every: float) -> None:
    """A connection from each of these ports, one after the other."""
    for local in local_ports:
        reader, writer = await asyncio.open_connection(host, port, local_addr=("0.0.0.0", local))
        writer.close()
        await reader.read()
        await writer.wait_closed()
        await asyncio.sleep(every)


@experiment(
    topic="Opening a connection",
    claim="Initial sequence numbers follow a clock between the same ports, and cannot be guessed between others.",
    look_at="the numbers of the SYNs, less what the clock has ticked meanwhile",
    topology=TOPOLOGY,
    parameters={"connections": 10, "step": 1},
    variations={
        "same-ports": Variation(
            "All connections are between the same ports: who has seen one knows where the next begins.",
            {"step": 0},
            breaks=(SPREAD, UNKNOWN),
        ),
    },
)
async def initial_sequence_number(trial: Trial) -> None:
    lab, client = trial.lab, trial.lab.node("client")
    lab.node("server").start(sink, 80)
    await lab.sleep(1)
    await client.ping("server", count=1)
    ports = [FIRST + number * trial["step"] for number in range(trial["connections"])]
    await client.run(call_again, "server", 80, ports, 0.1)
    seen = _without_clock(trial)
    apart = [min((one - other) % 2**32, (other - one) % 2**32) for i, one in enumerate(seen) for other in seen[:i]]
    trial.at_least(SPREAD, max(apart), 2**30)
    trial.at_least(UNKNOWN, min(apart), 65535)

    await client.run(call_again, "server", 80, [FIRST - 1] * 4, 0.5)
    off = [(other - one + 2**31) % 2**32 - 2**31 for one, other in pairwise(_without_clock(trial)[-4:])]
    numbers = f"theory {TICKS:,} a second, seen at most {max(map(abs, off)):,} beside it in about half a second"
    trial.expect(CLOCK, all(abs(each) < TICKS * 0.1 for each in off), numbers)


def _without_clock(trial: Trial) -> list[int]:
    """Numbers of the client's SYNs, less the ticks since the lab was up."""
    syns = [event for event in trial.segments("client") if said(event) == "client SYN"]
    return [(event["data"]["sequence"] - round(event["time"] * TICKS / 1000)) % 2**32 for event in syns]
