"""One datagram can reach many; a connection is always between two.

A datagram to a broadcast address goes to all hosts of the segment, one to a multicast group to those that have joined
it (RFC 919; RFC 1112). Each of them gets a copy, and nobody answers. TCP could not do that: who would acknowledge what,
and whose window would hold? A TCP may not connect to such an address, and takes no SYN that was sent to one
(RFC 9293, 3.9.2.3: MUST-57). A program has to allow itself to broadcast (SO_BROADCAST), so that none does by mistake.
"""

from __future__ import annotations

import asyncio
import errno

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox, collect
from lab.experiments.trial import Trial

TOPOLOGY = """
name: broadcast
nodes: {a: host, b: host, c: host, d: host, s: {kind: switch, impl: stack}}
links:
  - {ends: [a, s], addresses: {a: 10.0.0.1/24}}
  - b -- s
  - c -- s
  - d -- s
"""

EVERYBODY, GROUP = "10.0.0.255", "239.1.2.3"
PORT = 5000
ALL = "a datagram to the broadcast address reaches every host of the segment"
MEMBERS = "a datagram to a group reaches its members only"
TCP = "TCP refuses to connect to either"


async def cry(address: str, port: int, word: bytes, allowed: bool) -> None:
    """A datagram for many."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        Mailbox, local_addr=("0.0.0.0", 0), allow_broadcast=allowed or None
    )
    transport.sendto(word, (address, port))
    await asyncio.sleep(0.1)
    transport.close()


async def connect_error(address: str, port: int) -> str:
    """The name of the error of a TCP connection, or none."""
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    writer.close()
    return "none"


@experiment(
    topic="UDP and TCP",
    claim="Broadcast and multicast work with UDP, and are refused by TCP.",
    look_at="who hears the datagrams, and the error of the connection",
    topology=TOPOLOGY,
    parameters={"allowed": True},
    variations={
        "not-allowed": Variation(
            "The program has not set SO_BROADCAST: its datagram does not leave.", {"allowed": False}, breaks=(ALL,)
        ),
    },
)
async def broadcast(trial: Trial) -> None:
    lab = trial.lab
    groups = {"b": GROUP, "c": GROUP, "d": ""}
    collecting = {name: lab.node(name).start(collect, PORT, 5.0, group) for name, group in groups.items()}
    await lab.sleep(1.5)
    await lab.node("a").run(cry, EVERYBODY, PORT, b"to all", trial["allowed"])
    await lab.node("a").run(cry, GROUP, PORT, b"to the group", trial["allowed"])
    errors = [await lab.node("a").run(connect_error, address, PORT) for address in (EVERYBODY, GROUP)]
    heard = {name: await program.wait() for name, program in collecting.items()}
    trial.equal(ALL, [name for name, words in heard.items() if b"to all" in words], ["b", "c", "d"])
    trial.equal(MEMBERS, [name for name, words in heard.items() if b"to the group" in words], ["b", "c"])
    trial.expect(TCP, "none" not in errors and "ETIMEDOUT" not in errors, f"errors {', '.join(errors)}")
