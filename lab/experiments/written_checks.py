"""The expectations of a written experiment, judged over its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import UserInputError
from lab.experiments.bounds import ANYTHING, Bound
from lab.experiments.timeline import Results
from lab.experiments.trial import Event, Trial
from lab.experiments.written_model import (
    Counter,
    Expectation,
    Happening,
    OfLink,
    OfResult,
    Ordered,
    Series,
    Span,
    States,
)
from lab.model.errors import did_you_mean
from nodes.units import SECOND

DROPS = ("loss", "limit", "fault", "fault queue full", "link down")
"""Why every link may drop a frame; queue disciplines have reasons of their own."""
_UNITS = {"seconds": "s", "octets": "octets", "goodput": "bit/s", "duration": "ns", "srtt": "ns"}
"""Of numbers in the results of applications, by their names; times at the ends of names are counted below."""
_IN_NANOSECONDS = ("srtt", "rttvar", "min_rtt", "rto")


@dataclass(frozen=True, slots=True)
class _Run:
    trial: Trial
    results: Results
    claim: str
    bound: Bound

    def hold(self, seen: float, where: str = "", unit: str = "") -> None:
        """Against what the expectation says it is."""
        shown = f"{seen:,}" if isinstance(seen, int) else f"{seen:.6g}"
        numbers = f"expected {self.bound.text}, seen {shown}"
        self.trial.expect(self.claim, self.bound.holds(seen), numbers, where, seen=seen, unit=unit)


async def judge(trial: Trial, expectation: Expectation, results: Results) -> None:
    """Say of one claim whether it held. Raises UserInputError for what the run does not have."""
    run = _Run(trial, results, expectation.claim, expectation.bound or ANYTHING)
    await _CHECKS[expectation.check](run, getattr(expectation, expectation.check))


async def _order(run: _Run, wanted: Ordered) -> None:
    run.trial.in_order(run.claim, wanted.node, [(each.event, each.fields) for each in wanted.events])


async def _states(run: _Run, wanted: States) -> None:
    ways = run.trial.states(wanted.node, wanted.port)
    seen = ways[wanted.connection - 1] if len(ways) >= wanted.connection else []
    run.trial.equal(run.claim, seen, [state.lower() for state in wanted.are], wanted.node)


async def _count(run: _Run, wanted: Happening) -> None:
    found = run.trial.events(wanted.event, wanted.node, **wanted.fields)
    run.hold(len(found), _place(found[-1]) if found else "")


async def _result(run: _Run, wanted: OfResult) -> None:
    seen = _number_at(run.results[wanted.of], wanted.field, f"the result of {wanted.of}")
    run.hold(seen, unit=_unit(wanted.field.rpartition(".")[2]))


async def _counter(run: _Run, wanted: Counter) -> None:
    state = await run.trial.lab.node(wanted.node).state()
    run.hold(_number_at(state, wanted.path, f"the state of {wanted.node}"))


async def _series(run: _Run, wanted: Series) -> None:
    rows = run.trial.series(wanted.node, wanted.metric)
    if not rows:
        run.trial.expect(run.claim, False, f"{wanted.node} has no {wanted.metric}: it sent nothing over TCP")
        return
    scale = SECOND if wanted.metric in _IN_NANOSECONDS else 1
    order = {"smallest": min(rows, key=_value), "largest": max(rows, key=_value), "first": rows[0], "last": rows[-1]}
    time, value = order[wanted.take]
    run.hold(value / scale, f"{wanted.node}, {time:.3f} ms", "octets" if scale == 1 else "s")


async def _time(run: _Run, wanted: Span) -> None:
    begins = run.trial.events(wanted.begin.event, wanted.begin.node, **wanted.begin.fields)
    after = begins[0]["time"] if begins else 0.0
    ends = [
        each
        for each in run.trial.events(wanted.end.event, wanted.end.node, **wanted.end.fields)
        if each["time"] >= after
    ]
    if not begins or not ends:
        missing = wanted.end.event if begins else wanted.begin.event
        run.trial.expect(run.claim, False, f"expected {run.bound.text}, no {missing}")
        return
    run.hold((ends[0]["time"] - after) / 1000, _place(ends[0]), "s")


async def _link(run: _Run, wanted: OfLink) -> None:
    state = await run.trial.lab.link(wanted.name).state()
    side = next((each for each in state["directions"] if each["from"].partition(":")[0] == wanted.sender), None)
    if side is None:
        raise UserInputError(f"{wanted.sender} is no end of {wanted.name}")
    measured = side["measured"]
    measured["dropped"] = dict.fromkeys(DROPS, 0) | measured["dropped"]  # reasons that did not come up are not there
    run.hold(_number_at(measured, wanted.field, f"what {wanted.name} measures"))


_CHECKS: Mapping[str, Callable[[_Run, Any], Awaitable[None]]] = {
    "order": _order,
    "states": _states,
    "count": _count,
    "result": _result,
    "counter": _counter,
    "series": _series,
    "time": _time,
    "link": _link,
}


def _number_at(values: Any, path: str, what: str) -> float:
    """The number at `a.b.0.c`. Raises UserInputError where there is none."""
    found = values
    for step in path.split("."):
        choices = list(found) if isinstance(found, dict) else []
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        elif step in choices:
            found = found[step]
        else:
            raise UserInputError(f"{what} has no {path!r}", hint=did_you_mean(step, choices))
    if not isinstance(found, int | float):
        raise UserInputError(f"{path} in {what} is no number", hint=f"it is {str(found)[:40]}")
    return found


def _unit(name: str) -> str:
    return _UNITS.get(name, "ns" if name.startswith(("rtt_", "latency_")) else "")


def _value(row: tuple[float, float]) -> float:
    return row[1]


def _place(event: Event) -> str:
    return f"{event['node']}, {event['name']} at {event['time']:.3f} ms"
