"""What a link does to frames: the values that topology, lab and engine exchange.

An `Impairment` is one direction of one link. The names are netem's where netem has the thing (tc-netem(8)); the rest
stands in front of it:

    frames ─▶ faults ─▶ queue discipline ─▶ server ─▶ netem: duplicate, loss, corrupt, limit, reorder, ─▶ frames
              exact,     drop_tail, red,    rate,            delay + jitter, rate, slot
              n-th       codel, fq_codel,   bucket,
                         pie                trace

With a `queue`, a `bucket` or a `trace`, frames wait in the queue (drop-tail where none is named) for the server, which
sends as fast as `rate`, the token bucket or the trace allows; netem then has no rate of its own. Without any of them,
`rate` is netem's: frames wait in the one queue that also holds those in flight, `limit` packets of them.

Times are integers of nanoseconds, rates bits per second, sizes octets of the whole Ethernet frame (without preamble,
frame check and gap), chances shares of one (0.01 is 1 %). Zero, or None, is off. Values change while a link runs:
`replaced` and `merged` make new ones, since all are frozen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from nodes import json_values
from nodes.packing import pack, unpack

DistributionName = Literal["uniform", "normal", "pareto", "paretonormal", "table"]
Executor = Literal["auto", "kernel", "relay"]
Direction = Literal["ab", "ba"]
"""From the link's first end to its second, or back."""

DIRECTIONS: tuple[Direction, Direction] = ("ab", "ba")

FRAME_OVERHEAD = 14
"""Octets of Ethernet header in front of an IP packet of the MTU's size."""
MINIMUM_LIMIT = 1000
"""Packets: what tc sets where nothing is said."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of the jitter. `table` is the inverse of the distribution function in steps of equal chance, scaled so that 8192
    is one jitter (netem's *.dist files); it is given only for `table`."""

    name: DistributionName = "uniform"
    table: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RandomLoss:
    """Every frame for itself; netem's correlation makes it rarer, not burstier (docs/links.md)."""

    model: Literal["random"] = "random"
    chance: float = 0.0
    correlation: float = 0.0


@dataclass(frozen=True, slots=True)
class MarkovLoss:
    """netem's `loss state`: chances, per frame, of the transitions between the states 1 (gap), 2 (received in a burst),
    3 (lost in a burst) and 4 (lost alone)."""

    model: Literal["state"] = "state"
    p13: float = 0.0
    p31: float = 1.0
    p32: float = 0.0
    p23: float = 1.0
    p14: float = 0.0


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """netem's `loss gemodel`: `p` good to bad, `r` bad to good, per frame; the losses in both states (1-h and 1-k)."""

    model: Literal["gemodel"] = "gemodel"
    p: float = 0.0
    r: float = 1.0
    bad_loss: float = 1.0
    good_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class TimedGilbertElliott:
    """Gilbert-Elliott in continuous time: `good` and `bad` are mean stays in ns, so that a burst lasts as long at any
    rate of frames, as on radio. netem has none."""

    model: Literal["timed"] = "timed"
    good: int = 0
    bad: int = 0
    bad_loss: float = 1.0
    good_loss: float = 0.0


Loss: TypeAlias = RandomLoss | MarkovLoss | GilbertElliott | TimedGilbertElliott


@dataclass(frozen=True, slots=True)
class Slot:
    """Frames leave in bursts, as from a link that is shared in time: after each slot the next one opens `minimum` to
    `maximum` later (uniform), or `delay` and `jitter` of `distribution` later where that is given. At most `packets`
    and `octets` leave in one; 0 is any number."""

    minimum: int = 0
    maximum: int = 0
    packets: int = 0
    octets: int = 0
    distribution: Distribution | None = None
    delay: int = 0
    jitter: int = 0


@dataclass(frozen=True, slots=True)
class DropTail:
    """First in, first out; what finds `packets` or `octets` waiting is dropped. 0: no such bound."""

    discipline: Literal["drop_tail"] = "drop_tail"
    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Red:
    """Random Early Detection (Floyd and Jacobson 1993), as sch_red: thresholds and hard `octets` limit, `chance` of a
    drop at `maximum`, `weight` of the moving average, `ecn` marks instead of drops."""

    discipline: Literal["red"] = "red"
    minimum: int = 0
    maximum: int = 0
    octets: int = 0
    chance: float = 0.02
    weight: float = 0.002
    ecn: bool = False


@dataclass(frozen=True, slots=True)
class Codel:
    """RFC 8289."""

    discipline: Literal["codel"] = "codel"
    target: int = 5_000_000
    interval: int = 100_000_000
    packets: int = 1000
    ecn: bool = False


@dataclass(frozen=True, slots=True)
class FqCodel:
    """RFC 8290."""

    discipline: Literal["fq_codel"] = "fq_codel"
    target: int = 5_000_000
    interval: int = 100_000_000
    packets: int = 10_240
    flows: int = 1024
    quantum: int = 1514
    octets: int = 32 << 20
    ecn: bool = True


@dataclass(frozen=True, slots=True)
class Pie:
    """RFC 8033."""

    discipline: Literal["pie"] = "pie"
    target: int = 15_000_000
    update: int = 15_000_000
    packets: int = 1000
    alpha: float = 0.125
    beta: float = 1.25
    ecn: bool = False


Queue: TypeAlias = DropTail | Red | Codel | FqCodel | Pie


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`rate` on average, `burst` octets at once, no faster than `peak` (0: any speed)."""

    rate: int
    burst: int
    peak: int = 0


@dataclass(frozen=True, slots=True)
class RateTrace:
    """Mahimahi's: `opportunities` are milliseconds in order, each one chance to send 1500 octets of packet (frames
    without their Ethernet header); the last one is the length of the period, after which they begin again."""

    opportunities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Which frames a fault means; what is not given matches all. `flags` are TCP flags that must be set, `not_flags`
    those that must not. `sequence` is a half-open range of octets since the connection's SYN in this direction (whose
    own number is 0): a segment matches that carries one of them. `payload`: whether TCP, UDP or ICMP carry data.
    `fragment`: first, later, any (of a fragmented datagram) or none. `source` and `destination` are addresses
    (10.0.0.1), ports go beside. Lengths are of the frame, in octets."""

    protocol: Literal["", "arp", "ip", "icmp", "igmp", "udp", "tcp"] = ""
    flags: str = ""
    not_flags: str = ""
    sequence: tuple[int, ...] = ()
    payload: bool | None = None
    fragment: Literal["", "first", "later", "any", "none"] = ""
    source: str = ""
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    minimum_length: int = 0
    maximum_length: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to certain frames: of those that match, the `first` (1 is the first) and those after it, `count`
    in all (0: without end), only each `every`-th. `delay` in ns for delay; `copies` for duplicate; for corrupt, `bit`
    counts from the start of the frame, or from its end where negative; None lets the seed choose."""

    action: Literal["drop", "delay", "duplicate", "corrupt"]
    match: Match = field(default_factory=Match)
    first: int = 1
    count: int = 1
    every: int = 1
    delay: int = 0
    copies: int = 1
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class Impairment:
    """One direction of a link. `limit` 0 is sized from rate and delay (`effective_limit`). `seed` None is derived from
    the run's seed, the link and the direction. `steadiness` is a real correlation of successive delays, 0 to 1, unlike
    netem's `delay_correlation` (docs/links.md)."""

    delay: int = 0
    jitter: int = 0
    delay_correlation: float = 0.0
    distribution: Distribution = field(default_factory=Distribution)
    steadiness: float = 0.0
    loss: Loss | None = None
    ecn: bool = False
    corrupt: float = 0.0
    corrupt_correlation: float = 0.0
    duplicate: float = 0.0
    duplicate_correlation: float = 0.0
    reorder: float = 0.0
    reorder_correlation: float = 0.0
    gap: int = 0
    rate: int = 0
    overhead: int = 0
    cell: int = 0
    cell_overhead: int = 0
    slot: Slot | None = None
    limit: int = 0
    queue: Queue | None = None
    bucket: TokenBucket | None = None
    trace: RateTrace | None = None
    faults: tuple[Fault, ...] = ()
    seed: int | None = None

    @property
    def has_server(self) -> bool:
        """Whether a queue and a server stand in front of netem."""
        return self.queue is not None or self.bucket is not None or self.trace is not None


NOTHING = Impairment()
"""A link that only carries."""

Patch: TypeAlias = Mapping[str, object]
"""Some fields of an Impairment, as JSON (`patch_to_json`) or as values."""


def effective_limit(impairment: Impairment, mtu: int) -> int:
    """Packets that netem may hold: what is asked for, else twice what is in flight at most, and never below tc's 1000.
    In flight is rate times (delay + four jitters), in frames of the MTU; a link without a rate is taken for one of
    1 Gbit/s, because a limit that is reached silently is the commonest of netem's traps."""
    if impairment.limit:
        return impairment.limit
    rate = impairment.rate or 1_000_000_000
    in_flight = rate * (impairment.delay + 4 * impairment.jitter) // (8 * (mtu + FRAME_OVERHEAD) * 1_000_000_000)
    return max(2 * in_flight, MINIMUM_LIMIT)


def merged(impairment: Impairment, patch: Patch) -> Impairment:
    """With the fields of `patch`, which are values, replaced. Raises TypeError for a field that does not exist."""
    fields: dict[str, Any] = dict(patch)
    return dataclasses.replace(impairment, **fields)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a link's schedule: `at` ns after the lab came up (and then every `every`, `times` times in all; 0 is
    without end), on the directions named. `patch` is merged, or replaces all where `replace`; with `ramp`, numbers go
    there in a straight line over that time. `up` sets the link's carrier. Patches are encoded (`encode_patch`).
    `origin` says in the trace what the change comes from, such as "trace leo.csv"; empty is the schedule itself."""

    at: int
    directions: tuple[Direction, ...] = DIRECTIONS
    patch: Mapping[str, object] = field(default_factory=dict)
    replace: bool = False
    ramp: int = 0
    up: bool | None = None
    every: int = 0
    times: int = 1
    origin: str = ""


@dataclass(frozen=True, slots=True)
class LinkImpairment:
    """Of one link: what holds in both directions when the lab comes up, what changes then, and who is to do it."""

    ab: Impairment
    ba: Impairment
    changes: tuple[Change, ...] = ()
    by: Executor = "auto"

    def of(self, direction: Direction) -> Impairment:
        return self.ab if direction == "ab" else self.ba


def beyond_netem(impairment: Impairment) -> dict[str, str]:
    """What the kernel's netem has not: fields, with words for them. Empty where it can do all."""
    table = {
        "faults": (bool(impairment.faults), "faults"),
        "queue": (impairment.queue is not None, "queue discipline in front of it"),
        "bucket": (impairment.bucket is not None, "token bucket"),
        "trace": (impairment.trace is not None, "rate trace"),
        "steadiness": (impairment.steadiness > 0, "steadiness"),
        "loss": (isinstance(impairment.loss, TimedGilbertElliott), "loss in continuous time"),
    }
    return {field: words for field, (needed, words) in table.items() if needed}


def encode(impairment: Impairment) -> dict[str, Any]:
    """As values of JSON, without what has its default."""
    return encode_patch(
        {
            item.name: getattr(impairment, item.name)
            for item in dataclasses.fields(impairment)
            if getattr(impairment, item.name) != getattr(NOTHING, item.name)
        }
    )


def decode(data: object, where: str = "impairment") -> Impairment:
    """The reverse of `encode`. Raises ValueError with the place of what is wrong."""
    if isinstance(data, Mapping) and isinstance(trace := data.get("trace"), Mapping) and "packed" in trace:
        data = {**data, "trace": {"opportunities": unpack(trace["packed"], f"{where}.trace")}}
    return json_values.decode(Impairment, data, where)


def encode_patch(patch: Patch) -> dict[str, Any]:
    """As values of JSON. A trace is packed: those that are recorded have a million lines."""
    return {
        name: {"packed": pack(value.opportunities)} if isinstance(value, RateTrace) else json_values.encode(value)
        for name, value in patch.items()
    }


def decode_patch(data: Mapping[str, object]) -> dict[str, Any]:
    """The fields that `data` has, as values. Raises ValueError."""
    decoded = decode(data, "patch")
    return {name: getattr(decoded, name) for name in data}
