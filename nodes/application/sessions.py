"""What the applications on TCP share: connections that take turns, the clock of their reports, and a listening socket.

    bell of a socket ─▶ rang(session) ─▶ queue ─┬▶ work(session) ─▶ queue again, if there is more to do
    time of a paced session ──────────▶        ─┘   (a share)        heap, if it waits for its time

A turn ends when the octets of all together have reached BUDGET; what is left in the queue goes on in the next wake-up
of the node, after its links and its other applications. A session's own share is smaller, so that many are served
alike. Nothing here looks at a session to which nothing has happened: ten thousand idle connections cost no time.

An error of a connection ends that session, with its reason in the result; the application goes on.
"""

from __future__ import annotations

import errno
import heapq
from collections import deque
from itertools import count, islice

from nodes.application.base import Node, Part, Reports, nanoseconds, resolve
from nodes.errors import StackError
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import SECOND, earliest
from nodes.wire.addresses import ANY, Ip4, format_endpoint, format_ip4

BUDGET = 2 << 20
"""Octets that an application takes or gives in one wake-up: some two milliseconds of work."""

SHARE = 512 << 10
"""Octets of one connection in a turn."""

LEAST = 2048
"""What a connection counts in a turn at least: a thousand of them are served in one wake-up."""

RECORD_LIMIT = 100
"""Connections that a result describes one by one: the first so many. All count in its sums."""

GRAIN = 65_536
"""Octets that a paced connection moves at once, at most; less where that would take longer than 10 ms."""

CATCH_UP = SECOND // 10
"""How much time without a turn a paced connection makes up for; more where a grain takes longer."""


class Pace:
    """Octets by the clock: `rate` bit/s on average."""

    __slots__ = ("_base", "_catch_up", "_grain", "_rate", "_used")

    def __init__(self, rate: int, now: int) -> None:
        self._rate = rate
        self._grain = min(GRAIN, max(1, rate // 800))
        self._catch_up = max(CATCH_UP, 2 * self._grain * 8 * SECOND // rate)
        self._base = now
        self._used = 0

    def room(self, now: int) -> int:
        """Octets that may be moved now: none or at least a grain."""
        latest = now - self._catch_up
        if self._time_of(self._used) < latest:
            self._base, self._used = latest, 0
        room = (now - self._base) * self._rate // (8 * SECOND) - self._used
        return room if room >= self._grain else 0

    def take(self, octets: int) -> None:
        self._used += octets

    def next(self) -> int:
        """When there is room for a grain."""
        return self._time_of(self._used + self._grain)

    def _time_of(self, octets: int) -> int:
        return self._base - (-octets * 8 * SECOND // self._rate)  # rounded up


class Session(Part):
    """One connection of an application. `work` does its share and returns how many octets that were; it calls `again`
    or `again_at` where more can be done without a new bell."""

    __slots__ = ("parent", "queued", "socket", "timed")

    def __init__(self, parent: Sessions, socket: TcpSocket) -> None:
        self.application = parent
        self.parent = parent
        self.socket = socket
        self.queued = self.timed = False
        socket.owner = self

    def work(self, now: int) -> int:
        """Raises the StackError that ended the connection."""
        raise NotImplementedError

    def failed(self, error: StackError, now: int) -> None:
        """`work` raised this. Closes the socket."""
        raise NotImplementedError

    def describe(self) -> dict[str, object]:
        """The session as values of JSON, for reports and results."""
        raise NotImplementedError

    def again(self) -> None:
        if not self.queued:
            self.queued = True
            self.parent.queue.append(self)

    def again_at(self, time: int) -> None:
        if not self.timed:
            self.timed = True
            heapq.heappush(self.parent.times, (time, next(self.parent.order), self))


class Sessions:
    """The base of the applications. `sessions` are those that are open. With `limit`, it accepts so many and is done
    when the last of them is over."""

    kind = ""

    def __init__(self, node: Node, *, interval: float = 0, duration: float = 0, limit: int = 0) -> None:
        self.node = node
        self.report = Reports()
        self.done = False
        self.queue: deque[Session] = deque()
        self.times: list[tuple[int, int, Session]] = []
        self.order = count()
        self.sessions: dict[Session, None] = {}
        self.listener: TcpSocket | None = None
        self.accepted = 0
        self._limit = limit
        self._records: list[dict[str, object]] = []
        self._interval = nanoseconds(interval)
        self._duration = nanoseconds(duration)
        self._next: int | None = None
        self._end: int | None = None
        self.resume: int | None = None

    # ----------------------------------------------------------------------------------------- what applications define

    def start(self, now: int) -> None:
        raise NotImplementedError

    def result(self) -> dict[str, object]:
        raise NotImplementedError

    def opened(self, socket: TcpSocket, now: int) -> Session:
        """The session of a connection that was accepted."""
        raise NotImplementedError

    def interim(self, now: int) -> None:
        """The time of a report has come."""

    def expired(self, now: int) -> None:
        """The duration is over."""
        self.stop(now)

    def check_done(self, now: int) -> None:
        """After each turn."""
        if self._limit and self.accepted >= self._limit and not self.sessions:
            self.stop(now)

    # ----------------------------------------------------------------------------------------------- what they all need

    def begin(self, now: int) -> None:
        """Start the clocks."""
        self._next = now + self._interval if self._interval else None
        self._end = now + self._duration if self._duration else None

    def listen(self, socket: TcpSocket, address: str, port: int, backlog: int, now: int) -> None:
        """Accept connections from now on. Raises MisuseError where the port is taken, or the address not ours."""
        socket.owner = self
        self.listener = socket
        local = resolve(self.node, address) if address else ANY
        socket.bind(local, port, now)
        socket.listen(backlog, now)
        self.report("listening", address=format_ip4(local), port=port)

    def add(self, session: Session) -> None:
        self.sessions[session] = None
        session.again()  # something may have come already

    def finish(self, session: Session, now: int) -> None:
        """A session is over: its socket is closed, its description kept."""
        record = session.describe()
        self.report("closed", **record)
        if len(self._records) < RECORD_LIMIT:
            self._records.append(record)
        del self.sessions[session]
        session.socket.close(now)

    def describe_sessions(self) -> list[dict[str, object]]:
        """Those that are over, then those that are open; no more than RECORD_LIMIT."""
        live = islice(self.sessions, RECORD_LIMIT - len(self._records))
        return [*self._records, *(session.describe() for session in live)]

    # --------------------------------------------------------------------------------------- the surface of Application

    def rang(self, part: Part) -> None:
        if isinstance(part, Session):
            part.again()

    def ready(self, now: int) -> None:
        if self.done:
            return
        self._accept(now)
        queue = self.queue
        left = BUDGET
        while queue and left > 0:
            session = queue.popleft()
            session.queued = False
            if session in self.sessions:
                left -= max(self._work(session, now), LEAST)
        self.resume = now + 1 if queue else None
        self.check_done(now)

    def timeout(self, now: int) -> None:
        if self.done:
            return
        times = self.times
        while times and times[0][0] <= now:
            session = heapq.heappop(times)[2]
            session.timed = False
            session.again()
        self.ready(now)
        self._look_at_clock(now)

    def _look_at_clock(self, now: int) -> None:
        if self.done:
            return
        if self._next is not None and self._next <= now:
            self._next += ((now - self._next) // self._interval + 1) * self._interval
            self.interim(now)
        if self._end is not None and self._end <= now:
            self._end = None
            self.expired(now)

    def deadline(self) -> int | None:
        if self.done:
            return None
        return earliest(self._next, self._end, self.resume, self.times[0][0] if self.times else None)

    def stop(self, now: int) -> None:
        """What was received and is not read yet still counts; what comes later is refused."""
        if self.done:
            return
        if self.listener is not None:
            self.listener.close(now)
        for session in tuple(self.sessions):
            if session.socket.remote[1]:  # it got as far as a connection
                self._work(session, now)
        self.done = True
        for session in self.sessions:
            session.socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self.report.drain()

    def _accept(self, now: int) -> None:
        listener = self.listener
        if listener is None or listener.closed:
            return
        while (socket := listener.accept()) is not None:
            self.accepted += 1
            self.report("connected", remote=endpoint(socket.remote))
            self.add(self.opened(socket, now))
            if self.accepted == self._limit:
                listener.close(now)
                break

    def _work(self, session: Session, now: int) -> int:
        try:
            return session.work(now)
        except StackError as error:
            session.failed(error, now)
            return 0


def endpoint(place: tuple[Ip4, int]) -> str:
    """`10.0.0.1:80`"""
    return format_endpoint(*place)


REASONS = {
    errno.ECONNRESET: "reset",
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timed_out",
    errno.EHOSTUNREACH: "host_unreachable",
    errno.ENETUNREACH: "net_unreachable",
}


def reason_of(error: StackError) -> str:
    """The end of a connection in a word: `reset`, `refused`, `timed_out` and the like, or the errno's name."""
    return REASONS.get(error.errno) or errno.errorcode.get(error.errno, str(error.errno))


def rate_of(octets: int, duration: int) -> int | None:
    """bit/s; None where no time has passed."""
    return octets * 8 * SECOND // duration if duration > 0 else None
