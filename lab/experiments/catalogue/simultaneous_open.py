"""Two SYNs that cross on the way open one connection, not two.

A client that gets a SYN while it waits for a SYN and ACK goes from SYN_SENT to SYN_RCVD and acknowledges it; when the
other has done the same, both are in ESTABLISHED, and nobody has listened (RFC 9293, 3.5, figure 7). Programs that pass
through two address translators open connections that way.
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: simultaneous-open
defaults: {trace: packets, tcp: {msl: 0.5}}
nodes: {a: host, b: host}
links:
  - {ends: [a, b], impair: {delay: 200ms}}
"""

A_STATES = "a goes by SYN_SENT and SYN_RCVD to ESTABLISHED"
B_STATES = "b goes by SYN_SENT and SYN_RCVD to ESTABLISHED"
ONE = "there is one connection, and both read what the other wrote"
STATES = ["closed", "syn_sent", "syn_rcvd", "established"]
PORT = 5000


async def meet(host: str, port: int, word: str, wait: float) -> str:
    """Call a peer that calls from the same port, say a word, and hear the peer's; or the error."""
    await asyncio.sleep(wait)
    try:
        reader, writer = await asyncio.open_connection(host, port, local_addr=("0.0.0.0", port))
    except OSError as error:
        return type(error).__name__
    writer.write(word.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer.decode()


@experiment(
    topic="Opening a connection",
    claim="Two hosts that call each other from the same ports at the same time get one connection.",
    look_at="the states: SYN_RCVD after SYN_SENT on both sides",
    topology=TOPOLOGY,
    parameters={"apart": 0.0},
    variations={
        "one-first": Variation(
            "b calls a second later: a's SYN finds nobody who listens, and is refused.",
            {"apart": 1.0},
            breaks=(A_STATES, B_STATES, ONE),
        ),
    },
)
async def simultaneous_open(trial: Trial) -> None:
    lab = trial.lab
    await lab.node("a").ping("b", count=1)
    a = lab.node("a").start(meet, "b", PORT, "from a", 0.0)
    b = lab.node("b").start(meet, "a", PORT, "from b", trial["apart"])
    heard = (await a.wait(), await b.wait())
    trial.equal(A_STATES, trial.states("a")[0][:4], STATES)
    trial.equal(B_STATES, (trial.states("b") or [[]])[0][:4], STATES)
    trial.equal(ONE, heard, ("from b", "from a"))
