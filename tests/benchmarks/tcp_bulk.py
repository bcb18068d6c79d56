"""One TCP stream between two nodes as fast as it goes; ours and the kernel's, in all pairs, beside iperf3.

    source --- sink               one veth pair
    source --- bridge --- sink    two, and a Linux bridge

The links are as a lab has them by default: they carry segments of 64 KiB, as a veth does for the kernel. Ours are the
applications `source` and `sink` (which does not compare here what it gets: iperf3 does not either) in agents. Between
two kernels it is iperf3, with this kernel's default congestion control and with cubic, which is our default. Between
ours and the kernel's, the kernel's end is a loop of a few lines of Python on a blocking socket, with cubic.

    Gbit/s   payload from the first octet to the last, for ours as the source has it acknowledged
    CPU      user and system seconds of the process at each end (and of its receiving and sending inside the kernel)
             for 10^9 octets of payload
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass

from lab.engine.client import follow
from tests.benchmarks.processes import cpu_clock
from tests.benchmarks.rig import Answer, Rig, Worker, rig
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span
from tests.benchmarks.tcp_kernel import IperfClient, IperfServer, Sink, Source

PORT = 5001
ROUNDS = 3
SECONDS, QUICK_SECONDS = 4.0, 1.0
WARM_UP = 0.3
CUBIC = "cubic"
OURS, KERNEL = "ours", "kernel"
KINDS = {OURS: "host", KERNEL: "{kind: host, stack: kernel}"}
LINKS = {
    "direct": "nodes:\n  c: {}\n  s: {}\nlinks:\n  - c -- s\n",
    "bridge": "nodes:\n  c: {}\n  s: {}\n  w: switch\nlinks:\n  - c -- w\n  - w -- s\n",
}
CASES = (
    (KERNEL, KERNEL, ""),
    (KERNEL, KERNEL, CUBIC),
    (OURS, OURS, CUBIC),
    (OURS, KERNEL, CUBIC),
    (KERNEL, OURS, CUBIC),
)
"""Source, sink, congestion control of the source; none: the kernel's default."""


@dataclass(frozen=True)
class Stream:
    """Bits of payload per second; CPU seconds of both ends, for all of it."""

    link: str
    source: str
    sink: str
    congestion: str
    octets: int
    seconds: float
    source_cpu: float
    sink_cpu: float

    @property
    def goodput(self) -> float:
        return self.octets * 8 / self.seconds


def run(settings: Settings) -> Report:
    if shutil.which("iperf3") is None:
        return Report("tcp_bulk", [], [], ["iperf3 is not installed"])
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    streams = []
    for number in range(1 if settings.quick else ROUNDS):
        for link, topology in LINKS.items():
            for source, sink, congestion in CASES:
                settings.say(f"tcp_bulk, {link}, {source} to {sink}, {congestion or 'default'}, round {number + 1}")
                with rig(topology.format(KINDS[source], KINDS[sink]), settings) as lab:
                    found = _stream(lab, source, sink, congestion, seconds)
                streams.append(Stream(link, source, sink, **found))
    return Report("tcp_bulk", [_table(streams)], [asdict(one) | {"goodput": one.goodput} for one in streams])


def _stream(lab: Rig, source: str, sink: str, congestion: str, seconds: float) -> Answer:
    if (source, sink) == (KERNEL, KERNEL):
        return _iperf(lab, congestion, seconds)
    if source == KERNEL:
        return _into_ours(lab, congestion, seconds)
    return _from_ours(lab, seconds) if sink == OURS else _ours_into_kernel(lab, seconds)


def _iperf(lab: Rig, congestion: str, seconds: float) -> Answer:
    with lab.worker("s", lambda: IperfServer(PORT)) as server, lab.worker("c", IperfClient) as client:
        server()
        client(to=lab.address("s"), port=PORT, seconds=1, congestion=congestion)
        found = client(to=lab.address("s"), port=PORT, seconds=max(1, round(seconds)), congestion=congestion)
        return found | {"congestion": congestion or f"{found['congestion']} (default)"}


def _from_ours(lab: Rig, seconds: float) -> Answer:
    with lab.client.agent("s") as agent:
        number = agent.call("start", application="sink", options={"port": PORT, "verify": "never"})["id"]
        _send(lab, WARM_UP)
        pids = lab.agent_pid("c"), lab.agent_pid("s")
        before = [cpu_clock(pid) for pid in pids]
        result = _send(lab, seconds)
        used = [cpu_clock(pid) - then for pid, then in zip(pids, before, strict=True)]
        agent.call("stop", id=number)
    return _sent(result, used[0], used[1])


def _ours_into_kernel(lab: Rig, seconds: float) -> Answer:
    with lab.worker("s", lambda: Sink(PORT)) as sink:
        sink.tell()
        _send(lab, WARM_UP)
        sink.hear()
        pids = lab.agent_pid("c"), sink.pid
        before = [cpu_clock(pid) for pid in pids]
        sink.tell()
        result = _send(lab, seconds)
        sink.hear()
        used = [cpu_clock(pid) - then for pid, then in zip(pids, before, strict=True)]
    return _sent(result, used[0], used[1])


def _send(lab: Rig, seconds: float) -> Answer:
    options = {"to": lab.address("s"), "port": PORT, "duration": seconds, "interval": 0.0, "congestion": CUBIC}
    with lab.client.agent("c") as agent:
        return follow(agent.stream("run", {"application": "source", "options": options}), lambda _: None)


def _sent(result: Answer, source_cpu: float, sink_cpu: float) -> Answer:
    if result["failed"]:
        raise RuntimeError(f"our source: {result['reason']}")
    return {
        "octets": result["octets"],
        "seconds": result["duration"] / 1e9,
        "source_cpu": source_cpu,
        "sink_cpu": sink_cpu,
        "congestion": CUBIC,
    }


def _into_ours(lab: Rig, congestion: str, seconds: float) -> Answer:
    with lab.worker("c", Source) as source, lab.client.agent("s") as agent:
        options = {"port": PORT, "verify": "never", "interval": 0.0}
        number = agent.call("start", application="sink", options=options)["id"]
        _pour(lab, source, congestion, WARM_UP)
        agent.call("stop", id=number)
        number = agent.call("start", application="sink", options=options)["id"]
        pids = source.pid, lab.agent_pid("s")
        before = [cpu_clock(pid) for pid in pids]
        _pour(lab, source, congestion, seconds)
        result = agent.call("stop", id=number)
        used = [cpu_clock(pid) - then for pid, then in zip(pids, before, strict=True)]
    return {
        "octets": result["octets"],
        "seconds": result["duration"] / 1e9,
        "source_cpu": used[0],
        "sink_cpu": used[1],
        "congestion": congestion,
    }


def _pour(lab: Rig, source: Worker, congestion: str, seconds: float) -> None:
    source(to=lab.address("s"), port=PORT, seconds=seconds, congestion=congestion)


def _table(streams: list[Stream]) -> Table:
    table = Table(
        "One TCP stream, links with offload, Gbit/s of payload: median (smallest to largest)",
        (
            *("link", "source", "sink", "congestion", "Gbit/s", "of kernel's default", "of kernel's cubic"),
            *("source CPU s/GB", "sink CPU s/GB"),
        ),
    )
    for link in LINKS:
        here: dict[tuple[str, str, str], list[Stream]] = {}
        for one in streams:
            if one.link == link:
                here.setdefault((one.source, one.sink, one.congestion), []).append(one)
        kernels = [median(one.goodput for one in found) for key, found in here.items() if key[:2] == (KERNEL, KERNEL)]
        for key, found in here.items():
            rates = [one.goodput for one in found]
            table.rows.append((
                link, *key, span([rate / 1e9 for rate in rates]), *(ratio(median(rates), base) for base in kernels),
                median(one.source_cpu / one.octets * 1e9 for one in found),
                median(one.sink_cpu / one.octets * 1e9 for one in found),
            ))  # fmt: skip
    return table
