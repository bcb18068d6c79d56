"""Text files that say how a link behaves over time: Mahimahi's traces of a rate, and schedules in CSV.

**Mahimahi** (Netravali and others, "Mahimahi: Accurate Record-and-Replay for HTTP", 2015). Each line is an integer: a
millisecond, since the start, at which the link may deliver 1500 octets. Lines are in order; several may be alike. The
last one is the length of the period, after which the trace begins again, so it is not 0.

    0 \\
    0  |  two deliveries at once, then one at 3 ms and one at 5 ms, and again from 5 ms on:
    3  |  4 * 1500 * 8 bit / 5 ms = 9.6 Mbit/s
    5 /

**CSV.** A header, then a row per change; a row holds until the next one, and an empty cell changes nothing.

    t, delay, rate,   loss, up          t_ms,delay_us,rate_bps,loss_percent
    0,  25ms, 80mbit, 0.1%, 1           0,25000,80000000,0.1
    15,     ,       ,     , 0           15000,31000,64000000,0.1
    15.2, 31, 64mbit,     , 1

Cells are written with a unit, as in a topology, or the column's name has it. Plain numbers are also taken in `t`
(seconds), `delay` (milliseconds) and `rate` (bit/s), but not in `loss`: 0.01 means a hundredth of a percent to tc(8)
and one percent to others. Times are from the start of the schedule, and increase. `loss` is of every frame for itself.
Empty lines, and lines that begin with #, are passed over.

All raise ValueError that begins with the line: "line 3: ...".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from nodes import json_values
from nodes.impairment import Change, RandomLoss, RateTrace
from nodes.quantities import parse_duration, parse_rate, parse_share
from nodes.units import MICROSECOND, MILLISECOND, SECOND

OPPORTUNITIES_LIMIT = 1_000_000
"""Lines of a rate trace: 1,000 s at 12 Mbit/s. All of them go into the plan and to the process that owns the link."""
ROWS_LIMIT = 10_000
"""Rows of a schedule: 41 hours of a satellite that changes its path every 15 s. Each is a change in the plan."""
LONGEST = 10**15
"""The largest number that a cell or a line may hold, in its own unit: beyond any use, and below any overflow."""

_Parser = Callable[[str], Any]


def parse_mahimahi(text: str) -> RateTrace:
    """A trace of delivery opportunities. Raises ValueError."""
    opportunities: list[int] = []
    before = 0
    for number, line in enumerate(_lines(text), 1):
        value = line.strip()
        if not (value.isascii() and value.isdigit() and int(value[:17]) <= LONGEST and len(value) < 17):
            raise ValueError(f"line {number}: {_shown(value)} is not a whole number of milliseconds")
        milliseconds = int(value)
        if milliseconds < before:
            raise ValueError(f"line {number}: {milliseconds} ms is before the {before} ms of the line above")
        if number > OPPORTUNITIES_LIMIT:
            raise ValueError(f"line {number}: a trace has at most {OPPORTUNITIES_LIMIT} lines")
        opportunities.append(milliseconds)
        before = milliseconds
    if not before:
        raise ValueError(f"line {max(len(opportunities), 1)}: a trace lasts longer than 0 ms, which is its last line")
    return RateTrace(tuple(opportunities))


def parse_schedule(text: str) -> tuple[Change, ...]:
    """The changes of a schedule, both directions, `at` from its start. Raises ValueError."""
    rows = _rows(text)
    number, header = next(rows, (1, []))
    titles = _titles(number, header)
    changes: list[Change] = []
    for number, cells in rows:
        if len(cells) != len(titles):
            raise ValueError(f"line {number}: {len(cells)} cells, the header has {len(titles)}")
        change = _change(number, dict(zip(titles, cells, strict=True)))
        if changes and change.at <= changes[-1].at:
            raise ValueError(f"line {number}: its time is not after that of the row above")
        if len(changes) == ROWS_LIMIT:
            raise ValueError(f"line {number}: a schedule has at most {ROWS_LIMIT} rows")
        changes.append(change)
    if not changes:
        raise ValueError(f"line {number}: no row under the header")
    return tuple(changes)


def _change(number: int, row: dict[str, str]) -> Change:
    """One row, by the titles of its cells."""
    values: dict[str, Any] = {}
    for title, text in row.items():
        if text:
            try:
                values[_meaning(title)] = _PARSERS[title](text)
            except ValueError as error:
                raise ValueError(f"line {number}: {title}: {error}") from None
    if "t" not in values:
        raise ValueError(f"line {number}: a row has a time")
    at, up = values.pop("t"), values.pop("up", None)
    if not values and up is None:
        raise ValueError(f"line {number}: a row changes something")
    if "loss" in values:
        values["loss"] = json_values.encode(RandomLoss(chance=values["loss"]))
    return Change(at, patch=values, up=up, origin="trace")


def _titles(number: int, header: list[str]) -> list[str]:
    titles = [cell.lower() for cell in header]
    for title in titles:
        if title not in _PARSERS:
            raise ValueError(f"line {number}: column {_shown(title)} is not one of {', '.join(_PARSERS)}")
    meanings = [_meaning(title) for title in titles]
    for index, meaning in enumerate(meanings):
        if meaning in meanings[:index]:
            raise ValueError(f"line {number}: a second column for {meaning}")
    if "t" not in meanings:
        raise ValueError(f"line {number}: a header such as `t,delay,rate,loss` is expected")
    if len(titles) == 1:
        raise ValueError(f"line {number}: nothing to change beside the time")
    return titles


def _meaning(title: str) -> str:
    """A column's name without its unit."""
    return title.partition("_")[0]


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(text), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, [cell.strip() for cell in line.split(",")]


def _lines(text: str) -> list[str]:
    """Without the byte order mark that spreadsheets put in front."""
    return text.removeprefix("\ufeff").removesuffix("\n").split("\n")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


# Cells


def _number(text: str) -> Fraction | None:
    """None for what is not a plain number, which may have a sign and an exponent."""
    try:
        if "_" in text or len(text) > 40 or not text.isascii():
            return None
        mantissa, _, exponent = text.lower().partition("e")
        return None if exponent and not -20 <= int(exponent) <= 20 else Fraction(f"{mantissa}e{exponent or 0}")
    except ValueError:
        return None


def _in(unit: Fraction | int, expected: str) -> _Parser:
    """Plain numbers of a unit, as the nearest integer."""

    def parse(text: str) -> int:
        value = _number(text)
        if value is None:
            raise ValueError(f"{_shown(text)} is not {expected}")
        if not 0 <= value <= LONGEST:
            raise ValueError(f"{text} is {'negative' if value < 0 else 'too large'}")
        return round(value * unit)

    return parse


def _or(parse_plain: _Parser, parse: _Parser) -> _Parser:
    """A plain number, or one with a unit."""
    return lambda text: parse(text) if _number(text) is None else parse_plain(text)


def _rate(parse: _Parser) -> _Parser:
    def above_zero(text: str) -> int:
        rate: int = parse(text)
        if not rate:
            raise ValueError("0 would be a link without a limit: for an outage, put 0 into a column `up`")
        return rate

    return above_zero


def _share(whole: int) -> _Parser:
    def parse(text: str) -> float:
        value = _number(text)
        if value is None or not 0 <= value <= whole:
            raise ValueError(f"{_shown(text)} is not a number from 0 to {whole}")
        return float(value / whole)

    return parse


def _up(text: str) -> bool:
    known = {"1": True, "up": True, "true": True, "0": False, "down": False, "false": False}
    if text.lower() not in known:
        raise ValueError(f"{_shown(text)} is not 1 or 0, up or down")
    return known[text.lower()]


def _parsers() -> dict[str, _Parser]:
    """By title of the column."""
    times = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND, "ns": 1}
    rates = {"bps": 1, "kbps": 10**3, "mbps": 10**6, "gbps": 10**9, "bit": 1, "kbit": 10**3, "mbit": 10**6}
    parsers: dict[str, _Parser] = {
        "t": _or(_in(SECOND, "a number of seconds"), parse_duration),
        "delay": parse_duration,
        "rate": _rate(_or(_in(1, "a number of bit/s"), parse_rate)),
        "loss": parse_share,
        "up": _up,
        "loss_percent": _share(100),
        "loss_share": _share(1),
    }
    for name, unit in times.items():
        parsers[f"t_{name}"] = parsers[f"delay_{name}"] = _in(unit, f"a number of {name}")
    for name, unit in rates.items():
        parsers[f"rate_{name}"] = _rate(_in(unit, f"a number of {name}"))
    return parsers


_PARSERS = _parsers()
