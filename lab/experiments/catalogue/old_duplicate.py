"""A segment from before a crash enters the connection after it, where numbers can be foreseen.

A host that crashes has forgotten which numbers it used, so no TIME_WAIT protects it. If its new connection begins near
the old one's numbers, a segment of the old one that is still on its way lies in the new window, and its octets are
taken for new ones. RFC 793 relied on the clock and on a quiet time of a segment's lifetime after a start (RFC 9293,
3.4.3); nobody waits that long. A number that is random, with a secret that the start made new (RFC 6528), is near the
old one with a probability of window / 2^32 only. (Timestamps would help too, RFC 7323, 5.3; here they are off.)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: old-duplicate
defaults: {trace: packets, address_check: none, tcp: {timestamps: false}}
nodes:
  client: {kind: host, tcp: {random_isn: $random}}
  server: host
  s: {kind: switch, impl: stack}
links:
  - client -- s
  - ends: [s, server]
    impair: {delay: 5ms, rate: 100mbit, from: {s: {faults: [{delay: {by: $late, sequence: $old-$old}}]}}}
"""

PORT, LOCAL = 80, 50_000
SPACE = 2**32
WINDOW = 1 << 22
LATE = "a segment from before the crash arrives in the new connection"
FAR = "its number is not in the window of the new connection"
PURE = "the new connection carries its own data only"


async def count_letters(port: int, connections: int) -> dict[str, int]:
    """How often each octet came, on the last of so many connections."""
    ended: asyncio.Queue[dict[str, int]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _open_wide(writer)
        data = b""
        with contextlib.closing(writer), contextlib.suppress(ConnectionResetError):
            data = await reader.read(-1)
        await ended.put({chr(octet): data.count(octet) for octet in sorted(set(data))})

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return [await ended.get() for _ in range(connections)][-1]


async def pour(host: str, port: int, local_port: int, letter: bytes, octets: int, rest: float) -> None:
    """Send 100 of these octets, after a rest all the others, and close."""
    reader, writer = await asyncio.open_connection(host, port, local_addr=("0.0.0.0", local_port))
    _open_wide(writer)
    writer.write(letter * 100)
    await asyncio.sleep(rest)
    writer.write(letter * (octets - 100))
    if rest:
        writer.write_eof()
    await reader.read()
    writer.close()


def _open_wide(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)


@experiment(
    topic="Opening a connection",
    claim="Without a random initial number, a segment from before a crash can enter the connection after it.",
    look_at="the segment that arrives late, and the letters that the server reads",
    topology=TOPOLOGY,
    parameters={"random": True, "old": 900_001, "late": "6s", "octets": 1_000_000},
    variations={
        "clock-alone": Variation(
            "The client's numbers are the clock's: the new connection begins near the old one's, and reads its octets.",
            {"random": False},
            breaks=(FAR, PURE),
        ),
    },
)
async def old_duplicate(trial: Trial) -> None:
    lab, client, octets = trial.lab, trial.lab.node("client"), trial["octets"]
    counting = lab.node("server").start(count_letters, PORT, 2)
    await lab.sleep(1)
    await client.ping("server", count=1)
    first = client.start(pour, "server", PORT, LOCAL, b"o", octets, 0.0)
    await lab.sleep(1)
    await client.kill()
    await client.restart()
    first.cancel()
    await client.run(pour, "server", PORT, LOCAL, b"n", octets, 7.0)
    letters = await counting.wait()

    opened = [event for event in trial.segments("server", sent=False) if event["data"]["flags"].startswith("SYN")]
    begin, again = opened[0]["data"]["sequence"], opened[-1]
    old = range(trial["old"] - 1448, trial["old"] + 1)
    came = [event for event in trial.segments("server", sent=False) if event["time"] > again["time"]]
    off = [(event["data"]["sequence"] - begin) % SPACE for event in came if event["data"]["length"] > 1000]
    late = [number for number in off if number in old][:1]
    trial.equal(LATE, len(late), 1)
    ahead = (begin + (late or [0])[0] - again["data"]["sequence"]) % SPACE
    trial.expect(FAR, ahead > WINDOW, f"theory half of 2^32 by chance, seen {ahead:,} ahead, the window is {WINDOW:,}")
    trial.equal(PURE, letters, {"n": octets})
