"""One TCP stream in frames of 1500 octets, with and without loss, beside pmd-pytcp.

    direct       source --- sink                 no offload: every segment is a frame, every checksum is made
    relay, 0 %   source --- relay --- sink       a process between, the same for all
    relay, 1 %                                   that loses 1 % of the frames, both ways, by a seed

pmd-pytcp is the fastest stack in pure Python that we know of: the asyncio fork of PyTCP. It runs as a program of its
own (GPL) in an environment of its own, which is made at the first run; it sits behind a TAP interface, as it is meant
to, where the others have a veth. Between two kernels the figure is what wire and relay allow.

Every figure is what the sink counts from its first octets on, for some seconds or until the end. Our source and sink
are the applications of that name; at the kernel's ends are loops of Python on blocking sockets; all congestion control
is cubic.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from tests.benchmarks.rig import Worker
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span
from tests.benchmarks.tcp_kernel import Sink, Source
from tests.benchmarks.tcp_wire import ADDRESSES, Wire, wire

PYTCP = "pmd-pytcp==0.3.8"
PORT = 5001
ROUNDS = 3
SECONDS, QUICK_SECONDS = 5.0, 1.5
BEYOND = 1.0
"""Seconds that a source sends longer than its sink counts."""

PYTCP_OCTETS = 64 << 20
"""What a source of pmd-pytcp is given to send: more than it can in the time."""

PATHS: dict[str, float | None] = {"direct": None, "relay, 0 %": 0.0, "relay, 1 %": 0.01}
OURS, KERNEL, PEER = "ours", "kernel", "pmd-pytcp"
CASES = (
    (KERNEL, KERNEL),
    (OURS, KERNEL),
    (PEER, KERNEL),
    (KERNEL, OURS),
    (KERNEL, PEER),
    (OURS, OURS),
    (PEER, PEER),
)
"""Source, sink."""


@dataclass(frozen=True)
class Stream:
    """Bits of payload per second."""

    path: str
    source: str
    sink: str
    goodput: float


def run(settings: Settings) -> Report:
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    failures: list[str] = []
    python = _install(settings, failures) if settings.pytcp else None
    streams = []
    for number in range(1 if settings.quick else ROUNDS):
        for path, loss in PATHS.items():
            for source, sink in CASES:
                if (PEER in (source, sink) and python is None) or (loss is None and source == sink == PEER):
                    continue
                settings.say(f"tcp_frames, {path}, {source} to {sink}, round {number + 1}")
                try:
                    goodput = _stream(settings, loss, source, sink, seconds, python)
                except (RuntimeError, OSError, LabError) as error:
                    failures.append(f"{path}, {source} to {sink}: {str(error).strip().splitlines()[-1]}")
                else:
                    streams.append(Stream(path, source, sink, goodput))
    return Report("tcp_frames", [_table(streams)], [asdict(one) for one in streams], failures)


def _install(settings: Settings, failures: list[str]) -> Path | None:
    """The Python of an environment with pmd-pytcp, kept in the user's cache."""
    if os.geteuid():
        failures.append("pmd-pytcp needs a TAP interface, and that needs root (--without-pytcp skips it)")
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "layerlab-benchmarks" / PYTCP.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        settings.say(f"tcp_frames, installing {PYTCP} in {folder}")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTCP]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], pip):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                failures.append(f"{PYTCP} cannot be installed (--without-pytcp skips it): {done.stderr.strip()}")
                return None
        (folder / "complete").touch()
    return python


def _stream(
    settings: Settings, loss: float | None, source: str, sink: str, seconds: float, python: Path | None
) -> float:
    taps = "".join(end for end, kind in (("a", source), ("k", sink)) if kind == PEER)
    with ExitStack() as stack:
        ends = stack.enter_context(wire(settings, loss, taps=taps))
        into = stack.enter_context(_sink(ends, sink, seconds, python))
        stack.enter_context(_source(ends, source, seconds, python))
        found = into.hear()
    if not found["seconds"]:
        raise RuntimeError("nothing arrived")
    return float(found["octets"] * 8 / found["seconds"])


@contextmanager
def _sink(ends: Wire, kind: str, seconds: float, python: Path | None) -> Iterator[Worker]:
    """One that counts already; its answer is what it counted."""
    if kind == OURS:
        with ends.ours("k") as worker:
            worker.tell(sink=PORT, seconds=seconds)
            yield worker
    elif kind == KERNEL:
        with ends.kernel("k", lambda: Sink(PORT)) as worker:
            worker.tell(seconds=seconds)
            yield worker
    else:
        assert python is not None
        with ends.pytcp("k", python, "sink", str(PORT), str(seconds)) as worker:
            worker.tell()
            yield worker


@contextmanager
def _source(ends: Wire, kind: str, seconds: float, python: Path | None) -> Iterator[None]:
    """One that has begun to send."""
    to = ADDRESSES["k"]
    if kind == OURS:
        with ends.ours("a") as worker:
            worker.tell(source=[to, PORT], seconds=seconds + BEYOND)
            yield
    elif kind == KERNEL:
        with ends.kernel("a", Source) as worker:
            worker.tell(to=to, port=PORT, seconds=seconds + BEYOND, congestion="cubic")
            yield
    else:
        assert python is not None
        with ends.pytcp("a", python, "source", to, str(PORT), str(PYTCP_OCTETS)) as worker:
            worker(go=True)
            yield


def _table(streams: list[Stream]) -> Table:
    table = Table(
        "One TCP stream in frames of 1500 octets, Mbit/s of payload: median (smallest to largest)",
        ("path", "source", "sink", "Mbit/s", "of pmd-pytcp's", "of kernel to kernel"),
        notes=["`of pmd-pytcp's`: beside pmd-pytcp in the place of ours."],
    )
    rates: dict[tuple[str, ...], list[float]] = {
        (path, source, sink): [
            one.goodput / 1e6 for one in streams if (one.path, one.source, one.sink) == (path, source, sink)
        ]
        for path in PATHS
        for source, sink in CASES
    }
    for path, source, sink in ((path, *case) for path in PATHS for case in CASES):
        found = rates[path, source, sink]
        if not found:
            continue
        middle = median(found)
        in_place = (path, *(PEER if kind == OURS else kind for kind in (source, sink)))
        peer = median(rates.get(in_place, [])) if OURS in (source, sink) else None
        table.rows.append((
            path, source, sink, span(found), ratio(middle, peer), ratio(middle, median(rates[path, KERNEL, KERNEL])),
        ))  # fmt: skip
    return table
