"""Each layer puts its own header in front of what the layer above gave it, and takes it away at the other end.

A program writes data. TCP makes segments of it, IP packets of those, Ethernet frames of those, and the wire carries
bits. Who is on the way takes away and puts on what belongs to its layer: a router takes the frame off, changes the
packet's time to live, and makes a new frame with other addresses; the segment inside stays what it was, octet for
octet. That is how the layers need to know nothing of each other (RFC 1122, 1.1.3).
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import echo
from lab.experiments.trial import Trial, captured

TOPOLOGY = """
name: encapsulation
defaults: {address_check: none, tcp: {timestamps: $timestamps, msl: 0.5}}
nodes: {client: host, r: router, server: host}
links:
  - {ends: [client, r], impair: {delay: 5ms}}
  - {ends: [r, server], impair: {delay: 5ms}}
"""

REQUEST = b"GET /index.html HTTP/1.0\r\nHost: server\r\n\r\n"
ETHERNET, IP, TCP = 14, 20, 32
"""Octets of the headers; TCP's with timestamps, which is what its data segments carry."""
LENGTHS = "the frame is as long as the data and 32 + 20 + 14 octets of headers"
DATA = "the data is the same at both ends"
SEGMENT = "the segment is the same octet for octet on both sides of the router"
PACKET = "the packet's time to live is one less behind the router"
FRAME = "the frame has other addresses behind the router"


async def ask(host: str, request: bytes) -> bytes:
    """Send a request and read as much."""
    reader, writer = await asyncio.open_connection(host, 7)
    writer.write(request)
    answer = await reader.readexactly(len(request))
    writer.close()
    return answer


@experiment(
    topic="Layers",
    claim="Data goes down the layers as segment, packet, frame and bits, and up again at the other end.",
    look_at="the same request in two captures, before and behind a router",
    topology=TOPOLOGY,
    parameters={"timestamps": True},
    variations={
        "short-header": Variation(
            "Without timestamps TCP adds 20 octets and not 32: the layers above and below do not notice.",
            {"timestamps": False},
            breaks=(LENGTHS,),
        ),
    },
)
async def encapsulation(trial: Trial) -> None:
    lab, client, server = trial.lab, trial.lab.node("client"), trial.lab.node("server")
    serving = server.start(echo, 7)
    await lab.sleep(1)
    paths = [await node.start_capture() for node in (client, server)]
    answer = await client.run(ask, "server", REQUEST)
    await lab.sleep(0.2)
    for node in (client, server):
        await node.stop_capture()
    before, behind = [_request(captured(path)) for path in paths]
    trial.equal(LENGTHS, len(before), len(REQUEST) + TCP + IP + ETHERNET)
    trial.expect(DATA, behind.endswith(REQUEST) and answer == REQUEST, f"{len(REQUEST)} octets, {8 * len(before)} bits")
    trial.expect(SEGMENT, _segment(before) == _segment(behind), f"{len(_segment(before))} octets compared")
    trial.equal(PACKET, (before[22], behind[22]), (64, 63))
    addresses = [frame[start : start + 6].hex(":") for frame in (before, behind) for start in (6, 0)]
    trial.expect(
        FRAME, len(set(addresses)) == 4, f"{addresses[0]} to {addresses[1]}, then {addresses[2]} to {addresses[3]}"
    )
    serving.cancel()


def _request(frames: list[bytes]) -> bytes:
    """The frame that carries the request."""
    return next(frame for frame in frames if frame.endswith(REQUEST))


def _segment(frame: bytes) -> bytes:
    return frame[ETHERNET + IP :]
