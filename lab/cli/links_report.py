"""What an impaired link was asked to do and what it did, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lab.cli.output import bit_rate
from lab.model.impairment_text import describe
from nodes import impairment
from nodes.units import MILLISECOND

NOT_KNOWN = "not known to this executor"


def report(state: Mapping[str, Any]) -> Iterator[str]:
    """The lines for one link: `state` is that of the supervisor's method `links`."""
    where = f"{state['ends'][0]} -- {state['ends'][1]}, {'up' if state['up'] else 'down'}, MTU {state['mtu']}"
    yield f"link {state['link']}: {where}"
    if state["executor"] is None:
        yield "  only carries: nothing is asked of it"
        return
    yield f"  carried by {state['executor']}: {state['reason']}"
    for side in state["directions"]:
        yield f"  {side['from']} to {side['to']}"
        for label, text in _of_direction(side):
            yield f"    {label:<9}{text}"
    meter = (state["emulator"] or {}).get("meter") or {}
    if meter.get("problem"):
        yield f"  delays are not measured: {meter['problem']}"


def _of_direction(side: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "asked", side["asked_text"]
    yield "applied", NOT_KNOWN if side["applied"] is None else describe(impairment.decode(side["applied"]))
    measured = side["measured"]
    if measured is None:
        yield "measured", NOT_KNOWN
        return
    yield "frames", _frames(measured)
    changed = [f"{measured[key]} {key}" for key in _CHANGED if measured.get(key)]
    if changed:
        yield "", ", ".join(changed)
    sampled = measured.get("sampled", 1)
    yield "delay", _times(measured.get("delay")) + (f" (of one frame in {round(1 / sampled)})" if sampled < 1 else "")
    yield "rate", _rate(measured)
    if measured.get("lateness"):
        yield "late by", _times(measured["lateness"])


_CHANGED = ("duplicated", "reordered", "corrupted", "marked")


def _frames(measured: Mapping[str, Any]) -> str:
    entered, dropped = measured["in_frames"], measured["dropped"] or {}
    words = [f"{entered} in", f"{measured['out_frames']} out"]
    for cause, count in sorted(dropped.items()):
        share = f" ({100 * count / entered:.2f} %)" if entered else ""
        words.append(f"{count} {cause}{share}")
    if measured.get("inside"):
        words.append(f"{measured['inside']} inside")
    return ", ".join(words)


def _times(distribution: Mapping[str, Any] | None) -> str:
    """Median and tail of a distribution in ns."""
    if distribution is None:
        return NOT_KNOWN
    if not distribution["count"]:
        return "no frame yet"
    shown = (("p1", "p1"), ("p50", "p50"), ("p99", "p99"), ("maximum", "max"))
    return ", ".join(f"{name} {distribution[key] / MILLISECOND:.2f} ms" for key, name in shown)


def _rate(measured: Mapping[str, Any]) -> str:
    if measured.get("rate") is None:
        return NOT_KNOWN
    return f"{bit_rate(measured['rate'])} in the last second, at most {bit_rate(measured['peak_rate'])}"
