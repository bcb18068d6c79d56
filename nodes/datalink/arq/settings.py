"""What the two ends of a link with ARQ agree on."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.contract import ArqConfig, ArqKind
from nodes.errors import MisuseError

MOST_BITS = 12
"""4,096 numbers: the product of bandwidth and delay of 1 Gbit/s and 40 ms, in full frames."""


@dataclass(frozen=True, slots=True)
class ArqSettings:
    """As `nodes.contract.ArqConfig`, whose fields it has; times in ns. Raises MisuseError for what cannot work: a
    window above all numbers that there are, or a buffer below the window. A window that is merely unsafe (above
    2^bits - 1, or for selective repeat above half of the numbers) is let through: what happens then is worth seeing."""

    kind: ArqKind
    bits: int
    window: int
    timeout: int
    retries: int
    queue: int
    buffer: int
    processing: int = 0
    flow_control: bool = True
    reject: bool = True
    rate: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise MisuseError(f"numbers of {self.bits} bits, 1 to {MOST_BITS} expected")
        if not 1 <= self.window <= self.modulus:
            raise MisuseError(f"a window of {self.window} frames, 1 to {self.modulus} expected")
        if self.kind == "stop-and-wait" and self.window != 1:
            raise MisuseError(f"stop-and-wait with a window of {self.window}")
        if self.buffer < self.window:
            raise MisuseError(f"a buffer of {self.buffer} frames, no less than the window {self.window} expected")
        if self.timeout <= 0 or self.processing < 0 or self.retries < 1 or self.queue < 1 or self.rate < 0:
            raise MisuseError("ARQ needs a timeout, a retry and a place in the queue, and nothing negative")

    @property
    def modulus(self) -> int:
        """How many numbers there are."""
        return 1 << self.bits

    @property
    def selective(self) -> bool:
        return self.kind == "selective-repeat"

    @classmethod
    def from_config(cls, config: ArqConfig) -> ArqSettings:
        return cls(**{name: getattr(config, name) for name in ArqConfig.__dataclass_fields__})
