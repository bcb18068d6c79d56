"""Half a connection can be closed, and the other half goes on.

A FIN says only that this side has no more to send. It still listens: after `shutdown(SHUT_WR)`, which asyncio calls
`write_eof`, a client that has asked for something waits in FIN_WAIT_2 while the server, in CLOSE_WAIT, sends as much as
it likes (RFC 9293, 3.6). A program that closes the whole socket listens no more; data that still comes is answered
with a reset, so that the server hears that nobody has read it (RFC 1122, 4.2.2.13).
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import STATE, Trial

TOPOLOGY = """
name: half-close
defaults: {trace: packets, tcp: {msl: 0.5}}
nodes: {client: host, server: host}
links:
  - {ends: [client, server], impair: {delay: 20ms}}
"""

ARRIVES = "all of the answer arrives after the client's FIN"
WAITING = "the answer comes while the client is in FIN_WAIT_2"
SENDING = "the server sends it while it is in CLOSE_WAIT"
NO_RESET = "nobody sends a reset"
LINGER = 1.0
"""Seconds that the server takes to close: enough for all of the answer."""


async def answer_at_the_end(port: int, octets: int) -> None:
    """Read one connection to its end, and only then answer."""
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            await reader.read()
            writer.write(bytes(octets))
            await asyncio.sleep(LINGER)
            writer.close()
            await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        await done.wait()


async def ask(host: str, port: int, whole: bool) -> int:
    """Ask and say that this was all; the octets of the answer. `whole`: close the whole socket instead."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"what is there?\n")
    await asyncio.sleep(0.1)
    if whole:
        writer.close()
        return len(await reader.read())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return len(answer)


@experiment(
    topic="Closing a connection",
    claim="A side that has closed its direction goes on receiving.",
    look_at="the data between the two FINs, and the states while it flows: FIN_WAIT_2 and CLOSE_WAIT",
    topology=TOPOLOGY,
    parameters={"octets": 200_000, "whole": False},
    variations={
        "close": Variation(
            "The client closes the whole socket instead of its direction: the answer meets a reset.",
            {"whole": True},
            breaks=(ARRIVES, WAITING, SENDING, NO_RESET),
        ),
    },
)
async def half_close(trial: Trial) -> None:
    lab = trial.lab
    server = lab.node("server").start(answer_at_the_end, 80, trial["octets"])
    await lab.sleep(1)
    received = await lab.node("client").run(ask, "server", 80, trial["whole"])
    await server.wait()
    await lab.sleep(2)

    trial.equal(ARRIVES, received, trial["octets"])
    waiting = _octets_between(trial, "client", "fin_wait_2", "segment_received")
    trial.equal(WAITING, waiting, trial["octets"])
    sending = _octets_between(trial, "server", "close_wait", "segment_sent")
    trial.equal(SENDING, sending, trial["octets"])
    resets = [each for each in trial.exchange("client", "server") if "RST" in each["data"]["flags"]]
    trial.equal(NO_RESET, len(resets), 0)


def _octets_between(trial: Trial, node: str, state: str, what: str) -> int:
    """Octets of the segments that a node sent or received from when it came into a state until it left it; the last
    of them may carry the FIN, that ends the state."""
    events = trial.events("transport:*", node)
    begun = next((place for place, event in enumerate(events) if event["data"].get("new") == state), len(events))
    over = next((place for place, event in enumerate(events) if event["data"].get("old") == state), len(events))
    while over < len(events) and events[over]["name"] in (STATE, f"transport:{what}"):
        over += 1
    return sum(each["data"]["length"] for each in events[begun:over] if each["name"] == f"transport:{what}")
