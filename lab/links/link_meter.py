"""The supervisor's end of the meter: one process for all links that the kernel carries.

The links do not need it, so nothing of it ever raises: what goes wrong becomes the reason why times are not known
(`problem`), and is tried again with a new process, a few times. A meter that does not answer is killed (Child.errors).
Until it is replaced, what it knew last is told in `samples`, and nothing in `state`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lab.errors import DriverError
from lab.links.base import OpenedLink
from lab.links.child_process import Child
from lab.links.meter import run_meter
from nodes.impairment import DIRECTIONS, Direction

TIMEOUT = 2.0
"""Seconds for an answer."""
RESTARTS = 3
PROCESS = "meter"


class Timed(NamedTuple):
    """Frames whose delays were measured, and the sum of these (ns)."""

    frames: int
    delay: int

    def plus(self, other: Timed) -> Timed:
        return Timed(self.frames + other.frames, self.delay + other.delay)


NOBODY = Timed(0, 0)
Sums = dict[str, dict[Direction, Timed]]


class LinkMeter:
    """Forks at the first link; so use it from a process with one thread, in the network namespace of the inner ends."""

    def __init__(self, lab: str) -> None:
        self.problem = ""
        """Why no link is measured now."""
        self.restarts = 0
        self._lab = lab
        self._child: Child | None = None
        self._links: dict[str, OpenedLink] = {}
        self._unmeasured: dict[str, str] = {}
        """Why some are not."""
        self._before: Sums = {}
        """What earlier processes measured."""
        self._sums: Sums = {}

    def add(self, link: OpenedLink) -> None:
        """Measure a link from now on: call it before frames pass."""
        self._links[link.name] = link
        if self._child is None and not self.restarts:
            self._start()
        self._tap(link, begun=False)

    def remove(self, link: str) -> None:
        """Measure it no more."""
        self._links.pop(link, None)
        self._before.pop(link, None)
        self._sums.pop(link, None)
        if self._unmeasured.pop(link, None) is None:
            self._call("remove", link=link)

    def state(self, link: str) -> dict[str, Any]:
        """`ab` and `ba`: what was measured (ObservedLine.snapshot), nothing where `meter` has a `problem`; else it has
        facts about the process, and how many frames it missed."""
        told = None if link in self._unmeasured else self._call("state", links=[link])
        if told is None:
            problem = self.problem or self._unmeasured.get(link, "it does not answer")
            return {"ab": {}, "ba": {}, "meter": {"problem": problem, "restarts": self.restarts}}
        found = told["links"][link]
        facts = {"missed": found["missed"], "restarts": self.restarts, **told["meter"]}
        return {"ab": found["ab"], "ba": found["ba"], "meter": facts}

    def samples(self) -> Sums:
        """Of all links, since they were added; of those that are not measured, what was known last."""
        told = self._call("samples") if self._links else None
        for name, sides in (told["links"] if told is not None else {}).items():
            before = self._before.get(name, {})
            self._sums[name] = {way: Timed(*sides[way]).plus(before.get(way, NOBODY)) for way in DIRECTIONS}
        return self._sums

    def watch(self) -> dict[int, str]:
        """The descriptor that becomes readable when the process ends."""
        return {} if self._child is None else {self._child.watch: PROCESS}

    def restart(self) -> str:
        """Replace the process, which has ended. Returns how it did."""
        if self._child is None:
            return "has ended before"
        how = self._child.reap()
        self._child = None
        self.restarts += 1
        self._before = {name: dict(sides) for name, sides in self._sums.items()}
        if self.restarts > RESTARTS:
            self.problem = f"the meter ended {self.restarts} times; at last it {how}"
            return how
        self._start()
        self._unmeasured.clear()
        for link in self._links.values():
            self._tap(link, begun=True)
        return how

    def close(self) -> None:
        """Stop."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _start(self) -> None:
        self.problem = ""
        try:
            self._child = Child(run_meter, PROCESS, self._lab)
        except (OSError, DriverError) as error:
            self.problem = f"the meter could not be started: {error}"

    def _tap(self, link: OpenedLink, *, begun: bool) -> None:
        if self._child is None:
            return
        try:
            with self._child.errors():
                names = {"left": link.left.name, "right": link.right.name}
                self._child.control.call("add", {"link": link.name, **names, "begun": begun}, TIMEOUT)
        except DriverError as error:
            self._unmeasured[link.name] = error.message

    def _call(self, method: str, **params: object) -> dict[str, Any] | None:
        if self._child is None:
            return None
        try:
            with self._child.errors():
                return self._child.control.call(method, params, TIMEOUT)[0]
        except DriverError:  # it has ended, or been killed for its silence: `watch` tells, and `restart` follows
            return None
