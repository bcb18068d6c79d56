"""The variables of the spanning tree and how its tables of steps run (IEEE 802.1D-2004 17.18 to 17.20).

The standard writes its machines as states with conditions on the arrows. Here every machine is a table of steps: a
name, a condition, an action. Running a table performs the first step whose condition holds; a tree has settled when
no step of any table can be taken. Each action makes its own condition false, so settling ends.

Timers count down in the standard, once per second. Here a timer is the time at which it ends, and 0 when it is not
running, so that nothing ticks. Some timers are reset over and over while a port has a role (`rrWhile` of a root port);
such a timer is not running here, and is started when the port leaves the role.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from nodes.datalink.spanning_tree_vectors import (
    PriorityVector,
    SpanningTreeSettings,
    Times,
    bridge_identifier,
    port_identifier,
)
from nodes.trace.events import SpanningTreePortUpdated, Tracer
from nodes.units import SECOND
from nodes.wire.addresses import Mac

MIGRATE_TIME = 3 * SECOND  # table 17-1


class Role(StrEnum):
    """Section 17.3.1."""

    DISABLED = "disabled"
    ROOT = "root"
    DESIGNATED = "designated"
    ALTERNATE = "alternate"
    BACKUP = "backup"


class Info(StrEnum):
    """Where a port's priority vector comes from (`infoIs`, section 17.19.10)."""

    DISABLED = "disabled"
    AGED = "aged"
    MINE = "mine"
    RECEIVED = "received"


class Migration(StrEnum):
    """States of port protocol migration (section 17.24)."""

    CHECKING_RSTP = "checking_rstp"
    SELECTING_STP = "selecting_stp"
    SENSING = "sensing"


class Change(StrEnum):
    """Lasting states of the topology change machine (section 17.31)."""

    INACTIVE = "inactive"
    LEARNING = "learning"
    ACTIVE = "active"


TIMERS = (
    "edge_delay_while",
    "fd_while",
    "hello_when",
    "mdelay_while",
    "rb_while",
    "rcvd_info_while",
    "rr_while",
    "tc_while",
    "tx_decay",
)
_ALL_TIMERS: Callable[[object], tuple[int, ...]] = attrgetter(*TIMERS)


class TreePort:
    """The variables of section 17.19, under their own names where those are not too short to read."""

    __slots__ = (
        "admin_edge",
        "agree",
        "agreed",
        "bpdus_in",
        "bpdus_invalid",
        "bpdus_out",
        "change",
        "disputed",
        "due",
        "edge_delay_while",
        "enabled",
        "fd_while",
        "forward",
        "forwarding",
        "hello_when",
        "identifier",
        "index",
        "info",
        "learn",
        "learning",
        "mdelay_while",
        "migration",
        "name",
        "new_info",
        "oper_edge",
        "path_cost",
        "point_to_point",
        "priority",
        "proposed",
        "proposing",
        "rb_while",
        "rcvd_info_while",
        "rcvd_rstp",
        "rcvd_stp",
        "rcvd_tc",
        "rcvd_tc_ack",
        "rcvd_tcn",
        "reported",
        "reroot",
        "role",
        "rr_while",
        "selected_role",
        "send_rstp",
        "sync",
        "synced",
        "tc_ack",
        "tc_prop",
        "tc_while",
        "times",
        "trigger",
        "tx_count",
        "tx_decay",
    )

    edge_delay_while: int
    fd_while: int
    hello_when: int
    mdelay_while: int
    rb_while: int
    rcvd_info_while: int
    rr_while: int
    tc_while: int
    tx_decay: int

    def __init__(self, index: int, name: str, settings: SpanningTreeSettings, *, shared: bool, edge: bool) -> None:
        self.index = index
        self.name = name
        self.identifier = port_identifier(index)
        self.path_cost = settings.path_cost
        self.point_to_point = not shared
        self.enabled = False
        # What the port knows of its LAN, and the role that follows from it.
        self.info = Info.DISABLED
        self.priority = PriorityVector(0, 0, 0, 0)
        self.times = settings.times
        self.role = self.selected_role = Role.DISABLED
        # What the roles want (learn, forward), and what the port does (learning, forwarding).
        self.learn = self.forward = False
        self.learning = self.forwarding = False
        # The handshake between a designated port and the root port at the other end.
        self.proposing = self.proposed = False
        self.agree = self.agreed = False
        self.sync = self.reroot = self.disputed = False
        self.synced = True
        self.admin_edge = self.oper_edge = edge
        # Topology change.
        self.change = Change.INACTIVE
        self.rcvd_tc = self.rcvd_tcn = self.rcvd_tc_ack = False
        self.tc_prop = self.tc_ack = False
        # Migration and transmission.
        self.migration = Migration.CHECKING_RSTP
        self.send_rstp = settings.rapid
        self.rcvd_rstp = self.rcvd_stp = False
        self.new_info = False
        self.tx_count = 0
        for timer in TIMERS:
            setattr(self, timer, 0)
        self.due = 0
        # Observation.
        self.trigger = ""
        self.reported = (Role.DISABLED, "discarding")
        self.bpdus_in = self.bpdus_out = self.bpdus_invalid = 0

    @property
    def state(self) -> str:
        """One of the three states of section 7.4."""
        if self.forwarding:
            return "forwarding"
        return "learning" if self.learning else "discarding"

    def plan(self) -> None:
        """Note when the next timer ends: every frame of a switch asks for its deadline, so it must cost nothing."""
        self.due = min(filter(None, _ALL_TIMERS(self)), default=0)

    def expire(self, now: int) -> None:
        """Stop the timers that have ended."""
        for timer in TIMERS:
            if 0 < getattr(self, timer) <= now:
                setattr(self, timer, 0)
        if self.tx_count and not self.tx_decay:
            self.tx_count -= 1
            self.tx_decay = now + SECOND if self.tx_count else 0


class Tree:
    """The variables of the whole bridge (section 17.18), shared by all machines; and the clock of the current input."""

    def __init__(
        self,
        names: list[str],
        mac: Mac,
        settings: SpanningTreeSettings,
        tracer: Tracer,
        shared: frozenset[int],
        edges: frozenset[int],
    ) -> None:
        self.mac = mac
        self.settings = settings
        self.tracer = tracer
        self.identifier = bridge_identifier(settings.priority, mac)
        self.ports = [TreePort(i, name, settings, shared=i in shared, edge=i in edges) for i, name in enumerate(names)]
        self.now = 0
        self.cause = ""  # of the next selection of roles
        self.reselect = False
        self.root = PriorityVector(self.identifier, 0, self.identifier, 0)
        self.root_port: TreePort | None = None
        self.designated_times: Times = settings.times
        self.topology_changes = 0
        self.flushes: list[int] = []
        self.out: list[tuple[int, bytes]] = []

    def start(self, duration: int) -> int:
        """The end of a timer that starts now; a duration of 0 has ended already."""
        return self.now + duration if duration > 0 else 0

    def request_roles(self, cause: str) -> None:
        self.cause = cause
        self.reselect = True

    def designated_vector(self, port: TreePort) -> PriorityVector:
        """What this bridge says on `port` (section 17.5)."""
        return PriorityVector(self.root.root, self.root.cost, self.identifier, port.identifier)

    def forward_delay(self, port: TreePort) -> int:
        """`forwardDelay` (section 17.20.5): a rapid neighbor needs no more than a hello time."""
        times = self.designated_times
        return times.hello_time if port.send_rstp else times.forward_delay

    def report(self, port: TreePort) -> None:
        """Trace a change of role or state."""
        new = (port.role, port.state)
        if new != port.reported:
            (old_role, old_state), port.reported = port.reported, new
            event = SpanningTreePortUpdated(port.name, old_role, new[0], old_state, new[1], port.trigger)
            self.tracer(self.now, event)


class Step(NamedTuple):
    """One arrow of a state diagram."""

    name: str
    when: Callable[[Tree, TreePort], bool]
    do: Callable[[Tree, TreePort], None]


def take_step(table: tuple[Step, ...], tree: Tree, port: TreePort) -> bool:
    """Take the first step that can be taken. False when none can."""
    for step in table:
        if step.when(tree, port):
            step.do(tree, port)
            return True
    return False
