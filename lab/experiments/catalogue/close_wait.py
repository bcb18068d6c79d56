"""CLOSE_WAIT waits for the program, and no timer ends it.

A connection is in CLOSE_WAIT from the peer's FIN until the own program closes. RFC 9293 (3.6) knows no limit, for the
program may have more to send. One that forgets to close has each connection for ever, long after its clients have given
up FIN_WAIT_2, until it can open no more. Many connections in CLOSE_WAIT are a bug of a program, never of the network.
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: close-wait
defaults: {tcp: {msl: 0.5}}
nodes:
  client: {kind: host, tcp: {fin_wait_2: 1, syn_r2: 3}}
  server: {kind: host, tcp: {maximum_connections: $room, syn_cookies: false}}
links:
  - {ends: [client, server], impair: {delay: 10ms}}
"""

PILES = "every connection that a client closed is in CLOSE_WAIT"
STAYS = "after the clients have forgotten them they are still there"
FULL = "the server takes no connection more"


async def forget(port: int, closes: bool) -> None:
    """A server that reads to the end, and then forgets to close, unless it `closes`."""
    kept = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        if closes:
            writer.close()
        else:
            kept.append(writer)

    try:
        async with await asyncio.start_server(take, "0.0.0.0", port) as server:
            await server.serve_forever()
    finally:
        for writer in kept:
            writer.close()


async def visit(host: str, port: int, times: int) -> int:
    """Open and close so many connections, one after the other; how many were opened."""
    opened = 0
    for _ in range(times):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            break
        opened += 1
        await asyncio.sleep(0.05)
        writer.close()
    return opened


@experiment(
    topic="Closing a connection",
    claim="Connections pile up in CLOSE_WAIT in a program that never closes, until it can open no more.",
    look_at="the states on the server: each connection ends in CLOSE_WAIT, and nothing follows",
    topology=TOPOLOGY,
    parameters={"room": 20, "closes": False},
    variations={
        "closes": Variation(
            "The program closes when its peer does: every connection goes on to LAST_ACK and ends.",
            {"closes": True},
            breaks=(PILES, STAYS, FULL),
        ),
    },
)
async def close_wait(trial: Trial) -> None:
    lab, room = trial.lab, trial["room"]
    lab.node("server").start(forget, 80, trial["closes"])
    await lab.sleep(1)
    opened = await lab.node("client").run(visit, "server", 80, room)
    await lab.sleep(0.5)
    trial.equal(PILES, _in_close_wait(trial), opened)
    await lab.sleep(5)
    client = (await lab.node("client").state())["tcp"]
    numbers = f"expected {room} on the server and none on the client, seen {_in_close_wait(trial)} and "
    numbers += str(len(client["connections"]) + client["time_wait_count"])
    trial.expect(STAYS, _in_close_wait(trial) == room and not client["connections"], numbers)
    trial.equal(FULL, await lab.node("client").run(visit, "server", 80, 1), 0)


def _in_close_wait(trial: Trial) -> int:
    """Connections of the server whose last state that is."""
    return sum(way[-1] == "close_wait" for way in trial.states("server", 80))
