"""The port of a switch with its counters (after RFC 1493 and RFC 2863), and an entry of its forwarding table."""

from __future__ import annotations

COUNTERS = (
    "in_frames",
    "in_octets",
    "in_discards",  # malformed, from an impossible source, or while the port was down
    "out_frames",
    "out_octets",
    "out_discards",  # the transmit queue was full
    "blocked",  # arrived while the spanning tree did not let the port forward
    "filtered",  # the destination is on the port of arrival, or is the bridge itself
    "flooded",  # arrived here and left on all other ports
    "reserved",  # for 01:80:c2:00:00:00 to 0F: BPDUs and the like, never forwarded
)


class SwitchPort:
    """One port. `learning` and `forwarding` are what the spanning tree allows, or the carrier where there is none."""

    __slots__ = ("forwarding", "index", "learning", "name", "up", *COUNTERS)

    in_frames: int
    in_octets: int
    in_discards: int
    out_frames: int
    out_octets: int
    out_discards: int
    blocked: int
    filtered: int
    flooded: int
    reserved: int

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.up = False
        self.learning = False
        self.forwarding = False
        for counter in COUNTERS:
            setattr(self, counter, 0)

    def snapshot(self) -> dict[str, object]:
        state = "forwarding" if self.forwarding else "learning" if self.learning else "discarding"
        counters = {counter: getattr(self, counter) for counter in COUNTERS}
        return {"name": self.name, "up": self.up, "state": state, **counters}


class Station:
    """A learned station: where it is, and when it was last heard (nanoseconds)."""

    __slots__ = ("port", "seen")

    def __init__(self, port: SwitchPort, seen: int) -> None:
        self.port = port
        self.seen = seen
