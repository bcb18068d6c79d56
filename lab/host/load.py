"""How busy the machine is: shares of processor time, from /proc/stat (proc(5))."""

from __future__ import annotations

from pathlib import Path

_IDLE = slice(3, 5)  # idle, iowait
_COUNTED = slice(0, 8)  # user nice system idle iowait irq softirq steal; guest time is in user


class LoadMeter:
    """Each question is about the time since the last one."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._before = self._read()

    def busy(self) -> float:
        """Share of all processors that was not idle, 0 to 1; time that a hypervisor took is not idle."""
        before, self._before = self._before, self._read()
        total, idle = self._before[0] - before[0], self._before[1] - before[1]
        return 1 - idle / total if total > 0 else 0.0

    def _read(self) -> tuple[int, int]:
        with self._stat.open() as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
        return sum(ticks[_COUNTED]), sum(ticks[_IDLE])
