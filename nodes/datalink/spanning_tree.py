"""Rapid spanning tree (RSTP, IEEE 802.1D-2004 clause 17): bridges agree on a tree inside any mesh of cables.

Why: an Ethernet frame has no hop count. On a loop, a broadcast circulates for ever and multiplies at every bridge,
and the forwarding tables flap with it. So bridges block ports until what is left is a tree, and keep the rest as
spares.

How: every bridge speaks with its neighbors only, in BPDUs. Each says the best vector it knows
(spanning_tree_vectors): "this is the root, this far away". The bridge with the lowest identifier becomes the root
of all; every other bridge has one root port, its best way there; every LAN has one designated port, the best way
from it. The ports that are neither are blocked.

             bridge 1, root
           D │            │ D             D designated, forwarding
             │            │               R root, forwarding
           R │            │ R             A alternate, discarding
      bridge 2 D ─────── A bridge 3

The parts, each a table of steps in its own file, run one after another until none can move:

    spanning_tree_information   what a port has heard, how long it counts                             17.27
    spanning_tree_roles         who is root, which role has each port, when may it open               17.28 - 17.30
    spanning_tree_topology      who must forget which stations when the tree changes                  17.31
    spanning_tree_transmit      rapid or old BPDUs, edges, when to send                               17.24 - 17.26

What a port does with the frames of stations:

    state        role                                      learns    forwards
    discarding   alternate, backup, disabled; or waiting   no        no
    learning     root or designated, half way (STP)        yes       no
    forwarding   root, designated                          yes       yes

How fast: with rapid neighbors on point-to-point links, a proposal and an agreement per hop, milliseconds in all. An
edge opens three seconds after its carrier came. Where nobody can agree, a designated port waits: max age after its
carrier came, and two delays after it closed, which are the forward delay next to an STP bridge and the hello time on a
shared medium. A silent neighbor is missed after three hello times. The diameter of a network is bounded by max age:
each hop counts as one second of it, and beyond 20 bridges from the root (by default) news is too old to count.

Bridges of 802.1D-1998 take part: a port that hears one speaks the old protocol.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nodes.datalink import spanning_tree_information as information
from nodes.datalink import spanning_tree_roles as roles
from nodes.datalink import spanning_tree_topology as topology
from nodes.datalink import spanning_tree_transmit as transmission
from nodes.datalink.spanning_tree_port import Tree, TreePort
from nodes.datalink.spanning_tree_vectors import (
    MAXIMUM_PORTS,
    SpanningTreeSettings,
    bridge_address,
    format_bridge,
    format_port,
)
from nodes.errors import MisuseError, WireError
from nodes.trace.events import FrameDropped, Tracer
from nodes.units import SECOND
from nodes.wire import bpdu
from nodes.wire.addresses import Mac

MAXIMUM_ROUNDS = 64
"""Rounds of all machines after one input. A handful is normal: no chain of causes is longer than the steps of a
port. The bound holds off an endless loop if that were wrong; what is left then moves on with the next input, and is
counted."""


class SpanningTree:
    """The spanning tree of one bridge. Ports are down until `set_port`.

    `shared_ports` are those whose LAN may hold more than two bridges (a hub): they open late, because one neighbor's
    agreement does not speak for the others. `edge_ports` lead to no bridge (AdminEdge): they open with their carrier,
    and are ordinary ports from the first BPDU that they hear."""

    def __init__(
        self,
        ports: Sequence[str],
        mac: Mac,
        tracer: Tracer,
        settings: SpanningTreeSettings,
        *,
        shared_ports: Collection[int] = (),
        edge_ports: Collection[int] = (),
    ) -> None:
        if len(ports) > MAXIMUM_PORTS:
            raise MisuseError(f"{len(ports)} ports", hint=f"a spanning tree numbers at most {MAXIMUM_PORTS} ports")
        self._tree = Tree(list(ports), mac, settings, tracer, frozenset(shared_ports), frozenset(edge_ports))
        self._unsettled = 0
        self._deadline: int | None = None

    def receive(self, port: int, frame: bytes | memoryview, now: int) -> None:
        """A frame to 01:80:c2:00:00:00. Anything but a valid BPDU is counted, traced and ignored."""
        tree, arrival = self._begin(now), self._tree.ports[port]
        try:
            message = bpdu.parse(frame)
        except WireError as error:
            self._drop(arrival, str(error), len(frame))
            return
        reason = _refusal(arrival, message, tree)
        if reason:
            self._drop(arrival, reason, len(frame))
            return
        arrival.bpdus_in += 1
        transmission.heard(tree, arrival, message)
        information.receive(tree, arrival, message)
        self._run([arrival])

    def timeout(self, now: int) -> None:
        """Whatever was due at `now`."""
        tree = self._begin(now)
        due = [port for port in tree.ports if 0 < port.due <= now]
        for port in due:
            port.expire(now)
        self._run(due)

    def deadline(self) -> int | None:
        """When `timeout` is due, or None."""
        return self._deadline

    def transmit(self) -> list[tuple[int, bytes]]:
        """The BPDUs to send since the last call, as (port, frame)."""
        drained, self._tree.out = self._tree.out, []
        return drained

    def set_port(self, port: int, up: bool, now: int) -> None:
        """Carrier on `port` came or went."""
        tree, changed = self._begin(now), self._tree.ports[port]
        if changed.enabled is up:
            return
        changed.enabled = up
        for part in (information, transmission):
            (part.port_up if up else part.port_down)(tree, changed)
        self._run([changed])

    def flushes(self) -> list[int]:
        """The ports whose stations must be forgotten, since the last call."""
        drained, self._tree.flushes = self._tree.flushes, []
        return drained

    def is_learning(self, port: int) -> bool:
        return self._tree.ports[port].learning

    def is_forwarding(self, port: int) -> bool:
        return self._tree.ports[port].forwarding

    def snapshot(self, now: int) -> dict[str, object]:
        """The bridge, its root and its ports, with times in seconds."""
        tree = self._tree
        times = tree.designated_times
        return {
            "bridge": format_bridge(tree.identifier),
            "root": format_bridge(tree.root.root),
            "root_port": tree.root_port.name if tree.root_port else None,
            "path_cost": tree.root.cost,
            "hello_time": times.hello_time / SECOND,
            "max_age": times.max_age / SECOND,
            "forward_delay": times.forward_delay / SECOND,
            "topology_changes": tree.topology_changes,
            "unsettled": self._unsettled,
            "ports": [_port_snapshot(port, now) for port in tree.ports],
        }

    def _begin(self, now: int) -> Tree:
        self._tree.now = now
        return self._tree

    def _run(self, touched: list[TreePort]) -> None:
        """Run the machines of the ports that an input touched, and of all ports when that moved anything. A repeated
        BPDU and a hello time, which are nearly all of the inputs, move nothing."""
        if sum(self._advance(port) for port in touched):
            touched = self._tree.ports
            self._settle()
        for port in touched:
            transmission.transmit(self._tree, port)
            port.plan()
        self._deadline = min((port.due for port in self._tree.ports if port.due), default=None)

    def _settle(self) -> None:
        """Run all machines until none moves."""
        for _ in range(MAXIMUM_ROUNDS):
            if not sum(self._advance(port) for port in self._tree.ports):
                return
        self._unsettled += 1

    def _advance(self, port: TreePort) -> bool:
        tree = self._tree
        moved = information.age(tree, port)
        if tree.reselect:
            roles.select_roles(tree)
            moved = True
        moved = roles.advance(tree, port) or moved
        moved = topology.advance(tree, port) or moved
        return transmission.advance(tree, port) or moved

    def _drop(self, port: TreePort, reason: str, length: int) -> None:
        port.bpdus_invalid += 1
        self._tree.tracer(self._tree.now, FrameDropped(port.name, reason, length))


def _refusal(port: TreePort, message: bpdu.Bpdu, tree: Tree) -> str:
    """Why a well-formed BPDU must not be used (section 9.3.4), or nothing."""
    if not port.enabled:
        return "port is down"
    if message.type == bpdu.NOTIFICATION:
        return ""
    if bridge_address(message.bridge) == bridge_address(tree.identifier) and message.port == port.identifier:
        return "bpdu: own BPDU came back"
    if message.type == bpdu.CONFIGURATION and message.message_age >= message.max_age:
        return "bpdu: message age is not below max age"
    return ""


def _port_snapshot(port: TreePort, now: int) -> dict[str, object]:
    lifetime = (port.rcvd_info_while - now) / SECOND if port.rcvd_info_while else None
    return {
        "name": port.name,
        "identifier": format_port(port.identifier),
        "role": str(port.role),
        "state": port.state,
        "protocol": "rstp" if port.send_rstp else "stp",
        "edge": port.oper_edge,
        "point_to_point": port.point_to_point,
        "path_cost": port.path_cost,
        "information": str(port.info),
        "information_lifetime": lifetime,
        "designated_root": format_bridge(port.priority.root),
        "designated_cost": port.priority.cost,
        "designated_bridge": format_bridge(port.priority.bridge),
        "designated_port": format_port(port.priority.port),
        "bpdus_in": port.bpdus_in,
        "bpdus_out": port.bpdus_out,
        "bpdus_invalid": port.bpdus_invalid,
    }
