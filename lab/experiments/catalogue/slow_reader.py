"""A receiver that does not read stops its sender, without a word between the programs.

Each segment says how many octets its receiver has room for. When the program does not read, that window shrinks, and at
0 the sender has to wait. The announcement of a new window is not acknowledged and might be lost, so the sender asks:
a zero-window probe of one octet, after a timeout, and again after twice as long (RFC 9293, 3.8.6.1). When the program
reads again, a window update opens the window, and at no time is more on the way than was allowed.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial, seconds

TOPOLOGY = """
name: slow-reader
nodes:
  a: {kind: host, trace: packets}
  b: {kind: host, trace: packets, tcp: {receive_buffer: 32768}}
links:
  - {ends: [a, b], impair: {delay: 10ms}}
"""

SHUTS = "the window falls to 0"
PROBES = "the sender probes it, each time after twice as long"
STOPS = "and sends nothing else meanwhile"
UPDATE = "a window update opens it when the program reads"
NEVER_MORE = "at no time is more on the way than the receiver has allowed"
ARRIVES = "all octets arrive"


async def read_late(port: int, wait: float) -> int:
    """The octets of one connection, of which the program reads none for a while."""
    total: asyncio.Queue[int] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(wait)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await total.put(len(await reader.read()))
        writer.close()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return await total.get()


async def pour(host: str, port: int, octets: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(bytes(octets))
    writer.write_eof()
    await reader.read()
    writer.close()


@experiment(
    topic="Flow control",
    claim="A program that does not read closes the window; probes find out when it reads again.",
    look_at="the window that b advertises, and what a sends while it is 0",
    topology=TOPOLOGY,
    parameters={"wait": 8.0, "octets": 200_000},
    variations={
        "reads-at-once": Variation(
            "The program reads what comes: the window never shuts, and no probe is needed.",
            {"wait": 0.0},
            breaks=(SHUTS, PROBES, STOPS, UPDATE),
        ),
    },
)
async def slow_reader(trial: Trial) -> None:
    lab = trial.lab
    reading = lab.node("b").start(read_late, 80, trial["wait"])
    await lab.sleep(1)
    await lab.node("a").ping("b", count=1)
    await lab.node("a").run(pour, "b", 80, trial["octets"])
    octets = await reading.wait()

    shut = trial.segments("a", sent=False, window=0)
    trial.at_least(SHUTS, len(shut), 1)
    late = [each for each in trial.segments("b") if shut and each["time"] > shut[0]["time"]]
    opened = next((each for each in late if each["data"]["window"]), None)
    probes = [each for each in trial.segments("a", trigger="probe") if opened and each["time"] < opened["time"]]
    gaps = [round(seconds(one, other)) for one, other in pairwise(probes)]
    doubling = [2**n for n in range(1, len(gaps) + 1)]
    trial.expect(PROBES, len(gaps) > 0 and gaps == doubling, f"theory 2, 4 ... s between them, seen {gaps} s")
    meanwhile = trial.segments("a") if shut else []
    if shut and opened:
        meanwhile = [each for each in meanwhile if shut[0]["time"] < each["time"] < opened["time"]]
    kinds = sorted({each["data"]["trigger"] for each in meanwhile})
    trial.equal(STOPS, kinds, ["probe"])
    trial.expect(UPDATE, opened is not None, f"seen {'one' if opened else 'none'} after {trial['wait']} s")
    trial.at_most(NEVER_MORE, _beyond(trial), 0, "octets beyond it")
    trial.equal(ARRIVES, octets, trial["octets"])


def _beyond(trial: Trial) -> int:
    """By how many octets data was sent beyond what the receiver had allowed, at worst. A probe is allowed to."""
    edge, most = None, 0
    for event in trial.events("transport:segment_*", "a"):
        data = event["data"]
        if event["name"] == "transport:segment_received" and "ACK" in data["flags"]:
            edge = max(edge or 0, data["acknowledgment"] + data["window"])
        elif event["name"] == "transport:segment_sent" and data["length"] and data["trigger"] == "data" and edge:
            most = max(most, data["sequence"] + data["length"] - edge)
    return most
