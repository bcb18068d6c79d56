"""Impairments as people write them: `delay 20ms, jitter 5ms normal, loss 1%, rate 10mbit`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import assert_never

from nodes.impairment import (
    NOTHING,
    Change,
    Codel,
    Distribution,
    DropTail,
    Fault,
    FqCodel,
    GilbertElliott,
    Impairment,
    Loss,
    MarkovLoss,
    Match,
    Pie,
    Queue,
    RandomLoss,
    Red,
    Slot,
    TimedGilbertElliott,
    decode_patch,
    merged,
)
from nodes.quantities import format_duration, format_rate, format_share, format_size


def describe(impairment: Impairment) -> str:
    """One line; `nothing` for a link that only carries."""
    return ", ".join(_parts(impairment)) or "nothing"


def describe_change(change: Change) -> str:
    """What a change of a schedule does: `delay 50ms`, `to rate 1mbit within 10s`, `down`."""
    parts = [] if change.up is None else ["up" if change.up else "down"]
    if change.patch or change.replace:
        parts.append(describe_patch(change.patch) if change.patch else "nothing")
    text = ", ".join(parts)
    text = f"only {text}" if change.replace and change.patch else text
    text = f"to {text} within {format_duration(change.ramp)}" if change.ramp else text
    if change.every:
        times = f", {change.times} times" if change.times else ""
        text = f"{text}, every {format_duration(change.every)}{times}"
    return text


def describe_patch(patch: Mapping[str, object]) -> str:
    """Some fields, encoded: those that turn a thing off are `no NAME`."""
    given = decode_patch(patch)
    off = [name for name, value in given.items() if value == getattr(NOTHING, name) and name not in _SECONDARY]
    described = [*_parts(merged(NOTHING, given)), *(f"no {name.replace('_', ' ')}" for name in off)]
    return ", ".join(described)


_SECONDARY = (
    "corrupt_correlation",
    "duplicate_correlation",
    "reorder_correlation",
    "overhead",
    "cell",
    "cell_overhead",
)


def _parts(impairment: Impairment) -> Iterator[str]:
    yield from _of_delay(impairment)
    if impairment.loss is not None:
        yield _loss(impairment.loss)
    if impairment.ecn:
        yield "ecn"
    for name in ("corrupt", "duplicate", "reorder"):
        chance = getattr(impairment, name)
        if chance:
            yield f"{name} {_correlated(chance, getattr(impairment, f'{name}_correlation'))}"
    if impairment.gap:
        yield f"gap {impairment.gap}"
    yield from _of_rate(impairment)
    if impairment.slot is not None:
        yield _slot(impairment.slot)
    if impairment.limit:
        yield f"limit {impairment.limit}"
    if impairment.faults:
        yield f"faults {'; '.join(map(_fault, impairment.faults))}"
    if impairment.seed is not None:
        yield f"seed {impairment.seed}"


def _of_delay(impairment: Impairment) -> Iterator[str]:
    if impairment.delay:
        yield f"delay {format_duration(impairment.delay)}"
    shape = _distribution(impairment.distribution)
    if impairment.jitter:
        yield f"jitter {format_duration(impairment.jitter)}{f' {shape}' if shape else ''}"
    elif shape:
        yield f"distribution {shape}"
    if impairment.delay_correlation:
        yield f"delay correlation {format_share(impairment.delay_correlation)}"
    if impairment.steadiness:
        yield f"steadiness {format_share(impairment.steadiness)}"


def _of_rate(impairment: Impairment) -> Iterator[str]:
    if impairment.rate:
        yield f"rate {format_rate(impairment.rate)}"
    for name in ("overhead", "cell", "cell_overhead"):
        if getattr(impairment, name):
            yield f"{name.replace('_', ' ')} {getattr(impairment, name)}"
    bucket = impairment.bucket
    if bucket is not None:
        peak = f" peak {format_rate(bucket.peak)}" if bucket.peak else ""
        yield f"bucket {format_rate(bucket.rate)} burst {format_size(bucket.burst)}{peak}"
    if impairment.trace is not None:
        times = impairment.trace.opportunities
        yield f"trace of {format_duration(times[-1] * 1_000_000)}, {format_rate(len(times) * 12_000_000 // times[-1])}"
    if impairment.queue is not None:
        yield f"queue {_queue(impairment.queue)}"


def _distribution(distribution: Distribution) -> str:
    return {"uniform": "", "table": "by table"}.get(distribution.name, distribution.name)


def _correlated(chance: float, correlation: float) -> str:
    return format_share(chance) + (f" correlation {format_share(correlation)}" if correlation else "")


def _loss(loss: Loss) -> str:
    match loss:
        case RandomLoss():
            return f"loss {_correlated(loss.chance, loss.correlation)}"
        case MarkovLoss():
            return _tc_loss("state", loss.p13, loss.p31, loss.p32, loss.p23, loss.p14)
        case GilbertElliott() if loss.bad_loss == 1 and loss.good_loss == 0 and loss.p and loss.r:
            return f"loss {_rounded(loss.p / (loss.p + loss.r))} in bursts of {1 / loss.r:.3g}"
        case GilbertElliott():
            return _tc_loss("gemodel", loss.p, loss.r, loss.bad_loss, loss.good_loss)
        case TimedGilbertElliott():
            good, bad = format_duration(loss.good), format_duration(loss.bad)
            both = f"{format_share(loss.bad_loss)} for {bad}, {format_share(loss.good_loss)} for {good}"
            return f"loss {both} on average"
        case _:
            assert_never(loss)


def _tc_loss(model: str, *chances: float) -> str:
    return f"loss {model} {' '.join(map(format_share, chances))}"


def _rounded(share: float) -> str:
    """To four digits: what was computed from other chances is no person's number."""
    digits = 3 - math.floor(math.log10(share)) if share else 0
    return format_share(round(share, digits))


def _slot(slot: Slot) -> str:
    if slot.distribution is not None:
        shape = _distribution(slot.distribution) or "uniform"
        times = f"{format_duration(slot.delay)} {format_duration(slot.jitter)} {shape}"
    else:
        ends = dict.fromkeys((slot.minimum, slot.maximum))
        times = " to ".join(map(format_duration, ends))
    packets = f" of {slot.packets} packets" if slot.packets else ""
    octets = f" of {format_size(slot.octets)}" if slot.octets else ""
    return f"slots every {times}{packets}{octets}"


def _queue(queue: Queue) -> str:
    """Its name, its times, and the bounds that are not its default ones."""
    words: list[str] = [queue.discipline]
    match queue:
        case DropTail() | Red():
            pass
        case Codel() | FqCodel():
            words.append(f"target {format_duration(queue.target)} interval {format_duration(queue.interval)}")
        case Pie():
            words.append(f"target {format_duration(queue.target)}")
        case _:
            assert_never(queue)
    given = {
        item.name: getattr(queue, item.name) for item in fields(queue) if getattr(queue, item.name) != item.default
    }
    words += [f"{name} {format_size(given[name])}" for name in ("minimum", "maximum", "octets") if name in given]
    words += [f"{given['packets']} packets"] if "packets" in given else []
    return " ".join([*words, *(["ecn"] if getattr(queue, "ecn", False) else [])])


def _fault(fault: Fault) -> str:
    """`drop the 1st tcp SYN`, `delay by 200ms the 2nd frame`."""
    how = {
        "drop": "drop",
        "delay": f"delay by {format_duration(fault.delay)}",
        "duplicate": "duplicate" if fault.copies == 1 else f"duplicate {fault.copies} times",
        "corrupt": "corrupt" if fault.bit is None else f"corrupt bit {fault.bit} of",
    }
    return f"{how[fault.action]} {_which(fault, ' '.join(_matched(fault.match)) or 'frame')}"


def _which(fault: Fault, frames: str) -> str:
    first = _ordinal(fault.first)
    if fault.count == 1:
        return f"the {first} {frames}"
    each = f"every {_ordinal(fault.every)}" if fault.every > 1 else "every"
    begin = f" from the {first} on" if fault.first > 1 else ""
    return f"{each} {frames}{begin}{f', {fault.count} times' if fault.count else ''}"


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number // 10 % 10 == 1 else ends.get(number % 10, 'th')}"


def _matched(match: Match) -> Iterator[str]:
    if match.protocol:
        yield match.protocol
    flags = [*filter(None, match.flags.split(",")), *(f"!{name}" for name in match.not_flags.split(",") if name)]
    if flags:
        yield ",".join(flags)
    if match.sequence:
        yield f"octets {match.sequence[0]}-{match.sequence[1] - 1}"
    for name, default in (("source", ""), ("destination", ""), ("source_port", 0), ("destination_port", 0)):
        if getattr(match, name) != default:
            yield f"{name.replace('_', ' ')} {getattr(match, name)}"
    if match.payload is not None:
        yield "with data" if match.payload else "without data"
    if match.fragment:
        yield f"fragment {match.fragment}"
    if match.minimum_length or match.maximum_length:
        yield f"of {match.minimum_length} to {match.maximum_length or 'any'} octets"
