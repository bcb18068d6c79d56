"""What is wrong with an impairment as a whole, and what it will not do although it says so.

Both are told of values, so that the same rules hold for a topology and for `lab impair` on a running link. Errors are
what has no meaning, or what netem itself would refuse. Warnings are what netem does and nobody expects, each with the
number that comes out and the way to get what was meant (Salsano and others, "Definition of a general and intuitive loss
model for packet networks and its implementation in the netem module", 2012; Jurgelionis and others, ICCCN 2011).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

from nodes.impairment import (
    FRAME_OVERHEAD,
    Codel,
    Distribution,
    DropTail,
    FqCodel,
    GilbertElliott,
    Impairment,
    Loss,
    RandomLoss,
    Red,
)
from nodes.physical.jitter import MAXIMUM_JITTER, expected_mean_and_deviation, spread, table_of
from nodes.physical.loss import stationary_loss
from nodes.physical.tausworthe import effective_chance
from nodes.quantities import format_duration, format_rate, format_share, format_size
from nodes.units import MILLISECOND, SECOND

MUCH_LESS = 0.95
"""What comes out is told where it is less than this share of what was asked for."""
UNSTATED_RATE = 100_000_000
"""Bit/s: a limit is told to be low, where no rate is given, if it lets less than this pass."""
NOTABLE_CUT = 0.001
"""Share of delays cut at zero that is told; a normal jitter of a third of the delay has that."""
NOTABLE_DUPLICATION = 0.05
"""Share of duplicates from which they hide losses notably."""


class Said(NamedTuple):
    """About a field of the impairment."""

    field: str
    message: str
    hint: str = ""


def errors_of(impairment: Impairment, mtu: int) -> list[Said]:
    """What cannot be meant. `mtu` in octets of IP packet."""
    return [*_of_jitter(impairment), *_of_order(impairment), *_of_speed(impairment, mtu + FRAME_OVERHEAD)]


def warnings_of(impairment: Impairment, mtu: int) -> list[Said]:
    """What is done otherwise than it reads."""
    frame = mtu + FRAME_OVERHEAD
    return [
        *_correlations(impairment),
        *_losses(impairment),
        *_jitter_realised(impairment),
        *_limits(impairment, frame),
        *_marks(impairment),
        *_targets(impairment, frame),
    ]


# Errors


def _of_jitter(impairment: Impairment) -> Iterator[Said]:
    if impairment.jitter > MAXIMUM_JITTER:
        message = f"a jitter of {format_duration(impairment.jitter)} is more than netem has"
        yield Said("jitter", message, f"{format_duration(MAXIMUM_JITTER // MILLISECOND * MILLISECOND)} is the most")
    if impairment.distribution != Distribution():
        if not impairment.jitter:
            yield Said("distribution", "a distribution is that of the jitter, and there is none", "jitter: 5ms")
        elif not impairment.delay:
            message = "a jitter with a distribution varies a delay, and there is none"
            yield Said("distribution", message, "delay: 20ms; tc refuses it, too")
    for field in ("delay_correlation", "steadiness"):
        if getattr(impairment, field) and not impairment.jitter:
            yield Said(field, f"{field!r} is about the jitter, and there is none", "jitter: 5ms")
    if impairment.jitter and impairment.steadiness and impairment.delay_correlation:
        message = "'steadiness' and 'delay_correlation' are two correlations of the delay"
        yield Said("delay_correlation", message, "leave it out: it hardly does anything")


def _of_order(impairment: Impairment) -> Iterator[Said]:
    if impairment.reorder and not impairment.delay:
        message = "reorder lets a frame leave without its delay, and there is none"
        yield Said("reorder", message, "delay: 10ms; tc refuses it, too")
    if impairment.gap and not impairment.reorder:
        message = "a gap chooses among the frames to reorder, and there are none"
        yield Said("gap", message, "reorder: 100% takes each of them; tc refuses a gap alone, too")


def _of_speed(impairment: Impairment, frame: int) -> Iterator[Said]:
    speeds = {
        "rate": impairment.rate > 0,
        "bucket": impairment.bucket is not None,
        "trace": impairment.trace is not None,
    }
    first, *others = [name for name, given in speeds.items() if given] or [""]
    for other in others:
        message = f"{first!r} and {other!r} each say how fast frames leave"
        yield Said(other, message, f"leave one out; {first}: none removes one of the defaults")
    if impairment.queue is not None and not first:
        hint = "rate: 10mbit, or a bucket, or a trace"
        yield Said("queue", "a queue forms where frames wait for a rate, and there is none", hint)
    bucket = impairment.bucket
    if bucket is not None and bucket.burst < frame:
        message = f"a bucket of {format_size(bucket.burst)} never holds enough for a frame of {frame} octets"
        yield Said("bucket", message, f"burst: {format_size(math.ceil(frame / 1000) * 1000)} or more")
    queue = impairment.queue
    if isinstance(queue, DropTail | Red | FqCodel) and 0 < queue.octets < frame:
        message = f"a queue of {format_size(queue.octets)} has no room for a frame of {frame} octets"
        yield Said("queue", message, f"octets: {format_size(math.ceil(frame / 1000) * 1000)} or more")


# Warnings


@functools.lru_cache(maxsize=1024)
def _effective(chance: float, correlation: float) -> float:
    """It takes some 50 ms to find, and many links say the same."""
    return effective_chance(chance, correlation)


def _lost(loss: Loss) -> float:
    """In the long run."""
    return _effective(loss.chance, loss.correlation) if isinstance(loss, RandomLoss) else stationary_loss(loss)


def _short_share(share: float) -> str:
    """To two digits: the numbers behind are computed."""
    return "nothing" if share < 1e-9 else format_share(float(f"{share:.2g}"))


def _correlations(impairment: Impairment) -> Iterator[Said]:
    loss = impairment.loss
    if isinstance(loss, RandomLoss) and loss.correlation:
        effective = _effective(loss.chance, loss.correlation)
        if effective < loss.chance * MUCH_LESS:
            asked = f"loss {format_share(loss.chance)} with correlation {format_share(loss.correlation)}"
            message = f"{asked} loses {_short_share(effective)}, and hardly in bursts"
            yield Said("loss", message, f"burst: {{loss: {format_share(loss.chance)}, mean: 3}}")
    for field in ("corrupt", "duplicate", "reorder"):
        chance, correlation = getattr(impairment, field), getattr(impairment, f"{field}_correlation")
        effective = _effective(chance, correlation) if chance and correlation else chance
        if effective < chance * MUCH_LESS:
            asked = f"{field} {format_share(chance)} with correlation {format_share(correlation)}"
            yield Said(
                field, f"{asked} happens to {_short_share(effective)} of the frames", "leave the correlation out"
            )
    is_smooth = impairment.jitter >= SECOND and impairment.distribution.name == "uniform"
    if impairment.delay_correlation and not is_smooth:
        asked = format_share(impairment.delay_correlation)
        message = f"a delay correlation of {asked} does nothing: netem throws away the digits that are correlated"
        yield Said("delay_correlation", message, f"steadiness: {asked} is one that works")


def _losses(impairment: Impairment) -> Iterator[Said]:
    loss = impairment.loss
    if isinstance(loss, GilbertElliott) and loss.p and not loss.r:
        yield Said("loss", "r 0%: once the bad state is reached, it is never left", "r: 10% for 10 frames on average")
    if loss is None:
        return
    lost, twice = _lost(loss), impairment.duplicate
    if not lost:
        yield Said("loss", "this model loses nothing", "loss: none says the same")
    elif twice >= NOTABLE_DUPLICATION:
        shares = format_share(_rounded((1 - twice) * lost)), format_share(_rounded(twice * (1 - lost) ** 2))
        message = f"duplicates make up for losses: {shares[0]} are lost and {shares[1]} come twice"
        yield Said("duplicate", message, "netem decides on both for a frame, and one of its copies is enough")


def _rounded(value: float) -> float:
    """To three digits."""
    return float(f"{value:.3g}")


def _jitter_realised(impairment: Impairment) -> Iterator[Said]:
    if not impairment.jitter:
        return
    cut = _share_cut(impairment.delay, impairment.jitter, impairment.distribution)
    if cut >= NOTABLE_CUT:
        mean, _ = _realised(impairment.delay, impairment.jitter, impairment.distribution)
        message = f"{_short_share(cut)} of the delays would be negative and are 0: the mean is {_short_time(mean)}"
        yield Said("jitter", message, "a delay of several jitters has no such cut")
    elif impairment.distribution.name != "uniform":
        yield from _narrow(impairment)
    if impairment.rate and not impairment.has_server:
        message = "with a rate in netem, jitter reorders nothing: frames leave in the order in which they came"
        yield Said("jitter", message, "queue: drop_tail puts the rate in front of the delay")


def _narrow(impairment: Impairment) -> Iterator[Said]:
    without_cut = 8 * impairment.jitter
    _, deviation = _realised(without_cut, impairment.jitter, impairment.distribution)
    if deviation < impairment.jitter * MUCH_LESS:
        name = impairment.distribution.name
        asked, realised = format_duration(impairment.jitter), _short_time(deviation)
        enough = _short_time(impairment.jitter * impairment.jitter / deviation)
        message = f"a jitter of {asked} by {name} deviates by {realised}: the table is cut at four jitters"
        yield Said("jitter", message, f"jitter: {enough} deviates by {asked}")


def _short_time(nanoseconds: float) -> str:
    """To three digits."""
    return format_duration(int(_rounded(nanoseconds)))


@functools.lru_cache(maxsize=1024)
def _realised(delay: int, jitter: int, distribution: Distribution) -> tuple[float, float]:
    """Mean and deviation in ns, from thousands of entries, which many links have in common."""
    return expected_mean_and_deviation(Impairment(delay=delay, jitter=jitter, distribution=distribution))


@functools.lru_cache(maxsize=1024)
def _share_cut(delay: int, jitter: int, distribution: Distribution) -> float:
    """The share of drawn delays that are negative."""
    table = table_of(distribution)
    if not table:
        return max(jitter - delay, 0) / (2 * jitter)
    return sum(delay + spread(step, jitter, table) < 0 for step in range(len(table))) / len(table)


def _limits(impairment: Impairment, frame: int) -> Iterator[Said]:
    """netem's limit counts every frame inside, those on the way too: limit frames for each delay is all that passes."""
    limit, delay = impairment.limit, impairment.delay
    if not limit:
        return
    rate = impairment.rate or (impairment.bucket.rate if impairment.bucket is not None else UNSTATED_RATE)
    needed = math.ceil(rate * delay / (8 * frame * SECOND))
    if limit < needed:
        passes = limit * frame * 8 * SECOND // delay
        message = f"limit {limit} lets {format_rate(int(_rounded(passes)))} pass at most: it counts frames on the way"
        in_flight = f"{needed} frames are, at {format_rate(rate)} and {format_duration(delay)}"
        yield Said("limit", message, f"{in_flight}; left out, it is sized from both")
    elif impairment.has_server:
        message = f"limit {limit} is of the frames in flight behind the queue, and does not bound the queue"
        queue = impairment.queue
        name = "drop_tail" if queue is None or isinstance(queue, Red) else queue.discipline
        yield Said("limit", message, f"queue: {{{name}: {{packets: {limit}}}}}")


def _marks(impairment: Impairment) -> Iterator[Said]:
    if impairment.ecn and impairment.loss is None:
        queue = impairment.queue.discipline if impairment.queue is not None else ""
        can_mark = queue not in ("", "drop_tail")
        hint = f"queue: {{{queue}: {{ecn: true}}}} lets the queue mark" if can_mark else "loss: 1%"
        yield Said("ecn", "ecn marks frames instead of losing them, and no loss is asked for", hint)


def _targets(impairment: Impairment, frame: int) -> Iterator[Said]:
    """RFC 8289 section 4.3, RFC 8290 section 5.2.2: the target is no shorter than a frame's transmission."""
    queue, rate = impairment.queue, impairment.rate or (impairment.bucket.rate if impairment.bucket is not None else 0)
    if isinstance(queue, Codel | FqCodel) and rate:
        transmission = frame * 8 * SECOND // rate
        if transmission > queue.target:
            times = (
                f"{format_duration(queue.target)} is shorter than a frame's transmission, {_short_time(transmission)}"
            )
            hint = f"queue: {{{queue.discipline}: {{target: {_short_time(transmission * 1.5)}}}}}"
            yield Said("queue", f"the target of {times}", hint)
