"""TIME_WAIT keeps segments of an old connection out of a new one.

A segment may be held up on its way, be sent again, and arrive when its connection is long over. If there is a new
connection between the same ports by then, and the old number happens to lie in its window, the old octets are taken for
new ones, and no checksum notices. TIME_WAIT prevents that: for twice the maximum segment lifetime, by when all old
segments are gone, the ports may only be used again with sequence numbers beyond all that the old connection used
(RFC 9293, 3.6; RFC 6191). The clock of initial numbers alone (250,000 a second; 3.4.1) does not do: a connection that
sends faster overtakes it. (Timestamps would help too, RFC 7323, 5.3; here they
are off. So does RFC 5961, 5.2, against segments whose acknowledgment is older than a window.)
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: old-segment
defaults: {trace: packets, tcp: {timestamps: false}}
nodes:
  client: {kind: host, tcp: {msl: $msl}}
  server: host
links:
  - ends: [client, server]
    impair: {delay: 10ms, rate: 100mbit, from: {client: {faults: [{delay: {by: 500ms, sequence: $late-$late}}]}}}
"""

PORT = 50_000
TICKS = 250_000
"""Initial sequence numbers that pass in a second: one in 4 us (RFC 9293, 3.4.1)."""
AGAIN = 0.4
"""Seconds from the beginning of one connection to that of the next, between the same ports."""
OLD = "the old connection carries its own data only"
LATE = "a segment of the old connection arrives in the new one"
NEW = "the new connection carries its own data only"
BEYOND = "the new connection begins beyond all numbers of the old one"


async def count_letters(port: int, connections: int) -> list[dict[str, int]]:
    """Of each connection, how often each octet came."""
    counts: asyncio.Queue[dict[str, int]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(-1)
        await counts.put({chr(octet): data.count(octet) for octet in sorted(set(data))})
        writer.close()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return [await counts.get() for _ in range(connections)]


async def talk_twice(host: str, port: int, octets: int) -> None:
    """Send octets `o` on a connection, and then octets `n` on another between the same ports."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    for letter in (b"o", b"n"):
        reader, writer = await asyncio.open_connection(host, port, local_addr=("0.0.0.0", PORT))
        if letter == b"n":
            writer.write(letter * 100)
            await asyncio.sleep(0.5)  # while the old segment comes
            writer.write(letter * (octets - 100))
        else:
            writer.write(letter * octets)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(max(0.0, begun + AGAIN - clock()))


@experiment(
    topic="Closing a connection",
    claim="Without TIME_WAIT, an old segment can enter a new connection between the same ports.",
    look_at="the segment that arrives half a second late, and the letters that the server reads",
    topology=TOPOLOGY,
    parameters={"msl": 30.0, "late": 130_001, "octets": 300_000},
    variations={
        "without-time-wait": Variation(
            "No TIME_WAIT: the new connection's numbers overlap the old one's, and the old octets are in its data.",
            {"msl": 0.0},
            breaks=(NEW, BEYOND),
        ),
    },
)
async def old_segment(trial: Trial) -> None:
    lab, octets = trial.lab, trial["octets"]
    server = lab.node("server").start(count_letters, 80, 2)
    await lab.sleep(1)
    await lab.node("client").ping("server", count=1)
    await lab.node("client").run(talk_twice, "server", 80, octets)
    first, second = await server.wait()

    opened = [event for event in trial.segments("server", sent=False) if "SYN" in event["data"]["flags"]]
    begin, again = (event["data"]["sequence"] for event in opened)
    came = [event for event in trial.segments("server", sent=False) if event["time"] > opened[1]["time"]]
    late = [event for event in came if _after(begin, event) - trial["late"] in range(-1448, 1)]
    late = [event for event in late if event["time"] < opened[1]["time"] + 400]
    trial.equal(LATE, len(late), 1)
    trial.equal(OLD, first, {"o": octets})
    trial.equal(NEW, second, {"n": octets})
    trial.at_least(BEYOND, (again - begin) % 2**32, octets + 2)


def _after(begin: int, event: dict[str, dict[str, int]]) -> int:
    return (event["data"]["sequence"] - begin) % 2**32
