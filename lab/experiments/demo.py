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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.engine.client import LabClient, follow
from lab.engine.ladder import crossings
from lab.engine.launch import own_python
from lab.engine.runs import Run
from lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step showed: pass or fail, and the numbers."""

    claim: str
    passed: bool
    numbers: str


Step = Callable[[LabClient], Iterator[Verdict]]


def run_steps(client: LabClient) -> Iterator[Verdict]:
    """All steps on a lab that is up, in order; one that raises is a failed verdict, and the others still run."""
    for step in STEPS:
        try:
            yield from step(client)
        except LabError as error:
            yield Verdict(str(step.__doc__), False, error.message)


def everyone_reaches_everyone(client: LabClient) -> Iterator[Verdict]:
    """every host and router reaches every other"""
    nodes = [node for node in client.nodes().values() if node.kind in ("host", "router")]
    sources = [node for node in nodes if node.stack == "layerlab"]
    pairs = [(source, target) for source in sources for target in nodes if source != target]
    failed, times = [], []
    for source, target in pairs:
        result = _run(client, source.name, "ping", to=target.name, count=1, timeout=2.0)
        if result["received"]:
            times.append(result["rtt_avg"])
        else:
            failed.append(f"{source.name}->{target.name}")
    numbers = f"{len(pairs) - len(failed)} of {len(pairs)} pairs answer"
    if times:
        numbers += f", median {sorted(times)[len(times) // 2] / 1e6:.1f} ms"
    yield Verdict("every host and router reaches every other", not failed, numbers + "".join(f", {f}" for f in failed))


def the_path_is_the_planned_one(client: LabClient) -> Iterator[Verdict]:
    """the path from a to b crosses both routers"""
    hops: list[dict[str, Any]] = []
    with client.agent("a") as agent:
        options = {"to": "b", "timeout": 1.0}
        result = follow(agent.stream("run", {"application": "traceroute", "options": options}), hops.append)
    owners = client.owners()
    path = [
        next((owners.get(probe["address"], probe["address"]) for probe in hop["probes"] if probe["address"]), "*")
        for hop in hops
    ]
    passed = bool(result["reached"]) and path == ["r1", "r2", "b"]
    yield Verdict("the path from a to b crosses both routers", passed, "a -> " + " -> ".join(path))


def datagrams_survive_fragmentation(client: LabClient) -> Iterator[Verdict]:
    """UDP datagrams larger than any frame are fragmented, reassembled and echoed"""
    for size in (4000, 40_000):
        result = _run(client, "a", "udp_source", to="b", port=7, size=size, count=5, mode="request")
        numbers = f"{result['answered']} of {result['sent']} echoes of {size} octets"
        yield Verdict(
            f"UDP datagrams of {size:,} octets are fragmented, reassembled and echoed",
            result["sent"] == result["answered"] == 5,
            numbers,
        )


def the_path_mtu_is_found(client: LabClient) -> Iterator[Verdict]:
    """a packet that may not be fragmented finds the narrow link"""
    events: list[dict[str, Any]] = []
    with client.agent("a") as agent:
        options = {"to": "b", "count": 2, "size": 1472, "dont_fragment": True, "interval": 0.05, "timeout": 1.0}
        follow(agent.stream("run", {"application": "ping", "options": options}), events.append)
        reported = [event["mtu"] for event in events if "mtu" in event]
        yield Verdict(
            "a packet too large is answered with the MTU of the narrow link",
            1400 in reported,
            f"fragmentation needed, MTU {', '.join(map(str, reported)) or 'not reported'}",
        )
        mtus = agent.call("state")["device"]["path_mtus"]
        known = [row["mtu"] for row in mtus]
        yield Verdict("the sender remembers the path MTU", known == [1400], f"path MTUs of a: {known}")
        options |= {"size": 1372, "count": 3}
        result = follow(agent.stream("run", {"application": "ping", "options": options}), events.append)
        numbers = f"{result['received']} of {result['transmitted']} pings of 1,400 octets arrive unfragmented"
        yield Verdict("what fits passes unfragmented", result["received"] == 3, numbers)
        client.set_link("core", mtu=1200)
        follow(agent.stream("run", {"application": "ping", "options": options}), events.append)
        known = [row["mtu"] for row in agent.call("state")["device"]["path_mtus"]]
        yield Verdict("the sender follows when the link narrows to 1200", known == [1200], f"path MTUs of a: {known}")
        client.set_link("core", mtu=1400)


def the_kernel_agrees(client: LabClient) -> Iterator[Verdict]:
    """Linux's own ping and ours understand each other"""
    result = _run(client, "a", "ping", to="k", count=3, size=3000, interval=0.1, timeout=1.0)
    yield Verdict(
        "our ping reaches the kernel's stack, fragmented", result["received"] == 3, f"{result['received']} of 3 replies"
    )
    if shutil.which("ping") is None:
        yield Verdict("the kernel's ping reaches our stack", True, "not tried: this machine has no ping command")
        return
    ping = ["ping", "-n", "-c", "3", "-i", "0.2", "-s", "3000", "-W", "2", "a"]
    command, environment = own_python("lab", "exec", "--lab", client.lab, "k", "--", *ping)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    summary = next((line for line in done.stdout.splitlines() if "received" in line), done.stderr.strip())
    yield Verdict("the kernel's ping reaches our stack, fragmented", done.returncode == 0, summary.split(", time")[0])


STEPS: tuple[Step, ...] = (
    everyone_reaches_everyone,
    the_path_is_the_planned_one,
    datagrams_survive_fragmentation,
    the_path_mtu_is_found,
    the_kernel_agrees,
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


def _run(client: LabClient, node: str, application: str, **options: Any) -> dict[str, Any]:
    with client.agent(node) as agent:
        return follow(agent.stream("run", {"application": application, "options": options}), lambda _: None)
