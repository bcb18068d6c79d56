"""Eight nodes tell each other rumours by UDP, while links lose, the network is cut in two and two nodes fail."""

from __future__ import annotations

import asyncio
import random

from lab import Lab

NAMES = [f"n{number}" for number in range(1, 9)]
TOPOLOGY = f"""\
name: gossip
nodes: {{{", ".join(f"{name}: host" for name in NAMES)}, s: {{kind: switch, impl: stack}}}}
defaults: {{capture: true, impair: {{delay: 3ms 1ms, loss: 10%, reorder: 10%}}}}
links: [{", ".join(f"{name} -- s" for name in NAMES)}]
"""
PORT = 5000


class Gossip(asyncio.DatagramProtocol):
    def __init__(self, own: str) -> None:
        self.known = {own}
        self.heard_all = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.known |= set(data.decode().split())
        if len(self.known) == len(NAMES):
            self.heard_all.set()

    def tell(self, friend: str) -> None:
        self.transport.sendto(" ".join(sorted(self.known)).encode(), (friend, PORT))


async def gossip(own: str) -> float:
    """When it has heard of everybody."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: Gossip(own), local_addr=("0.0.0.0", PORT))
    others = [name for name in NAMES if name != own]

    async def talk() -> None:
        while True:
            protocol.tell(random.choice(others))
            await asyncio.sleep(random.expovariate(2))

    talker = asyncio.create_task(talk())
    await protocol.heard_all.wait()
    when = loop.time()
    await asyncio.sleep(5)  # others may not know yet
    talker.cancel()
    protocol.transport.close()
    return when


async def main(lab: Lab) -> object:
    await lab.partition(NAMES[:4], NAMES[4:])
    lab.at("4s", lab.heal)
    lab.at("1s", lab.node("n3").pause)
    lab.at("6s", lab.node("n3").resume)
    lab.at("7s", lab.node("n8").kill)
    running = {name: asyncio.create_task(lab.node(name).run(gossip, name)) for name in NAMES}
    done = await asyncio.gather(*running.values(), return_exceptions=True)
    return [str(result) for result in done]
