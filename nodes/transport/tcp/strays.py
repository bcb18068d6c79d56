"""Segments that no connection takes: what CLOSED answers (RFC 9293 section 3.10.7.1), and what is not even answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.network.datagram import LOCAL_INTERFACE, Datagram
from nodes.transport.tcp.sequence import wrap
from nodes.transport.tcp.services import Key
from nodes.wire import tcp
from nodes.wire.addresses import ANY, is_multicast
from nodes.wire.tcp import Segment

if TYPE_CHECKING:
    from nodes.transport.tcp.layer import TcpLayer


def may_open(layer: TcpLayer, datagram: Datagram, key: Key, segment: Segment, now: int) -> bool:
    """Segments to or from addresses that no connection can have are dropped without a word (MUST-57, MUST-63)."""
    local, remote = key.local, key.remote
    if datagram.link_broadcast or is_multicast(local) or layer.ip.is_broadcast(local):
        reason = "not_unicast"
    elif remote == ANY or is_multicast(remote) or layer.ip.is_broadcast(remote) or not segment.source_port:
        reason = "bad_source"
    elif datagram.interface != LOCAL_INTERFACE and layer.ip.is_local(remote):
        reason = "own_address"
    else:
        return True
    layer.dropped(key, segment, reason, now)
    return False


def refuse(layer: TcpLayer, segment: Segment, key: Key, now: int) -> None:
    """RFC 9293 section 3.10.7.1: no connection."""
    flags = segment.flags
    layer.dropped(key, segment, "no_connection", now)
    if flags & tcp.RST:
        return
    if flags & tcp.ACK:
        layer.answer_reset(key, segment.acknowledgment, now)
        return
    length = len(segment.payload) + bool(flags & tcp.SYN) + bool(flags & tcp.FIN)
    layer.send_reset(key, 0, wrap(segment.sequence + length), tcp.RST | tcp.ACK, now)
