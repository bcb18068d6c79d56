"""TCLink's parameters as an impairment of ours, for the frames that one end of a link sends.

    bw              Mbit/s                        rate
    delay, jitter   as tc writes times; a bare    delay, jitter
                    number is microseconds
    loss            percent                       loss
    max_queue_size  packets                       limit

Mininet prints what tc refuses and goes on; here it is an error, or a warning where something is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

KNOWN = frozenset(("bw", "delay", "jitter", "loss", "max_queue_size"))
HARMLESS = frozenset(
    ("use_htb", "gro", "txo", "rxo", "disable_gro", "port", "moveIntfFn", "ip", "mac", "up", "ifconfig")
)
"""Read elsewhere, or without a meaning here."""
IGNORED = {
    "use_hfsc": "the rate is kept by our own means",
    "use_tbf": "the rate is kept by our own means",
    "latency_ms": "the rate is kept by our own means; max_queue_size bounds the queue",
    "speedup": "the rate is bw in both directions",
    "enable_ecn": "the queue is first in, first out",
    "enable_red": "the queue is first in, first out",
}
FASTEST = 1000
"""Mbit/s: TCIntf.bwParamMax, above which Mininet sets no rate."""

_TIME = re.compile(r"([0-9]*\.?[0-9]+)\s*([a-zA-Zµ]*)")
_UNITS = {"": "us", "sec": "s", "secs": "s"}


class Remark(NamedTuple):
    """On one parameter. An error stops the import."""

    message: str
    hint: str = ""
    error: bool = False


def impairment_of(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[Remark]]:
    """The keys of `impair`, and what is to be said."""
    impair: dict[str, Any] = {}
    remarks: list[Remark] = []
    given = {key: value for key, value in params.items() if value is not None}
    for convert in (_rate, _delay, _loss, _limit):
        for key, value in convert(given):
            if isinstance(value, Remark):
                remarks.append(value)
            else:
                impair[key] = value
    for name, reason in IGNORED.items():
        if given.get(name):
            remarks.append(Remark(f"{name} has no effect here", reason))
    return impair, remarks


def number(value: Real) -> str:
    """Without an exponent."""
    text = f"{Decimal(str(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_Found = Iterator[tuple[str, Any]]


def _rate(given: Mapping[str, Any]) -> _Found:
    if "bw" not in given:
        return
    bw = given["bw"]
    if not is_number(bw) or not 0 < bw < float("inf"):
        yield "", Remark(f"bw is {bw!r}, a number of Mbit/s above 0 expected", "bw=10 is 10 Mbit/s", error=True)
        return
    if bw > FASTEST:
        yield "", Remark(f"bw={number(bw)} is kept here; Mininet sets no rate above {FASTEST} Mbit/s")
    yield "rate", f"{number(bw)}mbit"


def _delay(given: Mapping[str, Any]) -> _Found:
    for key in ("delay", "jitter"):
        if key not in given:
            continue
        text = number(given[key]) if is_number(given[key]) else str(given[key]).strip()
        match = _TIME.fullmatch(text)
        if match is None:
            yield "", Remark(f"{key} is {given[key]!r}, a time such as '5ms' expected", "TIME and unit", error=True)
        elif not float(match[1]):
            continue
        elif key == "jitter" and not given.get("delay"):
            yield "", Remark("jitter without delay has no effect", "tc takes it only behind a delay")
        else:
            if not match[2]:
                hint = f"tc reads a number without unit so; for milliseconds write {key}='{text}ms'"
                yield "", Remark(f"{key} {text} is {text} microseconds", hint)
            yield key, f"{number_text(match[1])}{_UNITS.get(match[2].lower(), match[2].lower())}"


def number_text(text: str) -> str:
    """`.5` is `0.5`."""
    return f"0{text}" if text.startswith(".") else text


def _loss(given: Mapping[str, Any]) -> _Found:
    if "loss" not in given:
        return
    loss = given["loss"]
    if not is_number(loss) or not 0 <= loss <= 100:
        yield "", Remark(f"loss is {loss!r}, a number from 0 to 100 expected", "loss=1 is one percent", error=True)
    elif loss:
        yield "loss", f"{number(loss)}%"


def _limit(given: Mapping[str, Any]) -> _Found:
    if "max_queue_size" not in given:
        return
    size = given["max_queue_size"]
    if not is_number(size) or int(size) != size or not 1 <= size < 1 << 32:
        message = f"max_queue_size is {size!r}, a number of packets above 0 expected"
        yield "", Remark(message, "max_queue_size=100", error=True)
    else:
        yield "limit", int(size)
