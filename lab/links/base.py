"""What an executor of impairments does. There are two where nodes are processes: the kernel's netem, and the relay.

An opened link (lab/drivers/base.py) ends in two interfaces of the supervisor's network namespace. An executor moves the
frames between them, and does to them what the impairment says:

    a ═════ left   (executor)   right ═════ b        ab: what enters at left and leaves at right;  ba: the other way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lab.host.links import Interface
from nodes.impairment import Direction, Impairment
from nodes.physical.statistics import Sample

Samples: TypeAlias = Mapping[Direction, Sample]
"""Of both directions of a link."""
UNKNOWN = -1
"""The lateness in a sample of an executor that does not know it."""


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """`impairments` and `seeds` of ab and ba; `mtu` in octets of IP packet."""

    name: str
    left: Interface
    right: Interface
    mtu: int
    impairments: tuple[Impairment, Impairment]
    seeds: tuple[int, int]
    up: bool = True


class LinkExecutor(Protocol):
    """All methods raise DriverError with the cause in the machine's own words."""

    name: str

    def add(self, link: OpenedLink) -> None:
        """Begin to carry a link's frames."""
        ...

    def change(self, link: str, impairments: tuple[Impairment, Impairment], mtu: int) -> None:
        """Other impairments for both directions."""
        ...

    def set_up(self, link: str, up: bool) -> None:
        """The link's carrier came or went: what is inside is lost, as in a cable that is pulled out."""
        ...

    def state(self, link: str) -> dict[str, object]:
        """`ab` and `ba`: each `applied` (an encoded impairment, as far as it can be read back) and `measured`
        (Statistics.snapshot, None for what this executor cannot know); `emulator`: facts about the executor itself."""
        ...

    def samples(self) -> dict[str, Samples]:
        """Of all links, cheaply: asked every second."""
        ...

    def watch(self) -> dict[int, str]:
        """Descriptors that become readable when a process of the executor ends, and its name."""
        ...

    def close(self) -> None:
        """Stop. Never raises."""
        ...
