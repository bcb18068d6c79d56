"""What a port knows of its LAN: the port information machine (IEEE 802.1D-2004 section 17.27).

    DISABLED ──port up──► AGED ──selected──► MINE ◄──────selected────────┐
                           ▲                  │ superior information     │
                           │                  ▼                          │
                           └──3 hello times── RECEIVED ──superior to it──┘

A port holds the best vector that it heard on its LAN, or its own when that one is better. A received vector is an
opinion with a lifetime: a designated port repeats it each hello time, and after three without a word it is gone. A
word from the port that it came from always replaces it, better or worse, so that bad news travels as fast as good news.

    message from            vector, against the port's     what it means here
    designated port         superior                       learn it, select roles again
    designated port         the same                       still alive
    designated port         inferior                       it does not hear us: dispute if it learns already
    root, alternate         the same or inferior           an answer: agreement, or none
    any other               -                              nothing
"""

from __future__ import annotations

from nodes.datalink.spanning_tree_port import Info, Tree, TreePort
from nodes.datalink.spanning_tree_vectors import (
    PriorityVector,
    Times,
    is_superior,
    message_times,
    message_vector,
    one_hop_older,
)
from nodes.wire.bpdu import (
    CONFIGURATION,
    FLAG_ACKNOWLEDGMENT,
    FLAG_AGREEMENT,
    FLAG_LEARNING,
    FLAG_PROPOSAL,
    FLAG_TOPOLOGY_CHANGE,
    NOTIFICATION,
    RAPID,
    ROLE_ALTERNATE_OR_BACKUP,
    ROLE_DESIGNATED,
    ROLE_ROOT,
    Bpdu,
)

LOST_HELLOS = 3  # section 17.21.23


def port_up(tree: Tree, port: TreePort) -> None:
    port.info = Info.AGED
    tree.request_roles("port_up")


def port_down(tree: Tree, port: TreePort) -> None:
    port.info = Info.DISABLED
    port.proposing = port.proposed = port.agree = port.agreed = False
    port.rcvd_info_while = 0
    tree.request_roles("port_down")


def age(tree: Tree, port: TreePort) -> bool:
    """Forget information that nobody repeated. True when it did."""
    if port.info is not Info.RECEIVED or port.rcvd_info_while:
        return False
    port.info = Info.AGED
    tree.request_roles("information_aged")
    return True


def update(tree: Tree, port: TreePort) -> None:
    """The state UPDATE: the port becomes the source of its LAN's information."""
    vector = tree.designated_vector(port)
    port.proposing = port.proposed = False
    port.agreed = port.agreed and port.info is Info.MINE and vector <= port.priority
    port.synced = port.synced and port.agreed
    port.priority = vector
    port.times = tree.designated_times
    port.info = Info.MINE
    port.new_info = True


def receive(tree: Tree, port: TreePort, message: Bpdu) -> None:
    """The state RECEIVE and those after it."""
    if message.type == NOTIFICATION:
        port.rcvd_tcn = True
        return
    vector, times = message_vector(message), message_times(message)
    if message.role == ROLE_DESIGNATED:
        _designated(tree, port, message, vector, times)
    elif message.role in (ROLE_ROOT, ROLE_ALTERNATE_OR_BACKUP) and vector >= port.priority:
        _record_agreement(port, message)
        _set_topology_flags(port, message)


def _designated(tree: Tree, port: TreePort, message: Bpdu, vector: PriorityVector, times: Times) -> None:
    """Section 17.21.8: the three kinds of word from a designated port."""
    if port.info is Info.RECEIVED and (vector, times) == (port.priority, port.times):
        _repeated(tree, port, message)
    elif is_superior(vector, port.priority):
        _superior(tree, port, message, vector, times)
    else:
        _record_dispute(port, message)


def _superior(tree: Tree, port: TreePort, message: Bpdu, vector: PriorityVector, times: Times) -> None:
    same_or_better = port.info is Info.RECEIVED and vector <= port.priority
    port.agreed = port.proposing = False
    _record_proposal(port, message)
    _set_topology_flags(port, message)
    port.agree = port.agree and same_or_better
    port.priority, port.times = vector, times
    port.info = Info.RECEIVED
    _refresh(tree, port)
    tree.request_roles("superior_bpdu" if port.rcvd_info_while else "message_age_exceeded")


def _repeated(tree: Tree, port: TreePort, message: Bpdu) -> None:
    _record_proposal(port, message)
    _set_topology_flags(port, message)
    _refresh(tree, port)


def _refresh(tree: Tree, port: TreePort) -> None:
    """`updtRcvdInfoWhile` (section 17.21.23)."""
    alive = one_hop_older(port.times.message_age) <= port.times.max_age
    port.rcvd_info_while = tree.start(LOST_HELLOS * port.times.hello_time) if alive else 0


def _record_proposal(port: TreePort, message: Bpdu) -> None:
    if message.type == RAPID and message.flags & FLAG_PROPOSAL:
        port.proposed = True


def _record_agreement(port: TreePort, message: Bpdu) -> None:
    """Section 17.21.9. On a shared medium one neighbor cannot agree for the others."""
    port.agreed = bool(port.send_rstp and port.point_to_point and message.flags & FLAG_AGREEMENT)
    if port.agreed:
        port.proposing = False
        port.disputed = False  # it hears us by now; the standard leaves this to one more round of closing and opening


def _record_dispute(port: TreePort, message: Bpdu) -> None:
    """Section 17.21.10, as 802.1Q-2005 corrects it: two designated ports on one LAN, and the other one learns: it does
    not hear us (a link that is deaf in one direction), and a loop forms unless we stop."""
    if message.type == RAPID and message.flags & FLAG_LEARNING:
        port.disputed = True
        port.agreed = False


def _set_topology_flags(port: TreePort, message: Bpdu) -> None:
    port.rcvd_tc = port.rcvd_tc or bool(message.flags & FLAG_TOPOLOGY_CHANGE)
    if message.type == CONFIGURATION and message.flags & FLAG_ACKNOWLEDGMENT:
        port.rcvd_tc_ack = True
