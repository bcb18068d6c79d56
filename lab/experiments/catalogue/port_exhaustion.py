"""A client that closes first runs out of ports.

A connection in TIME_WAIT still holds its port towards that peer: the four values, two addresses and two ports, must
be new for each connection. There are 65,535 - 49,152 + 1 = 16,384 dynamic ports (RFC 6335, 6), and each is held for
twice the maximum segment lifetime. So a client that opens and closes connections to one server can open
16,384 / (2 MSL) of them per second in the long run: 68 with two minutes. Whoever closes first pays; a server that does
has its own port only once, and loses nothing. (To be quick, other programs of the client hold most of the ports here;
`--set held=0` takes all of them.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: port-exhaustion
defaults: {trace: 'off', tcp: {msl: $msl}}
nodes: {client: host, server: host}
links: [client -- server]
"""

FIRST = 49152
DYNAMIC = 65535 - FIRST + 1
EXHAUSTED = "when all dynamic ports are in TIME_WAIT, no connection can be opened"
ANOTHER = "another port of the server can be reached: only the four values together must be new"
LATER = "after twice the maximum segment lifetime the ports are free again"


async def accept(*ports: int) -> None:
    """Servers that close when their peers do."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    servers = [await asyncio.start_server(take, "0.0.0.0", port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def hold(count: int) -> None:
    """Have so many of the first dynamic ports, for servers that nobody calls."""
    async with contextlib.AsyncExitStack() as stack:
        for port in range(FIRST, FIRST + count):
            await stack.enter_async_context(await asyncio.start_server(_nobody, "0.0.0.0", port))
        await asyncio.Event().wait()


async def _nobody(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def wear_out(host: str, port: int, times: int) -> tuple[int, str]:
    """Open connections and close them at once: how many could be opened, and the name of the error then."""
    for opened in range(times):
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return opened, errno.errorcode.get(error.errno or 0, str(error))
        writer.close()
        await reader.read()
    return times, "no error"


@experiment(
    topic="Closing a connection",
    claim="A client that closes first can open no more connections when all its ports are in TIME_WAIT.",
    look_at="how many connections it takes, and the error: EADDRNOTAVAIL, Cannot assign requested address",
    topology=TOPOLOGY,
    parameters={"msl": 120.0, "held": 16_000},
    variations={
        "without-time-wait": Variation(
            "With no TIME_WAIT at all the ports are free at once, and so is the way for old segments.",
            {"msl": 0.0},
            breaks=(EXHAUSTED,),
        ),
    },
    only_virtual="it takes four minutes of TIME_WAIT",
)
async def port_exhaustion(trial: Trial) -> None:
    lab = trial.lab
    lab.node("server").start(accept, 80, 81)
    await lab.sleep(1)
    client, room = lab.node("client"), DYNAMIC - trial["held"]
    holding = client.start(hold, trial["held"])
    await lab.sleep(1)
    opened, error = await client.run(wear_out, "server", 80, room + 1)
    trial.equal(EXHAUSTED, (opened, error), (room, "EADDRNOTAVAIL"))
    trial.equal(ANOTHER, await client.run(wear_out, "server", 81, 1), (1, "no error"))
    await lab.sleep(2 * trial["msl"] + 1)
    trial.equal(LATER, await client.run(wear_out, "server", 80, 1), (1, "no error"))
    holding.cancel()
