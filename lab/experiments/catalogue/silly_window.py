"""A receiver that reads in small bites does not make its sender send small segments.

If it announced each octet that has become free, the sender would answer each with a segment of one octet behind 40
octets of headers: the silly window syndrome. So a receiver says nothing until a full segment or half of its buffer is
free (RFC 9293, 3.8.6.2.2), and a sender sends nothing small while it may wait (3.8.6.2.1); for programs that write
little at a time that is Nagle's algorithm (3.7.4), which a program can turn off with TCP_NODELAY.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: silly-window
nodes:
  reader: {kind: host, trace: packets, tcp: {receive_buffer: $buffer, window_scale: false}}
  writer: {kind: host, trace: packets, tcp: {window_scale: false}}
links:
  - {ends: [reader, writer], impair: {delay: 5ms}}
"""

SEGMENT = 1448
LARGE = "no segment with data is small, but for the last"
STEPS = "the window grows by a full segment or half of the buffer at a time"
FEW = "so it takes hardly more segments than the data fills"


async def write_in_pieces(port: int, octets: int, piece: int, nodelay: bool) -> None:
    """Send so much on the first connection, in pieces."""
    done = asyncio.Event()

    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        option = socket.IPPROTO_TCP, socket.TCP_NODELAY, int(nodelay)
        writer.get_extra_info("socket").setsockopt(*option)
        for _number in range(octets // piece):
            writer.write(bytes(piece))
            if nodelay:
                await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(give, "0.0.0.0", port):
        await done.wait()


async def sip(host: str, port: int, bite: int, every: float) -> int:
    """Read a little at a time, to the end."""
    loop = asyncio.get_running_loop()
    total = 0
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        while data := await loop.sock_recv(sock, bite):
            total += len(data)
            await asyncio.sleep(every)
    return total


@experiment(
    topic="Flow control",
    claim="Nobody sends small segments because the receiver reads little at a time.",
    look_at="the lengths of the segments, and the windows that the reader advertises",
    topology=TOPOLOGY,
    parameters={"buffer": 5792, "octets": 40_000, "piece": 40_000, "nodelay": False},
    variations={
        "nodelay": Variation(
            "The other program writes 50 octets at a time with TCP_NODELAY: each of them is a segment.",
            {"piece": 50, "nodelay": True, "buffer": 60_000},
            breaks=(LARGE, FEW),
        ),
    },
)
async def silly_window(trial: Trial) -> None:
    lab, octets, buffer = trial.lab, trial["octets"], trial["buffer"]
    lab.node("writer").start(write_in_pieces, 80, octets, trial["piece"], trial["nodelay"])
    await lab.sleep(1)
    total = await lab.node("reader").run(sip, lab.node("writer").address, 80, 100, 0.005)

    data = [each["data"]["length"] for each in trial.segments("writer") if each["data"]["length"]]
    least = min(SEGMENT, buffer // 2)
    small = [length for length in data[:-1] if length < least]
    trial.expect(LARGE, not small, f"theory {least} octets at least, seen {len(small)} smaller of {len(data)}")
    edges = [each["data"]["acknowledgment"] + each["data"]["window"] for each in trial.segments("reader")[1:]]
    steps = [other - one for one, other in pairwise(edges) if other != one]
    trial.at_least(STEPS, min(steps, default=least), least, "octets")
    trial.at_most(FEW, len(data), round(octets / least * 1.2) + 2, "segments")
    trial.equal("all octets arrive", total, octets)
