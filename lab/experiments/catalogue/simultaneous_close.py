"""Both sides may close at the same moment, and then both wait in TIME_WAIT.

When the FINs cross on the way, each side gets a FIN while its own is not acknowledged: it goes from FIN_WAIT_1 to
CLOSING and not to FIN_WAIT_2. The acknowledgments cross too, and since both have closed first, both wait
(RFC 9293, 3.6, figure 13).
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial, said

TOPOLOGY = """
name: simultaneous-close
defaults: {trace: packets, tcp: {msl: 0.5}}
nodes: {a: host, b: host}
links:
  - {ends: [a, b], impair: {delay: 100ms}}
"""

CROSS = "the FINs cross: each is sent before the other arrives"
A_CLOSING = "a goes by FIN_WAIT_1 and CLOSING to TIME_WAIT"
B_CLOSING = "b goes by FIN_WAIT_1 and CLOSING to TIME_WAIT"
CLOSING = ["established", "fin_wait_1", "closing", "time_wait", "closed"]


async def close_when_accepted(port: int) -> None:
    """Close the first connection as soon as it is there."""
    done = asyncio.Event()

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        await done.wait()


async def close_after(host: str, port: int, seconds: float) -> None:
    _, writer = await asyncio.open_connection(host, port)
    await asyncio.sleep(seconds)
    writer.close()
    await writer.wait_closed()


@experiment(
    topic="Closing a connection",
    claim="When both sides close at once, both go by CLOSING to TIME_WAIT.",
    look_at="the two FINs on the way at the same time, and CLOSING on both sides",
    topology=TOPOLOGY,
    parameters={"after": 0.1},
    variations={
        "one-after-the-other": Variation(
            "a closes a second later, when b's FIN is there: the usual close, in which only b waits.",
            {"after": 1.0},
            breaks=(CROSS, A_CLOSING, B_CLOSING),
        ),
    },
)
async def simultaneous_close(trial: Trial) -> None:
    lab = trial.lab
    server = lab.node("b").start(close_when_accepted, 80)
    await lab.sleep(1)
    await lab.node("a").ping("b", count=1)  # so that nothing waits for ARP
    await lab.node("a").run(close_after, "b", 80, trial["after"])
    await server.wait()
    await lab.sleep(2)

    fins = [each for each in trial.exchange("a", "b") if "FIN" in each["data"]["flags"]]
    apart = (fins[1]["time"] - fins[0]["time"]) / 1000
    trial.at_most(CROSS, apart, 0.1, "s", f"{said(fins[0])} at {fins[0]['time']:.3f} ms")
    trial.equal(A_CLOSING, trial.states("a")[0][2:], CLOSING)
    trial.equal(B_CLOSING, trial.states("b", 80)[-1][2:], CLOSING)
