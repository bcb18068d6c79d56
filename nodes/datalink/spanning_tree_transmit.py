"""What a port sends and to whom: migration, bridge detection and transmission (IEEE 802.1D-2004 17.24 to 17.26).

A bridge of 802.1D-1998 (the one in the Linux kernel, for example) does not understand rapid BPDUs. So a port that
hears STP speaks STP, each port for itself; three seconds of hysteresis keep the two from chasing each other on a
LAN with both:

    CHECKING_RSTP ──3 s──► SENSING ──heard STP──► SELECTING_STP ──3 s──► SENSING ──heard RSTP──► CHECKING_RSTP

A port that proposes for three seconds and hears no BPDU has no bridge on its LAN: it is an edge, and opens at once. One
that was declared an edge (AdminEdge) begins as one, until it hears a BPDU.

    neighbor   role           when                                      BPDU
    RSTP       any            something changed                         rapid
               designated     every hello time                          rapid
               root           every hello time of a topology change     rapid
    STP        designated     changed, or every hello time              configuration
               root           topology change, until acknowledged       notification

At most `transmit_hold_count` BPDUs leave a port in a burst, then one per second: news that comes faster is merged.
"""

from __future__ import annotations

from nodes.datalink.spanning_tree_port import MIGRATE_TIME, Migration, Role, Step, Tree, TreePort, take_step
from nodes.units import SECOND
from nodes.wire import bpdu

# --- migration (section 17.24) -----------------------------------------------------------------------------------


def _check_rstp(tree: Tree, port: TreePort) -> None:
    port.send_rstp = tree.settings.rapid
    port.mdelay_while = tree.start(MIGRATE_TIME)
    port.migration = Migration.CHECKING_RSTP


def _select_stp(tree: Tree, port: TreePort) -> None:
    port.send_rstp = False
    port.mdelay_while = tree.start(MIGRATE_TIME)
    port.migration = Migration.SELECTING_STP
    port.new_info = True  # tell the STP neighbor now, not at the next hello: it has not understood a word so far


def _sense(tree: Tree, port: TreePort) -> None:  # noqa: ARG001  (the signature of all actions)
    port.rcvd_rstp = port.rcvd_stp = False
    port.migration = Migration.SENSING


MIGRATION_STEPS = {
    Migration.CHECKING_RSTP: (Step("sense", lambda _, port: not port.mdelay_while, _sense),),
    Migration.SELECTING_STP: (Step("sense", lambda _, port: not port.mdelay_while, _sense),),
    Migration.SENSING: (
        Step("select_stp", lambda _, port: port.send_rstp and port.rcvd_stp, _select_stp),
        Step(
            "check_rstp",
            lambda tree, port: tree.settings.rapid and not port.send_rstp and port.rcvd_rstp,
            _check_rstp,
        ),
    ),
}


def port_up(tree: Tree, port: TreePort) -> None:
    """A new LAN: try the rapid protocol first, and send at once."""
    _check_rstp(tree, port)
    port.tx_count = port.tx_decay = port.hello_when = 0
    port.new_info = True


def port_down(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.hello_when = port.tx_decay = port.tx_count = 0
    port.rcvd_rstp = port.rcvd_stp = False
    port.oper_edge = port.admin_edge


def heard(tree: Tree, port: TreePort, message: bpdu.Bpdu) -> None:
    """Sections 17.23 and 17.21.22: there is a bridge out there, of one kind or the other."""
    if message.type == bpdu.RAPID:
        port.rcvd_rstp = True
    else:
        port.rcvd_stp = True
    port.oper_edge = False
    port.edge_delay_while = tree.start(MIGRATE_TIME)


# --- bridge detection (section 17.25) ----------------------------------------------------------------------------


def _become_edge(tree: Tree, port: TreePort) -> None:  # noqa: ARG001
    port.oper_edge = True


EDGE_STEPS = (
    Step(
        "edge",
        lambda _, port: not port.oper_edge and not port.edge_delay_while and port.send_rstp and port.proposing,
        _become_edge,
    ),
)


def advance(tree: Tree, port: TreePort) -> bool:
    """One step of migration and of detection. True when either took one."""
    if not port.enabled:
        return False
    return take_step(MIGRATION_STEPS[port.migration], tree, port) or take_step(EDGE_STEPS, tree, port)


# --- transmission (section 17.26) --------------------------------------------------------------------------------


def transmit(tree: Tree, port: TreePort) -> None:
    """Send what is due on the port."""
    if not port.enabled:
        return
    if not port.hello_when:
        changing = port.role is Role.ROOT and port.tc_while > 0
        port.new_info = port.new_info or port.role is Role.DESIGNATED or changing
        port.hello_when = tree.start(tree.designated_times.hello_time)
    if port.new_info and port.tx_count < tree.settings.transmit_hold_count:
        message = _message(tree, port)
        if message is not None:
            _send(tree, port, message)


def _message(tree: Tree, port: TreePort) -> bpdu.Bpdu | None:
    if port.send_rstp:
        return _information(tree, port, bpdu.RAPID, _rapid_flags(port))
    if port.role is Role.DESIGNATED:
        flags = bpdu.FLAG_ACKNOWLEDGMENT if port.tc_ack else 0
        return _information(tree, port, bpdu.CONFIGURATION, flags)
    if port.role is Role.ROOT:
        # Section 17.26 sends a notification for any news, so an agreement, which an STP bridge cannot read, would flush
        # the whole network. Only a topology change is worth one.
        port.new_info = False
        return bpdu.Bpdu(bpdu.NOTIFICATION) if port.tc_while else None
    return None


def _information(tree: Tree, port: TreePort, kind: int, flags: int) -> bpdu.Bpdu:
    times = [bpdu.to_time(time) for time in tree.designated_times]
    if port.tc_while:
        flags |= bpdu.FLAG_TOPOLOGY_CHANGE
    return bpdu.Bpdu(kind, flags, *tree.designated_vector(port), *times)


def _rapid_flags(port: TreePort) -> int:
    flags = {
        Role.ROOT: bpdu.ROLE_ROOT,
        Role.DESIGNATED: bpdu.ROLE_DESIGNATED,
        Role.ALTERNATE: bpdu.ROLE_ALTERNATE_OR_BACKUP,
        Role.BACKUP: bpdu.ROLE_ALTERNATE_OR_BACKUP,
        Role.DISABLED: bpdu.ROLE_UNKNOWN,
    }[port.role] << bpdu.ROLE_SHIFT
    flags |= bpdu.FLAG_PROPOSAL * port.proposing | bpdu.FLAG_AGREEMENT * port.agree
    return flags | bpdu.FLAG_LEARNING * port.learning | bpdu.FLAG_FORWARDING * port.forwarding


def _send(tree: Tree, port: TreePort, message: bpdu.Bpdu) -> None:
    port.new_info = port.tc_ack = False
    port.hello_when = tree.start(tree.designated_times.hello_time)
    port.bpdus_out += 1
    port.tx_count += 1
    if port.tx_count == 1:
        port.tx_decay = tree.start(SECOND)
    tree.out.append((port.index, bpdu.build(message, tree.mac)))
