"""One run of an experiment, as its script sees it: the lab, the parameters, and what to say of the claims.

Each statement makes a verdict with what was seen beside what theory expects. A script goes on after one that failed, so
that all of them are said.

Events are read from the lab's traces. Their names are checked: an event that does not exist is a mistake of the script
and not a thing that did not happen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lab.api.lab import Lab
from lab.engine.event_names import check_pattern
from lab.errors import UserInputError
from lab.experiments.experiment import Parameter
from lab.experiments.verdict import Verdict
from lab.model.errors import did_you_mean
from nodes.trace.catalogue import EVENTS
from nodes.trace.pcapng_reader import read
from nodes.units import MILLISECOND

Event = dict[str, Any]
Report = Callable[[Verdict], None]

STATE = "transport:connection_state_updated"
METRICS = "recovery:recovery_metrics_updated"
_SHOWN = 6
"""Events of a sequence that are shown where it is not the wanted one."""


class Trial:
    """`report` hears each verdict as soon as it is made."""

    def __init__(self, lab: Lab, parameters: Mapping[str, Parameter], report: Report = lambda _: None) -> None:
        self.lab = lab
        self.parameters = dict(parameters)
        self.verdicts: list[Verdict] = []
        self._report = report

    def __getitem__(self, parameter: str) -> Any:
        """The value of a parameter."""
        return self.parameters[parameter]

    # Saying

    def expect(
        self,
        claim: str,
        passed: bool,
        numbers: str,
        where: str = "",
        picture: str = "",
        *,
        seen: float | None = None,
        unit: str = "",
    ) -> bool:
        """Whether the claim held, with the numbers, and perhaps a picture (`lab.experiments.chart`); `seen` for tables,
        where it was one number. Returns `passed`."""
        verdict = Verdict(claim, bool(passed), numbers, "" if passed else where, picture, seen, unit)
        self.verdicts.append(verdict)
        self._report(verdict)
        return verdict.passed

    def equal(self, claim: str, seen: object, expected: object, where: str = "") -> bool:
        number = seen if isinstance(seen, int | float) and not isinstance(seen, bool) else None
        return self.expect(
            claim, seen == expected, f"expected {_text(expected)}, seen {_text(seen)}", where, seen=number
        )

    def close(self, claim: str, seen: float, theory: float, within: float, unit: str = "", where: str = "") -> bool:
        """Whether a number is the theory's, give or take the fraction `within` of it."""
        off = abs(seen - theory)
        numbers = f"theory {_number(theory, unit)} ± {within:.0%}, seen {_number(seen, unit)}"
        return self.expect(claim, off <= within * abs(theory), numbers, where, seen=seen, unit=unit)

    def at_most(self, claim: str, seen: float, bound: float, unit: str = "", where: str = "") -> bool:
        numbers = f"expected at most {_number(bound, unit)}, seen {_number(seen, unit)}"
        return self.expect(claim, seen <= bound, numbers, where, seen=seen, unit=unit)

    def at_least(self, claim: str, seen: float, bound: float, unit: str = "", where: str = "") -> bool:
        numbers = f"expected at least {_number(bound, unit)}, seen {_number(seen, unit)}"
        return self.expect(claim, seen >= bound, numbers, where, seen=seen, unit=unit)

    # Looking

    def events(self, name: str, node: str | None = None, **fields: Any) -> list[Event]:
        """Events of a name (`*` in it for many) and of these fields, in the order of time; times are ms since the lab
        was up. Raises UserInputError for a name that no event has, and for a field that none of them has."""
        check_event(name, fields)
        if node is not None:
            self.lab.node(node)
        return self.lab.events(node, name, **fields)

    def in_order(self, claim: str, node: str, steps: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
        """Whether these happened in a node, in this order, whatever was between them: (name, fields)."""
        for name, fields in steps:
            check_event(name, fields)
        happened = iter(self.lab.events(node))
        found: list[Event] = []
        for name, fields in steps:
            event = next((event for event in happened if _is(event, name, fields)), None)
            if event is None:
                break
            found.append(event)
        expected = ", ".join(_step(name, fields) for name, fields in steps)
        seen = ", ".join(_step(*step) for step in steps[: len(found)]) or "none of them"
        where = f"{node}, after {_place(found[-1])}" if found else node
        return self.expect(claim, len(found) == len(steps), f"expected {expected}; seen {seen}", where)

    def states(self, node: str, port: int | None = None) -> list[list[str]]:
        """The states that each connection of a node went through, connections in the order of their beginning; of
        those only that have the port at one of their ends."""
        ways: dict[tuple[str, str], list[str]] = {}
        for event in self.events(STATE, node):
            data = event["data"]
            if port is not None and port not in (_port(data["local"]), _port(data["remote"])):
                continue
            way = ways.setdefault((data["local"], data["remote"]), [data["old"]])
            way.append(data["new"])
        return list(ways.values())

    def series(self, node: str, field: str) -> list[tuple[float, float]]:
        """A metric of a sender (cwnd, ssthresh, in_flight in octets; srtt, rto in ns) as (ms, value), where it is
        known."""
        rows = [(event["time"], event["data"][field]) for event in self.events(METRICS, node)]
        return [(time, value) for time, value in rows if value is not None]

    def before(self, event: Event, field: str) -> float:
        """A metric of a sender as it was when an event of its node happened: the last in the trace before it. A time
        does not tell, for segments that are read at once have one. Raises ValueError where there is none."""
        known = None
        for each in self.lab.events(event["node"]):
            if each == event:
                break
            if each["name"] == METRICS and each["data"][field] is not None:
                known = each["data"][field]
        if known is None:
            raise ValueError(f"{event['node']} has no {field} before {_place(event)}")
        return float(known)

    def segments(self, node: str, *, sent: bool = True, **fields: Any) -> list[Event]:
        """Segments that a node sent, or received. Its trace has to be `packets`."""
        return self.events("transport:segment_sent" if sent else "transport:segment_received", node, **fields)

    def exchange(self, *nodes: str, port: int | None = None) -> list[Event]:
        """What these nodes sent, in the order of time; of connections only that have the port at one of their ends."""
        sent = [event for node in nodes for event in self.segments(node)]
        if port is not None:
            sent = [each for each in sent if port in (each["data"]["source_port"], each["data"]["destination_port"])]
        return sorted(sent, key=lambda event: float(event["time"]))


def said(event: Event) -> str:
    """Who sent which flags: `client SYN`. Those of Explicit Congestion Notification (RFC 3168) and PSH are left out:
    they come with segments of any kind."""
    flags = [flag for flag in event["data"]["flags"].split(",") if flag not in ("ECE", "CWR", "PSH")]
    return f"{event['node']} {','.join(flags)}"


def seconds(first: Event, last: Event) -> float:
    """From one event to another."""
    return float(last["time"] - first["time"]) / 1000


def captured(path: str) -> list[bytes]:
    """The frames of a capture, in their order; `path` is what `await node.start_capture()` returned. It has to have
    ended."""
    return [frame.frame for frame in read(path)]


def latest(series: Iterable[tuple[float, float]], time: float) -> float:
    """The last value of a series until then (ms). Raises ValueError where there is none."""
    until = [value for when, value in series if when <= time]
    if not until:
        raise ValueError(f"the series has no value until {time:.3f} ms")
    return until[-1]


def check_event(name: str, fields: Collection[str] = ()) -> None:
    """Raises UserInputError for a name that no event has, and for a field that none of them has."""
    if "*" not in name and name not in EVENTS:
        raise UserInputError(f"there is no event {name!r}", hint=did_you_mean(name, sorted(EVENTS)))
    check_pattern(name, fields)


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has all."""
    values = list(shares)
    squares = math.fsum(value * value for value in values)
    return math.fsum(values) ** 2 / (len(values) * squares) if squares else 0.0


def _is(event: Event, name: str, fields: Mapping[str, Any]) -> bool:
    data = event["data"]
    return event["name"] == name and all(data.get(key) == value for key, value in fields.items())


def _step(name: str, fields: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{key} {value}" for key, value in fields.items())
    return f"{name.partition(':')[2]} ({inside})" if inside else name.partition(":")[2]


def _place(event: Event) -> str:
    return f"{event['name']} at {event['time']:.3f} ms"


def _port(end: str) -> int:
    return int(end.rpartition(":")[2])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        shown = [_text(each) for each in value[: 2 * _SHOWN]]
        return ", ".join(shown + (["..."] if len(value) > 2 * _SHOWN else [])) or "nothing"
    return str(value)


def _number(value: float, unit: str) -> str:
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1e9 / MILLISECOND:.3g} ms"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{text} {unit}".rstrip()
