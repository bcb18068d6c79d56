"""UDP passes on what the network does to packets; TCP repairs it.

A network may lose packets, deliver them twice, and in another order. UDP adds ports and a checksum to IP and nothing
else (RFC 768), so that its programs see all of that. TCP numbers the octets: it sends again what was lost, throws away
what comes twice, and puts in order what does not come so (RFC 9293, 3.4). The price is time: what was lost once makes
everything behind it wait.
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox
from lab.experiments.trial import Trial

TOPOLOGY = """
name: unreliable-udp
nodes: {a: host, b: host}
links:
  - {ends: [a, b], impair: {delay: 20ms, from: {a: $impair}}}
"""

PORT = 5000
EVERY = 0.004
"""Seconds between two datagrams."""
END = b"the end"
LOST = "with UDP, as many are lost as the link loses"
TWICE = "some come twice"
ORDER = "some come in another order"
TCP = "with TCP, every line comes once and in order"


async def send_numbers(host: str, port: int, count: int) -> None:
    """Numbers as datagrams, one after the other."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(host, port))
    for number in range(count):
        transport.sendto(b"%d" % number)
        await asyncio.sleep(EVERY)
    for _ in range(20):  # one of them will arrive
        transport.sendto(END)
        await asyncio.sleep(EVERY)
    transport.close()


async def collect_numbers(port: int) -> list[int]:
    """The numbers that come until somebody says that it was the end."""
    loop = asyncio.get_running_loop()
    transport, mailbox = await loop.create_datagram_endpoint(Mailbox, local_addr=("0.0.0.0", port))
    with contextlib.closing(transport):
        while END not in mailbox.datagrams:
            await asyncio.sleep(0.1)
        return [int(data) for data in mailbox.datagrams if data != END]


async def send_lines(host: str, port: int, count: int) -> None:
    """Numbers as lines of a TCP connection, each as soon as the last was written."""
    reader, writer = await asyncio.open_connection(host, port)
    for number in range(count):
        writer.write(b"%d\n" % number)
        await asyncio.sleep(EVERY)
    writer.write_eof()
    await reader.read()
    writer.close()


async def read_lines(port: int) -> list[bytes]:
    """The lines of one connection."""
    lines: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await lines.put((await reader.read()).split())
        writer.close()

    async with await asyncio.start_server(take, "0.0.0.0", port):
        return await lines.get()


@experiment(
    topic="UDP and TCP",
    claim="Over the same bad link UDP loses, doubles and reorders, and TCP does not.",
    look_at="the numbers that arrive, beside those that were sent",
    topology=TOPOLOGY,
    parameters={"impair": "{loss: 5%, duplicate: 5%, reorder: 5%}", "count": 1000},
    variations={
        "good-link": Variation(
            "The link only delays: UDP is as good as TCP there.", {"impair": "{}"}, breaks=(LOST, TWICE, ORDER)
        ),
    },
)
async def unreliable_udp(trial: Trial) -> None:
    lab, count = trial.lab, trial["count"]
    collecting = lab.node("b").start(collect_numbers, PORT)
    lines = lab.node("b").start(read_lines, PORT)
    await lab.sleep(1)
    await lab.node("a").run(send_numbers, "b", PORT, count)
    numbers = await collecting.wait()
    different = len(set(numbers))
    off = 3 * (count * 0.05 * 0.95) ** 0.5  # three standard deviations
    lost = count - different
    trial.expect(LOST, abs(lost - count * 0.05) <= off, f"theory {count * 0.05:.0f} ± {off:.0f}, seen {lost}")
    trial.at_least(TWICE, len(numbers) - different, 1)
    early = sum(any(later < number for later in numbers[i + 1 : i + 20]) for i, number in enumerate(numbers))
    trial.at_least(ORDER, early, 1)

    await lab.node("a").run(send_lines, "b", PORT, count)
    read = [int(line) for line in await lines.wait()]
    trial.expect(TCP, read == list(range(count)), f"expected {count} numbers in order, seen {len(read)}")
