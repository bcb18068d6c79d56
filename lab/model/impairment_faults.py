"""Exact faults: this frame is dropped, that one comes late, twice or damaged.

    faults:
      - drop: {tcp: SYN}                                  the first segment with SYN
      - drop: {frame: 3}                                  the third frame
      - delay: {by: 200ms, tcp: "SYN,ACK", first: 2}      the second SYN,ACK
      - duplicate: {protocol: udp, every: 10, count: 0}   each tenth datagram, without end
      - corrupt: {frame: 1, bit: -1}                      the last bit of the first frame

What is not written matches everything; `first`, `count` and `every` choose among what matches.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from lab.model.addresses import HostAddress
from lab.model.errors import did_you_mean, shown
from lab.model.names import wrong
from lab.model.quantities import NONE, Count, CountFromZero, GivenLongDuration, Strict
from nodes import impairment as values
from nodes.physical.faults import COPIES_LIMIT
from nodes.physical.matching import check
from nodes.wire.tcp import FLAG_NAMES

Port: TypeAlias = Annotated[int | None, Field(ge=1, le=65535)]


def _flags(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else re.split(r"[\s,+|]+", value) if isinstance(value, str) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise wrong(f"{shown(value)} stands here, TCP flags expected", "such as SYN, or 'SYN,ACK', or 'SYN,!ACK'")
    for name in (name.removeprefix("!") for name in names):
        if name.upper() not in FLAG_NAMES:
            raise wrong(f"there is no TCP flag {name!r}", did_you_mean(name.upper(), FLAG_NAMES))
    return tuple(name.upper() for name in names)


def _sequence(value: Any) -> tuple[int, ...]:
    """`1000` or `1000-2000`, last octet included, to a half-open range."""
    match = re.fullmatch(r"(\d{1,10})(?:\s*-\s*(\d{1,10}))?", str(value)) if isinstance(value, str | int) else None
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if isinstance(value, bool) or not first <= last < 1 << 32:
        raise wrong(
            f"{shown(value)} is not a range of octets", "such as 1-1460: 0 is the SYN, 1 the first octet of data"
        )
    return (first, last + 1)


Flags = Annotated[tuple[str, ...], PlainValidator(_flags, json_schema_input_type=str | list[str])]
Sequence = Annotated[tuple[int, ...], PlainValidator(_sequence, json_schema_input_type=str | int)]


class Drop(Strict):
    """Which frames, and how many of them."""

    frame: Count | None = Field(default=None, description="The n-th frame of all; 1 is the first")
    protocol: Literal["arp", "ip", "icmp", "igmp", "udp", "tcp"] | None = Field(
        default=None, description="Of the frame"
    )
    tcp: Flags = Field(default=(), description="TCP flags that are set, or not: `SYN,!ACK`")
    sequence: Sequence = Field(default=(), description="TCP segments with one of these octets; 1 is the first of data")
    payload: bool | None = Field(default=None, description="Whether TCP, UDP or ICMP carry data")
    fragment: Literal["first", "later", "any", "none"] | None = Field(default=None, description="Of a datagram")
    source: HostAddress | None = Field(default=None, description="Source address")
    destination: HostAddress | None = Field(default=None, description="Destination address")
    source_port: Port = Field(default=None, description="Source port, of UDP or TCP")
    destination_port: Port = Field(default=None, description="Destination port, of UDP or TCP")
    minimum_length: Count | None = Field(default=None, description="Octets of the frame, at least")
    maximum_length: Count | None = Field(default=None, description="Octets of the frame, at most")
    first: Count | None = Field(
        default=None, description="The first that is meant, of those that match; 1 if not given"
    )
    count: CountFromZero = Field(default=1, description="How many are; 0 for all that follow")
    every: Count = Field(default=1, description="Only each n-th from there on")

    @model_validator(mode="after")
    def _check_together(self) -> Drop:
        chosen = [name for name in Drop.model_fields if name in self.model_fields_set - {"frame", "count", "every"}]
        if self.frame is not None and chosen:
            raise wrong(
                f"'frame' counts all frames, and {chosen[0]!r} chooses some", "first: N counts those that match"
            )
        try:
            check(self.match())
        except ValueError as error:
            raise wrong(str(error)) from None
        return self

    def match(self) -> values.Match:
        """Flags and sequence numbers say TCP already."""
        is_tcp = bool(self.tcp or self.sequence)
        return values.Match(
            protocol=self.protocol or ("tcp" if is_tcp else ""),
            flags=",".join(name for name in self.tcp if not name.startswith("!")),
            not_flags=",".join(name[1:] for name in self.tcp if name.startswith("!")),
            sequence=self.sequence,
            payload=self.payload,
            fragment=self.fragment or "",
            source=self.source or "",
            destination=self.destination or "",
            source_port=self.source_port or 0,
            destination_port=self.destination_port or 0,
            minimum_length=self.minimum_length or 0,
            maximum_length=self.maximum_length or 0,
        )

    def which(self) -> dict[str, Any]:
        first = self.frame or self.first or 1
        return {"match": self.match(), "first": first, "count": self.count, "every": self.every}


class Delay(Drop):
    """Which frames come late."""

    by: GivenLongDuration = Field(description="So much later")


class Duplicate(Drop):
    """Which frames come more than once."""

    copies: Annotated[int, Field(ge=1, le=COPIES_LIMIT)] = Field(default=1, description="How many more")


class Corrupt(Drop):
    """Which frames have a bit turned."""

    bit: Annotated[int | None, Field(ge=-524288, le=524287)] = Field(
        default=None, description="Which bit, from the start of the frame, or from its end where negative"
    )


class Fault(Strict):
    """One action, on frames that are chosen."""

    drop: Drop | None = Field(default=None, description="Lose them")
    delay: Delay | None = Field(default=None, description="Let them come later")
    duplicate: Duplicate | None = Field(default=None, description="Let them come more than once")
    corrupt: Corrupt | None = Field(default=None, description="Turn a bit of them")

    @model_validator(mode="after")
    def _check_one(self) -> Fault:
        given = [name for name in ("drop", "delay", "duplicate", "corrupt") if getattr(self, name) is not None]
        if len(given) != 1:
            raise wrong(f"a fault has one action, {len(given)} given", "one of: drop, delay, duplicate, corrupt")
        return self

    def value(self) -> values.Fault:
        if self.delay is not None:
            return values.Fault("delay", **self.delay.which(), delay=self.delay.by)
        if self.duplicate is not None:
            return values.Fault("duplicate", **self.duplicate.which(), copies=self.duplicate.copies)
        if self.corrupt is not None:
            return values.Fault("corrupt", **self.corrupt.which(), bit=self.corrupt.bit)
        return values.Fault("drop", **(self.drop or Drop()).which())


def _faults_form(value: Any) -> Any:
    return [] if value == NONE else value


FaultsField: TypeAlias = Annotated[
    list[Fault] | None, Field(max_length=1000), BeforeValidator(_faults_form, json_schema_input_type=list[Fault] | str)
]


PARTS: dict[str, type[Strict]] = {
    "faults": Fault,
    "drop": Drop,
    "delay": Delay,
    "duplicate": Duplicate,
    "corrupt": Corrupt,
}
"""What stands below a key of a fault, and an entry of `faults` itself."""
