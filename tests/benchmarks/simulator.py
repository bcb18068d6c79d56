"""The simulator without programs: how much virtual network a second of the processor carries.

    chains   20 switches (with and without spanning trees, or each link with a delay and a little loss), or 20 routers,
             between two hosts: pings in flight all the time, each frame by itself; hops/s are frames that came out of a
             link, whatever was done to them on the way
    bulk     one TCP stream through two switches: MB per second of the wall clock
    large    a tree of 111 switches with spanning trees and 1,000 hosts; for 10 minutes each host pings another every
             10 seconds, across the whole tree. Memory is the growth of the process, from before the plan
    idle     the same tree when nobody says anything, and a star of 200 hosts without a spanning tree, where nothing at
             all happens: virtual seconds per second

One process, one processor; no files are written.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from lab.model import generate
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.seeds import link_seed
from nodes.simulation.network import Network
from nodes.simulation.values import QuietRecorder, Wire
from nodes.units import SECOND
from tests.benchmarks import processes
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, span

LENGTH = 20
ROUNDS = 3
PINGS, QUICK_PINGS = 3_000, 300
INTERVAL = 0.001
BULK, QUICK_BULK = 100_000_000, 5_000_000
FANOUT, QUICK_FANOUT = 10, 4
"""Of the tree, on three levels: 1,000 hosts below 111 switches, or 64 below 21."""
EVERY = 10.0
MINUTES, QUICK_MINUTES = 10, 1
SETTLED = 40 * SECOND
"""After this, spanning trees forward (802.1D without the rapid kind: two delays of 15 s)."""
KINDS = ("switches", "switches, spanning tree", "switches, impaired links", "routers")


@dataclass(frozen=True)
class Chain:
    kind: str
    hops: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.hops / self.seconds


@dataclass(frozen=True)
class Bulk:
    octets: int
    seconds: float
    virtual: float


@dataclass(frozen=True)
class Large:
    """Seconds to plan, to build and to run; octets of memory."""

    nodes: int
    planned: float
    built: float
    seconds: float
    virtual: float
    hops: int
    memory: int
    answered: float


@dataclass(frozen=True)
class Idle:
    kind: str
    events: int
    virtual: float
    seconds: float


def run(settings: Settings) -> Report:
    chains, bulks, larges, idles = [], [], [], []
    for number in range(1 if settings.quick else ROUNDS):
        settings.say(f"simulator, round {number + 1}")
        chains += [_chain(kind, QUICK_PINGS if settings.quick else PINGS) for kind in KINDS]
        bulks.append(_bulk(QUICK_BULK if settings.quick else BULK))
    settings.say("simulator, the large tree")
    larges.append(_large(*((QUICK_FANOUT, QUICK_MINUTES) if settings.quick else (FANOUT, MINUTES))))
    idles += [_idle("star of 200 hosts", generate.star(200, impl="stack"))]
    fanout = QUICK_FANOUT if settings.quick else FANOUT
    idles += [_idle("tree, spanning trees", generate.tree(3, fanout, impl="stack", stp=True))]
    samples = {
        "chains": [asdict(one) for one in chains],
        "bulk": [asdict(one) for one in bulks],
        "large": [asdict(one) for one in larges],
        "idle": [asdict(one) for one in idles],
    }
    return Report("simulator", [_rates(chains, bulks), _sizes(larges), _silence(idles)], samples)


def _network(text: str) -> Network:
    plan = make_plan(loads(text, "simulated.yml"))
    nodes = [replace(node, interfaces=tuple(replace(x, offload=False) for x in node.interfaces)) for node in plan.nodes]
    wires = [
        Wire(
            link.name,
            (link.a.node, link.a.interface),
            (link.b.node, link.b.interface),
            impairment=link.impairment,
            seeds=(link_seed(plan.seed, link.name, "ab"), link_seed(plan.seed, link.name, "ba")),
        )
        for link in plan.links
    ]
    return Network(nodes, wires, recorder_for=lambda _: QuietRecorder())


def _start(network: Network, node: str, kind: str, **options: object) -> int:
    found = network.node(node)
    assert found.runner is not None
    number = found.runner.start(kind, options, network.now)
    found.touch()
    return number


def _result(network: Network, node: str, number: int) -> dict[str, object]:
    runner = network.node(node).runner
    assert runner is not None
    return runner.result(number)


def _chain_of_switches(kind: str, length: int) -> str:
    tree = ", stp: {}" if "tree" in kind else ""
    impair = "impair: {delay: 1ms, loss: 0.1%}" if "impaired" in kind else "up: true"
    names = ["h1", *(f"s{number}" for number in range(1, length + 1)), "h2"]
    nodes = "".join(f"  {name}: {{kind: switch, impl: stack{tree}}}\n" for name in names[1:-1])
    pairs = pairwise(names)
    links = "".join(f"  - {{ends: [{a}, {b}], {impair}}}\n" for a, b in pairs)
    return f"nodes:\n  h1: host\n  h2: host\n{nodes}links:\n{links}"


def _chain(kind: str, pings: int) -> Chain:
    text = generate.line(LENGTH) if kind == "routers" else _chain_of_switches(kind, LENGTH)
    network = _network(text)
    network.run(SETTLED)
    _start(network, "h1", "ping", to="h2", count=5)
    network.run(network.now + 5 * SECOND)  # the caches learn
    _start(network, "h1", "ping", to="h2", count=pings, interval=INTERVAL)
    hops, began = network.hops, time.perf_counter()
    network.run(network.now + round(pings * INTERVAL * SECOND) + SECOND)
    return Chain(kind, network.hops - hops, time.perf_counter() - began)


def _bulk(octets: int) -> Bulk:
    network = _network(_chain_of_switches("switches", 2))
    network.run(SETTLED)
    _start(network, "h2", "sink")
    number = _start(network, "h1", "source", to="h2", bytes=octets)
    runner = network.node("h1").runner
    assert runner is not None
    began, start = time.perf_counter(), network.now
    while runner.state(number) == "running":
        network.run(network.now + SECOND // 10)
    return Bulk(octets, time.perf_counter() - began, (network.now - start) / SECOND)


def _large(fanout: int, minutes: int) -> Large:
    before, began = _memory(), time.perf_counter()
    text = generate.tree(3, fanout, impl="stack", stp=True)
    make_plan(loads(text, "simulated.yml"))
    planned = time.perf_counter() - began
    began = time.perf_counter()
    network = _network(text)
    built = time.perf_counter() - began - planned
    hosts = fanout**3
    network.run(SETTLED)
    pings = {}
    for number in range(hosts):
        other = (number + hosts // 2) % hosts
        count = round(minutes * 60 / EVERY) - 1
        name = f"h{number + 1}"
        network.run(network.now + round(EVERY * SECOND / hosts))
        pings[name] = _start(network, name, "ping", to=f"h{other + 1}", count=count, interval=EVERY)
    start = network.now - round(EVERY * SECOND)
    began = time.perf_counter()
    hops = network.hops
    network.run(start + minutes * 60 * SECOND)
    seconds = time.perf_counter() - began
    found = [_result(network, name, number) for name, number in pings.items()]
    sent, received = (sum(int(str(one[key])) for one in found) for key in ("transmitted", "received"))
    return Large(
        len(network.nodes), planned, built, seconds, minutes * 60, network.hops - hops, _memory() - before,
        received / sent,
    )  # fmt: skip


def _idle(kind: str, text: str) -> Idle:
    network = _network(text)
    network.run(3600 * SECOND)  # nobody has a neighbor in its cache any more
    events, began, virtual = network.events, time.perf_counter(), 0
    while time.perf_counter() - began < 1 and virtual < 1_000_000:
        network.run(network.now + 10 * SECOND)
        virtual += 10
    return Idle(kind, network.events - events, virtual, time.perf_counter() - began)


def _memory() -> int:
    gc.collect()
    return processes.pss([processes.table()[os.getpid()]])


def _rates(chains: list[Chain], bulks: list[Bulk]) -> Table:
    table = Table(
        "Frame hops per second, and TCP in virtual time: median of the rounds (smallest to largest)",
        ("network", "figure", "value"),
    )
    for kind in KINDS:
        rates = [one.rate for one in chains if one.kind == kind]
        table.rows.append((f"chain of {LENGTH} {kind}", "hops/s", span(rates)))
    speeds = [one.octets / one.seconds / 1e6 for one in bulks]
    table.rows.append(("TCP stream through 2 switches", "MB/s of wall time", span(speeds)))
    return table


def _sizes(larges: list[Large]) -> Table:
    one = larges[0]
    rows = [
        ("nodes", one.nodes),
        ("virtual seconds", one.virtual),
        ("frame hops", one.hops),
        ("pings answered, %", 100 * one.answered),
        ("seconds to plan", one.planned),
        ("seconds to build", one.built),
        ("seconds to run", one.seconds),
        ("hops/s", one.hops / one.seconds),
        ("memory, MiB", one.memory / 2**20),
        ("memory for a node, KiB", one.memory / one.nodes / 1024),
    ]
    return Table("A tree of switches and its hosts, each of which pings another", ("figure", "value"), list(rows))


def _silence(idles: list[Idle]) -> Table:
    rows = [(one.kind, one.events / one.virtual, one.virtual / one.seconds) for one in idles]
    return Table("Idle networks", ("network", "events per virtual second", "virtual seconds per second"), list(rows))
