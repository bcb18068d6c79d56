"""Who names no port gets one from 49,152 to 65,535.

Servers have ports that are known; a client needs only one that nobody else has, for the answers. IANA keeps the range
from 49,152 up free for that (RFC 6335, 6). Which one it is should be hard to guess, for someone who wants to forge
answers would have to know it (RFC 6056, 3.3).
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox, sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: dynamic-ports
nodes: {client: host, server: host}
links: [client -- server]
"""

FIRST, LAST = 49_152, 65_535
TCP_RANGE = "the ports of TCP are from 49,152 to 65,535"
UDP_RANGE = "the ports of UDP, too"
DIFFERENT = "no two sockets of a protocol have the same"
UNKNOWN = "they do not follow each other"


async def open_many(host: str, port: int, count: int, own: int) -> tuple[list[int], list[int]]:
    """The ports of so many sockets of TCP and of UDP; `own`: the first of those that the program names itself."""
    loop = asyncio.get_running_loop()
    tcp: list[int] = []
    udp: list[int] = []
    opened: list[asyncio.StreamWriter | asyncio.DatagramTransport] = []
    for number in range(count):
        local = ("0.0.0.0", own + number) if own else None
        _, writer = await asyncio.open_connection(host, port, local_addr=local)
        tcp.append(writer.get_extra_info("sockname")[1])
        datagrams, _ = await loop.create_datagram_endpoint(Mailbox, local_addr=local, remote_addr=(host, port))
        udp.append(datagrams.get_extra_info("sockname")[1])
        opened.extend((writer, datagrams))
    for each in opened:
        each.close()
    return tcp, udp


@experiment(
    topic="UDP and TCP",
    claim="A socket without a port of its own gets a dynamic one, from 49,152 to 65,535.",
    look_at="the ports of 100 sockets of each protocol",
    topology=TOPOLOGY,
    parameters={"count": 100, "own": 0},
    variations={
        "own-ports": Variation(
            "The program names its ports, from 1024 up: it gets those.",
            {"own": 1024},
            breaks=(TCP_RANGE, UDP_RANGE, UNKNOWN),
        ),
    },
)
async def dynamic_ports(trial: Trial) -> None:
    lab, count = trial.lab, trial["count"]
    serving = lab.node("server").start(sink, 80)
    await lab.sleep(0.5)
    tcp, udp = await lab.node("client").run(open_many, "server", 80, count, trial["own"])
    for claim, ports in ((TCP_RANGE, tcp), (UDP_RANGE, udp)):
        inside = min(ports) >= FIRST and max(ports) <= LAST
        trial.expect(claim, inside, f"expected {FIRST} to {LAST}, seen {min(ports)} to {max(ports)}")
    trial.equal(DIFFERENT, (len(set(tcp)), len(set(udp))), (count, count))
    trial.at_most(UNKNOWN, sum(other == one + 1 for one, other in pairwise(tcp)), count // 10)
    serving.cancel()
