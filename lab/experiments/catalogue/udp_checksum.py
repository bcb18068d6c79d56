"""UDP's checksum finds a wrong bit, if there is one.

The checksum covers the data, the header, and the addresses of the IP packet (RFC 768), so that a datagram that was
damaged or went astray is dropped. A sender may leave it out: the field is 0 then, the receiver takes whatever comes,
and the program has a wrong bit that nobody noticed. The frame check of Ethernet does not help against what happens
inside a router or a switch: it is made anew on each link.
"""

from __future__ import annotations

import asyncio
import socket

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox, collect
from lab.experiments.trial import Trial

TOPOLOGY = """
name: udp-checksum
nodes: {a: host, b: {kind: host, trace: packets}}
links:
  - {ends: [a, b], impair: {delay: 10ms, from: {a: {faults: [{corrupt: {protocol: udp, first: 2, bit: -1}}]}}}}
"""

WORDS = (b"the first datagram", b"the one with a wrong bit", b"the last datagram")
NO_CHECK = getattr(socket, "SO_NO_CHECK", 11)
DAMAGED = "the program gets no datagram that was damaged"
DROPPED = "the damaged datagram is dropped for its checksum"
OTHERS = "the datagrams before and after it arrive"


async def say(host: str, port: int, words: tuple[bytes, ...], checksum: bool) -> None:
    """Send datagrams, with or without a checksum."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(host, port))
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, NO_CHECK, int(not checksum))
    for word in words:
        transport.sendto(word)
        await asyncio.sleep(0.1)
    transport.close()


@experiment(
    topic="UDP and TCP",
    claim="UDP's checksum catches a corrupt datagram; where it is 0, the program gets it.",
    look_at="what happens to the second datagram, of which the link turns the last bit",
    topology=TOPOLOGY,
    parameters={"checksum": True},
    variations={
        "no-checksum": Variation(
            "The sender leaves the checksum out (SO_NO_CHECK): the wrong bit reaches the program.",
            {"checksum": False},
            breaks=(DAMAGED, DROPPED),
        ),
    },
)
async def udp_checksum(trial: Trial) -> None:
    lab = trial.lab
    collecting = lab.node("b").start(collect, 5000, 5.0)
    await lab.sleep(1.5)
    await lab.node("a").run(say, "b", 5000, WORDS, trial["checksum"])
    words = await collecting.wait()
    damaged = [word.decode() for word in words if word not in WORDS]
    trial.equal(DAMAGED, damaged, [])
    dropped = [event["data"]["reason"] for event in trial.events("transport:datagram_dropped", "b")]
    trial.equal(DROPPED, dropped, ["bad_checksum"])
    trial.equal(OTHERS, [word for word in words if word in WORDS], [WORDS[0], WORDS[2]])
