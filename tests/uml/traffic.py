"""Numbered frames through something, and what came of them: the common language of kernel and engine.

Times are ns of any clock, as long as it is the same for sending and arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nodes import impairment as values
from nodes.impairment import Impairment


@dataclass(frozen=True, slots=True)
class Case:
    """`frames` frames of `octets` each (with the Ethernet header), `burst` at once, then the next ones `interval` ns
    later; 0: as soon as what came through has been read. `ect`: IPv4 packets that may be marked."""

    impairment: Impairment
    frames: int
    octets: int = 100
    burst: int = 64
    interval: int = 0
    ect: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "impairment": values.encode(self.impairment),
            "frames": self.frames,
            "octets": self.octets,
            "burst": self.burst,
            "interval": self.interval,
            "ect": self.ect,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "impairment": values.decode(data["impairment"])})


@dataclass(slots=True)
class Passage:
    """`sent[n]` is when frame n was sent; `arrived` are the frames' numbers in the order of arrival, `times` when that
    was. `changed` holds those that arrived otherwise than sent, by their place in `arrived`. `foreign` counts frames
    of somebody else. `facts` are the executor's own."""

    sent: list[int] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    changed: dict[int, bytes] = field(default_factory=dict)
    foreign: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def lost(self) -> list[bool]:
        """Whether frame n never arrived, for every n."""
        there = set(self.arrived)
        return [number not in there for number in range(len(self.sent))]

    def delays(self) -> list[int]:
        """Of each arrival."""
        return [time - self.sent[number] for number, time in zip(self.arrived, self.times, strict=True)]

    def to_json(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "arrived": self.arrived,
            "times": self.times,
            "changed": {str(place): frame.hex() for place, frame in self.changed.items()},
            "foreign": self.foreign,
            "facts": self.facts,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        changed = {int(place): bytes.fromhex(frame) for place, frame in data["changed"].items()}
        return cls(**{**data, "changed": changed})
