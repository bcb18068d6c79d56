"""What can be seen of TCP from outside, as values of JSON: connections like Linux's TCP_INFO, a node like the TCP-MIB.

Times are nanoseconds, sizes octets, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from nodes.transport.tcp.congestion.base import INFINITE
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.counters import TcpCounters
from nodes.transport.tcp.time_wait import TimeWait
from nodes.wire.addresses import format_endpoint

if TYPE_CHECKING:
    from nodes.transport.tcp.listener import Listener

SNAPSHOT_LIMIT = 1000
"""Connections in a snapshot of a node; the rest are counted."""


def describe(c: Connection, now: int) -> dict[str, object]:
    """One connection."""
    key = c.key
    values: dict[str, object] = {
        "local": key.local_name,
        "remote": key.remote_name,
        "state": c.state.value,
        "age": now - c.opened_at,
        "segments_in": c.segments_in,
        "segments_out": c.segments_out,
        "send_queue": max(c.data_end - c.snd_una, 0) if c.recovery is not None else len_of_queue(c),
        "mss": c.mss,
        "peer_mss": c.peer_mss,
        "path_mtu": c.path_mtu,
        "snd_wnd": c.snd_wnd,
        "rtt": c.rtt.latest,
        "srtt": c.rtt.srtt,
        "rttvar": c.rtt.rttvar,
        "min_rtt": c.rtt.min_rtt,
        "rto": c.rtt.timeout,
        "timers": timers(c, now),
        "last_received": now - c.last_received,
        "last_sent": now - c.last_sent,
        "options": negotiated(c),
        "error": None if c.error is None else c.error.message,
        "soft_error": None if c.soft_error is None else c.soft_error.message,
    }
    if c.recovery is not None and c.congestion is not None:
        ssthresh = c.congestion.ssthresh
        values |= {
            "receive_queue": c.receive_buffer.available,
            "out_of_order": c.receive_buffer.out_of_order,
            "urgent": 0 if c.rcv_up is None else max(c.rcv_up - c.receive_buffer.position, 0),
            "rcv_wnd": c.window.edge - c.rcv_nxt,
            "congestion": c.options.congestion,
            "cwnd": c.congestion.cwnd,
            "ssthresh": None if ssthresh >= INFINITE else ssthresh,
            "pacing_rate": c.congestion.pacing_rate,
            "in_flight": c.recovery.in_flight,
            "acknowledged": c.snd_una - c.iss - 1,
            "received": c.rcv_nxt - c.irs - 1,
            "recovery": c.recovery.snapshot(now),
            "congestion_state": c.congestion.snapshot(),
        }
    return values


def timers(c: Connection, now: int) -> dict[str, int]:
    """The timers that run, and the time left of each."""
    running = c.timers.running(now)
    if c.recovery is not None:
        others = {"retransmission": c.recovery.retransmission_at, "delayed_ack": c.acks.deadline}
        running |= {name: at - now for name, at in others.items() if at is not None}
    return running


def len_of_queue(c: Connection) -> int:
    """What was written before the handshake was complete."""
    return c.send_buffer.end - c.send_buffer.start


def negotiated(c: Connection) -> list[str]:
    """What both sides agreed on, as `ss` names it."""
    names = []
    if c.timestamps:
        names.append("ts")
    if c.sack:
        names.append("sack")
    if c.ecn:
        names.append("ecn")
    if c.scaled:
        names.append(f"wscale:{c.snd_shift},{c.rcv_shift}")
    return names


def describe_layer(
    counters: TcpCounters, listeners: Iterable[Listener], connections: Iterable[Connection | TimeWait], now: int
) -> dict[str, object]:
    """All of a node."""
    known = list(connections)
    open_ones = [item for item in known if isinstance(item, Connection)]
    waiting = [item for item in known if isinstance(item, TimeWait)]
    return {
        "counters": {**asdict(counters), "drops": dict(counters.drops)},
        "listeners": [
            {
                "local": format_endpoint(listener.address, listener.port),
                "backlog": listener.backlog,
                "waiting": listener.ready,
                "half_open": listener.half_open,
                "overflows": listener.overflows,
            }
            for listener in listeners
        ],
        "connections": [describe(connection, now) for connection in open_ones[:SNAPSHOT_LIMIT]],
        "time_waits": [
            {
                "local": record.key.local_name,
                "remote": record.key.remote_name,
                "expires_in": record.expires - now,
            }
            for record in waiting[:SNAPSHOT_LIMIT]
        ],
        "connection_count": len(open_ones),
        "time_wait_count": len(waiting),
    }
