"""Names and labels of a lab's containers: all that `lab gc` knows them by.

    layerlab.LAB.NODE            the node; of a program's image, the program
    layerlab.LAB.NODE.agent      the agent beside a program, whose network namespace is the node's

A lab's and a node's name may have dots. Those are doubled in a container's name, so that a single one, or the last of
an odd number, separates, and different nodes never get the same name.

Each container says whose it is by labels. The supervisor is named by its pid, the clock tick at which it began, its PID
namespace and the boot: pids are used again, ticks too after a boot, and in another PID namespace nobody can tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

PREFIX = "org.layerlab."
LAB, USER, RUN, SUPERVISOR, NODE, ROLE = (
    PREFIX + word for word in ("lab", "user", "run", "supervisor", "node", "role")
)
Role = Literal["agent", "program"]
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def container_name(lab: str, node: str, suffix: str = "") -> str:
    """Different for different labs and nodes."""
    return ".".join(["layerlab", *(part.replace(".", "..") for part in (lab, node, suffix) if part)])


def labels(lab: str, run: Path) -> dict[str, str]:
    """What all containers of the lab have that this process supervises."""
    return {LAB: lab, USER: str(os.getuid()), RUN: str(run), SUPERVISOR: str(Supervisor.this())}


class Supervisor(NamedTuple):
    """A process, told apart from all others of this machine, before and after."""

    pid: int
    started: str
    namespace: str
    boot: str

    @classmethod
    def this(cls) -> Supervisor:
        pid = os.getpid()
        return cls(pid, started_at(pid) or "", _namespace(), _boot())

    @classmethod
    def parse(cls, text: str) -> Supervisor | None:
        words = text.split("/")
        return cls(int(words[0]), *words[1:]) if len(words) == 4 and words[0].isdigit() else None

    def __str__(self) -> str:
        return "/".join(map(str, self))

    def is_gone(self, *, container_runs: bool) -> bool | None:
        """None: it cannot be told from here. After another boot the process is gone, unless this is not the machine
        that it ran on: then its containers may well run."""
        if self.boot != _boot():
            return None if container_runs else True
        if self.namespace != _namespace():
            return None
        return started_at(self.pid) != self.started


def started_at(pid: int) -> str | None:
    """The clock tick since boot at which a process began (field 22 of /proc/PID/stat); None where there is none, or
    only what is left of one that nobody has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def is_ours(found: Mapping[str, str]) -> bool:
    """Whether these labels are those of a lab of this user."""
    return found.get(USER) == str(os.getuid()) and LAB in found and SUPERVISOR in found


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
