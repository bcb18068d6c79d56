"""What surrounds a program beside its network: time, randomness, names. Virtual in a node, real everywhere else.

A program asks the interpreter what time it is and for random numbers. In a simulated node the answers must come from
the node's clock and the node's seed, or no two runs are alike. While `Surroundings` of a node are open, the functions
below look at the context variable CURRENT: in a task or callback of that node they answer for the node, in the script
outside and in other threads as ever.

    time       time, monotonic, perf_counter, clock_gettime (each also in ns), gmtime, localtime, ctime, asctime,
               strftime without a time; sleep says what to use in its place, and is virtual in threads
    datetime   now, utcnow, today, date.today
    random     the functions of the module, and Random() without a seed
    os         urandom, getrandom; hence secrets, uuid4, SystemRandom
    uuid       uuid1
    socket     gethostname, getfqdn, gethostbyname, gethostbyname_ex, gethostbyaddr, getaddrinfo, getnameinfo: the names
               of the lab
    threading  threads that programs start are noted (nodes.simulation.threads)

What stays out of reach: names taken before (`from time import time` in a module that was imported before `installed`
or the first node; the functions of `random` that are so taken are virtual all the same, but for `random`, `getrandbits`
and `gauss`), what C code asks the system for (the random numbers of OpenSSL: keys and nonces of TLS differ from run to
run, lengths and times do not), the time zone of localtime, file times and process ids, and the order of sets of str,
which follows PYTHONHASHSEED.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from hashlib import blake2b
from types import ModuleType
from typing import Any

from nodes.session import names
from nodes.session.session import CURRENT, Session
from nodes.simulation import dates, threads
from nodes.units import SECOND

EPOCH = 1_767_225_600 * SECOND
"""The wall clock of nodes at virtual time 0, in ns since 1970: 2026-01-01 00:00 UTC. Any constant would do; one that is
near today keeps certificates valid."""


class Surroundings:
    """Those of one life of a node, from `open` to `close`. `seed` is of its programs, `epoch` the wall clock (ns since
    1970) at time 0 of the network, `loop` the event loop of this thread, in which threads sleep."""

    __slots__ = ("_epoch", "_loop", "_octets", "_session", "_thread", "random")

    def __init__(
        self, session: Session, seed: int, epoch: int = EPOCH, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.random = random.Random(derived(seed, "random"))
        """What the functions of the module `random` draw from."""
        self._octets = random.Random(derived(seed, "octets"))  # its own, as random.seed() must not repeat keys
        self._session = session
        self._epoch = epoch
        self._loop = loop
        self._thread = threading.get_ident()

    def open(self) -> None:
        """The node's programs live in it from now on."""
        if not _OPEN and not _HOLDS:
            _install()
        _OPEN[self._session] = self

    def close(self) -> None:
        """Harmless when closed already."""
        if _OPEN.pop(self._session, None) is not None and not _OPEN and not _HOLDS:
            _uninstall()

    @property
    def host(self) -> str:
        return self._session.name

    @property
    def session(self) -> Session:
        return self._session

    def wall(self) -> int:
        """The node's clock, in ns since 1970."""
        return self._epoch + self._session.clock.local(self._session.now())

    def steady(self) -> int:
        """The clock that the event loop shows (ns)."""
        return self._session.clock.steady(self._session.now())

    def sleep_in_thread(self, seconds: float) -> bool:
        """Sleep in virtual time, if the calling thread is not that of the event loop."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            return False
        threads.sleep(loop, seconds)
        return True

    def octets(self, count: int) -> bytes:
        """As `os.urandom`."""
        if count < 0:
            raise ValueError("negative argument not allowed")
        return self._octets.randbytes(count)


_OPEN: dict[Session, Surroundings] = {}

_HOLDS: list[object] = []
"""One for each context of `installed` that lasts."""


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """While it lasts the functions are in their places, nodes or not. What is imported meanwhile may take them from
    their modules (`from time import time`), and gets those that know of nodes."""
    if not _OPEN and not _HOLDS:
        _install()
    _HOLDS.append(None)
    try:
        yield
    finally:
        _HOLDS.pop()
        if not _OPEN and not _HOLDS:
            _uninstall()


Answer = Callable[..., Any]

_SAVED: list[tuple[Any, str, Any, Any]] = []
_SAVED_DATES: list[dict[str, object]] = []


def here() -> Surroundings | None:
    """Of the node whose program runs; None outside."""
    session = CURRENT.get()
    return None if session is None else _OPEN.get(session)


def derived(seed: int, purpose: str) -> int:
    """A seed (64 bits) for a part of what has `seed`."""
    return int.from_bytes(blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "big")


# ---------------------------------------------------------------------------------------------- what nodes are answered


def _sleep(node: Surroundings, seconds: float) -> None:
    if seconds > 0 and not node.sleep_in_thread(seconds):
        raise RuntimeError(
            f"time.sleep({seconds}) in a simulated node would stop the whole network: use `await asyncio.sleep(...)`, "
            "in virtual time it costs nothing"
        )


_REAL_TIME = {getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name)}
_STEADY = {
    getattr(time, name)
    for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW")
    if hasattr(time, name)
}


def _clock(real: Answer, scale: Callable[[int], float]) -> Answer:
    """As `time.clock_gettime`; clocks that count processor time stay those of the process."""

    def answer(node: Surroundings, clock: int) -> Any:
        if clock in _REAL_TIME:
            return scale(node.wall())
        return scale(node.steady()) if clock in _STEADY else real(clock)

    return answer


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / SECOND


def _uuid1(real: Answer) -> Answer:
    def answer(node: Surroundings, own: int | None = None, clock_seq: int | None = None) -> Any:
        if own is None:
            own = int.from_bytes(blake2b(node.host.encode(), digest_size=6).digest(), "big") | 1 << 40
        return real(own, int.from_bytes(node.octets(2), "big") >> 2 if clock_seq is None else clock_seq)

    return answer


def _start_thread(real: Answer) -> Answer:
    def answer(_: Surroundings, thread: threading.Thread) -> None:
        threads.started(thread)
        real(thread)

    return answer


def _getfqdn(node: Surroundings, name: str = "") -> str:
    return name if name and name != "0.0.0.0" else node.host


def _getaddrinfo(
    node: Surroundings,
    host: str | bytes | None,
    port: str | bytes | int | None,
    family: int = 0,
    type: int = 0,  # noqa: A002 (the names are those of the socket module)
    proto: int = 0,
    flags: int = 0,
) -> list[Any]:
    return list(names.getaddrinfo(node.session, host, port, family=family, type=type, proto=proto, flags=flags))


def _gethostbyname(node: Surroundings, hostname: str) -> str:
    return names.getaddrinfo(node.session, hostname, None)[0][4][0]


def _gethostbyname_ex(node: Surroundings, hostname: str) -> tuple[str, list[str], list[str]]:
    return hostname, [], [_gethostbyname(node, hostname)]


def _gethostbyaddr(node: Surroundings, ip_address: str) -> tuple[str, list[str], list[str]]:
    address = _gethostbyname(node, ip_address)
    name, _ = names.getnameinfo(node.session, (address, 0), 0)
    if name == address:
        raise socket.herror(1, "Unknown host")
    return name, [], [address]


def _getnameinfo(node: Surroundings, sockaddr: Any, flags: int) -> tuple[str, str]:
    return names.getnameinfo(node.session, sockaddr, flags)


def _without_time(real: Answer, position: int) -> Answer:
    """For gmtime and its kin: the argument that means now when it is left out."""

    def answer(node: Surroundings, *arguments: Any) -> Any:
        if len(arguments) > position and arguments[position] is not None:
            return real(*arguments)
        return real(*arguments[:position], node.wall() / SECOND)

    return answer


def _of_now(real: Answer, position: int, fields: Answer) -> Answer:
    """For asctime and strftime, which want a struct_time."""

    def answer(node: Surroundings, *arguments: Any) -> Any:
        if len(arguments) > position:
            return real(*arguments)
        return real(*arguments, fields(node.wall() / SECOND))

    return answer


# ---------------------------------------------------------------------------------------------------------- the switch


def _put(owner: Any, name: str, make: Callable[[Answer], Answer]) -> None:
    """Let `owner.name` answer for nodes what `make(the real one)` says, with the node's surroundings before the
    arguments."""
    real = getattr(owner, name, None)
    if real is None:
        return  # this system does not have it
    answer = make(real)

    @functools.wraps(real)
    def switch(*arguments: Any, **keywords: Any) -> Any:
        session = CURRENT.get()
        node = None if session is None else _OPEN.get(session)
        return real(*arguments, **keywords) if node is None else answer(node, *arguments, **keywords)

    _replace(owner, name, switch, real)


def _replace(owner: Any, name: str, ours: Any, real: Any) -> None:
    setattr(owner, name, ours)
    _SAVED.append((owner, name, ours, real))


def _simple(owner: ModuleType, **answers: Answer) -> None:
    for name, answer in answers.items():
        _put(owner, name, lambda _, answer=answer: answer)  # type: ignore[misc]


def _install() -> None:
    _simple(
        time,
        time=lambda node: node.wall() / SECOND,
        time_ns=Surroundings.wall,
        monotonic=lambda node: node.steady() / SECOND,
        monotonic_ns=Surroundings.steady,
        perf_counter=lambda node: node.steady() / SECOND,
        perf_counter_ns=Surroundings.steady,
        sleep=_sleep,
    )
    fields = time.localtime
    for name in ("gmtime", "localtime", "ctime"):
        _put(time, name, lambda real: _without_time(real, 0))
    _put(time, "asctime", lambda real: _of_now(real, 0, fields))
    _put(time, "strftime", lambda real: _of_now(real, 1, fields))
    _put(time, "clock_gettime", lambda real: _clock(real, _seconds))
    _put(time, "clock_gettime_ns", lambda real: _clock(real, int))
    _simple(os, urandom=Surroundings.octets, getrandom=lambda node, size, flags=0: node.octets(size))  # noqa: ARG005
    _simple(
        socket,
        gethostname=lambda node: node.host,
        getfqdn=_getfqdn,
        gethostbyname=_gethostbyname,
        gethostbyname_ex=_gethostbyname_ex,
        gethostbyaddr=_gethostbyaddr,
        getaddrinfo=_getaddrinfo,
        getnameinfo=_getnameinfo,
    )
    _put(uuid, "uuid1", _uuid1)
    _put(threading.Thread, "start", _start_thread)
    _replace(uuid, "_last_timestamp", None, getattr(uuid, "_last_timestamp", None))
    _install_random()
    _SAVED_DATES.append(dates.replace(_wall))


def _install_random() -> None:
    """The functions of the module are methods of a hidden generator. Those taken from it before reach this generator's
    `getrandbits` and `random`, so these are replaced too."""
    hidden = getattr(random, "_inst")  # noqa: B009
    for name, real in list(vars(random).items()):
        if getattr(real, "__self__", None) is hidden:
            _put(random, name, lambda _, name=name: lambda node, *args, **kw: getattr(node.random, name)(*args, **kw))  # type: ignore[misc]
    for name in ("random", "getrandbits"):
        _put(hidden, name, lambda _, name=name: lambda node, *args: getattr(node.random, name)(*args))  # type: ignore[misc]
    _replace(random, "_urandom", os.urandom, getattr(random, "_urandom"))  # noqa: B009
    real_seed = random.Random.seed

    @functools.wraps(real_seed)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        node = here()
        if node is None:
            real_seed(self, a, version)
        elif self is hidden:
            node.random.seed(a, version)
        else:
            real_seed(self, int.from_bytes(node.octets(32), "big") if a is None else a, version)

    _replace(random.Random, "seed", seed, real_seed)


def _wall() -> int | None:
    node = here()
    return None if node is None else node.wall()


def _uninstall() -> None:
    """What somebody else has replaced meanwhile stays theirs: it calls ours, which then call the real ones."""
    for owner, name, ours, real in reversed(_SAVED):
        if name == "_last_timestamp":
            setattr(owner, name, real)
        elif vars(owner).get(name) is ours:
            if isinstance(owner, random.Random):
                delattr(owner, name)
            else:
                setattr(owner, name, real)
    _SAVED.clear()
    threads.forget()
    dates.restore(_SAVED_DATES.pop())
