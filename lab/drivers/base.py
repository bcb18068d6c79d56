"""What a driver does: the whole contract between a supervisor and the technology that nodes run in.

A driver carries out a plan and decides nothing. It lives in the lab's supervisor; every method is called from there,
in this order: `enter`, `create`, `start_node` for each node, then anything, and `destroy` last. A method that fails
raises a DriverError with the cause in the machine's own words; `destroy` may be called after any failure, and twice.

What a driver cannot do it says in `cannot` (lab/drivers/abilities.py), and is then never asked for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lab.drivers.abilities import Cannot
from lab.host.links import Interface

Progress = Callable[[str, int, int], None]
"""Called with (what is being made, how many are done, how many there are)."""


class Epoch(NamedTuple):
    """The instant that all times of a run count from: ns of the monotonic clock, and ns since 1970."""

    monotonic: int
    wall: int


@dataclass(frozen=True, slots=True)
class NodeExit:
    """A node's agent ended by itself. `status` is its exit code, or minus the number of the signal that ended it."""

    node: str
    status: int


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a command gets into a node: file descriptors of the namespaces to join, in this order."""

    user: int | None
    mount: int
    pid: int
    network: int
    uts: int | None = None


class Driver(Protocol):
    name: str
    cannot: Cannot
    """Why not, by verb. What is not in it the driver does."""

    def enter(self) -> None:
        """Put this process where a supervisor of such a lab has to live. Forks: the child returns and is the
        supervisor, while the command that starts the lab waits for the end of the parent (`os._exit(0)`). Raises
        EnvironmentLackError where the machine or the user cannot do that."""
        ...

    def create(self, progress: Progress) -> None:
        """Make all nodes and links of the plan, without running anything in them."""
        ...

    def start_node(self, node: str) -> None:
        """Start the node's agent and connect its interfaces. Returns before the agent answers."""
        ...

    def stop_node(self, node: str) -> list[NodeExit]:
        """End what is left of the node's agent, wait for its end, and switch the node off: its neighbors see no
        carrier. Returns the ends of other nodes that it heard of meanwhile."""
        ...

    def pause_node(self, node: str, *, paused: bool) -> None:
        """Let the node's agent stand still, or go on: what arrives meanwhile waits, and its timers come late."""
        ...

    def connect(self, node: str) -> socket.socket:
        """A new connection to the node's control socket. Raises NodeError where nobody listens."""
        ...

    def entrance(self, node: str) -> Entrance:
        """The namespaces of a node."""
        ...

    def set_link(
        self, link: str, *, up: bool | None = None, mtu: int | None = None, opened: bool | None = None
    ) -> tuple[Interface, Interface] | None:
        """Take a link down or up, or change the MTU (octets of IP packet) of both ends; None leaves it as it is.
        `opened` makes it one with inner ends, which carry nothing until somebody moves the frames between them: its
        nodes see the cable out and in again; False makes it plain. Links that the plan impairs are opened from the
        start. Returns the inner ends (those that face `a` and `b`), which are in the supervisor's network namespace;
        None for a link that is not opened."""
        ...

    def node_state(self, node: str) -> dict[str, object]:
        """What the driver itself knows of a node: a kernel's addresses and routes, a bridge's table."""
        ...

    def exits(self) -> tuple[int, Callable[[], list[NodeExit]]]:
        """A file descriptor that becomes readable when nodes end, and a function that then tells which. The function
        raises DriverError where the driver can no longer watch over its nodes."""
        ...

    def destroy(self) -> None:
        """Undo everything. Never raises; what could not be undone is said on standard error."""
        ...
