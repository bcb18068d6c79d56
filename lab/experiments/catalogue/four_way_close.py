"""Three segments open a connection, and four close it.

Each direction is closed by itself: a FIN says "I have no more to send", and the other side acknowledges it. When a
connection opens, the server's SYN and its acknowledgment fit into one segment, since it has nothing else to do. When
one closes, the other program may have more to say, so its acknowledgment goes at once and its own FIN when it is done:
two segments more. Who closes first waits in TIME_WAIT for twice the maximum segment lifetime (RFC 9293, 3.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import STATE, Trial, said, seconds

TOPOLOGY = """
name: four-way-close
defaults: {trace: packets, tcp: {msl: $msl}}
nodes: {client: host, server: host}
links:
  - {ends: [client, server], impair: {delay: 20ms}}
"""

FOUR = "four segments close it: FIN, ACK, FIN, ACK"
FIRST = "who closes first goes by FIN_WAIT_1, FIN_WAIT_2 and TIME_WAIT"
SECOND = "the other goes by CLOSE_WAIT and LAST_ACK"
LASTS = "TIME_WAIT lasts twice the maximum segment lifetime"
READS = "the other program reads the end of the stream"
CLOSER = ["established", "fin_wait_1", "fin_wait_2", "time_wait", "closed"]
CLOSED = ["established", "close_wait", "last_ack", "closed"]
FAREWELL = 0.2
"""Seconds that the server has still to do when the client has closed."""


async def serve_one(port: int) -> str:
    """Take one connection to its end, and close it a little later than the peer. How it ended."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                while await reader.read(1000):
                    pass
            except ConnectionResetError:
                await ended.put("a reset")
                return
            await asyncio.sleep(FAREWELL)
        await ended.put("the end")

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return await ended.get()


async def call(host: str, port: int, reset: bool) -> None:
    """Say a word and close; with `reset` as programs do that set SO_LINGER to 0."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    await asyncio.sleep(FAREWELL)
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    with contextlib.suppress(ConnectionAbortedError):
        await writer.wait_closed()


@experiment(
    topic="Closing a connection",
    claim="Each side closes its own direction: four segments, and the one who closes first waits in TIME_WAIT.",
    look_at="the states on both sides, and how long TIME_WAIT lasts",
    topology=TOPOLOGY,
    parameters={"msl": 1, "reset": False},
    variations={
        "reset": Variation(
            "The client resets the connection (SO_LINGER of 0): one segment ends both directions, and nobody waits.",
            {"reset": True},
            breaks=(FOUR, FIRST, SECOND, LASTS, READS),
        ),
    },
)
async def four_way_close(trial: Trial) -> None:
    lab = trial.lab
    server = lab.node("server").start(serve_one, 80)
    await lab.sleep(1)
    await lab.node("client").run(call, "server", 80, trial["reset"])
    ended = await server.wait()
    await lab.sleep(2 * trial["msl"] + 0.5)

    segments = trial.exchange("client", "server", port=80)
    ends = [place for place, event in enumerate(segments) if "FIN" in said(event) or "RST" in said(event)]
    expected = ["client FIN,ACK", "server ACK", "server FIN,ACK", "client ACK"]
    trial.equal(FOUR, [said(event) for event in segments[ends[0] :]], expected)
    trial.equal(FIRST, trial.states("client")[0][2:], CLOSER)
    trial.equal(SECOND, trial.states("server", 80)[-1][2:], CLOSED)
    trial.equal(READS, ended, "the end")
    begun = trial.events(STATE, "client", new="time_wait")
    over = trial.events(STATE, "client", old="time_wait")
    lasted = seconds(begun[0], over[0]) if begun and over else 0.0
    trial.close(LASTS, lasted, 2 * trial["msl"], within=0.1, unit="s")
