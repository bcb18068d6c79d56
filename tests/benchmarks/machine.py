"""The machine that figures were taken on, and what else it was doing."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def describe() -> dict[str, object]:
    """As values of JSON."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "user": "root" if os.geteuid() == 0 else "ordinary user",
    }


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores the machine keeps busy without us, seen over some seconds."""
    before = _busy_seconds()
    begun = time.monotonic()
    time.sleep(seconds)
    return (_busy_seconds() - before) / (time.monotonic() - begun)


def sentence(facts: dict[str, object], busy: list[float]) -> str:
    others = ", ".join(f"{cores:.2f}" for cores in busy)
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_mib']} MiB, {facts['kernel']}, "
        f"{facts['python']}, {facts['user']}; cores busy with other work before each benchmark and at the end: {others}"
    )


def _busy_seconds() -> float:
    """CPU time of all cores so far that was not idle, nor waiting for a disk (proc(5), the first line of stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
