"""Processes of ours beside the links: relays, and the meter. Each is forked, and answers on a control socket.

    supervisor ──fork──▶ child           the child keeps nothing of its parent's descriptors but the socket on which it
        │  control socket  │             listens, and none of its signal handlers; it ends when it is told to, when it
        └──────────────────┘             is killed, or with the namespaces

Fork from a process with one thread. The socket is abstract, and so lives in the network namespace of the lab, where
nobody else is.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias, TypeVar

from lab.errors import DriverError
from lab.host import syscalls
from lab.host.forked import run_and_exit
from nodes.io.control import ControlClient, ControlError, ControlServer, Request
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.units import SECOND

GREETING_TIMEOUT = 10.0
"""Seconds for a new child to answer."""
BACKLOG = 1
ENDING_TIMEOUT = 2000
"""Milliseconds for a child to end that was told to."""

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
"""What such a process keeps, for it reads what anybody sends: larger buffers, and packet sockets for links to come."""

Main: TypeAlias = Callable[[socket.socket, str], None]
"""The life of a child: with the socket to listen on, and what it says it is. It ends after the request `shutdown`."""
Parameters: TypeAlias = Mapping[str, Any]
Socket = TypeVar("Socket", bound=PacketSocket)


class Service(Protocol):
    """What a child does."""

    def handle(self, request: Request) -> None:
        """Answer a request of the control connection."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Child:
    """A running one, as its parent sees it. `watch` is a descriptor that becomes readable when it ends. Raises OSError
    where it cannot be made, DriverError where it does not answer."""

    def __init__(self, main: Main, name: str, lab: str) -> None:
        self.name = name
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"\0{name}")
            listener.listen(BACKLOG)
            self.pid = os.fork()
            if not self.pid:
                run_and_exit(lambda: _live(main, listener, lab, name), keep=listener.fileno())
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.connect(f"\0{name}")
        try:
            with self.errors():
                self.control = ControlClient(link, timeout=GREETING_TIMEOUT)
        except DriverError:
            link.close()
            self.kill()
            os.waitpid(self.pid, 0)
            raise
        self.watch = os.pidfd_open(self.pid)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong on the control connection is a DriverError that names the child. One that does not answer in
        time is killed: it would keep its parent waiting again and again, and `watch` has it replaced."""
        try:
            yield
        except ControlError as error:
            if error.code == "timeout":
                self.kill()
            raise DriverError(f"{self.name}: {error.message}", hint=error.hint) from error

    def kill(self) -> None:
        """It ends, whatever it does; `reap` it then."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Tell it to end, and see that it does."""
        with suppress(ControlError):  # one that has died is as good
            self.control.call("shutdown", {}, ENDING_TIMEOUT / 1000)
        if not select.select([self.watch], [], [], ENDING_TIMEOUT / 1000)[0]:
            self.kill()
        self.reap()

    def reap(self) -> str:
        """How it ended; waits until it has. Call it once."""
        self.control.close()
        os.close(self.watch)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class Load:
    """How busy this process keeps its processor, second by second."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._begun = self._looked = reactor.clock()
        self._used = time.process_time_ns()
        self._share = self._peak = 0.0
        self._look()

    def _look(self) -> None:
        now, used = self._reactor.clock(), time.process_time_ns()
        if now > self._looked:
            self._share = (used - self._used) / (now - self._looked)
            self._peak = max(self._peak, self._share)
        self._looked, self._used = now, used
        self._reactor.call_at(now + SECOND, self._look)

    def snapshot(self) -> dict[str, object]:
        """Times in ns; shares of one processor in the last full second, and in the busiest. `preempted` is how often
        the kernel took the processor away from us."""
        return {
            "uptime": self._reactor.clock() - self._begun,
            "cpu": time.process_time_ns(),
            "cpu_share": round(self._share, 4),
            "peak_cpu_share": round(self._peak, 4),
            "preempted": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        }


def serve(listener: socket.socket, name: str, make: Callable[[Reactor], Service]) -> None:
    """Be what `make` makes until `shutdown` is asked for or SIGTERM comes: what a Main does. What is made there should
    make no cycles: nobody collects garbage, which would take its time while frames fly."""
    syscalls.drop_capabilities(but=(CAP_NET_ADMIN, CAP_NET_RAW))
    reactor = Reactor()
    service = make(reactor)
    server = ControlServer(listener, reactor, service.handle, name=name)
    reactor.add_signal(signal.SIGTERM, reactor.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.disable()
    reactor.run()
    service.close()
    server.close()
    reactor.close()


def ending(reactor: Reactor) -> Callable[[Request, Parameters], None]:
    """The method `shutdown`."""

    def shutdown(request: Request, _: Parameters) -> None:
        request.result({})
        reactor.stop()

    return shutdown


def at_both_ends(make: Callable[[str], Socket], left: str, right: str) -> tuple[Socket, Socket]:
    """A socket on each of two interfaces, or none. Raises ControlError."""
    opened: list[Socket] = []
    try:
        for name in (left, right):
            opened.append(make(name))
    except OSError as error:
        for one in opened:
            one.close()
        raise ControlError(errno.errorcode.get(error.errno or 0, "EIO"), f"{name}: {error.strerror}") from None
    return opened[0], opened[1]


def _live(main: Main, listener: socket.socket, lab: str, name: str) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    syscalls.set_name(f"lab:{name}")
    syscalls.set_title(f"layerlab {lab}: {name}")
    main(listener, f"{lab}/{name}")
