"""Circuits are for long conversations, datagrams for short ones.

A circuit pays once, a round trip for its call, and then little for each packet: a label and a length, 4 octets. A
datagram pays nothing at first and then for each packet: addresses and all that a node has to know, 28 octets of IP and
UDP. On a link of R bit/s and with a call of C seconds, a message of n packets of P octets takes

    datagrams   n (P + 28 + 14) 8 / R  + one way + an answer
    circuit     C + n (P + 4 + 14) 8 / R + one way + an answer

with 14 octets of Ethernet each, and both are even at n = C R / (24 * 8) packets (Tanenbaum, Computer Networks, 2011,
5.1.5; RFC 791, 3.1; RFC 768). With longer packets the headers weigh less in both, but their difference stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from statistics import linear_regression

from lab.experiments.circuits import MESSAGE, accepted, called, datagrams
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial
from nodes.wire.circuit import HEADER
from nodes.wire.circuit import SIGNAL_LAYOUT as CALL

TOPOLOGY = """
name: circuit-or-datagram
circuits: true
nodes:
  a: host
  r1: router
  r2: router
  b: host
links:
  - a -- r1
  - {ends: [r1, r2], impair: {rate: ${rate}kbit, delay: ${delay}ms}}
  - r2 -- b
"""

PORT = 5000
PACKETS = [1, 3, 10, 30, 100]
ETHERNET, DATAGRAM, LABEL = 14, 28, 4
SIGNAL = HEADER.size + CALL.size
SHORT = "a message of one packet is there sooner as a datagram"
LONG = "a message of many packets is there sooner over a circuit"
EVEN = "they are even at n = C R / (24 * 8) packets"
SAME = "each takes as long as its formula says"


async def answer_datagrams(port: int, counts: list[int]) -> None:
    """An answer after each message of so many packets."""
    async with datagrams(port) as (transport, inbox):
        for count in counts:
            for _ in range(count):
                _, sender = await inbox.queue.get()
            transport.sendto(b"!", sender)
        await asyncio.sleep(1)  # the last answer leaves


async def answer_circuits(port: int, counts: list[int]) -> None:
    """The same, with a circuit for each message."""
    loop = asyncio.get_running_loop()
    for count in counts:
        with contextlib.closing(await accepted(port)) as circuit:
            for _ in range(count):
                await loop.sock_recv(circuit, MESSAGE)
            await loop.sock_sendall(circuit, b"!")
            await loop.sock_recv(circuit, MESSAGE)  # until the caller clears it


async def ask_datagrams(host: str, port: int, counts: list[int], octets: int) -> list[float]:
    """Seconds from the beginning of each message until its answer."""
    loop = asyncio.get_running_loop()
    times = []
    async with datagrams(to=(host, port)) as (transport, inbox):
        for count in counts:
            begun = loop.time()
            for _ in range(count):
                transport.sendto(bytes(octets))
            await inbox.queue.get()
            times.append(loop.time() - begun)
            await asyncio.sleep(0.5)
    return times


async def ask_circuits(host: str, port: int, counts: list[int], octets: int) -> tuple[list[float], list[float]]:
    """The same with a circuit each; and the seconds of them that the calls took."""
    loop = asyncio.get_running_loop()
    calls, times = [], []
    for count in counts:
        begun = loop.time()
        async with called(host, port) as circuit:
            calls.append(loop.time() - begun)
            for _ in range(count):
                await loop.sock_sendall(circuit, bytes(octets))
            await loop.sock_recv(circuit, MESSAGE)
            times.append(loop.time() - begun)
        await asyncio.sleep(0.5)
    return calls, times


@experiment(
    topic="Virtual circuit and datagram",
    claim="Short messages are sooner there as datagrams, long ones over a circuit.",
    look_at="the times of messages of 1 to 100 packets, both ways, and where they cross",
    topology=TOPOLOGY,
    parameters={"rate": 64, "delay": 20, "octets": 32},
    variations={
        "far-away": Variation(
            "On a long way the call takes so long that even 100 packets do not pay for it.",
            {"delay": 300},
            breaks=(LONG,),
        ),
        "fast-link": Variation(
            "On a fast link headers cost nothing that could be measured against a round trip.",
            {"rate": 10_000},
            breaks=(LONG,),
        ),
    },
    only_virtual="it holds times of some milliseconds against a formula",
)
async def circuit_or_datagram(trial: Trial) -> None:
    lab, octets = trial.lab, trial["octets"]
    a, b = lab.node("a"), lab.node("b")
    answering = b.start(answer_datagrams, PORT, PACKETS), b.start(answer_circuits, PORT, PACKETS)
    await lab.sleep(2)
    await a.ping("b", count=2)  # ARP on the way
    loose = await a.run(ask_datagrams, "b", PORT, PACKETS, octets)
    _, bound = await a.run(ask_circuits, "b", PORT, PACKETS, octets)
    for program in answering:
        await program.wait()

    theory = Theory(trial["rate"] * 1000, trial["delay"] / 1000, octets)
    _sooner(trial, SHORT, "datagram", loose[0], "circuit", bound[0])
    _sooner(trial, LONG, "circuit", bound[-1], "datagrams", loose[-1])
    trial.close(EVEN, even(loose, bound), theory.even, within=0.15, unit="packets")
    off = max(
        abs(seen / said - 1)
        for times, formula in ((loose, theory.datagrams), (bound, theory.circuit))
        for seen, said in zip(times, [formula(count) for count in PACKETS], strict=True)
    )
    rows = zip(PACKETS, loose, bound, strict=True)
    table = [f"{'packets':>10} {'datagrams':>12} {'circuit':>12}"]
    table += [f"{count:>10} {1000 * first:>9.1f} ms {1000 * second:>9.1f} ms" for count, first, second in rows]
    numbers = f"at most 10% off, seen {off:.1%}"
    trial.expect(SAME, off <= 0.10, numbers, picture="\n".join(table), seen=off)


@dataclass(frozen=True, slots=True)
class Theory:
    """Of one link: bit/s, seconds of delay, octets in a packet. What the other links take is nothing beside it."""

    rate: float
    delay: float
    octets: int

    def _wire(self, octets: int) -> float:
        return (octets + ETHERNET) * 8 / self.rate

    @property
    def call(self) -> float:
        """Seconds of a call request and of what accepts it."""
        return 2 * (self._wire(SIGNAL) + self.delay)

    @property
    def even(self) -> float:
        """Packets. The answer comes over the circuit, too, and saves as much as a packet."""
        return self.call * self.rate / ((DATAGRAM - LABEL) * 8) - 1

    def datagrams(self, count: int) -> float:
        """Seconds of a message of so many packets, and its answer."""
        return count * self._wire(self.octets + DATAGRAM) + self._wire(1 + DATAGRAM) + 2 * self.delay

    def circuit(self, count: int) -> float:
        return self.call + count * self._wire(self.octets + LABEL) + self._wire(1 + LABEL) + 2 * self.delay


def even(loose: list[float], bound: list[float]) -> float:
    """Packets at which the lines through both cross."""
    first, second = linear_regression(PACKETS, loose), linear_regression(PACKETS, bound)
    return (second.intercept - first.intercept) / (first.slope - second.slope)


def _sooner(trial: Trial, claim: str, this: str, first: float, that: str, second: float) -> None:
    trial.expect(claim, first < second, f"{this} {1000 * first:.1f} ms, {that} {1000 * second:.1f} ms")
