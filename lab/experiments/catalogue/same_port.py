"""UDP and TCP have ports of their own.

A port is a number of 16 bits inside a transport protocol; the protocol field of the IP header says which protocol it is
(RFC 768; RFC 9293, 3.1). So UDP port 5000 and TCP port 5000 are two ports, and two programs may have them. DNS has used
port 53 of both from its beginning.
"""

from __future__ import annotations

import asyncio

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox
from lab.experiments.trial import Trial

TOPOLOGY = """
name: same-port
defaults: {trace: packets}
nodes: {client: host, server: host}
links: [client -- server]
"""

PORT = 5000
BOTH = "two programs have port 5000 at the same time"
ANSWERS = "a client reaches each of them by its protocol"


class _Echo(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(b"UDP heard " + data, address)


async def serve(protocol: str, port: int) -> str:
    """Answer on a port until cancelled; the name of the error where it cannot be had."""
    loop = asyncio.get_running_loop()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"TCP heard " + await reader.read())
        writer.close()

    try:
        if protocol == "udp":
            await loop.create_datagram_endpoint(_Echo, local_addr=("0.0.0.0", port))
        else:
            await asyncio.start_server(take, "0.0.0.0", port)
    except OSError as error:
        return type(error).__name__
    await asyncio.sleep(3)
    return "served"


async def ask_both(host: str, port: int) -> list[str]:
    """What the ports of both protocols answer."""
    loop = asyncio.get_running_loop()
    transport, mailbox = await loop.create_datagram_endpoint(Mailbox, remote_addr=(host, port))
    transport.sendto(b"hello")
    await asyncio.sleep(0.5)
    transport.close()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return [data.decode() for data in (*mailbox.datagrams, answer)]


@experiment(
    topic="UDP and TCP",
    claim="A UDP port and a TCP port of the same number are two ports.",
    look_at="who has port 5000, and who answers there",
    topology=TOPOLOGY,
    parameters={"first": "udp", "second": "tcp"},
    variations={
        "both-tcp": Variation(
            "Two programs want port 5000 of TCP: the second is refused, the address is in use.",
            {"first": "tcp"},
            breaks=(BOTH, ANSWERS),
        ),
    },
)
async def same_port(trial: Trial) -> None:
    lab, server = trial.lab, trial.lab.node("server")
    first = server.start(serve, trial["first"], PORT)
    await lab.sleep(0.5)
    second = server.start(serve, trial["second"], PORT)
    await lab.sleep(0.5)
    answers = await lab.node("client").run(ask_both, "server", PORT)
    trial.equal(BOTH, (await first.wait(), await second.wait()), ("served", "served"))
    trial.equal(ANSWERS, answers, ["UDP heard hello", "TCP heard hello"])
