"""Frames per second through our switch and our router, beside a Linux bridge and a Linux router.

    generator --- device under test --- sink          (each a process in a namespace of its own; two veth pairs)

The load is one flow of UDP datagrams, in frames of 64 and of 1514 octets (as on a wire, with 4 octets of FCS for the
small one: 60 here). A trial offers a rate for some seconds. A frame is lost that is not at the sink GRACE after the
last one was sent, so that a queue in front of the device does not pass for throughput. The highest rate with a loss
below LOSS is searched for: up in steps until frames are lost, then by halving the interval (as RFC 2544 section 26.1
has it, with shorter trials). Under overload, the generator sends as fast as it can, and what arrives per second counts.

A bridge or a router in the kernel does its work within the generator's system call: where it lost nothing, its figure
is the generator's own limit, and is marked with `>=`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from nodes.wire.addresses import parse_mac
from tests.benchmarks.rig import Answer, Rig, rig
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, shown, span
from tests.benchmarks.traffic import Generator, Sink, datagram_frame

LOSS = 0.001
GRACE = 0.02
START = 0.3
"""Share of the rate under overload with which the search begins."""

GROWTH = 1.4
HALVINGS = 4
ROUNDS = 3
SECONDS, QUICK_SECONDS = 1.0, 0.3
SIZES = {"64": 60, "1514": 1514}
"""What a frame is called, and its octets here."""

DEVICES = {
    "our switch": "{kind: switch, impl: stack}",
    "Linux bridge": "{kind: switch, impl: kernel}",
    "our router": "router",
    "Linux router": "{kind: router, stack: kernel}",
}
PAIRS = (("our switch", "Linux bridge"), ("our router", "Linux router"))
_TOPOLOGY = """
nodes:
  g: {{kind: host, stack: kernel}}
  d: {}
  k: {{kind: host, stack: kernel}}
links: [g -- d, d -- k]
"""

Trial = Callable[[float], tuple[int, int, float]]
"""Offers a rate; returns frames sent, frames received, seconds."""


@dataclass(frozen=True)
class Sample:
    """One search. Frames per second; `limited`: nothing was lost at the highest rate that the generator could offer."""

    device: str
    size: str
    lossless: float
    limited: bool
    overload: float
    offered: float


def run(settings: Settings) -> Report:
    samples = []
    for number in range(1 if settings.quick else ROUNDS):
        for device in DEVICES:
            settings.say(f"forwarding, {device}, round {number + 1}")
            samples += _measure(device, settings)
    return Report("forwarding", [_table(samples)], [asdict(sample) for sample in samples])


def _measure(device: str, settings: Settings) -> list[Sample]:
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    with rig(_TOPOLOGY.format(DEVICES[device]), settings) as lab:
        names = lab.interface("g").name, lab.interface("k").name
        with (
            lab.worker("g", lambda: Generator(names[0])) as generator,
            lab.worker("k", lambda: Sink(names[1], lab.address("g"))) as sink,
        ):
            return [
                _search(device, size, _trial(lab, "router" in device, SIZES[size], seconds, generator, sink))
                for size in SIZES
            ]


def _trial(
    lab: Rig, routed: bool, octets: int, seconds: float, generator: Callable[..., Answer], sink: Callable[..., Answer]
) -> Trial:
    target = lab.interface("d") if routed else lab.interface("k")
    macs = parse_mac(lab.interface("g").mac), parse_mac(target.mac)
    frame = datagram_frame(*macs, lab.address("g"), lab.address("k"), octets).hex()

    def trial(rate: float) -> tuple[int, int, float]:
        sink()
        sent = generator(frame=frame, rate=rate, seconds=seconds)
        time.sleep(GRACE)
        received = sink()["received"]
        _drain(sink)
        return sent["sent"], received, sent["seconds"]

    generator(frame=frame, rate=100, seconds=0.2)  # addresses are resolved and learned
    return trial


def _drain(sink: Callable[..., Answer]) -> None:
    """Until what waits in queues is through."""
    while sink()["received"]:
        time.sleep(0.05)


def _search(device: str, size: str, trial: Trial) -> Sample:
    """Overload first, which says how far to go."""
    sent, received, seconds = trial(0)
    offered, overload = sent / seconds, received / seconds
    if received >= sent * (1 - LOSS):
        return Sample(device, size, received / seconds, True, overload, offered)
    good, bad = 0.0, overload * START
    while bad < offered and _passes(trial, bad):
        good, bad = bad, bad * GROWTH
    for _ in range(HALVINGS):
        middle = (good + bad) / 2
        if _passes(trial, middle):
            good = middle
        else:
            bad = middle
    return Sample(device, size, good, False, overload, offered)


def _passes(trial: Trial, rate: float) -> bool:
    """Offered in full, and delivered. A second try, because other work on the machine may have cost the first."""
    for _ in range(2):
        sent, received, seconds = trial(rate)
        if sent >= rate * seconds * 0.98 and received >= sent * (1 - LOSS):
            return True
    return False


def _table(samples: list[Sample]) -> Table:
    table = Table(
        "Forwarding, frames/s: median (smallest to largest)",
        ("octets", "device", f"highest with < {LOSS:.1%} loss", "under overload", "offered then", "of the kernel's"),
        notes=["`>=`: no loss at the most that the generator offered."],
    )
    for size in SIZES:
        for pair in PAIRS:
            for device in pair:
                found = [one for one in samples if (one.device, one.size) == (device, size)]
                kernel = [one for one in samples if (one.device, one.size) == (pair[1], size)]
                share = ratio(median(one.lossless for one in found), median(one.lossless for one in kernel))
                mark = ">= " if all(one.limited for one in found) else ""
                table.rows.append((
                    size, device, mark + span([one.lossless for one in found]), span([one.overload for one in found]),
                    shown(median(one.offered for one in found)), share if device.startswith("our") else None,
                ))  # fmt: skip
    return table
