"""Types of keys that hold a quantity: text with a unit in the file, an integer or a share in the model.

What such a key may hold beside its quantity: the word `none`, which turns the thing off, and reads as None. A key that
is not written also is None, and `model_fields_set` tells the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from lab.model.errors import shown
from lab.model.names import wrong
from nodes.quantities import parse_duration, parse_rate, parse_share, parse_size
from nodes.units import SECOND

NONE = "none"
LONGEST = 1_000_000 * SECOND
"""Of a time: eleven days."""
LARGEST_SIZE = 1 << 32
"""Octets of a queue or a bucket; the kernel counts them with 32 bits."""
LARGEST_RATE = 10**13
"""Bit/s: ten times the fastest Ethernet."""
SMALLEST_RATE = 8
"""Bit/s: the kernel counts octets per second, and takes 0 for no limit."""

_N = TypeVar("_N", int, float)


class Strict(BaseModel):
    """One mapping of the file: nothing is converted silently, and no other key is allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def quantity(value: object, parse: Callable[[str], _N], expected: str) -> _N:
    """What a scalar of the file stands for; the parser knows numbers without a unit, and refuses most."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(f"{shown(value)} stands here, {expected} expected")
    try:
        return parse(str(value))
    except ValueError as error:
        raise wrong(str(error)) from None


def duration(value: object) -> int:
    time = quantity(value, parse_duration, "a time such as 20ms")
    if time > LONGEST:
        raise wrong(f"{value!r} is longer than {LONGEST // SECOND} s")
    return time


def long_duration(value: object) -> int:
    return _not_zero(value, duration(value), "a time")


def share(value: object) -> float:
    return quantity(value, parse_share, "a share such as 1%")


def correlation(value: object) -> float:
    """Less than one: with one, nothing would ever change."""
    found = share(value)
    if found == 1:
        raise wrong("a correlation of 100% never changes its first value", "99.9% is the strongest")
    return found


def rate(value: object) -> int:
    if (isinstance(value, int) and value) or (isinstance(value, str) and re.fullmatch(r"0*[1-9]\d*", value)):
        raise wrong(f"{value} has no unit: {value}mbit, or {value}bit?")
    found = quantity(value, parse_rate, "a rate such as 10mbit")
    if found == 0:
        raise wrong("a rate of 0 sends nothing", "`up: false` cuts the link; rate: none removes the limit")
    if not SMALLEST_RATE <= found <= LARGEST_RATE:
        raise wrong(f"the rate {value!r} is out of range", f"{SMALLEST_RATE} bit/s to {LARGEST_RATE // 10**12} Tbit/s")
    return found


def size(value: object) -> int:
    found = _not_zero(value, quantity(value, parse_size, "a size such as 100kB"), "a size")
    if found > LARGEST_SIZE:
        raise wrong(f"the size {value!r} is above {LARGEST_SIZE >> 30}GiB")
    return found


def _not_zero(value: object, found: int, what: str) -> int:
    if found == 0:
        raise wrong(f"{value!r} stands here, {what} above 0 expected")
    return found


def or_none(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """With the word `none`, which is None."""

    def parse_or_none(value: Any) -> Any:
        return None if value == NONE else parse(value)

    return parse_or_none


def none_word(value: object) -> object:
    """For keys whose other values pydantic checks."""
    if value is None:
        raise wrong("nothing stands here", f"a value, or the word {NONE!r}; or leave the key out")
    return None if value == NONE else value


Text: TypeAlias = str | int
Duration = Annotated[int | None, PlainValidator(or_none(duration), json_schema_input_type=Text)]
LongDuration = Annotated[int | None, PlainValidator(or_none(long_duration), json_schema_input_type=str)]
Share = Annotated[float | None, PlainValidator(or_none(share), json_schema_input_type=Text)]
Correlation = Annotated[float | None, PlainValidator(or_none(correlation), json_schema_input_type=Text)]
Rate = Annotated[int | None, PlainValidator(or_none(rate), json_schema_input_type=Text)]
Size = Annotated[int | None, PlainValidator(or_none(size), json_schema_input_type=Text)]

GivenDuration = Annotated[int, PlainValidator(duration, json_schema_input_type=Text)]
GivenLongDuration = Annotated[int, PlainValidator(long_duration, json_schema_input_type=str)]
GivenShare = Annotated[float, PlainValidator(share, json_schema_input_type=Text)]
GivenCorrelation = Annotated[float, PlainValidator(correlation, json_schema_input_type=Text)]
GivenRate = Annotated[int, PlainValidator(rate, json_schema_input_type=Text)]
GivenSize = Annotated[int, PlainValidator(size, json_schema_input_type=Text)]

Count = Annotated[int, Field(ge=1, lt=1 << 32)]
CountFromZero = Annotated[int, Field(ge=0, lt=1 << 32)]
NoneOr = BeforeValidator(none_word)
"""Put after a type with None: also the word is None."""
