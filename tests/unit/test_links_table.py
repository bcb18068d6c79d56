"""The supervisor's table of links, with a driver and an executor that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from lab.drivers.abilities import Cannot
from lab.drivers.base import Epoch
from lab.engine import links_table
from lab.engine.client import LabClient
from lab.engine.links_table import CHANGES_PER_TURN, LinkTable
from lab.engine.supervisor_methods import SupervisorMethods
from lab.errors import DriverError
from lab.host.links import Interface
from lab.links.base import OpenedLink
from lab.links.verdict import TROUBLES_LIMIT, reasons
from lab.plan.values import End, LinkPlan, Plan
from nodes.impairment import Change, Impairment, LinkImpairment
from nodes.units import MILLISECOND, SECOND

INNER = (Interface("m4", 4), Interface("m5", 5))


class FakeDriver:
    name = "fake"
    cannot: ClassVar[Cannot] = {}

    def __init__(self) -> None:
        self.opened: set[str] = set()

    def set_link(
        self, link: str, *, up: bool | None = None, mtu: int | None = None, opened: bool | None = None
    ) -> tuple[Interface, Interface] | None:
        if opened is not None:
            (self.opened.add if opened else self.opened.discard)(link)
        return INNER if link in self.opened else None


class FakeExecutor:
    name = "fake"

    def __init__(self) -> None:
        self.refuses = ""
        self.changes = 0
        self.added: list[OpenedLink] = []

    def _ask(self) -> None:
        if self.refuses:
            raise DriverError(self.refuses)

    def add(self, link: OpenedLink) -> None:
        self._ask()
        self.added.append(link)

    def change(self, link: str, impairments: tuple[Impairment, Impairment], mtu: int) -> None:
        self._ask()
        self.changes += 1

    def set_up(self, link: str, up: bool) -> None:
        self._ask()

    def watch(self) -> dict[int, str]:
        return {}


class FakeReactor:
    def __init__(self) -> None:
        self.calls: list[tuple[int, Callable[[], None]]] = []

    def call_at(self, deadline: int, callback: Callable[[], None]) -> SimpleNamespace:
        self.calls.append((deadline, callback))
        return SimpleNamespace(cancel=lambda: None)


class Desk:
    def __init__(self, folder: Path, impairment: LinkImpairment | None = None) -> None:
        (folder / "links").mkdir()
        link = LinkPlan("a--b", End("a", "eth0"), End("b", "eth0"), impairment=impairment)
        self.driver, self.executor, self.reactor = FakeDriver(), FakeExecutor(), FakeReactor()
        self.events: list[object] = []
        plan: Any = Plan("test", 1, (), (link,), ())
        run: Any = SimpleNamespace(folder=folder)
        trace: Any = lambda _now, event: self.events.append(event)  # noqa: E731
        parts: Any = (plan, self.driver, run, Epoch(0, 0), trace, self.reactor)
        self.table = LinkTable(*parts)
        self.table._executors = SimpleNamespace(choose=self.choose)  # type: ignore[assignment]

    def choose(self, _by: str, _wanted: Iterable[Impairment]) -> tuple[FakeExecutor, str]:
        return self.executor, "asked for"


@pytest.fixture
def new_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(impairment: LinkImpairment | None = None) -> Desk:
        made.append(Desk(tmp_path, impairment))
        return made[-1]

    yield make
    for desk in made:
        if desk.table._series is not None:
            desk.table._series.close()


def test_a_link_that_nobody_carries_is_plain_again(new_desk: Callable[..., Desk]) -> None:
    desk = new_desk()
    desk.executor.refuses = "no answer in time"
    with pytest.raises(DriverError, match="no answer in time"):
        desk.table.impair("a--b", ("ab",), {"delay": 1}, "command")
    assert desk.driver.opened == set()
    entry = desk.table.entry("a--b")
    assert (entry.executor, entry.asked["ab"], desk.events) == (None, Impairment(), [])

    desk.executor.refuses = ""
    desk.table.impair("a--b", ("ab",), {"delay": 1}, "command")
    assert desk.driver.opened == {"a--b"}
    assert [link.impairments for link in desk.executor.added] == [(Impairment(delay=1), Impairment())]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("flap", {"down": 10, "every": 100, "times": 3}),
        ("flap", {"down": 10, "every": SECOND, "times": -1}),
        ("impair", {"patch": {}, "directions": ["ac"], "replace": False}),
        ("link", {"mtu": "large"}),
    ],
)
def test_a_request_that_makes_no_sense_is_an_answer_and_not_the_end(
    new_desk: Callable[..., Desk], method: str, params: dict[str, object]
) -> None:
    desk = new_desk()
    served: Any = SimpleNamespace(
        plan=None, run=None, driver=desk.driver, nodes=None, links=desk.table, links_trace=None, reactor=None
    )
    answers: list[str] = []
    request: Any = SimpleNamespace(
        method=method,
        params={"link": "a--b", **params},
        error=lambda code, _message, _hint: answers.append(code),
        result=lambda _: answers.append("result"),
    )
    SupervisorMethods(served).handle(request)
    assert answers == ["bad-params"]


def test_troubles_of_a_schedule_are_not_kept_for_ever(new_desk: Callable[..., Desk]) -> None:
    failing = (Change(at=0, patch={"delay": 2}, every=MILLISECOND, times=3 * TROUBLES_LIMIT),)
    desk = new_desk(LinkImpairment(Impairment(delay=1), Impairment(), failing))
    desk.table.build()
    desk.table.begin()
    desk.executor.refuses = "gone"
    entry = desk.table.entry("a--b")
    while entry.schedules:
        desk.table._run_schedules(entry)
    found = reasons({}, desk.table._saturation)
    assert len(found) == TROUBLES_LIMIT + 1
    more = int(found[TROUBLES_LIMIT].removesuffix(" more such troubles"))
    assert more in (2 * TROUBLES_LIMIT, 2 * TROUBLES_LIMIT + 1), "one may be that the schedule fell behind"


def test_a_schedule_that_is_behind_catches_up_in_turns(
    new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1]
    monkeypatch.setattr(links_table, "monotonic_ns", lambda: clock[0])
    often = (Change(at=0, patch={"delay": 2}, every=MILLISECOND, times=1000),)
    desk = new_desk(LinkImpairment(Impairment(delay=1), Impairment(), often))
    desk.table.build()
    desk.table.begin()
    clock[0] += SECOND
    entry = desk.table.entry("a--b")
    for turn in range(1, 4):
        desk.table._run_schedules(entry)
        assert desk.executor.changes == turn * CHANGES_PER_TURN
        assert desk.reactor.calls[-1][0] < clock[0], "called again at once, after others had their turn"
    assert reasons({}, desk.table._saturation) == ["link a--b: its schedule fell behind by 1.0 s"]
    while entry.schedules:
        desk.table._run_schedules(entry)
    assert desk.executor.changes == 1000


def test_the_machine_is_watched_when_the_lab_is_up_and_not_while_it_is_built(new_desk: Callable[..., Desk]) -> None:
    desk = new_desk(LinkImpairment(Impairment(delay=1), Impairment()))
    desk.table.build()
    assert desk.table._load is None
    desk.table.begin()
    assert desk.table._load is not None
    assert len(desk.reactor.calls) == 1


def test_the_states_of_a_thousand_links_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer of the control protocol holds 1 MiB."""
    names = [f"l{number}" for number in range(1000)]
    asked: list[int] = []

    def answer(_client: LabClient, method: str, **params: Any) -> tuple[dict[str, Any], list[int]]:
        if method == "status":
            return {"links": [{"name": name, "impaired_by": "relay"} for name in names]}, []
        asked.append(len(params["links"]))
        late = [f"{name} is late" for name in params["links"] if name in ("l0", "l999")]
        reasons = ["saturated", *late]
        states = {name: {"link": name} for name in params["links"]}
        return {"links": states, "verdict": {"trustworthy": False, "reasons": reasons}}, []

    monkeypatch.setattr(LabClient, "_call", answer)
    told = object.__new__(LabClient).links()
    assert list(told["links"]) == names
    assert max(asked) <= 64
    assert told["verdict"] == {"trustworthy": False, "reasons": ["saturated", "l0 is late", "l999 is late"]}
