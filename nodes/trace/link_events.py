"""What happens to the links of a lab. Nodes see only its effect; the lab itself records these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class CarrierUpdated:
    """`old` and `new` are `up` or `down`."""

    category: ClassVar[str] = "link"
    link: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class MtuUpdated:
    """Octets of IP packet; `old` is what the plan or the last change said."""

    category: ClassVar[str] = "link"
    link: str
    old: int
    new: int
    trigger: str


@dataclass(frozen=True, slots=True)
class ImpairmentUpdated:
    """What a link does to frames from one node to another, in words: `delay 20ms, loss 1%`."""

    category: ClassVar[str] = "link"
    link: str
    sender: str
    receiver: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class ExecutorUpdated:
    """Who carries an impaired link's frames: `none`, `kernel` or `relay`; `trigger` is why it is that one."""

    category: ClassVar[str] = "link"
    link: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class EmulatorFailed:
    """A process that carries frames ended by itself, and with it those that it held; or the one that measures what the
    kernel carries. `trigger` says how it ended."""

    category: ClassVar[str] = "link"
    emulator: str
    trigger: str


LinkEvent: TypeAlias = CarrierUpdated | MtuUpdated | ImpairmentUpdated | ExecutorUpdated | EmulatorFailed
