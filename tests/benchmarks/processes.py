"""What processes cost, read from /proc and from the kernel's CPU clocks.

CPU time: every process has a clock of its own (clock_getcpuclockid(3)) in nanoseconds, which anybody may read. The
fields of /proc/PID/stat count in ticks of 10 ms, more than many an agent has used, so they serve only for the children
that a process has already waited for, which the kernel adds up exactly before it rounds the sum.

Memory: PSS, the proportional set size (proc(5), smaps_rollup). A page that n processes share counts 1/n for each, so
that the sum over all processes is what the machine really gives.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")
_CPU_CLOCK_OF_PROCESS = 2  # CPUCLOCK_SCHED: the low three bits of a clock number, above them the inverted pid


class Process(NamedTuple):
    """A row of /proc. `started` (ticks since boot) tells a process from a later one with the same pid."""

    pid: int
    parent: int
    name: str
    reaped: float
    started: int
    state: str


def table() -> dict[int, Process]:
    """All processes that exist now, by pid. `reaped` is the CPU time (s) of children that ended and were waited for."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := _read(entry)) is not None:
            found[process.pid] = process
    return found


def descendants(root: int) -> list[Process]:
    """A process and all below it."""
    everything = table()
    children: dict[int, list[Process]] = defaultdict(list)
    for process in everything.values():
        children[process.parent].append(process)
    found = [everything[root]] if root in everything else []
    for process in found:  # grows as it goes
        found.extend(children[process.pid])
    return found


def survivors(processes: Iterable[Process]) -> list[Process]:
    """Those that still run. One that has ended and only waits for the machine's init to take note does not."""
    now = table()
    return [one for one in processes if _is_alive(one, now.get(one.pid))]


def cpu_seconds(processes: Iterable[Process]) -> float:
    """CPU time of processes, user and system, with the children that they have waited for."""
    return sum(cpu_clock(process.pid) + process.reaped for process in processes)


def pss(processes: Iterable[Process]) -> int:
    """Octets of memory, shared pages in proportion."""
    total = 0
    for process in processes:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def _is_alive(then: Process, now: Process | None) -> bool:
    return now is not None and now.started == then.started and now.state != "Z"


def cpu_clock(pid: int) -> float:
    """CPU time (s) of one process, user and system; 0 where it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK_OF_PROCESS)
    except OSError:  # it has ended since it was listed
        return 0.0


def _read(entry: Path) -> Process | None:
    try:
        text = (entry / "stat").read_text()
    except OSError:  # it has ended since it was listed
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()  # from field 3 of proc(5), the state, on
    reaped = (int(fields[13]) + int(fields[14])) * TICK
    return Process(int(entry.name), int(fields[1]), name, reaped, int(fields[19]), fields[0])
