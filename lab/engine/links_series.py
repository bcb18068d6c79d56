"""What impaired links did, second by second, as a table: `links/series.csv` in the run.

One row for each direction in which something moved in that second. `seconds` counts from the start of the run, to the
end of the interval; `delay_ms` is the mean over the frames that left in it, `late_ms` the worst of them. They are empty
where the executor does not know them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lab.links.base import UNKNOWN, Samples
from nodes.impairment import DIRECTIONS, Direction
from nodes.physical.statistics import Sample
from nodes.trace.files import RecordFile
from nodes.units import MILLISECOND, SECOND

HEADER = "seconds,link,from,to,in_frames,out_frames,dropped,rate_bps,delay_ms,late_ms\n"

EndsOf = Callable[[str, Direction], tuple[str, str]]


class LinksSeries:
    """`start` is the instant that seconds count from (ns). Raises OSError where the file cannot be made."""

    def __init__(self, folder: Path, start: int, ends_of: EndsOf) -> None:
        self._file = RecordFile(folder / "links" / "series.csv")
        self._file.write(HEADER.encode())
        self._start = start
        self._ends_of = ends_of
        self._before: dict[tuple[str, Direction], tuple[int, Sample]] = {}

    def add(self, now: int, samples: Mapping[str, Samples]) -> None:
        """One sample of every impaired link, as the executors gave them at `now`."""
        for link, sides in samples.items():
            for direction in DIRECTIONS:
                self._add(now, link, direction, sides[direction])
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, now: int, link: str, direction: Direction, sample: Sample) -> None:
        then, before = self._before.get((link, direction), (now - SECOND, EMPTY))
        self._before[link, direction] = now, sample
        entered, left, octets, dropped, delay, timed = (
            new - old for new, old in zip(sample[:6], before[:6], strict=True)
        )
        if entered < 0 or now <= then:  # another process counts from zero again
            return
        if not (entered or left or dropped):
            return
        rate = octets * 8 * SECOND // (now - then)
        mean = f"{delay / timed / MILLISECOND:.3f}" if timed > 0 else ""
        late = f"{sample.late / MILLISECOND:.3f}" if sample.late != UNKNOWN else ""
        ends = ",".join(self._ends_of(link, direction))
        row = f"{(now - self._start) / SECOND:.3f},{link},{ends},{entered},{left},{dropped},{rate},{mean},{late}\n"
        self._file.write(row.encode())


EMPTY = Sample(0, 0, 0, 0, 0, 0, 0)
