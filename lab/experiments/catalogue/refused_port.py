"""A port where nobody listens answers with a reset, so that the caller knows at once.

The segment has the flags RST and ACK and acknowledges the SYN, which shows that the one who answers has seen it
(RFC 9293, 3.10.7.1); one that does not is not believed. A firewall that says nothing instead makes the caller wait:
that is the difference between "connection refused" and "timed out".
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial, said

TOPOLOGY = """
name: refused-port
defaults: {trace: packets, tcp: {syn_r2: 5}}
nodes: {client: host, server: host}
links:
  - {ends: [client, server], impair: {delay: 50ms, faults: $faults}}
"""

ANSWER = "the answer to the SYN is RST and ACK"
NUMBER = "it acknowledges the number of the SYN and one more"
ERROR = "the program gets ConnectionRefusedError"
AT_ONCE = "and it gets that after one round trip"


async def attempt(host: str, port: int) -> tuple[str, float]:
    """What comes of a call, and after how many seconds. A connection is one whose other end closes it in turn."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.closing(writer):
            writer.write_eof()
            await reader.read()
    except OSError as error:
        return type(error).__name__, clock() - begun
    return "a connection", clock() - begun


@experiment(
    topic="Opening a connection",
    claim="A SYN to a port where nobody listens is answered with a reset.",
    look_at="the answer's flags and number, and how soon the program knows",
    topology=TOPOLOGY,
    parameters={"faults": "[]"},
    variations={
        "filtered": Variation(
            "Something on the way drops the resets, as a silent firewall does: the caller waits for its timeout.",
            {"faults": "[{drop: {tcp: RST, count: 0}}]"},
            breaks=(ERROR, AT_ONCE),
        ),
    },
)
async def refused_port(trial: Trial) -> None:
    lab = trial.lab
    await lab.node("client").ping("server", count=1)
    error, took = await lab.node("client").run(attempt, "server", 81)
    syn, answer = trial.segments("client")[0], trial.segments("server")[0]
    trial.equal(ANSWER, said(answer), "server RST,ACK")
    trial.equal(NUMBER, answer["data"]["acknowledgment"], (syn["data"]["sequence"] + 1) % 2**32)
    trial.equal(ERROR, error, "ConnectionRefusedError")
    trial.close(AT_ONCE, took, 0.1, within=0.2, unit="s")
