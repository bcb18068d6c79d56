"""The demonstration: a network with one of everything, what it does, and whether that was right.

Two hosts, a hub, a switch of ours, a bridge of the kernel's, two routers of ours with a narrow link between them, and a
host whose stack is Linux's. Each step returns a verdict with its numbers; nothing is assumed from an exit code alone.

    a --- stack switch --- r1 ===== r2 --- kernel switch --- hub --- b
                              1400               |
                                                 k
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.api.lab import Lab
from lab.api.nodes import Node
from lab.engine.ladder import crossings
from lab.engine.runs import Run
from lab.errors import LabError
from nodes.units import MILLISECOND


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step showed: pass or fail, and the numbers."""

    claim: str
    passed: bool
    numbers: str


Step = Callable[[Lab], AsyncIterator[Verdict]]


async def run_steps(lab: Lab) -> AsyncIterator[Verdict]:
    """All steps on a lab that is up, in order; one that raises is a failed verdict, and the others still run."""
    for step in STEPS:
        try:
            async for verdict in step(lab):
                yield verdict
        except LabError as error:
            yield Verdict(str(step.__doc__), False, error.message)


async def everyone_reaches_everyone(lab: Lab) -> AsyncIterator[Verdict]:
    """every host and router reaches every other"""
    nodes = [node for node in lab.nodes.values() if node.kind in ("host", "router")]
    sources = [node for node in nodes if node.stack == "layerlab"]
    pairs = [(source, target) for source in sources for target in nodes if source is not target]
    failed, times = [], []
    for source, target in pairs:
        result = await source.ping(target, count=1, timeout=2.0)
        if result["received"]:
            times.append(result["rtt_avg"])
        else:
            failed.append(f"{source.name}->{target.name}")
    numbers = f"{len(pairs) - len(failed)} of {len(pairs)} pairs answer"
    if times:
        numbers += f", median {sorted(times)[len(times) // 2] / MILLISECOND:.1f} ms"
    yield Verdict(str(everyone_reaches_everyone.__doc__), not failed, numbers + "".join(f", {f}" for f in failed))


async def the_path_is_the_planned_one(lab: Lab) -> AsyncIterator[Verdict]:
    """the path from a to b crosses both routers"""
    hops: list[dict[str, Any]] = []
    result = await lab.node("a").application("traceroute", hops.append, to="b", timeout=1.0)
    owners = {address: node.name for node in lab.nodes.values() for address in node.addresses}
    path = [
        next((owners.get(probe["address"], probe["address"]) for probe in hop["probes"] if probe["address"]), "*")
        for hop in hops
    ]
    passed = bool(result["reached"]) and path == ["r1", "r2", "b"]
    yield Verdict(str(the_path_is_the_planned_one.__doc__), passed, "a -> " + " -> ".join(path))


async def datagrams_survive_fragmentation(lab: Lab) -> AsyncIterator[Verdict]:
    """UDP datagrams larger than any frame are fragmented, reassembled and echoed"""
    for size in (4000, 40_000):
        result = await lab.node("a").application("udp_source", to="b", port=7, size=size, count=5, mode="request")
        numbers = f"{result['answered']} of {result['sent']} echoes of {size} octets"
        yield Verdict(
            f"UDP datagrams of {size:,} octets are fragmented, reassembled and echoed",
            result["sent"] == result["answered"] == 5,
            numbers,
        )


async def the_path_mtu_is_found(lab: Lab) -> AsyncIterator[Verdict]:
    """a packet that may not be fragmented finds the narrow link"""
    a, core = lab.node("a"), lab.link("core")
    reports: list[dict[str, Any]] = []

    async def ping(size: int, count: int) -> dict[str, Any]:
        return await a.application(
            "ping", reports.append, to="b", count=count, size=size, dont_fragment=True, interval=0.05, timeout=1.0
        )

    async def known() -> list[int]:
        return [row["mtu"] for row in (await a.state())["path_mtus"]]

    await ping(1472, 2)
    reported = [report["mtu"] for report in reports if "mtu" in report]
    yield Verdict(
        "a packet too large is answered with the MTU of the narrow link",
        1400 in reported,
        f"fragmentation needed, MTU {', '.join(map(str, reported)) or 'not reported'}",
    )
    mtus = await known()
    yield Verdict("the sender remembers the path MTU", mtus == [1400], f"path MTUs of a: {mtus}")
    result = await ping(1372, 3)
    numbers = f"{result['received']} of {result['transmitted']} pings of 1,400 octets arrive unfragmented"
    yield Verdict("what fits passes unfragmented", result["received"] == 3, numbers)
    await core.set_mtu(1200)
    await ping(1372, 3)
    mtus = await known()
    yield Verdict("the sender follows when the link narrows to 1200", mtus == [1200], f"path MTUs of a: {mtus}")
    await core.set_mtu(1400)


async def the_plain_host_agrees(lab: Lab) -> AsyncIterator[Verdict]:
    """the plain host k and our stack understand each other"""
    k = lab.node("k")
    result = await lab.node("a").ping(k, count=3, size=3000, interval=0.1, timeout=1.0)
    numbers = f"{result['received']} of 3 replies"
    yield Verdict("our ping reaches the plain host k, fragmented", result["received"] == 3, numbers)
    passed, numbers = await _ping_of(k)
    yield Verdict("the ping of k reaches our stack, fragmented", passed, numbers)


async def _ping_of(k: Node) -> tuple[bool, str]:
    """Linux's, where k has Linux's stack."""
    if k.stack == "layerlab":
        result = await k.ping("a", count=3, size=3000, interval=0.1, timeout=1.0)
        return result["received"] == 3, f"{result['received']} of 3 replies to our stack, which stands for Linux's here"
    if shutil.which("ping") is None:
        return True, "not tried: this machine has no ping command"
    done = await k.exec("ping", "-n", "-c", "3", "-i", "0.2", "-s", "3000", "-W", "2", "a", timeout=30)
    summary = next((line for line in done.stdout.splitlines() if "received" in line), done.stderr.strip())
    return done.status == 0, summary.split(", time")[0]


STEPS: tuple[Step, ...] = (
    everyone_reaches_everyone,
    the_path_is_the_planned_one,
    datagrams_survive_fragmentation,
    the_path_mtu_is_found,
    the_plain_host_agrees,
)


def judge_captures(run: Run) -> Verdict:
    """Read every capture of a finished run with tshark, where there is one, and with our own reader."""
    found = crossings(run)
    lost = sum(crossing.lost for crossing in found)
    numbers = f"{len(found)} frames, {lost} lost on the way"
    if shutil.which("tshark") is None:
        return Verdict("the captures can be read", bool(found), numbers + "; tshark is not here to agree")
    bad = [line for path in sorted(run.folder.glob("nodes/*/capture*.pcapng")) for line in _complaints(path)]
    return Verdict(
        "tshark reads every capture without a malformed packet",
        bool(found) and not bad,
        f"{numbers}, {len(bad)} malformed" + (f": {bad[0]}" if bad else ""),
    )


def _complaints(capture: Path) -> list[str]:
    """What tshark finds malformed, or cannot read."""
    # A dynamic port may be one that some product uses: tshark would take our data for a malformed message of it.
    no_guesses = ["-d", "udp.port==1024-65535,data"]
    wanted = "_ws.malformed || _ws.expert.severity >= 8388608"
    command = ["tshark", "-n", "-r", str(capture), *no_guesses, "-Y", wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    return lines if done.returncode == 0 else [*lines, done.stderr.strip()]
