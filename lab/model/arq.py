"""ARQ on a link: `arq: go-back-n`, or its settings.

What is not written follows from the rest, as textbooks choose it: as many bits as the window needs, no less than HDLC's
three; or the window that the bits allow. Both are decided here, once, so that lint and plan mean the same numbers.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from lab.model.quantities import GivenDuration, GivenLongDuration, Rate, Strict
from nodes.contract import ArqConfig, ArqKind
from nodes.units import MILLISECOND

MOST_BITS = 12
LEAST_BITS = 3
"""HDLC's (ISO/IEC 13239); larger windows need more."""
TIMEOUT = 200 * MILLISECOND


class Arq(Strict):
    """ARQ between the two ends of a link. Short form: its kind."""

    kind: ArqKind = Field(description="stop-and-wait, go-back-n or selective-repeat")
    window: Annotated[int, Field(ge=1, le=1 << MOST_BITS)] | None = Field(
        default=None, description="Frames that may be unacknowledged"
    )
    bits: Annotated[int, Field(ge=1, le=MOST_BITS)] | None = Field(default=None, description="Of the frames' numbers")
    timeout: GivenLongDuration = Field(default=TIMEOUT, description="From the end of a frame to its repetition")
    retries: int = Field(default=10, ge=1, le=1000, description="Repetitions of a frame before it is given up")
    queue: int = Field(default=1000, ge=1, le=1_000_000, description="Frames that wait for the window")
    buffer: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Frames that the receiver has room for"
    )
    processing: GivenDuration = Field(default=0, description="What the receiver takes for a frame")
    flow_control: bool = Field(default=True, description="The receiver says when it has no room (RNR)")
    reject: bool = Field(default=True, description="The receiver asks for what is missing (REJ, SREJ)")
    rate: Rate = Field(default=None, description="Of the line; that of its impairment where it is left out")

    def numbers(self) -> tuple[int, int]:
        """Bits and window."""
        if self.kind == "stop-and-wait":
            return self.bits or 1, self.window or 1
        doubled = self.kind == "selective-repeat"
        if self.window is None:
            bits = self.bits or LEAST_BITS
            return bits, safe_window(self.kind, bits)
        needed = (2 * self.window - 1 if doubled else self.window).bit_length()
        return self.bits or max(LEAST_BITS, needed), self.window

    def room(self) -> int:
        """The buffer."""
        return self.buffer or 2 * self.numbers()[1]

    def config(self, rate: int) -> ArqConfig:
        """What the node at an end is told; `rate` is that of the line where none is written."""
        bits, window = self.numbers()
        return ArqConfig(
            kind=self.kind,
            bits=bits,
            window=window,
            timeout=self.timeout,
            retries=self.retries,
            queue=self.queue,
            buffer=self.room(),
            processing=self.processing,
            flow_control=self.flow_control,
            reject=self.reject,
            rate=self.rate or rate,
        )


def safe_window(kind: ArqKind, bits: int) -> int:
    """The largest with which an old frame is never taken for a new one."""
    if kind == "stop-and-wait":
        return 1
    return 1 << (bits - 1) if kind == "selective-repeat" else (1 << bits) - 1


def _arq_form(value: object) -> object:
    if value is False:
        return None
    return {"kind": value} if isinstance(value, str) else value


ArqField: TypeAlias = Annotated[Arq | None, BeforeValidator(_arq_form, json_schema_input_type=Arq | ArqKind | bool)]
