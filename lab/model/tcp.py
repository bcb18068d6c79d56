"""The settings of a node's TCP: what a real host hides in its system controls.

The keys are those of the nodes' own settings (`nodes.transport.tcp.settings.TcpSettings`), times in seconds, sizes in
octets or with a unit (`64kB`, `4MiB`). A key that is not written keeps the stack's default, so none stands here.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lab.model.names import wrong
from nodes.quantities import parse_size

LARGEST_BUFFER = 1 << 30
"""RFC 7323 section 2.3: no window reaches 2^30 octets."""

LONGEST = 1_000_000
"""Seconds: eleven days."""


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except ValueError as error:
        raise wrong(str(error)) from None


Switched: TypeAlias = bool | None
Seconds: TypeAlias = Annotated[float | None, Field(ge=0.001, le=LONGEST)]
Octets: TypeAlias = Annotated[
    int | None, BeforeValidator(_size, json_schema_input_type=int | str | None), Field(ge=1, le=LARGEST_BUFFER)
]
Count: TypeAlias = Annotated[int | None, Field(ge=1, le=LARGEST_BUFFER)]
CountFromZero: TypeAlias = Annotated[int | None, Field(ge=0, le=LARGEST_BUFFER)]


class Tcp(BaseModel):
    """TCP of a host or router with our stack."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    congestion: str | None = Field(default=None, description="Congestion control, for sockets that choose none")
    initial_window: Annotated[int | None, Field(ge=1, le=1000)] = Field(
        default=None, description="Segments at the start of a connection (RFC 6928)"
    )
    receive_buffer: Octets = Field(default=None, description="What may wait for a program: the window it offers")
    send_buffer: Octets = Field(default=None, description="What may wait to be sent and acknowledged")
    window_scale: Switched = Field(default=None, description="Windows above 65,535 octets (RFC 7323)")
    timestamps: Switched = Field(default=None, description="Timestamps, and protection by them (RFC 7323)")
    sack: Switched = Field(default=None, description="Selective acknowledgment (RFC 2018)")
    ecn: Switched = Field(default=None, description="Congestion marks instead of losses (RFC 3168)")
    rack: Switched = Field(default=None, description="Loss detection by time, and tail loss probes (RFC 8985)")
    msl: Annotated[float | None, Field(ge=0, le=LONGEST)] = Field(
        default=None, description="Maximum segment lifetime; TIME_WAIT lasts twice as long"
    )
    initial_rto: Seconds = Field(default=None, description="Retransmission timeout before the first round trip")
    minimum_rto: Seconds = Field(default=None, description="The shortest retransmission timeout")
    maximum_rto: Seconds = Field(default=None, description="The longest")
    clock_granularity: Annotated[float | None, Field(ge=0, le=1)] = Field(
        default=None, description="What a timer may be off by (G of RFC 6298)"
    )
    delayed_ack: Annotated[float | None, Field(ge=0, le=0.5)] = Field(
        default=None, description="How long a lone segment waits for its acknowledgment"
    )
    quick_acks: CountFromZero = Field(default=None, description="Segments at the start that are acknowledged at once")
    r1: Annotated[int | None, Field(ge=1, le=1000)] = Field(
        default=None, description="Retransmissions after which program and routing are told"
    )
    r2: Seconds = Field(default=None, description="Without an answer for so long, a connection is given up")
    syn_r2: Seconds = Field(default=None, description="The same while it is being opened")
    fin_wait_2: Seconds = Field(default=None, description="How long a closed socket waits for the peer's FIN")
    keepalive_idle: Seconds = Field(default=None, description="Silence before the first keep-alive probe")
    keepalive_interval: Seconds = Field(default=None, description="Time between probes")
    keepalive_probes: Annotated[int | None, Field(ge=1, le=127)] = Field(
        default=None, description="Probes without an answer that end the connection"
    )
    maximum_connections: Count = Field(default=None, description="Connections of the node")
    maximum_half_open: CountFromZero = Field(
        default=None, description="Half-open connections of a listener; then cookies"
    )
    syn_cookies: Switched = Field(default=None, description="Answer SYNs beyond that without memory (RFC 4987)")
    time_wait_limit: CountFromZero = Field(default=None, description="Connections in TIME_WAIT; beyond, the oldest go")
    challenge_ack_limit: Count = Field(default=None, description="Challenge ACKs per second (RFC 5961)")
    exact_resets: Switched = Field(
        default=None, description="Only the expected number resets a connection (RFC 5961), not any in the window"
    )
    random_isn: Switched = Field(
        default=None, description="Connections begin with numbers that nobody can guess (RFC 6528), not with a clock's"
    )
    memory: Annotated[
        int | None, BeforeValidator(_size, json_schema_input_type=int | str | None), Field(ge=1, le=1 << 50)
    ] = Field(default=None, description="What the buffers of all connections may hold together")

    def written(self) -> dict[str, str | int | float | bool]:
        """The settings that the file has."""
        return self.model_dump(exclude_none=True)
