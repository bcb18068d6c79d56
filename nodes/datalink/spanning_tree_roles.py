"""Which role each port has, and what the roles do (IEEE 802.1D-2004 sections 17.28 to 17.30).

Selection, after every change of what any port knows (section 17.21.25):

    the port with the best path to the root            root port: the way up
    own vector is better than what the LAN says        designated port: the LAN's way up leads through us
    another bridge is better on the LAN                alternate port: blocked, a second way up
    another port of this bridge is better on the LAN   backup port: blocked, a second way down
    no carrier                                         disabled port

Transition. A blocked port can be opened at once only when it is certain that no loop closes. STP waits: after two
forward delays, all bridges must have heard. RSTP asks. A designated port proposes; the bridge below blocks its own
designated ports (sync), so that nothing behind it can close a loop through it, and its root port agrees; the link
opens, and the cut has moved one bridge further down, where the same happens:

       root bridge                          root bridge                          root bridge
    designated │ proposal ▼              designated │ agreement ▲              designated │ forwarding
          root │                               root │ forwarding                     root │ forwarding
       bridge B ══ all open                 bridge B ── all blocked              bridge B
                                                                              designated │ proposal ▼ ...

A new root port opens at once when the old one is closed (reroot): two ways up at once would be a loop.

    role           step               condition                                     action
    root           proposed           proposed, not agree                           sync all ports
                   agreed             all synced, not agree; or proposed, agree     agree, answer
                   reroot             not forwarding                                reroot all ports
                   learn, forward     forward delay over; or all others rerooted    open
    designated     propose            not forwarding, not agreed, not edge          ask
                   synced             closed; or agreed; or edge                    synced
                   discard            sync, reroot or dispute while open            close
                   learn, forward     forward delay over; or agreed; or edge        open
    alternate,     proposed           proposed, not agree                           sync all ports
    backup         agreed             as for root                                   agree, answer
"""

from __future__ import annotations

from nodes.datalink.spanning_tree_information import update
from nodes.datalink.spanning_tree_port import MIGRATE_TIME, Info, Role, Step, Tree, TreePort, take_step
from nodes.datalink.spanning_tree_vectors import (
    HIGHEST_PATH_COST,
    PriorityVector,
    Times,
    bridge_address,
    format_bridge,
    one_hop_older,
)
from nodes.trace.events import SpanningTreeRootUpdated

# --- selection (section 17.28) -----------------------------------------------------------------------------------


def select_roles(tree: Tree) -> None:
    """`updtRolesTree`: the root, then the role of each port, then what each designated port says."""
    tree.reselect = False
    _select_root(tree)
    for port in tree.ports:
        port.selected_role = _role_of(tree, port)
        stale = (port.priority, port.times) != (tree.designated_vector(port), tree.designated_times)
        if port.selected_role is Role.DESIGNATED and (port.info is not Info.MINE or stale):
            update(tree, port)


def _select_root(tree: Tree) -> None:
    own = PriorityVector(tree.identifier, 0, tree.identifier, 0)
    best: tuple[PriorityVector, int, TreePort | None] = (own, 0, None)
    for port in tree.ports:
        through_us = bridge_address(port.priority.bridge) == bridge_address(tree.identifier)
        if port.info is Info.RECEIVED and not through_us:
            cost = min(port.priority.cost + port.path_cost, HIGHEST_PATH_COST)
            path = port.priority._replace(cost=cost)
            if (path, port.identifier) < best[:2]:
                best = (path, port.identifier, port)
    old = (tree.root.root, tree.root.cost, tree.root_port)
    tree.root, _, tree.root_port = best
    tree.designated_times = _designated_times(tree)
    if old != (tree.root.root, tree.root.cost, tree.root_port):
        _report_root(tree, old[0])


def _designated_times(tree: Tree) -> Times:
    """The root's times, a hop older; the hello time is each bridge's own (section 17.21.25 c)."""
    if tree.root_port is None:
        return tree.settings.times
    times = tree.root_port.times
    return times._replace(message_age=one_hop_older(times.message_age), hello_time=tree.settings.hello_time)


def _report_root(tree: Tree, old_root: int) -> None:
    name = tree.root_port.name if tree.root_port else None
    old, new = format_bridge(old_root), format_bridge(tree.root.root)
    tree.tracer(tree.now, SpanningTreeRootUpdated(old, new, name, tree.root.cost, tree.cause))


def _role_of(tree: Tree, port: TreePort) -> Role:
    if port.info is Info.DISABLED:
        return Role.DISABLED
    if port is tree.root_port:
        return Role.ROOT
    if port.info is not Info.RECEIVED or tree.designated_vector(port) < port.priority:
        return Role.DESIGNATED
    if bridge_address(port.priority.bridge) == bridge_address(tree.identifier):
        return Role.BACKUP
    return Role.ALTERNATE


# --- transition (section 17.29) ----------------------------------------------------------------------------------


def change_role(tree: Tree, port: TreePort) -> bool:
    """Give the port the role selected for it. Timers that the old role held start now."""
    old, new = port.role, port.selected_role
    if old is new:
        return False
    if old is Role.ROOT:
        port.rr_while = tree.start(tree.designated_times.forward_delay)
    elif old is Role.DISABLED:
        port.fd_while = tree.start(tree.designated_times.max_age)
    elif old in (Role.ALTERNATE, Role.BACKUP):
        port.fd_while = tree.start(tree.forward_delay(port))
    if old is Role.BACKUP:
        port.rb_while = tree.start(2 * tree.designated_times.hello_time)
    port.role = new
    port.disputed = False
    port.trigger = tree.cause
    if new not in (Role.ROOT, Role.DESIGNATED):
        port.learn = port.forward = False
    return True


def _all_synced(tree: Tree) -> bool:
    """Section 17.20.3: no port but the root port can still be part of a loop."""
    return all(port.role is port.selected_role and (port.synced or port.role is Role.ROOT) for port in tree.ports)


def _rerooted(tree: Tree, port: TreePort) -> bool:
    """Section 17.20.10: no other port was a root port a moment ago and is still open."""
    return all(other is port or not other.rr_while for other in tree.ports)


def _root_may_open(tree: Tree, port: TreePort) -> bool:
    if not port.fd_while:
        return True
    return tree.settings.rapid and not port.rb_while and _rerooted(tree, port)


def _sync_all(tree: Tree, port: TreePort) -> None:
    for each in tree.ports:
        each.sync = True
    port.proposed = False


def _agree(tree: Tree, port: TreePort) -> None:  # noqa: ARG001  (the signature of all actions)
    port.proposed = port.sync = False
    port.agree = port.new_info = True


def _reroot_all(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    for each in tree.ports:
        each.reroot = True


def _end_reroot(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.reroot = False


def _learn(tree: Tree, port: TreePort) -> None:
    port.trigger = _reason_to_open(port)
    port.learn = True
    port.fd_while = tree.start(tree.forward_delay(port))


def _forward(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.trigger = _reason_to_open(port)
    port.forward = True
    port.fd_while = 0
    if port.role is Role.DESIGNATED:
        port.agreed = port.send_rstp


def _reason_to_open(port: TreePort) -> str:
    if port.role is Role.ROOT:
        return "rerooted" if port.fd_while else "forward_delay_expired"
    if port.agreed:
        return "agreement"
    return "edge_port" if port.oper_edge else "forward_delay_expired"


def _propose(tree: Tree, port: TreePort) -> None:
    """Who does not answer within this time is no bridge (section 17.20.4)."""
    port.proposing = port.new_info = True
    port.edge_delay_while = tree.start(MIGRATE_TIME if port.point_to_point else tree.designated_times.max_age)


def _synced(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.rr_while = 0
    port.synced = True
    port.sync = False


def _must_close(tree: Tree, port: TreePort) -> bool:  # noqa: ARG001
    asked = (port.sync and not port.synced) or (port.reroot and port.rr_while) or port.disputed
    return bool(asked and not port.oper_edge and (port.learn or port.forward))


def _discard(tree: Tree, port: TreePort) -> None:
    if port.disputed:
        port.trigger = "dispute"
    else:
        port.trigger = "sync" if port.sync and not port.synced else "reroot"
    port.learn = port.forward = port.disputed = False
    port.fd_while = tree.start(tree.forward_delay(port))


def _designated_may_open(tree: Tree, port: TreePort) -> bool:  # noqa: ARG001
    certain = not port.fd_while or port.agreed or port.oper_edge
    return certain and not (port.rr_while and port.reroot) and not port.sync


def _blocked(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.synced = True
    port.rr_while = port.fd_while = 0
    port.sync = port.reroot = False


AGREED = Step(
    "agreed",
    lambda tree, port: (port.proposed and port.agree) or (not port.agree and _all_synced(tree)),
    _agree,
)
PROPOSED = Step("proposed", lambda _, port: port.proposed and not port.agree, _sync_all)

ROOT_STEPS = (
    PROPOSED,
    AGREED,
    Step("reroot", lambda _, port: not port.forward and not port.reroot, _reroot_all),
    Step("rerooted", lambda _, port: port.reroot and port.forward, _end_reroot),
    Step("learn", lambda tree, port: not port.learn and _root_may_open(tree, port), _learn),
    Step("forward", lambda tree, port: port.learn and not port.forward and _root_may_open(tree, port), _forward),
)
DESIGNATED_STEPS = (
    Step(
        "propose",
        lambda _, port: not (port.forward or port.agreed or port.proposing or port.oper_edge),
        _propose,
    ),
    Step(
        "synced",
        lambda _, port: port.sync if port.synced else (port.agreed or port.oper_edge or port.state == "discarding"),
        _synced,
    ),
    Step("retired", lambda _, port: port.reroot and not port.rr_while, _end_reroot),
    Step("discard", _must_close, _discard),
    Step("learn", lambda tree, port: not port.learn and _designated_may_open(tree, port), _learn),
    Step("forward", lambda tree, port: port.learn and not port.forward and _designated_may_open(tree, port), _forward),
)
DISABLED_STEPS = (
    Step("blocked", lambda _, port: bool(port.sync or port.reroot or not port.synced or port.rr_while), _blocked),
)
ALTERNATE_STEPS = (PROPOSED, AGREED, *DISABLED_STEPS)

STEPS = {
    Role.ROOT: ROOT_STEPS,
    Role.DESIGNATED: DESIGNATED_STEPS,
    Role.ALTERNATE: ALTERNATE_STEPS,
    Role.BACKUP: ALTERNATE_STEPS,
    Role.DISABLED: DISABLED_STEPS,
}

# --- states (section 17.30) --------------------------------------------------------------------------------------


def change_state(tree: Tree, port: TreePort) -> bool:
    """Do what the role wants: learn, then forward; stop both at once."""
    wanted = (True, port.forward) if port.learn else (False, False)
    changed = wanted != (port.learning, port.forwarding)
    port.learning, port.forwarding = wanted
    tree.report(port)
    return changed


def advance(tree: Tree, port: TreePort) -> bool:
    """One step of the port's role, and of its state. True when anything changed."""
    changed = change_role(tree, port) or take_step(STEPS[port.role], tree, port)
    return change_state(tree, port) or changed
