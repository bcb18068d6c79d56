"""ICMP errors about segments of ours (RFC 9293 section 3.9.2.2, RFC 5927).

Whoever can guess four values can forge an error, so an error counts only if the sequence number that it quotes is in
flight (RFC 5927 section 4.1). What it then does depends on the state:

                            opening                    open
    protocol, port,         the attempt fails          noted, told to the program that asks; the connection goes on:
    unreachable             (SHLD-26)                  the path may be back before R2 (RFC 5927 section 5.2)
    net, host, source       noted: the reason that a timeout gives later (MUST-56)
    route, time, parameter
    source quench           nothing at all (MUST-55, RFC 6633)
    fragmentation needed    smaller segments at once (RFC 1191 section 6.4)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.network.datagram import IcmpError
from nodes.transport import icmp_errors
from nodes.transport.tcp import segment_size
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.sequence import unwrap
from nodes.transport.tcp.states import State, Trigger
from nodes.wire import icmp

if TYPE_CHECKING:
    from nodes.transport.tcp.layer import TcpLayer

QUOTED = 8
"""Octets of the segment that every error quotes: the ports and the sequence number (RFC 792)."""

_HARD = frozenset({icmp.PROTOCOL_UNREACHABLE, icmp.PORT_UNREACHABLE})


def receive(layer: TcpLayer, error: IcmpError, now: int) -> bool:
    """False where the error was about nothing that is in flight."""
    found = find(layer, error)
    if found is None or error.type in (icmp.SOURCE_QUENCH, icmp.REDIRECT):
        return False
    connection, sequence = found
    if error.type == icmp.UNREACHABLE and error.code == icmp.FRAGMENTATION_NEEDED:
        _too_big(connection, sequence, now)
        return True
    exception = icmp_errors.as_exception(error)
    if exception is None:
        return False
    opening = connection.state in (State.SYN_SENT, State.SYN_RCVD)
    if opening and error.type == icmp.UNREACHABLE and error.code in _HARD:
        layer.counters.attempt_fails += 1
        connection.end(Trigger.UNREACHABLE, exception, now)
    else:
        connection.soft_error = exception
        connection.wake()
    return True


def find(layer: TcpLayer, error: IcmpError) -> tuple[Connection, int] | None:
    """The connection whose segment is quoted, and the number that is in flight. None where there is none."""
    if len(error.payload) < QUOTED:
        return None
    ports = int.from_bytes(error.payload[:4], "big")
    quoted = error.header
    connection = layer.find(quoted.source, ports >> 16, quoted.destination, ports & 0xFFFF)
    if connection is None:
        return None
    sequence = unwrap(int.from_bytes(error.payload[4:8], "big"), connection.snd_una)
    return (connection, sequence) if connection.snd_una <= sequence < connection.snd_nxt else None


def _too_big(connection: Connection, sequence: int, now: int) -> None:
    """The internet layer has lowered its estimate already. What did not pass is lost, and goes again in pieces."""
    connection.layer.counters.path_mtu_updates += 1
    if connection.recovery is None:
        return
    segment_size.update_mss(connection, now)
    connection.recovery.too_big(sequence, now)
    connection.mark()
