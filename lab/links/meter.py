"""The meter: a process that observes the links that the kernel carries, for the kernel's netem tells no times.

    node a          supervisor's namespace                       node b
    eth0 ═══ veth ═══ left [netem] ⇄ redirect ⇄ [netem] right ═══ veth ═══ eth0
                      tap                             tap

It listens at both inner ends of a link (nodes/io/tap_socket.py), and tells from what enters at one and leaves at the
other what each direction did (nodes/physical/observed.py). No frame waits for it or passes through it; when it dies,
the link does not notice. It answers the supervisor on a control socket (docs/control-protocol.md):

    add       {link, left, right, begun}    interfaces by name; whether frames may be on the way already
    remove    {link}
    state     {links?}                      of these, or all: what was measured, and about the meter itself
    samples   {}                            of all links: frames timed, and the sum of their delays
    shutdown  {}

Its cost is bounded in two ways. Frames wake it up only when they come after a pause; then it looks every few
milliseconds until there are none, for their times are the kernel's and do not change by waiting. And it hears
BUDGET frames a second at most: where more pass, both taps of a link choose the same part of them. Links that need
less than their share of the budget leave the rest to the others (max-min fairness).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter

from lab.links.child_process import Load, Parameters, at_both_ends, ending, serve
from nodes.io.control import ControlError, Methods, Request, dispatch
from nodes.io.packet_socket import SO_TIMESTAMPNS
from nodes.io.reactor import Reactor
from nodes.io.stamped_socket import BATCH
from nodes.io.tap_socket import Heard, TapSocket
from nodes.physical.observed import LIFE, ObservedLine
from nodes.units import MILLISECOND, SECOND

BUDGET = 10_000
"""Frames heard per second, over all links; each that passes a link is heard twice. That takes 5 % of a processor."""
LOOK = 250 * MILLISECOND
"""The samples are made smaller at once when more is heard than that, looked at so often,"""
CALM = 2 * SECOND
"""and larger when less was heard for so long."""
MARGIN = 1.5
LARGEST = 1 << 12
"""One in so many is the smallest sample: of 10 million frames/s, some thousand."""
TURN = 20 * MILLISECOND
FASTEST_TURN = 2 * MILLISECOND
FILLING = 32 << 20
"""Octets of a tap's memory that frames take in a second: 14,000 of the largest, with 2304 each. An ordinary user has
room for 180 of those: such a tap is read every 6 ms."""
BATCHES = 64
"""Of one tap in one turn, at most."""
STAMPING = 20 * MILLISECOND
"""After so long, the kernel has surely turned its stamps on."""
NICENESS = 5
"""The nodes' work is more urgent than ours."""


_TIME = itemgetter(0)


@dataclass(slots=True)
class _Link:
    """`held` are frames of either line that were heard, but later than the time up to which both ends are known;
    `heard` is how many were since the last look. `needed` is when the sample had to be as small as it is."""

    left: TapSocket
    right: TapSocket
    ab: ObservedLine
    ba: ObservedLine
    held: tuple[list[Heard], list[Heard]] = field(default_factory=lambda: ([], []))
    one_in: int = 1
    heard: int = 0
    needed: int = 0
    missed: int = 0

    @property
    def taps(self) -> tuple[TapSocket, TapSocket]:
        return self.left, self.right

    @property
    def lines(self) -> tuple[ObservedLine, ObservedLine]:
        return self.ab, self.ba

    def read(self, now: int) -> bool:
        """Take what the taps have heard up to `now`. False: it was nothing."""
        left, right = self.left.hear(BATCHES), self.right.hear(BATCHES)
        for heard in (left, right):
            if len(heard) == BATCHES * BATCH:  # more wait
                now = min(now, heard[-1][0])
        some = left or right or any(self.held)
        if some:
            self.heard += len(left) + len(right)
            held = _observe(self.ab, self.held[0], left, right, now), _observe(self.ba, self.held[1], right, left, now)
            self.held = held
            self._count_missed(now)
        for line in self.lines:
            line.timeout(now)
        return bool(some)

    def _count_missed(self, now: int) -> None:
        missed = sum(tap.statistics()[1] + tap.truncated for tap in self.taps)
        if missed > self.missed:
            self.missed = missed
            for line in self.lines:
                line.miss(now)

    def sample(self, one_in: int, now: int) -> None:
        self.read(now)
        self.one_in = one_in
        for tap in self.taps:
            tap.sample(one_in)
        for line in self.lines:
            line.sample(one_in, now)

    def close(self) -> None:
        for tap in self.taps:
            tap.close()


class Meter:
    """Serves links and requests from the callbacks of a reactor."""

    def __init__(self, reactor: Reactor, budget: int = BUDGET) -> None:
        self._reactor = reactor
        self._budget = budget
        self._links: dict[str, _Link] = {}
        self._busy: dict[str, _Link] = {}
        """Those whose taps are read every turn; the others are watched."""
        self._turn_length = TURN
        self._looked = reactor.clock()
        self._load = Load(reactor)
        self._stamping = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._stamping_from = reactor.clock() + STAMPING
        self._methods: Methods = {
            "add": self._add,
            "remove": self._remove,
            "state": self._state,
            "samples": self._samples,
            "shutdown": ending(reactor),
        }

    def handle(self, request: Request) -> None:
        """Answer a request of the control connection."""
        dispatch(self._methods, request)

    def close(self) -> None:
        """Give all sockets back."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._stamping.close()

    def _add(self, request: Request, params: Parameters) -> None:
        name, begun = str(params["link"]), params["begun"]
        if name in self._links:
            raise ControlError("exists", f"link {name} is measured already")
        time.sleep(max(self._stamping_from - self._reactor.clock(), 0) / SECOND)
        sure_from = self._reactor.clock() + LIFE if begun else 0
        left, right = at_both_ends(TapSocket, params["left"], params["right"])
        link = self._links[name] = _Link(left, right, ObservedLine(sure_from), ObservedLine(sure_from))
        room = min(tap.room for tap in link.taps)
        self._turn_length = max(min(self._turn_length, room * SECOND // (2 * FILLING)), FASTEST_TURN)
        self._watch(name, link)
        request.result({})

    def _remove(self, request: Request, params: Parameters) -> None:
        name = params["link"]
        link = self._link(name)
        del self._links[name]
        self._busy.pop(name, None)
        for tap in link.taps:
            self._reactor.remove(tap.fileno())
        link.close()
        request.result({})

    def _state(self, request: Request, params: Parameters) -> None:
        now, told = self._reactor.clock(), {}
        for name in params.get("links", list(self._links)):
            link = self._link(name)
            link.read(now)
            told[name] = {"ab": link.ab.snapshot(), "ba": link.ba.snapshot(), "missed": link.missed}
        facts = {"pid": os.getpid(), "budget": self._budget, **self._load.snapshot()}
        request.result({"meter": facts, "links": told})

    def _samples(self, request: Request, _: Parameters) -> None:
        sums = {
            name: {"ab": [link.ab.delay.count, link.ab.delay.total], "ba": [link.ba.delay.count, link.ba.delay.total]}
            for name, link in self._links.items()
        }
        request.result({"links": sums})

    def _link(self, name: str) -> _Link:
        link = self._links.get(name)
        if link is None:
            raise ControlError("unknown-link", f"no link {name} is measured here")
        return link

    # Listening

    def _watch(self, name: str, link: _Link) -> None:
        for tap in link.taps:
            self._reactor.add(tap.fileno(), lambda: self._wake(name, link))

    def _wake(self, name: str, link: _Link) -> None:
        for tap in link.taps:
            self._reactor.pause(tap.fileno())
        if not self._busy:
            now = self._reactor.clock()
            self._reactor.call_at(now + self._turn_length, self._turn)
            if now - self._looked > LOOK:  # there was a pause
                self._begin_look(now)
        self._busy[name] = link

    def _turn(self) -> None:
        now = self._reactor.clock()
        for name, link in list(self._busy.items()):
            if not link.read(now):
                del self._busy[name]
                self._watch(name, link)
        if now - self._looked >= LOOK:
            self._regulate(now)
        if self._busy:
            self._reactor.call_at(max(now + self._turn_length, self._reactor.clock()), self._turn)

    def _regulate(self, now: int) -> None:
        links, elapsed = list(self._links.values()), now - self._looked
        offered = [link.heard * link.one_in * SECOND / elapsed for link in links]
        self._begin_look(now)
        share = fair_share(offered, self._budget)
        for link, rate in zip(links, offered, strict=True):
            if sample_for(rate * MARGIN, share) >= link.one_in:
                link.needed = now
            wanted = sample_for(rate, share)
            if wanted > link.one_in or now - link.needed > CALM:
                link.sample(wanted, now)
                link.needed = now

    def _begin_look(self, now: int) -> None:
        self._looked = now
        for link in self._links.values():
            link.heard = 0


def fair_share(offered: Sequence[float], budget: float) -> float:
    """The most that one may have, so that all together have no more than the budget, and none goes without what others
    do not need."""
    left, share = budget, budget
    for number, rate in enumerate(sorted(offered)):
        share = left / (len(offered) - number)
        if rate > share:
            break
        left -= rate
    else:
        return budget
    return share


def sample_for(rate: float, share: float) -> int:
    """The largest sample, as one in a power of 2, that keeps a rate within its share."""
    one_in = 1
    while rate > share * one_in and one_in < LARGEST:
        one_in *= 2
    return one_in


def run_meter(listener: socket.socket, name: str) -> None:
    """Be a meter until `shutdown` is asked for or SIGTERM comes: the life of a process. `listener` is the control
    socket, `name` what it says it is. Needs CAP_NET_RAW in the network namespace of the links."""
    with suppress(PermissionError):  # some containers forbid it; then it is as urgent as the nodes
        os.nice(NICENESS)
    serve(listener, name, Meter)


def _observe(
    line: ObservedLine, held: list[Heard], source: Sequence[Heard], sink: Sequence[Heard], until: int
) -> list[Heard]:
    """What came in at one end and left by the other, in the order of time. Returns what is later than `until`."""
    events = held
    events += (event for event in source if not event[1])
    events += (event for event in sink if event[1])
    events.sort(key=_TIME)  # and those of one time as they are: entered before they left
    entered, left = line.entered, line.left
    for number, (now, outgoing, frame) in enumerate(events):
        if now > until:
            return events[number:]
        if outgoing:
            left(frame, now)
        else:
            entered(frame, now)
    return []
