"""The loop of a process that owns descriptors: wait, dispatch, nothing else.

A node waits for frames, for requests and for its next deadline, and asyncio would serve it well, at 3 MB of memory and
at 20 µs for each wake-up. This loop is an epoll object, a dictionary from descriptors to callbacks, and one
timerfd (`nodes.io.timer`):

        epoll.poll() ──> for each ready descriptor: its callback
             ^                     │
             └─────────────────────┘   the timer is one of the descriptors, and the last

Epoll is level-triggered: a callback may take a part of what is there, and is called again. The timer has its turn after
the others: after a process had to wait for its processor, what has arrived is looked at before anything is held to be
missing.

Deadlines come in two forms. `set_deadline` is the one of the stack, which already knows its earliest timer; it
moves with every frame, mostly to later. Moving it later costs no system call: the timer fires at the old time, finds
nothing due, and is set again. One that is past already needs no timer: descriptors get a look, then it is called.
`call_at` is for the few others, and keeps a heap.

Signals arrive through `signal.set_wakeup_fd`: the interpreter writes their numbers into a socket the loop watches, so
that a callback for a signal runs between two others and never inside one.

Exceptions of callbacks leave `run`: a bug must end a node loudly, with its traceback.
"""

from __future__ import annotations

import heapq
import select
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

from nodes.io.timer import Timer, monotonic_ns

Callback: TypeAlias = Callable[[], None]

_EPOLLIN, _EPOLLOUT, _EPOLLERR, _EPOLLHUP, _EPOLLRDHUP = 0x1, 0x4, 0x8, 0x10, 0x2000
"""As `select` has them on Linux; simulations import this module, and use nothing of it, on other systems too."""

_READ_EVENTS = _EPOLLIN | _EPOLLHUP | _EPOLLERR | _EPOLLRDHUP
_WRITE_EVENTS = _EPOLLOUT | _EPOLLHUP | _EPOLLERR


class Handle:
    """A call that `call_at` promised; `cancel` takes the promise back."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: int, callback: Callback) -> None:
        self.deadline = deadline
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Safe at any time, and twice."""
        self.callback = None

    def __lt__(self, other: Handle) -> bool:
        return self.deadline < other.deadline


class Reactor:
    """Create it after a fork: it owns an epoll object and a timer. `clock` reads CLOCK_MONOTONIC in ns."""

    def __init__(self, clock: Callable[[], int] = monotonic_ns) -> None:
        self.clock = clock
        self.on_deadline: Callback | None = None
        """Called at the deadline of `set_deadline`, which is then None until it is set again."""
        self._epoll = select.epoll()
        self._timer = Timer()
        self._readers: dict[int, Callback] = {self._timer.fileno(): self._fire}
        self._writers: dict[int, Callback] = {}
        self._masks: dict[int, int] = {}
        self._calls: list[Handle] = []
        self._deadline: int | None = None
        self._due = False
        self._running = False
        self._signals: dict[int, Callback] = {}
        self._replaced: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._signal_pair: tuple[socket.socket, socket.socket] | None = None
        self._previous_wakeup = -1
        self._epoll.register(self._timer.fileno(), _EPOLLIN)

    # -- descriptors

    def add(self, descriptor: int, on_readable: Callback) -> None:
        """Call `on_readable` while the descriptor has something to read, was closed by its peer, or has an error."""
        self._readers[descriptor] = on_readable
        self._update(descriptor)

    def set_writable(self, descriptor: int, on_writable: Callback | None) -> None:
        """Call `on_writable` while the descriptor takes output; None: no longer."""
        if on_writable is None:
            self._writers.pop(descriptor, None)
        else:
            self._writers[descriptor] = on_writable
        self._update(descriptor)

    def pause(self, descriptor: int) -> None:
        """Stop reading; `add` resumes. A closed peer is then noticed at the next write or after `add`."""
        self._readers.pop(descriptor, None)
        self._update(descriptor)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed. One that is not there is no error."""
        self._readers.pop(descriptor, None)
        self._writers.pop(descriptor, None)
        self._update(descriptor)

    def _update(self, descriptor: int) -> None:
        mask = (_EPOLLIN if descriptor in self._readers else 0) | (_EPOLLOUT if descriptor in self._writers else 0)
        old = self._masks.get(descriptor)
        if mask == (old or 0):
            return
        if old is None:
            self._epoll.register(descriptor, mask)
        elif mask:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.unregister(descriptor)
            del self._masks[descriptor]
            return
        self._masks[descriptor] = mask

    # -- time

    def set_deadline(self, deadline: int | None) -> None:
        """Call `on_deadline` at `deadline` (ns); None: never. Cheap enough for every frame."""
        self._deadline = deadline
        self._due = deadline is not None and deadline <= self.clock()
        if deadline is not None and not self._due:
            self._arm(deadline)

    def call_at(self, deadline: int, callback: Callback) -> Handle:
        """Call `callback` once at `deadline` (ns)."""
        handle = Handle(deadline, callback)
        heapq.heappush(self._calls, handle)
        self._arm(deadline)
        return handle

    def _arm(self, deadline: int) -> None:
        """Make sure that the timer fires no later than `deadline`; an earlier firing does no harm."""
        armed = self._timer.deadline
        if armed is None or deadline < armed:
            self._timer.set(deadline)

    def _fire(self) -> None:
        if self._timer.acknowledge():
            self._expire()

    def _expire(self) -> None:
        now = self.clock()
        self._due = False
        try:
            if self._deadline is not None and self._deadline <= now:
                self._deadline = None
                if self.on_deadline is not None:
                    self.on_deadline()
            self._call_due(now)
        finally:
            own = None if self._due else self._deadline
            for deadline in (own, self._calls[0].deadline if self._calls else None):
                if deadline is not None:
                    self._arm(deadline)

    def _call_due(self, now: int) -> None:
        """As many calls as there are at the start: one that asks for itself again must let descriptors have a turn."""
        for _ in range(len(self._calls)):
            if not self._calls or (self._calls[0].callback is not None and self._calls[0].deadline > now):
                return
            callback = heapq.heappop(self._calls).callback
            if callback is not None:
                callback()

    # -- signals

    def add_signal(self, number: int, callback: Callback) -> None:
        """Call `callback` from the loop when the signal arrives. Main thread only (ValueError elsewhere)."""
        if self._signal_pair is None:
            self._watch_signals()
        self._signals[number] = callback
        previous = signal.signal(number, _ignore)
        self._replaced.setdefault(number, previous)
        signal.siginterrupt(number, False)

    def _watch_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        # A full socket loses no information: its reader has signals to handle already.
        self._previous_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._signal_pair = reader, writer
        self.add(reader.fileno(), self._on_signals)

    def _on_signals(self) -> None:
        if self._signal_pair is None:
            return
        for number in self._signal_pair[0].recv(256):
            callback = self._signals.get(number)
            if callback is not None:
                callback()

    # -- the loop

    def run(self) -> None:
        """Dispatch until `stop`. Exceptions of callbacks propagate, and `run` may be called again."""
        self._running = True
        poll, readers, writers = self._epoll.poll, self._readers, self._writers
        timer = self._timer.fileno()
        while True:
            fired = False
            due = self._due
            for descriptor, events in poll(0 if due else -1):
                if descriptor == timer:
                    fired = True
                    continue
                # A callback may have removed a descriptor that comes later in the same list: look it up each time.
                if events & _READ_EVENTS and (callback := readers.get(descriptor)) is not None:
                    callback()
                if events & _WRITE_EVENTS and (callback := writers.get(descriptor)) is not None:
                    callback()
                if self._stopped():
                    return
            if fired:
                self._fire()
            if due and self._due:
                self._expire()
            if (fired or due) and self._stopped():
                return

    def _stopped(self) -> bool:
        return not self._running

    def stop(self) -> None:
        """Leave `run` after the callback that runs now."""
        self._running = False

    def close(self) -> None:
        """Give back descriptors and signal handlers; registered descriptors stay open. Safe to call twice."""
        for number, previous in self._replaced.items():
            signal.signal(number, previous)
        self._replaced.clear()
        if self._signal_pair is not None:
            signal.set_wakeup_fd(self._previous_wakeup)
            for end in self._signal_pair:
                end.close()
            self._signal_pair = None
        self._timer.close()
        self._epoll.close()


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler must exist for `set_wakeup_fd` to work; the loop does the rest."""
