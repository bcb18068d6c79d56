"""The settings of TCP, with their sources. A node has one `TcpSettings`; each socket starts with a copy of what a
program may change (`SocketOptions`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from nodes.errors import MisuseError
from nodes.transport.tcp.congestion import registry
from nodes.units import MILLISECOND, SECOND


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """Times in nanoseconds, sizes in octets. What a real host hides in its system controls."""

    msl: int = 120 * SECOND
    """Maximum segment lifetime: two minutes (RFC 9293 section 3.4.1). TIME_WAIT lasts twice this."""
    congestion: str = "cubic"
    initial_window: int = 10
    """Segments, or less where they are long: min(10 MSS, max(2 MSS, 14600)) (RFC 6928 section 2)."""
    receive_buffer: int = 4 << 20
    """What may wait for the application: the window that is offered. Enough for 300 Mbit/s at 100 ms."""
    send_buffer: int = 4 << 20
    window_scale: bool = True
    timestamps: bool = True
    sack: bool = True
    ecn: bool = True
    """Ask for ECN and agree to it (RFC 3168)."""
    rack: bool = True
    """RACK-TLP (RFC 8985) beside duplicate acknowledgments."""
    initial_rto: int = SECOND
    """RFC 6298 section 2.1."""
    minimum_rto: int = SECOND
    """RFC 6298 section 2.4 says one second; Linux uses 200 ms."""
    maximum_rto: int = 60 * SECOND
    """RFC 6298 section 2.5."""
    clock_granularity: int = MILLISECOND
    """G of RFC 6298: what a timer may be off by."""
    delayed_ack: int = 40 * MILLISECOND
    """How long a lone segment waits for its acknowledgment; at most 500 ms (RFC 1122 section 4.2.3.2)."""
    quick_acks: int = 16
    """Segments of a peer that starts which are acknowledged without delay (RFC 9293 SHLD-18 allows it)."""
    r1: int = 3
    """Retransmissions after which the network layer and the application are told (RFC 9293 section 3.8.3)."""
    r2: int = 924 * SECOND
    """After how long without an answer a connection is given up: what 15 retransmissions take in Linux; at least
    100 s (RFC 9293 section 3.8.3)."""
    syn_r2: int = 187 * SECOND
    """The same for a connection that is being opened: at least 3 minutes (RFC 9293 section 3.8.3)."""
    fin_wait_2: int = 60 * SECOND
    """How long a closed socket waits for the peer's FIN. No RFC has it; every system does, against orphans."""
    keepalive_idle: int = 7200 * SECOND
    """RFC 1122 section 4.2.3.6: not less than two hours by default."""
    keepalive_interval: int = 75 * SECOND
    keepalive_probes: int = 9
    maximum_connections: int = 65_536
    maximum_half_open: int = 1024
    """Connections of one listener that wait in SYN_RCVD; SYN cookies from then on."""
    syn_cookies: bool = True
    time_wait_limit: int = 32_768
    """Connections in TIME_WAIT; beyond, the oldest are forgotten, as Linux does (tcp_max_tw_buckets)."""
    challenge_ack_limit: int = 100
    """Challenge ACKs per second of the whole node (RFC 5961 section 7)."""
    exact_resets: bool = True
    """Only the expected number resets a connection (RFC 5961 section 3.2); else any in the window, as in RFC 793."""
    random_isn: bool = True
    """Connections begin with numbers that nobody can guess (RFC 6528); else with the clock's, as in RFC 793."""
    memory: int = 512 << 20
    """What the buffers of all connections may hold together. Beyond it, sends are refused and windows shut."""


DEFAULTS = TcpSettings()

_TYPES = {item.name: type(item.default) for item in fields(TcpSettings)}

_LONGEST = 1_000_000 * SECOND
_LARGEST = 1 << 30

BOUNDS: dict[str, tuple[int, int]] = {
    "msl": (0, _LONGEST),
    "initial_window": (1, 1000),
    "receive_buffer": (1, _LARGEST),
    "send_buffer": (1, _LARGEST),
    "initial_rto": (MILLISECOND, _LONGEST),
    "minimum_rto": (MILLISECOND, _LONGEST),
    "maximum_rto": (MILLISECOND, _LONGEST),
    "clock_granularity": (0, SECOND),
    "delayed_ack": (0, SECOND // 2),
    "quick_acks": (0, _LARGEST),
    "r1": (1, 1000),
    "r2": (MILLISECOND, _LONGEST),
    "syn_r2": (MILLISECOND, _LONGEST),
    "fin_wait_2": (MILLISECOND, _LONGEST),
    "keepalive_idle": (MILLISECOND, _LONGEST),
    "keepalive_interval": (MILLISECOND, _LONGEST),
    "keepalive_probes": (1, 127),
    "maximum_connections": (1, _LARGEST),
    "maximum_half_open": (0, _LARGEST),
    "time_wait_limit": (0, _LARGEST),
    "challenge_ack_limit": (1, _LARGEST),
    "memory": (1, 1 << 50),
}
"""The least and the largest value of each number, in nanoseconds where it is a time."""

TIMES = frozenset(
    {
        *("msl", "initial_rto", "minimum_rto", "maximum_rto", "clock_granularity", "delayed_ack", "r2", "syn_r2"),
        *("fin_wait_2", "keepalive_idle", "keepalive_interval"),
    }
)
"""The fields that are times: seconds where people write them."""


def settings_from(values: Mapping[str, str | int | float | bool]) -> TcpSettings:
    """Settings by name, times in seconds. Raises MisuseError for what is unknown, of a wrong type or out of bounds."""
    checked: dict[str, Any] = {name: _checked(name, value) for name, value in values.items()}
    settings = TcpSettings(**checked)
    if settings.minimum_rto > settings.maximum_rto:
        raise MisuseError("TCP setting minimum_rto is above maximum_rto")
    return settings


def _checked(name: str, value: str | float | bool) -> str | int | bool:
    if name not in _TYPES:
        raise MisuseError(f"there is no TCP setting {name!r}", hint=f"known are {', '.join(sorted(_TYPES))}")
    if name in TIMES and type(value) in (int, float) and math.isfinite(float(value)):
        value = round(float(value) * SECOND)
    if type(value) is not _TYPES[name]:
        raise MisuseError(f"TCP setting {name}: {value!r} is not of type {_TYPES[name].__name__}")
    if name in BOUNDS and isinstance(value, int):
        lowest, highest = BOUNDS[name]
        if not lowest <= value <= highest:
            unit = " s" if name in TIMES else ""
            scale = SECOND if name in TIMES else 1
            allowed = f"{lowest / scale:g} to {highest / scale:g}{unit}"
            raise MisuseError(f"TCP setting {name}: {value / scale:g}{unit} is outside {allowed}")
    if isinstance(value, str):
        registry.check(value)
    return value


@dataclass(slots=True)
class SocketOptions:
    """What a program may set on a socket, times in nanoseconds. A listener's are copied to what it accepts."""

    nodelay: bool = False
    """Send small segments at once: no Nagle (RFC 9293 section 3.7.4)."""
    keepalive: bool = False
    keepalive_idle: int = DEFAULTS.keepalive_idle
    keepalive_interval: int = DEFAULTS.keepalive_interval
    keepalive_probes: int = DEFAULTS.keepalive_probes
    linger: int | None = None
    """0: `close` resets the connection; None: it closes in the background."""
    user_timeout: int | None = None
    """How long data may stay unanswered (RFC 5482); None: R2 of the settings."""
    exchange_user_timeout: bool = False
    """Tell the peer our user timeout, and heed its own (RFC 5482)."""
    congestion: str = DEFAULTS.congestion
    ttl: int = 64
    traffic_class: int = 0
    """DSCP in the upper six bits; ECN's two are TCP's."""
    receive_limit: int = DEFAULTS.receive_buffer
    receive_grows: bool = True
    """The window begins small and follows what the program reads, up to `receive_limit`; setting that ends it."""
    send_limit: int = DEFAULTS.send_buffer
    mss: int | None = None
    """The largest payload to send and to ask for; None: what the path allows."""

    @classmethod
    def of(cls, settings: TcpSettings) -> SocketOptions:
        """The defaults of a node."""
        return cls(
            keepalive_idle=settings.keepalive_idle,
            keepalive_interval=settings.keepalive_interval,
            keepalive_probes=settings.keepalive_probes,
            congestion=settings.congestion,
            receive_limit=settings.receive_buffer,
            send_limit=settings.send_buffer,
        )

    def copy(self) -> SocketOptions:
        """For a connection that a listener accepts."""
        return replace(self)
