"""What drivers cannot do, said by themselves, with the reason.

A driver states it in `cannot` (lab/drivers/base.py). The supervisor refuses what is in there before it begins with it,
the commands and the API of a driver without a supervisor (`sim`) do the same, `lab ps LAB --json` and `lab drivers`
tell it. What a driver does not name there it has to do: tests/drivers holds every driver to that.

A verb is what a person asks for, not what a driver calls: one method of a driver may serve several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

from lab.errors import EnvironmentLackError
from lab.plan.values import Plan

Verb = Literal[
    "up", "exec", "copy", "restart", "pause", "link", "impair",
    "kernel", "image", "ovs", "clock", "virtual", "user", "any",
]  # fmt: skip

WORDS: Mapping[Verb, str] = {
    "up": "keep a lab up for commands (`lab up`)",
    "exec": "run Linux commands in nodes (`lab exec`)",
    "copy": "copy files into nodes and out of them (`lab cp`)",
    "restart": "stop, kill and start nodes",
    "pause": "pause and resume nodes",
    "link": "take links down and up, and change their MTU",
    "impair": "impair links",
    "kernel": "run hosts and routers with the kernel's stack (`stack: kernel`)",
    "image": "run a container image as a node (`image`)",
    "ovs": "run Open vSwitch switches (`impl: ovs`)",
    "clock": "set the clocks of nodes wrong",
    "virtual": "run in virtual time (the same seed, the same run)",
    "user": "run without root",
    "any": "run on any operating system",
}
"""Each as it follows "the driver can"."""

Cannot: TypeAlias = Mapping[Verb, str]

_REAL_TIME: Cannot = {
    "clock": "all processes have the machine's clock",
    "virtual": "its nodes are processes, in real time",
    "any": "its nodes live in namespaces of Linux",
}
_NO_IMAGES = "its nodes are no containers: the key is ignored, with a warning"

CANNOT: Mapping[str, Cannot] = {
    "netns": {"image": _NO_IMAGES, **_REAL_TIME},
    "docker": {
        "ovs": "its switches are bridges of the kernel, or containers with our switch",
        **_REAL_TIME,
        "user": "only root may move cables into the network namespaces of containers",
    },
    "mininet": {"image": _NO_IMAGES, **_REAL_TIME},
    "sim": {
        "up": "virtual time goes on only inside the process of a script",
        "exec": "there is no kernel to run them on",
        "copy": "its nodes have no file system of their own: they are objects of one process",
        "kernel": "there is no kernel: every stack is ours",
        "image": "its nodes are no containers",
    },
}
"""Of the drivers that come with Layerlab. Here, and not in their modules, because those import what only they need."""


class Able(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def cannot(self) -> Cannot: ...


def refusal(driver: Able | str, verb: Verb, subject: str = "", *, hint: str = "") -> EnvironmentLackError:
    """The error for what a driver says that it cannot do. `driver` may be the name of one of Layerlab's; `subject` is
    the node or link that is meant."""
    name, cannot = (driver, CANNOT[driver]) if isinstance(driver, str) else (driver.name, driver.cannot)
    about = f"{subject}: " if subject else ""
    return EnvironmentLackError(
        f"{about}the driver {name} cannot {WORDS[verb]}: {cannot[verb]}", hint=hint or _who_can(verb)
    )


def require(driver: Able, verb: Verb, subject: str = "") -> None:
    """Raises EnvironmentLackError, with the driver's reason, where it cannot do that."""
    if verb in driver.cannot:
        raise refusal(driver, verb, subject)


def require_for(driver: Able, plan: Plan) -> None:
    """Raises EnvironmentLackError for a plan with parts that the driver cannot have."""
    for node in plan.nodes:
        if node.stack == "kernel" and not node.is_bridge:
            require(driver, "kernel", node.name)
        if node.stack == "ovs":
            require(driver, "ovs", node.name)
    for link in plan.links:
        if link.impairment is not None:
            require(driver, "impair", link.name)


def reasons() -> list[tuple[str, Verb, str]]:
    """Drivers, with commas between those that say the same; what they cannot do, and why."""
    found: dict[tuple[Verb, str], list[str]] = {}
    for verb in WORDS:
        for name, cannot in CANNOT.items():
            if verb in cannot:
                found.setdefault((verb, cannot[verb]), []).append(name)
    return [(", ".join(names), verb, reason) for (verb, reason), names in found.items()]


def _who_can(verb: Verb) -> str:
    able = [name for name, cannot in CANNOT.items() if verb not in cannot]
    return f"{' and '.join(able)} can: `--driver {able[0]}`" if able else ""
