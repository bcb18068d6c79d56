"""A script that tries the whole API, and what it must find, whatever drives the lab: tests/sim/test_api_sim.py runs it
in virtual time, tests/system/test_api_netns.py in processes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from lab import Lab
from lab.api.nodes import Node
from lab.experiments.forging import forged_segment

TOPOLOGY = """\
name: tour
nodes: {a: host, b: host, s: switch}
links:
  - {ends: [a, s], name: wan, impair: {delay: 10ms}}
  - b -- s
"""
PORT = 7

MANY = 100
"""More programs at once than a node answers connections."""


async def echo() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", PORT)
    await server.serve_forever()


async def ask(host: str, text: bytes = b"hello") -> bytes:
    """Servers may need a moment to begin."""
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection(host, PORT)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
    else:
        raise ConnectionRefusedError
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def rude() -> None:
    """Ask for a line; then reset the connection, end it, or wait."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wish = await reader.readline()
        writer.write(b"well")
        await writer.drain()
        if wish == b"reset\n":
            await asyncio.sleep(0.2)  # or what was said is lost with the connection
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif wish == b"wait\n":
            await asyncio.sleep(100)
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", PORT + 1)
    await server.serve_forever()


async def ends(lab: Lab) -> dict[str, str]:
    """How connections of `connect` end."""
    a, b = lab.node("a"), lab.node("b")
    serving = b.start(rude)
    await lab.sleep(0.5)
    found = {}
    for wish in ("end", "reset", "crash"):
        reader, writer = await a.connect(b, PORT + 1)
        found[f"peer of {wish}"] = str(writer.get_extra_info("peername"))
        writer.write(b"wait\n" if wish == "crash" else wish.encode() + b"\n")
        await reader.readexactly(4)
        if wish == "crash":
            lab.at(lab.now + 0.2, a.kill)
        found[wish] = await raised(reader.read)
        writer.close()
        found[f"{wish} closed"] = await raised(writer.wait_closed)
    await a.restart()
    serving.cancel()
    return found


ENDS = {
    **dict.fromkeys(("peer of end", "peer of reset", "peer of crash"), "('10.0.0.2', 8)"),
    **dict.fromkeys(("end", "end closed"), "nothing"),
    **dict.fromkeys(("reset", "reset closed", "crash", "crash closed"), "ConnectionResetError"),
}


async def late(value: Any) -> Any:
    await asyncio.sleep(0.5)
    return value


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def fails() -> None:
    raise KeyError("of the program")


def plain() -> int:
    return 1


async def exits() -> None:
    sys.exit(3)


async def cancels() -> None:
    raise asyncio.CancelledError


async def forgets() -> None:
    asyncio.get_running_loop().create_task(asyncio.sleep(1000), name="forgotten")


async def raised(call: Callable[[], Any]) -> str:
    """The class of what it raises."""
    try:
        result = call()
        if isinstance(result, Awaitable):
            await result
    except BaseException as error:  # noqa: BLE001
        return type(error).__name__
    return "nothing"


async def mistakes(lab: Lab) -> dict[str, str]:
    a, b, s, wan = lab.node("a"), lab.node("b"), lab.node("s"), lab.link("wan")
    tried: dict[str, Callable[[], Any]] = {
        "a node of nobody": lambda: lab.node("c"),
        "a link of nobody": lambda: lab.link("a-b"),
        "no time": lambda: lab.at("soon", print),
        "events of nobody": lambda: lab.events("c"),
        "events of no name": lambda: lab.events(name="tcp:*"),
        "an event of no name": lambda: lab.wait_until("link:carrier_update"),
        "an event of no field": lambda: lab.wait_until("link:carrier_updated", state="down"),
        "a program in a switch": lambda: s.run(ask, "b"),
        "a program that was called": lambda: a.run(fails()),  # type: ignore[arg-type]
        "a program that is none": lambda: a.start(3),  # type: ignore[arg-type]
        "a program of no coroutine": lambda: a.run(plain),  # type: ignore[arg-type]
        "a program without an argument": lambda: a.run(ask),  # type: ignore[call-arg]
        "a program that raises": lambda: a.run(fails),
        "a program that exits": lambda: a.run(exits),
        "a program that cancels itself": lambda: a.run(cancels),
        "no such application": lambda: a.application("pong"),
        "no such option": lambda: a.ping("b", colour="blue"),
        "a ping to nobody": lambda: a.ping("nobody"),
        "a connection refused": lambda: a.connect("b", 99),
        "a connection to nobody": lambda: a.connect("nobody", 99),
        "a connection to nowhere": lambda: a.connect("9.9.9.9", 99),
        "a connection of a switch": lambda: s.connect("b", 99),
        "no command": a.exec,
        "a delay of bananas": lambda: wan.impair(delay="banana"),
        "an end of another link": lambda: wan.impair(delay="1ms", from_="b"),
        "an endless flap": lambda: wan.flap(down="5s", every="1s"),
        "a small MTU": lambda: wan.set_mtu(10),
        "a capture that does not run": a.stop_capture,
        "no frame": lambda: a.send_frame(bytes(13)),
        "a frame of text": lambda: a.send_frame("frame"),  # type: ignore[arg-type]
        "a frame of no interface": lambda: a.send_frame(bytes(60), interface="eth9"),
        "a frame of a bridge": lambda: s.send_frame(bytes(60)),
        "a frame that is too long": lambda: a.send_frame(bytes(1600)),
        "in two groups": lambda: lab.partition(["a"], ["a", "b"]),
        "a switch in a group": lambda: lab.partition(["s"], ["a", "b"]),
        "restarted while it runs": a.restart,
        "resumed while it runs": a.resume,
    }
    found = {name: await raised(call) for name, call in tried.items()}
    await b.kill()
    tried = {
        "killed while it is off": b.kill,
        "paused while it is off": b.pause,
        "resumed while it is off": b.resume,
        "a program while it is off": lambda: b.run(ask, "a"),
        "a connection while it is off": lambda: b.connect("a", 99),
        "a ping while it is off": lambda: b.ping("a"),
        "its state while it is off": b.state,
        "a frame while it is off": lambda: b.send_frame(bytes(60)),
    }
    found |= {name: await raised(call) for name, call in tried.items()}
    await b.restart()
    return found


MISTAKES = {
    **dict.fromkeys(("a node of nobody", "a link of nobody", "no time", "events of nobody"), "UserInputError"),
    **dict.fromkeys(("events of no name", "an event of no name", "an event of no field"), "UserInputError"),
    "a program in a switch": "NodeError",
    **dict.fromkeys(("a program that was called", "a program that is none"), "UserInputError"),
    **dict.fromkeys(("a program of no coroutine", "a program without an argument"), "TypeError"),
    "a program that raises": "KeyError",
    "a program that exits": "ProgramError",
    "a program that cancels itself": "CancelledError",
    **dict.fromkeys(("no such application", "no such option", "a ping to nobody"), "UserInputError"),
    "a connection refused": "ConnectionRefusedError",
    "a connection to nobody": "gaierror",
    "a connection to nowhere": "OSError",
    "a connection of a switch": "NodeError",
    **dict.fromkeys(("no command", "a delay of bananas", "an end of another link"), "UserInputError"),
    **dict.fromkeys(("an endless flap", "a small MTU"), "UserInputError"),
    "a capture that does not run": "StateError",
    **dict.fromkeys(("in two groups", "a switch in a group"), "UserInputError"),
    **dict.fromkeys(("no frame", "a frame of text"), "UserInputError"),
    "a frame of no interface": "UserInputError",
    "a frame of a bridge": "NodeError",
    "a frame that is too long": "NodeError",
    "restarted while it runs": "StateError",
    "resumed while it runs": "nothing",
    "killed while it is off": "StateError",
    "paused while it is off": "StateError",
    "resumed while it is off": "StateError",
    "a program while it is off": "NodeError",
    "a connection while it is off": "NodeError",
    "a ping while it is off": "NodeError",
    "its state while it is off": "NodeError",
    "a frame while it is off": "NodeError",
}


async def programs(lab: Lab) -> dict[str, Any]:
    a, b = lab.node("a"), lab.node("b")
    server = b.start(echo, restart=True)
    found: dict[str, Any] = {"answer": await a.run(ask, "b"), "large": len(await a.run(ask, "b", bytes(1_000_000)))}
    found["many"] = await asyncio.gather(*(a.run(late, number) for number in range(MANY))) == list(range(MANY))
    reader, writer = await a.connect(b, PORT)
    writer.write(b"one\ntwo\n")
    writer.write_eof()
    found["lines"] = [line async for line in reader]
    writer.close()

    waiting = b.start(forever)
    patient = asyncio.create_task(waiting.wait())
    await lab.sleep(0.2)
    await b.kill()
    found["who waits hears of the crash"] = await raised(lambda: patient)
    found["crashed"] = server.state, waiting.state
    found["off"] = await raised(lambda: b.run(late, 1))
    await b.restart()
    found["answer of the next life"] = await a.run(ask, "b")
    found["states"] = server.state, waiting.state

    ended = a.start(forever)
    await lab.sleep(0.2)
    ended.cancel()
    found["cancelled"] = await raised(ended.wait), ended.state
    unheard = a.start(late, "done")
    await lab.sleep(1.5)
    found["done"] = unheard.state, await unheard.wait()
    return found


PROGRAMS = {
    "answer": b"hello",
    "large": 1_000_000,
    "many": True,
    "lines": [b"one\n", b"two\n"],
    "who waits hears of the crash": "NodeError",
    "crashed": ("crashed", "crashed"),
    "off": "NodeError",
    "answer of the next life": b"hello",
    "states": ("running", "crashed"),
    "cancelled": ("CancelledError", "cancelled"),
    "done": ("done", "done"),
}


async def segments_of(node: Node) -> int:
    """How many TCP segments have come."""
    return int((await node.state())["tcp"]["counters"]["in_segments"])


async def network(lab: Lab) -> dict[str, Any]:
    a, b, wan = lab.node("a"), lab.node("b"), lab.link("s-a")
    found: dict[str, Any] = {"round trip": 20e6 < (await a.ping(b, count=2))["rtt_min"] < 60e6}
    await wan.impair(delay="50ms", from_="a")
    found["longer"] = 60e6 < (await a.ping(b, count=2))["rtt_min"] < 100e6
    found["asked"] = [side["asked"] for side in (await wan.state())["directions"]]
    await wan.clear()
    begin = lab.now
    lab.at(begin + 0.3, wan.down)
    lab.at(begin + 0.6, wan.up)
    lab.at(begin + 0.7, lambda: None).cancel()
    seen = await lab.wait_until("link:carrier_updated", node="wan", timeout=5, new="down")
    found["seen"] = seen["node"], seen["data"]["new"], -1e-6 < seen["time"] / 1000 - begin - 0.3 < 0.1
    await lab.wait_until(lambda: lab.events("wan", "link:carrier_updated", new="up", since=begin))
    found["just now"] = [event["data"]["new"] for event in lab.events("wan", "link:carrier_*", since=begin)]
    found["never"] = await raised(lambda: lab.wait_until("link:address_conflict", timeout="200ms"))

    heard = await segments_of(b)
    await a.send_frame(forged_segment(a, (a.address, 5), b, 99, "ACK", 1))
    await lab.sleep(1)
    found["forged"] = await segments_of(b) - heard

    await lab.partition(["a"], [b])
    found["parted"] = (await a.ping(b, count=1))["received"]
    await lab.heal()
    found["healed"] = (await a.ping(b, count=4))["received"] > 0
    found["told"] = len(lab.events(name="node:partition_updated"))
    found["state"] = {"interfaces", "routes"} <= set(await a.state())
    return found


NETWORK = {
    "round trip": True,
    "longer": True,
    "asked": [{"delay": 50_000_000}, {"delay": 10_000_000}],
    "seen": ("wan", "down", True),
    "just now": ["down", "up"],
    "never": "TimeoutError",
    "forged": 1,
    "parted": 0,
    "healed": True,
    "told": 4,
    "state": True,
}


async def main(lab: Lab) -> dict[str, dict[str, Any]]:
    found = {
        "mistakes": await mistakes(lab),
        "ends": await ends(lab),
        "network": await network(lab),
        "programs": await programs(lab),
    }
    await lab.node("a").run(forgets)
    return found


EXPECTED = {"mistakes": MISTAKES, "ends": ENDS, "network": NETWORK, "programs": PROGRAMS}
