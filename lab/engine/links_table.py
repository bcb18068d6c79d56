"""The supervisor's table of links: what each is asked to do, who does it, and what was measured.

A link is plain until something is asked of it. Then it is opened (lab/drivers/base.py), an executor is chosen, and all
its frames pass there for the rest of the lab. Whatever changes, by a command, by the topology's schedule or by itself,
is an event in the trace of the links (`links/trace.sqlog` in the run).

Schedules run here, and not in the executors, so that they are the same for all. Their time begins when the lab is up.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from lab.drivers.base import Driver, Epoch
from lab.engine.links_series import LinksSeries
from lab.engine.links_trace import LinksTrace
from lab.engine.runs import Run
from lab.errors import DriverError, LabError, UserInputError
from lab.host.load import LoadMeter
from lab.links.base import LinkExecutor, OpenedLink
from lab.links.verdict import Saturation, reasons
from lab.model.impairment_text import describe
from lab.plan.seeds import link_seed
from lab.plan.values import LinkPlan, Plan
from nodes import impairment as values
from nodes.impairment import DIRECTIONS, NOTHING, Change, Direction, Executor, Impairment, Patch
from nodes.io.reactor import Handle, Reactor
from nodes.physical.schedule import Schedule
from nodes.trace.link_events import CarrierUpdated, EmulatorFailed, ExecutorUpdated, ImpairmentUpdated, MtuUpdated
from nodes.units import SECOND, earliest

CHANGES_PER_TURN = 16
"""Of one link's schedule: some 10 ms."""
BEHIND = SECOND // 2
"""How late a change may be before the run is marked."""

if TYPE_CHECKING:
    from lab.links.executors import Executors


@dataclass(slots=True)
class LinkEntry:
    """`asked` holds for both directions what is in force; `executor` is None while the link is plain; `behind` whether
    its schedule was late already."""

    plan: LinkPlan
    up: bool
    mtu: int
    asked: dict[Direction, Impairment]
    by: Executor
    executor: LinkExecutor | None = None
    reason: str = ""
    schedules: list[Schedule] = field(default_factory=list)
    flaps: list[Schedule] = field(default_factory=list)
    timer: Handle | None = None
    behind: bool = False

    def ends(self, direction: Direction) -> tuple[str, str]:
        """The nodes that send and receive."""
        a, b = self.plan.a.node, self.plan.b.node
        return (a, b) if direction == "ab" else (b, a)


class LinkTable:
    def __init__(self, plan: Plan, driver: Driver, run: Run, epoch: Epoch, trace: LinksTrace, reactor: Reactor) -> None:
        self._plan = plan
        self._driver = driver
        self._run = run
        self._trace = trace
        self._reactor = reactor
        self._start = epoch.monotonic
        self._load: LoadMeter | None = None
        self._series: LinksSeries | None = None
        self._saturation = Saturation()
        self._begun = False
        self._watched: set[int] = set()
        self.entries = {link.name: self._entry(link) for link in plan.links}

    @cached_property
    def _executors(self) -> Executors:
        """Imported with the first impaired link: a lab without one starts a sixth faster, with smaller agents."""
        made: Executors = importlib.import_module("lab.links.executors").Executors(self._plan.lab)
        return made

    def _entry(self, link: LinkPlan) -> LinkEntry:
        asked = link.impairment
        if asked is None:
            return LinkEntry(link, link.up, link.mtu, {"ab": NOTHING, "ba": NOTHING}, link.impair_by)
        return LinkEntry(link, link.up, link.mtu, {"ab": asked.ab, "ba": asked.ba}, asked.by)

    # The life of a lab

    def build(self) -> None:
        """Open the links that the plan impairs. Raises LabError."""
        for entry in self.entries.values():
            if entry.plan.impairment is not None:
                self._open(entry, entry.plan.impairment.changes, "plan")

    def begin(self) -> None:
        """The lab is up: the schedules start, and the machine is watched."""
        now = monotonic_ns()
        for entry in self.entries.values():
            if entry.plan.impairment is not None and entry.plan.impairment.changes:
                entry.schedules.append(Schedule(entry.plan.impairment.changes, now))
                self._wait(entry)
        self._begun = True
        if self._series is not None:
            self._watch_machine()

    def finish(self) -> dict[str, object] | None:
        """Write what was measured into the run; the verdict over it, or None where no link was impaired."""
        opened = [name for name, entry in self.entries.items() if entry.executor is not None]
        if not opened:
            self._trace.close(monotonic_ns())
            return None
        states = {name: self._last_state(name) for name in opened}
        verdict = self.verdict(states)
        self._run.write_links({"verdict": verdict, "links": states})
        self._sample()
        if self._series is not None:
            self._series.close()
        self._trace.close(monotonic_ns())
        self._executors.close()
        return verdict

    def verdict(self, states: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
        """Whether what was measured can be trusted."""
        found = reasons(states, self._saturation)
        return {"trustworthy": not found, "reasons": found}

    def _last_state(self, name: str) -> dict[str, Any]:
        try:
            return self.state(name)
        except LabError as error:
            self._saturation.trouble(f"link {name}: what was measured is lost: {error.message}")
            return {"link": name}

    # Asking

    def entry(self, name: str) -> LinkEntry:
        if name not in self.entries:
            raise UserInputError(f"no link {name!r} in this lab", hint=f"its links: {', '.join(self.entries)}")
        return self.entries[name]

    def state(self, name: str) -> dict[str, Any]:
        """What is asked, applied and measured, as values of JSON."""
        entry = self.entry(name)
        told: Mapping[str, Any] = entry.executor.state(name) if entry.executor is not None else {}
        sides = []
        for direction in DIRECTIONS:
            source, destination = entry.ends(direction)
            side = told.get(direction, {})
            sides.append(
                {
                    "direction": direction,
                    "from": source,
                    "to": destination,
                    "asked": values.encode(entry.asked[direction]),
                    "asked_text": describe(entry.asked[direction]),
                    "applied": side.get("applied"),
                    "measured": side.get("measured"),
                }
            )
        return {
            "link": name,
            "ends": [str(entry.plan.a), str(entry.plan.b)],
            "up": entry.up,
            "mtu": entry.mtu,
            "executor": entry.executor.name if entry.executor is not None else None,
            "reason": entry.reason,
            "directions": sides,
            "emulator": told.get("emulator"),
        }

    # Changing

    def impair(
        self, name: str, directions: Iterable[Direction], patch: Patch, trigger: str, *, replace: bool = False
    ) -> None:
        """Merge `patch` (values) into what is in force, or put it in its place; ramps of the same values end there.
        Raises LabError; then nothing has changed."""
        entry, chosen = self.entry(name), tuple(directions)
        self._merge(entry, chosen, patch, trigger, replace=replace)
        for schedule in entry.schedules:
            schedule.supersede(chosen, None if replace else patch)

    def _merge(
        self, entry: LinkEntry, directions: Iterable[Direction], patch: Patch, trigger: str, *, replace: bool
    ) -> None:
        name = entry.plan.name
        asked = dict(entry.asked)
        for direction in directions:
            asked[direction] = values.merged(NOTHING if replace else asked[direction], patch)
        before = entry.asked
        if entry.executor is None and asked == before:
            return  # nothing is asked of a link that only carries
        if entry.executor is None:
            entry.asked = asked
            try:
                self._open(entry, (), trigger)
            except LabError:
                entry.asked = before
                raise
            return
        entry.executor.change(name, (asked["ab"], asked["ba"]), entry.mtu)
        entry.asked = asked
        self._tell_impairments(entry, before, trigger)

    def set_link(self, name: str, *, up: bool | None, mtu: int | None, trigger: str) -> None:
        """Carrier and MTU. Raises LabError."""
        entry = self.entry(name)
        self._driver.set_link(name, up=up, mtu=mtu)
        now = monotonic_ns()
        if mtu is not None and mtu != entry.mtu:
            if entry.executor is not None:
                entry.executor.change(name, (entry.asked["ab"], entry.asked["ba"]), mtu)
            self._trace(now, MtuUpdated(name, entry.mtu, mtu, trigger))
            entry.mtu = mtu
        if up is not None and up != entry.up:
            if entry.executor is not None:
                entry.executor.set_up(name, up)
            old, new = ("down", "up") if up else ("up", "down")
            self._trace(now, CarrierUpdated(name, old, new, trigger))
            entry.up = up

    def flap(self, name: str, down: int, every: int, times: int) -> None:
        """Down at once for `down` ns, and again each `every` ns, `times` times in all."""
        entry = self.entry(name)
        changes = (
            Change(at=0, up=False, every=every, times=times, origin="command, flap"),
            Change(at=down, up=True, every=every, times=times, origin="command, flap"),
        )
        flap = Schedule(changes, monotonic_ns())
        entry.schedules.append(flap)
        entry.flaps.append(flap)
        self._run_schedules(entry)

    def end_flaps(self, name: str) -> bool:
        """Forget the flaps that commands began; whether there were any."""
        entry = self.entry(name)
        ended = [flap for flap in entry.flaps if flap in entry.schedules]
        entry.schedules = [schedule for schedule in entry.schedules if schedule not in ended]
        entry.flaps.clear()
        self._wait(entry)
        return bool(ended)

    def _open(self, entry: LinkEntry, changes: tuple[Change, ...], trigger: str) -> None:
        name = entry.plan.name
        wanted = [*entry.asked.values(), *_later(entry.asked, changes)]
        executor, reason = self._executors.choose(entry.by, wanted)
        inner = self._driver.set_link(name, opened=True)
        if inner is None:
            raise UserInputError(f"the driver {self._driver.name} cannot impair link {name!r}")
        seeds = tuple(link_seed(self._plan.seed, name, direction) for direction in DIRECTIONS)
        impairments = entry.asked["ab"], entry.asked["ba"]
        try:
            executor.add(OpenedLink(name, *inner, entry.mtu, impairments, (seeds[0], seeds[1]), entry.up))
        except LabError:
            self._driver.set_link(name, opened=False)  # nobody would carry its frames
            raise
        entry.executor, entry.reason = executor, reason
        self._watch(executor.watch())
        self._trace(monotonic_ns(), ExecutorUpdated(name, "none", executor.name, reason))
        self._tell_impairments(entry, {"ab": NOTHING, "ba": NOTHING}, trigger)
        if self._series is None:
            self._series = LinksSeries(self._run.folder, self._start, lambda link, way: self.entries[link].ends(way))
        if self._begun:
            self._watch_machine()

    def _tell_impairments(self, entry: LinkEntry, before: Mapping[Direction, Impairment], trigger: str) -> None:
        now = monotonic_ns()
        for direction in DIRECTIONS:
            old, new = before[direction], entry.asked[direction]
            if old != new:
                source, destination = entry.ends(direction)
                name = entry.plan.name
                self._trace(now, ImpairmentUpdated(name, source, destination, describe(old), describe(new), trigger))

    # What happens by itself

    def _wait(self, entry: LinkEntry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        deadline = earliest(*(schedule.deadline() for schedule in entry.schedules))
        entry.timer = None if deadline is None else self._reactor.call_at(deadline, lambda: self._run_schedules(entry))

    def _run_schedules(self, entry: LinkEntry) -> None:
        """Changes that are due, a few at a time: a schedule that is faster than we are must not keep the lab from
        answering. One that cannot be made, or comes much too late, is told and does not end the lab."""
        name = entry.plan.name
        now = monotonic_ns()
        for schedule in entry.schedules:
            behind = now - (schedule.deadline() or now)
            if behind > BEHIND and not entry.behind:
                entry.behind = True
                self._saturation.trouble(f"link {name}: its schedule fell behind by {behind / SECOND:.1f} s")
            for due in schedule.due(now, lambda direction: entry.asked[direction], CHANGES_PER_TURN):
                try:
                    if due.patch is not None:
                        self._merge(entry, due.directions, due.patch, due.trigger, replace=due.replace)
                    if due.up is not None:
                        self.set_link(name, up=due.up, mtu=None, trigger=due.trigger)
                except LabError as error:
                    self._saturation.trouble(f"link {name}: {due.trigger} failed: {error.message}")
        entry.schedules = [schedule for schedule in entry.schedules if schedule.deadline() is not None]
        self._wait(entry)

    def _watch_machine(self) -> None:
        """From when the lab is up, for to build it takes all processors, and no link is used yet."""
        if self._load is None:
            self._load = LoadMeter()
            self._reactor.call_at(monotonic_ns() + SECOND, self._look)

    def _look(self) -> None:
        """Every second: how busy the machine is, and what the links did."""
        self._reactor.call_at(monotonic_ns() + SECOND, self._look)
        if self._load is not None:
            self._saturation.note(self._load.busy())
        self._sample()

    def _sample(self) -> None:
        if self._series is not None:
            with suppress(DriverError):  # a relay that has just died: its end is told elsewhere
                samples = self._executors.samples()
                self._series.add(monotonic_ns(), samples)

    def _watch(self, processes: Mapping[int, str]) -> None:
        """Hear of the end of those that are new, by their descriptors."""
        for descriptor, process in processes.items():
            if descriptor not in self._watched:
                self._watched.add(descriptor)
                self._reactor.add(descriptor, partial(self._emulator_ended, descriptor, process))

    def _emulator_ended(self, descriptor: int, process: str) -> None:
        """A relay died, or the meter: another takes its links over, and the run is marked."""
        self._reactor.remove(descriptor)
        self._watched.discard(descriptor)
        ended = self._executors.restart(process)
        self._trace(monotonic_ns(), EmulatorFailed(process, ended.how))
        self._saturation.trouble(ended.trouble)
        self._watch(ended.watch)


def _later(asked: Mapping[Direction, Impairment], changes: Iterable[Change]) -> list[Impairment]:
    """What a schedule will make of the impairments, one change after the other."""
    found: list[Impairment] = []
    now = dict(asked)
    for change in changes:
        patch = values.decode_patch(change.patch)
        for direction in change.directions:
            now[direction] = values.merged(NOTHING if change.replace else now[direction], patch)
            found.append(now[direction])
    return found
