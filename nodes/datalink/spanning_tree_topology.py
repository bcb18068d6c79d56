"""Topology change: forget what was learned on the old tree (IEEE 802.1D-2004 section 17.31).

When a port that is no edge opens, stations may now be reached on other ports. The bridge tells all its neighbors on
the tree, they tell theirs, and each one forgets the stations of every port but the one that the news came from. STP
carried the news up to the root, acknowledged hop by hop, and the root told everybody to age fast; RSTP floods it
directly, and flushes.

    INACTIVE ──learn──► LEARNING ──forward, no edge: detected──► ACTIVE ──no longer on the tree, or edge──► LEARNING
        ▲                  │
        └── off the tree ──┘

    in ACTIVE      received a notification (TCN)     count as topology change, acknowledge
                   received topology change flag     propagate to the other ports
                   asked to propagate                flush, set the flag in own BPDUs
                   received acknowledgment           stop notifying
"""

from __future__ import annotations

from nodes.datalink.spanning_tree_port import Change, Role, Step, Tree, TreePort, take_step
from nodes.units import SECOND

ON_THE_TREE = (Role.ROOT, Role.DESIGNATED)


def _inactive(tree: Tree, port: TreePort) -> None:
    """Leaving the tree: what was learned here is wrong now."""
    tree.flushes.append(port.index)
    port.tc_while = 0
    port.tc_ack = False
    port.change = Change.INACTIVE


def _learning(tree: Tree, port: TreePort) -> None:  # noqa: ARG001  (the signature of all actions)
    port.change = Change.LEARNING


def _forget_news(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.rcvd_tc = port.rcvd_tcn = port.rcvd_tc_ack = port.tc_prop = False


def _detected(tree: Tree, port: TreePort) -> None:
    tree.topology_changes += 1
    _start_telling(tree, port)
    _tell_others(tree, port)
    port.new_info = True
    port.change = Change.ACTIVE


def _notified_tcn(tree: Tree, port: TreePort) -> None:
    _start_telling(tree, port)
    _notified_tc(tree, port)


def _notified_tc(tree: Tree, port: TreePort) -> None:
    port.rcvd_tcn = port.rcvd_tc = False
    if port.role is Role.DESIGNATED:
        port.tc_ack = True
    _tell_others(tree, port)


def _propagating(tree: Tree, port: TreePort) -> None:
    _start_telling(tree, port)
    tree.flushes.append(port.index)
    port.tc_prop = False


def _acknowledged(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.tc_while = 0
    port.rcvd_tc_ack = False


def _start_telling(tree: Tree, port: TreePort) -> None:
    """`newTcWhile` (section 17.21.7): two BPDUs to a rapid neighbor; to an STP one, until everything has aged."""
    if port.tc_while:
        return
    if port.send_rstp:
        port.tc_while = tree.start(tree.designated_times.hello_time + SECOND)
    else:
        times = tree.designated_times
        port.tc_while = tree.start(times.max_age + times.forward_delay)
    port.new_info = True


def _tell_others(tree: Tree, port: TreePort) -> None:
    for other in tree.ports:
        if other is not port:
            other.tc_prop = True


def _has_news(port: TreePort) -> bool:
    return port.rcvd_tc or port.rcvd_tcn or port.rcvd_tc_ack or port.tc_prop


STEPS = {
    Change.INACTIVE: (
        Step("learning", lambda _, port: port.learn, _learning),
        Step("ignore", lambda _, port: _has_news(port), _forget_news),
    ),
    Change.LEARNING: (
        Step(
            "detected",
            lambda _, port: port.role in ON_THE_TREE and port.forward and not port.oper_edge,
            _detected,
        ),
        Step("ignore", lambda _, port: _has_news(port), _forget_news),
        Step(
            "inactive",
            lambda _, port: port.role not in ON_THE_TREE and not (port.learn or port.learning),
            _inactive,
        ),
    ),
    Change.ACTIVE: (
        Step("off_tree", lambda _, port: port.role not in ON_THE_TREE or port.oper_edge, _learning),
        Step("notified_tcn", lambda _, port: port.rcvd_tcn, _notified_tcn),
        Step("notified_tc", lambda _, port: port.rcvd_tc, _notified_tc),
        Step("propagating", lambda _, port: port.tc_prop, _propagating),
        Step("acknowledged", lambda _, port: port.rcvd_tc_ack, _acknowledged),
    ),
}


def advance(tree: Tree, port: TreePort) -> bool:
    """One step of the machine. True when it took one."""
    return take_step(STEPS[port.change], tree, port)
