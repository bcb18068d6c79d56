"""The relay: a process that emulates links where the kernel cannot (netem is missing), or not exactly enough.

One process serves many links, and lives in the network namespace that holds their inner ends:

    node a          relay's namespace           node b
    eth0 ═══ veth ═══ left │ lines │ right ═══ veth ═══ eth0

It answers the supervisor on a control socket (docs/control-protocol.md):

    add       {link, left, right, ab, ba, seeds: [ab, ba], mtu}     interfaces by name, encoded impairments
    change    {link, ab?, ba?, mtu?}                                whole impairments, from now on: {at}
    up        {link, up}                                            a link that is down loses what is inside: {at}
    remove    {link}
    state     {links?}                                              of these, or all: what was measured
    samples   {}                                                    of all links the sums, cheaply (Statistics.sample)
    shutdown  {}

What keeps it punctual: real-time priority, so that it runs when its timer fires whatever else the machine does; no
garbage collection while frames fly, because neither frames nor requests make cycles, but only lines that are replaced;
and an inner loop that sleeps by absolute deadlines (lab/links/relay_loop.py). What it could not keep, it tells:
priority, share of its processor, lateness of every frame. On a machine whose processors are all busy, priority makes
the difference between 0.5 ms and 20 ms for the latest of 100 frames. It takes CAP_SYS_NICE of the first user namespace,
or RLIMIT_RTPRIO, which an ordinary user may have been given (limits.conf(5)).
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Protocol, TypeAlias

from lab.links.child_process import Load, Parameters, at_both_ends, ending, serve
from lab.links.relay_loop import Direction, LineLike, RelayLoop
from nodes.impairment import DIRECTIONS, Impairment, decode
from nodes.io.control import ControlError, Methods, Request, dispatch
from nodes.io.reactor import Reactor
from nodes.io.stamped_socket import StampedSocket
from nodes.physical.jitter import spread, table_of
from nodes.physical.line import Line
from nodes.units import MILLISECOND, SECOND

PRIORITY = 1
"""The lowest of SCHED_FIFO: before all ordinary processes, behind whatever real-time work the machine has already."""

LONGEST_PATIENCE = MILLISECOND
"""Frames wait no longer than this in a socket, whatever their line's delay: what is measured shall be of now."""

FASTEST = 1 << 30
"""Octets of kernel memory that a sender fills in a second at most: 2304 for a full frame, and one in 2 µs."""

CLOSERS = 32
"""Threads that close sockets at the end: those of a thousand links within a second."""

CHANGES_PER_COLLECTION = 64
"""Some KiB are lost with each line that is replaced; to find them takes a millisecond."""


class ChangeableLine(LineLike, Protocol):
    """What a relay asks of a line beside what its loop does."""

    def change(self, impairment: Impairment, mtu: int, now: int) -> None: ...

    def set_up(self, up: bool, now: int) -> None: ...

    def snapshot(self, now: int) -> dict[str, object]: ...


MakeLine: TypeAlias = Callable[[Impairment, int, int, int], ChangeableLine]
"""From impairment, MTU, seed and the time."""


@dataclass(slots=True)
class _Half:
    """A direction with what its line is told when it is changed."""

    direction: Direction
    line: ChangeableLine
    impairment: Impairment


@dataclass(slots=True)
class _Link:
    sockets: tuple[StampedSocket, StampedSocket]
    halves: dict[str, _Half]
    mtu: int
    up: bool = True


class Relay:
    """Serves links and requests from the callbacks of a reactor. `make_line` is there for tests."""

    def __init__(self, reactor: Reactor, *, priority: str = "", make_line: MakeLine = Line) -> None:
        self.loop = RelayLoop(reactor)
        self._reactor = reactor
        self._make_line = make_line
        self._links: dict[str, _Link] = {}
        self._changes = 0
        self._load = Load(reactor)
        self._priority = priority
        self._methods: Methods = {
            "add": self._add,
            "change": self._change,
            "up": self._up,
            "remove": self._remove,
            "state": self._state,
            "samples": self._samples,
            "shutdown": ending(reactor),
        }

    def handle(self, request: Request) -> None:
        """Answer a request of the control connection."""
        dispatch(self._methods, request)

    def close(self) -> None:
        """Give all sockets back. To close one, the kernel waits until no processor can still be using it (some 20 ms),
        but it waits for many at once."""
        opened: list[StampedSocket] = []
        for link in self._links.values():
            for half in link.halves.values():
                self.loop.remove(half.direction)
            opened += link.sockets
        self._links.clear()
        threads = [Thread(target=_close_all, args=(opened[first::CLOSERS],)) for first in range(CLOSERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _add(self, request: Request, params: Parameters) -> None:
        name, mtu = str(params["link"]), int(params["mtu"])
        if name in self._links:
            raise ControlError("exists", f"link {name} is relayed already", "change it, or remove it before")
        wanted = {way: decode(params[way], f"{name} {way}") for way in DIRECTIONS}
        now = self._reactor.clock()
        made = zip(wanted.items(), params["seeds"], strict=True)
        lines = {way: self._make_line(impairment, mtu, int(seed), now) for (way, impairment), seed in made}
        left, right = at_both_ends(StampedSocket, params["left"], params["right"])
        link = self._links[name] = _Link((left, right), {}, mtu)
        for way, source, sink in zip(DIRECTIONS, (left, right), (right, left), strict=True):
            direction = Direction(source, lines[way], sink, patience(wanted[way], source.room))
            link.halves[way] = _Half(direction, lines[way], wanted[way])
            self.loop.add(direction)
        request.result({})

    def _change(self, request: Request, params: Parameters) -> None:
        """A direction for which nothing changes is left alone: netem begins again in some ways when it is told anew."""
        link, name = self._link(params["link"]), params["link"]
        mtu = int(params.get("mtu", link.mtu))
        wanted: dict[str, Impairment] = {
            way: decode(params[way], f"{name} {way}") for way in DIRECTIONS if way in params
        }
        now = self._reactor.clock()
        for impairment in wanted.values():
            self._make_line(impairment, mtu, 0, now)  # refuses what makes no sense before anything has changed
        for way, half in link.halves.items():
            impairment = wanted.get(way, half.impairment)
            if (impairment, mtu) == (half.impairment, link.mtu):
                continue
            half.impairment = impairment
            now = self.loop.serve(half.direction)
            half.line.change(impairment, mtu, now)
            self.loop.set_patience(half.direction, patience(impairment, half.direction.source.room))
            self.loop.serve(half.direction)
        link.mtu = mtu
        self._collect()
        request.result({"at": now})

    def _up(self, request: Request, params: Parameters) -> None:
        link, up = self._link(params["link"]), params["up"]
        if not isinstance(up, bool):
            raise TypeError(f"up is true or false, not {up!r}")
        link.up = up
        now = self._reactor.clock()
        for half in link.halves.values():
            now = self.loop.serve(half.direction)
            half.line.set_up(up, now)
            self.loop.serve(half.direction)
        request.result({"at": now})

    def _remove(self, request: Request, params: Parameters) -> None:
        link = self._link(params["link"])
        del self._links[params["link"]]
        self._take_out(link)
        self._collect()
        request.result({})

    def _state(self, request: Request, params: Parameters) -> None:
        names = params.get("links", list(self._links))
        links = {name: self._link_state(self._link(name)) for name in names}
        request.result({"relay": self._facts(), "links": links})

    def _samples(self, request: Request, _: Parameters) -> None:
        links = {
            name: {way: list(half.line.statistics.sample()) for way, half in link.halves.items()}
            for name, link in self._links.items()
        }
        request.result({"links": links})

    def _collect(self) -> None:
        self._changes += 1
        if self._changes % CHANGES_PER_COLLECTION == 0:
            gc.collect()

    def _link(self, name: str) -> _Link:
        link = self._links.get(name)
        if link is None:
            raise ControlError("unknown-link", f"no link {name} is relayed here")
        return link

    def _take_out(self, link: _Link) -> None:
        for half in link.halves.values():
            self.loop.remove(half.direction)
        for opened in link.sockets:
            opened.close()

    def _link_state(self, link: _Link) -> dict[str, object]:
        state: dict[str, object] = {"up": link.up, "mtu": link.mtu}
        for way, half in link.halves.items():
            now = self.loop.serve(half.direction)
            state[way] = half.line.snapshot(now) | half.direction.snapshot()
        return state

    def _facts(self) -> dict[str, object]:
        return {"pid": os.getpid(), "priority": self._priority, "services": self.loop.services, **self._load.snapshot()}


def run_relay(listener: socket.socket, name: str) -> None:
    """Be a relay until `shutdown` is asked for or SIGTERM comes: the life of a process. `listener` is the control
    socket, `name` what it says it is. Needs CAP_NET_RAW in the network namespace of the links."""
    priority = become_punctual()
    serve(listener, name, lambda reactor: Relay(reactor, priority=priority))


def become_punctual() -> str:
    """Take real-time priority where that is allowed and leaves a processor for others. Returns what we have now."""
    if len(os.sched_getaffinity(0)) > 1:
        with suppress(PermissionError):  # what we got is told, and lateness is measured
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    return f"SCHED_FIFO {PRIORITY}" if os.sched_getscheduler(0) == os.SCHED_FIFO else "SCHED_OTHER"


def patience(impairment: Impairment, room: int) -> int:
    """For how long (ns) frames may wait in a socket with `room` octets before they enter the line: half of the time
    that they stay there at least, and not until the socket is half full."""
    if impairment.reorder or impairment.gap:
        return 0  # some of them leave at once
    least = impairment.delay + _least_spread(impairment)
    return max(min(least // 2, room * SECOND // (2 * FASTEST), LONGEST_PATIENCE), 0)


def _least_spread(impairment: Impairment) -> int:
    table = table_of(impairment.distribution)
    return spread(table.index(min(table)), impairment.jitter, table) if table else -impairment.jitter


def _close_all(opened: Sequence[StampedSocket]) -> None:
    for each in opened:
        each.close()
