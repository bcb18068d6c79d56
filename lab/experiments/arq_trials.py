"""What the experiments about ARQ share: numbered datagrams as fast as a link takes them, and what became of them.

A link's use is the share of the time in which it carries a frame for the first time: n datagrams that arrive in t
seconds, each T seconds long on the wire, are (n - 1) T / t.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from lab.experiments.programs import Mailbox
from lab.experiments.trial import Trial

PORT = 5000
FRAME = 1000
"""Octets of the frames on the wire: Ethernet 14, ARQ 14, IPv4 20, UDP 8, and the rest data."""
PLAIN_HEADERS, ARQ_HEADERS = 42, 56
QUIET = 3.0
"""Seconds without a datagram after which no more are expected."""
END = -1


@dataclass(frozen=True, slots=True)
class Carried:
    """Of one burst. `errors` is the share of frames that the link lost or damaged on the way there."""

    numbers: list[int]
    seconds: float
    errors: float

    def use(self, rate: int) -> float:
        """Of a link of so many bit/s."""
        return (len(self.numbers) - 1) * FRAME * 8 / rate / self.seconds


async def send_burst(host: str, port: int, count: int, length: int) -> None:
    """All at once: the link has always something to send."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(host, port))
    for number in [*range(count), END]:
        transport.sendto(b"%d " % number + bytes(length - len(b"%d " % number)))
    await asyncio.sleep(0)
    transport.close()


class Arrivals(asyncio.DatagramProtocol):
    """Numbers, and when the first and the last came."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []
        self.ended = False

    def datagram_received(self, data: bytes, _: object) -> None:
        number = int(data.split(b" ", 1)[0])
        self.ended = self.ended or number == END
        if number != END:
            self.numbers.append(number)
            self.times.append(asyncio.get_running_loop().time())


async def collect_burst(port: int) -> tuple[list[int], float]:
    """The numbers that come until the end is told, or nothing comes any more; and the seconds from first to last."""
    loop = asyncio.get_running_loop()
    transport, arrivals = await loop.create_datagram_endpoint(Arrivals, local_addr=("0.0.0.0", port))
    with contextlib.closing(transport):
        seen = 0
        while not arrivals.ended and (len(arrivals.numbers) > seen or not seen):
            seen = len(arrivals.numbers)
            await asyncio.sleep(QUIET)
        return arrivals.numbers, arrivals.times[-1] - arrivals.times[0]


async def carry(trial: Trial, source: str, sink: str, count: int, **impairment: Any) -> Carried:
    """Numbered datagrams from one node to its neighbour, over a link that does this to what `source` sends."""
    lab = trial.lab
    link = lab.link(f"{source}--{sink}")
    if impairment:
        await link.impair(from_=source, **impairment)
    before = await _measured(trial, source, sink)
    collecting = lab.node(sink).start(collect_burst, PORT)
    await lab.sleep(0.5)
    state = await lab.node(source).state()
    headers = ARQ_HEADERS if "arq" in state["interfaces"][0] else PLAIN_HEADERS
    await lab.node(source).run(send_burst, sink, PORT, count, FRAME - headers)
    numbers, seconds = await collecting.wait()
    after = await _measured(trial, source, sink)
    frames, errors = (new - old for new, old in zip(after, before, strict=True))
    return Carried(numbers, seconds, errors / frames)


async def _measured(trial: Trial, source: str, sink: str) -> tuple[int, int]:
    """Frames that entered the link, and those that it lost or damaged."""
    state = await trial.lab.link(f"{source}--{sink}").state()
    measured: dict[str, Any] = state["directions"][0]["measured"]
    return measured["in_frames"], sum(measured["dropped"].values()) + measured["corrupted"]


async def meet(trial: Trial, *pairs: tuple[str, str]) -> None:
    """ARP, and the numbers of both directions, so that bursts find them done."""
    for source, sink in pairs:
        await trial.lab.node(source).ping(sink, count=2, interval=1.0)


def in_order(trial: Trial, claim: str, count: int, *carried: Carried) -> bool:
    """Whether each burst came once and in order."""
    whole = list(range(count))
    right = all(each.numbers == whole for each in carried)
    different = [len(set(each.numbers)) for each in carried]
    extra = [len(each.numbers) - len(set(each.numbers)) for each in carried]
    late = [sum(b < a for a, b in zip(each.numbers, each.numbers[1:], strict=False)) for each in carried]
    numbers = f"of {count} came {_list(different)}, twice {_list(extra)}, out of order {_list(late)}"
    return trial.expect(claim, right, numbers)


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values))
