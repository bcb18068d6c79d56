"""The campus network, tried: `lab run examples/campus.py --driver sim`, and the same with netns.

Plain asyncio in the nodes; what is found is returned, with what the network promises beside it.
"""

import asyncio

from lab import Lab

TOPOLOGY = "../topologies/campus.yml"
PORT = 7000
OCTETS = 400_000
PATIENCE = 20
"""Seconds until a server must have begun to listen."""


async def serve() -> None:
    """Take a stream to its end, and answer how long it was."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = 0
        while data := await reader.read(65536):
            received += len(data)
        writer.write(b"%d\n" % received)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", PORT)
    await server.serve_forever()


async def connect(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, float]:
    """A connection, and how long its handshake took (s). Servers may need a moment to begin."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    while True:
        begin = loop.time()
        try:
            reader, writer = await asyncio.open_connection(host, PORT)
        except ConnectionRefusedError:
            if loop.time() > give_up:
                raise
            await asyncio.sleep(0.1)
        else:
            return reader, writer, loop.time() - begin


async def handshakes(host: str, count: int) -> float:
    """The median of so many handshakes (s); the first one, which also resolves addresses, is left out."""
    times = []
    for _ in range(count + 1):
        _reader, writer, elapsed = await connect(host)
        times.append(elapsed)
        writer.close()
        await writer.wait_closed()
    return sorted(times[1:])[count // 2]


async def send(host: str, octets: int) -> dict[str, float]:
    """Send so much; how long it took until the other side had counted it (s), and what it counted."""
    loop = asyncio.get_running_loop()
    reader, writer, _elapsed = await connect(host)
    begin = loop.time()
    writer.write(bytes(octets))
    writer.write_eof()
    counted = int(await reader.readline())
    elapsed = loop.time() - begin
    writer.close()
    return {"seconds": elapsed, "octets": counted}


async def refused(host: str) -> bool:
    """Whether a port on which nobody listens says so."""
    try:
        await asyncio.open_connection(host, PORT + 1)
    except ConnectionRefusedError:
        return True
    return False


async def main(lab: Lab) -> dict[str, object]:
    servers = [f"h{number}" for number in range(9, 25)]
    programs = [lab.node(name).start(serve) for name in servers]
    found: dict[str, object] = {}

    # One round trip over each way: 20, 30 and, by two routers, 20 ms (the direct link is as short).
    found["handshake h1 h9"] = await lab.node("h1").run(handshakes, "h9", 5)
    found["handshake h9 h17"] = await lab.node("h9").run(handshakes, "h17", 5)

    # 10 Mbit/s are the bottleneck: 400 kB need 0.32 s and the rounds in which TCP finds its rate.
    one = await lab.node("h2").run(send, "h10", OCTETS)
    found["transfer h2 h10"] = one["seconds"]
    found["refused"] = await lab.node("h3").run(refused, "h11")

    # Eight at a time through the same link; every octet arrives.
    pairs = [(f"h{number}", f"h{number + 8}") for number in range(1, 9)]
    results = await asyncio.gather(*(lab.node(a).run(send, b, 50_000) for a, b in pairs))
    found["all arrived"] = all(result["octets"] == 50_000 for result in results)

    # Over the link that loses one frame in a hundred.
    lossy = await lab.node("h4").run(send, "h20", 100_000)
    found["arrived in spite of loss"] = lossy["octets"] == 100_000

    await lab.partition(["h1"], ["h9"])
    try:
        await asyncio.wait_for(lab.node("h1").run(handshakes, "h9", 1), 3)
    except TimeoutError:
        found["partition holds"] = True
    else:
        found["partition holds"] = False
    await lab.heal()
    found["healed"] = (await lab.node("h1").run(send, "h9", 1000))["octets"] == 1000

    for program in programs:
        program.cancel()
    return found
