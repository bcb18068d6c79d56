"""Whether a run's links did what was asked, as far as the emulator can be blamed.

An emulator that is late adds delay that nobody asked for; a machine without a free processor makes all processes of
a lab late, the emulator's and the nodes'. Neither can be taken out of the results afterwards. So the run says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nodes.units import MILLISECOND

LATE = 2 * MILLISECOND
"""Lateness that may not happen to more than one frame in a hundred; for long delays a tenth of them."""
FULL = 0.97
"""A second with less than 3 % of all processors idle is one in which processes waited for their turn."""
FULL_SECONDS = 2
FULL_SHARE = 0.1
"""So many full seconds, and so many of all, make a machine saturated."""
TROUBLES_LIMIT = 100
"""Troubles that are told; a schedule may fail at each of its steps for hours."""
MINIMUM_FRAMES = 100
"""Frames below which a percentile of lateness says nothing."""


@dataclass(slots=True)
class Saturation:
    """Seconds counted by the supervisor while links were impaired."""

    seconds: int = 0
    full: int = 0
    troubles: list[str] = field(default_factory=list)
    more_troubles: int = 0

    def trouble(self, text: str) -> None:
        """Something that went wrong; after TROUBLES_LIMIT only counted."""
        if len(self.troubles) < TROUBLES_LIMIT:
            self.troubles.append(text)
        else:
            self.more_troubles += 1

    def note(self, busy: float) -> None:
        self.seconds += 1
        self.full += busy > FULL

    @property
    def reason(self) -> str | None:
        if self.full < FULL_SECONDS or self.full < FULL_SHARE * self.seconds:
            return None
        return f"the machine was saturated: in {self.full} of {self.seconds} seconds no processor had time left"


def reasons(states: Mapping[str, Mapping[str, Any]], saturation: Saturation) -> list[str]:
    """Why the measurements of a run cannot be trusted; empty where they can. `states` are those of the link table."""
    found = list(saturation.troubles)
    if saturation.more_troubles:
        found.append(f"{saturation.more_troubles} more such troubles")
    if saturation.reason is not None:
        found.append(saturation.reason)
    for name, state in states.items():
        found += (f"link {name}, {text}" for text in _of_link(state))
    return found


def _of_link(state: Mapping[str, Any]) -> Iterator[str]:
    for side in state.get("directions", ()):
        measured, where = side["measured"], f"{side['from']} to {side['to']}"
        lateness = (measured or {}).get("lateness")
        if not lateness or (lateness["count"] or 0) < MINIMUM_FRAMES:
            continue
        limit = max(LATE, side["asked"].get("delay", 0) // 10)
        if lateness["p99"] > limit:
            late = lateness["p99"] / MILLISECOND
            yield f"{where}: the emulator was late, 1 % of the frames by more than {late:.1f} ms"
    missed = (state.get("emulator") or {}).get("missed") or 0
    if missed:
        yield f"the emulator missed {missed} frames, which the kernel had no room to keep for it"
