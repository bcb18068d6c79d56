"""A FIN has a sequence number, so that it cannot overtake the data before it.

Segments may go different ways, and the one with the FIN may arrive first. The FIN stands for one number after the last
octet; a receiver that has a gap before it acknowledges up to the gap, stays in ESTABLISHED, and takes the FIN when the
gap is filled (RFC 9293, 3.10.7.4, eighth step). The program never sees the end too early.
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import STATE, Trial

TOPOLOGY = """
name: late-data
defaults: {trace: packets, tcp: {msl: 0.5, rack: false}}
nodes: {client: host, server: host}
links:
  - ends: [client, server]
    impair: {delay: 10ms, from: {client: {faults: $faults}}}
"""

OVERTAKES = "the FIN arrives before the data"
WAITS = "the receiver stays in ESTABLISHED until the data is there"
WHOLE = "the program reads all of the data before the end"
ACKNOWLEDGED = "until then the acknowledgments stay before the gap"
SEGMENT = 1448
OCTET = SEGMENT + 1
"""The first of the second segment."""


async def read_all(port: int) -> int:
    """The octets of one connection, up to its end."""
    total: asyncio.Queue[int] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await total.put(len(await reader.read()))
        writer.close()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return await total.get()


async def say_all(host: str, port: int, octets: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(bytes(octets))
    writer.write_eof()
    await reader.read()
    writer.close()


@experiment(
    topic="Closing a connection",
    claim="A FIN that overtakes data on the way ends nothing before the data is there.",
    look_at="the state of the receiver when the FIN arrives, and when the data does",
    topology=TOPOLOGY,
    parameters={"octets": 3 * SEGMENT, "faults": f"[{{delay: {{by: 100ms, sequence: {OCTET}-{OCTET}}}}}]"},
    variations={
        "in-order": Variation(
            "Nothing is held up: the FIN comes last.", {"faults": "[]"}, breaks=(OVERTAKES, ACKNOWLEDGED)
        ),
    },
)
async def late_data(trial: Trial) -> None:
    lab, octets = trial.lab, trial["octets"]
    server = lab.node("server").start(read_all, 80)
    await lab.sleep(1)
    await lab.node("client").ping("server", count=1)
    await lab.node("client").run(say_all, "server", 80, octets)
    read = await server.wait()
    await lab.sleep(1.5)

    came = trial.segments("server", sent=False)
    begin = came[0]["data"]["sequence"]
    fin = next(event for event in came if "FIN" in event["data"]["flags"])
    late = next(event for event in came if event["data"]["sequence"] == begin + OCTET)
    before = f"FIN at {fin['time']:.1f} ms, the data at {late['time']:.1f} ms"
    trial.expect(OVERTAKES, fin["time"] < late["time"], before)
    moved = trial.events(STATE, "server", new="close_wait")[0]
    trial.expect(WAITS, moved["time"] >= late["time"], f"CLOSE_WAIT at {moved['time']:.1f} ms, {before}")
    trial.equal(WHOLE, read, octets)
    acks = [each for each in trial.segments("server") if fin["time"] <= each["time"] < late["time"]]
    seen = sorted({each["data"]["acknowledgment"] - begin for each in acks})
    trial.equal(ACKNOWLEDGED, seen, [OCTET])
