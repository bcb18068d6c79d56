"""Time, randomness and names of a program: virtual in a node, real outside."""

from __future__ import annotations

import datetime
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from random import choice, sample
from typing import Any

import pytest

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.session.session import CURRENT, Session
from nodes.simulation.surroundings import EPOCH, Surroundings, installed
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.units import SECOND

HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2"}


class World:
    """A clock, and nodes with surroundings that live by it."""

    def __init__(self) -> None:
        self.now = 5 * SECOND
        self.opened: list[Surroundings] = []

    def session(self, name: str = "a", seed: int = 1) -> Session:
        interface = InterfaceConfig("eth0", "02:00:00:00:00:01", (f"{HOSTS[name]}/24",))
        config = NodeConfig("lab", name, interfaces=(interface,), hosts=HOSTS)
        stack = Stack.from_config(config, random.Random(1), NullTracer(), 0)
        session = Session(name, stack, lambda: self.now, lambda: None)
        surroundings = Surroundings(session, seed)
        surroundings.open()
        self.opened.append(surroundings)
        return session

    def close(self) -> None:
        for surroundings in self.opened:
            surroundings.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def inside(session: Session, function: Callable[..., Any], *arguments: Any) -> Any:
    context = Context()
    context.run(CURRENT.set, session)
    return context.run(function, *arguments)


def test_clocks_are_the_nodes(world: World) -> None:
    a = world.session()
    wall = EPOCH + 5 * SECOND
    assert inside(a, lambda: time.time()) == wall / SECOND
    assert inside(a, lambda: time.time_ns()) == wall
    assert inside(a, lambda: time.monotonic_ns()) == inside(a, lambda: time.perf_counter_ns()) == 5 * SECOND
    assert inside(a, lambda: time.monotonic()) == inside(a, lambda: time.perf_counter()) == 5.0
    assert inside(a, lambda: time.clock_gettime(time.CLOCK_REALTIME)) == wall / SECOND
    assert inside(a, lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC)) == 5 * SECOND
    assert inside(a, lambda: time.gmtime())[:6] == (2026, 1, 1, 0, 0, 5)
    assert inside(a, lambda: time.gmtime(0))[:6] == (1970, 1, 1, 0, 0, 0)
    assert inside(a, lambda: time.strftime("%Y")) == time.strftime("%Y", time.localtime(wall / SECOND))
    assert inside(a, lambda: time.ctime()) == inside(a, lambda: time.asctime()) == time.ctime(wall / SECOND)


def test_dates_are_the_nodes_by_whatever_name(world: World) -> None:
    a = world.session()
    world.now = 5 * SECOND + 123_456_789
    moment = datetime.datetime(2026, 1, 1, 0, 0, 5, 123456, datetime.UTC)
    now = datetime.datetime.now  # taken before, as by `from datetime import datetime`
    kind = datetime.datetime
    assert inside(a, lambda: kind.now(datetime.UTC)) == moment
    assert inside(a, lambda: kind.utcnow()) == moment.replace(tzinfo=None)
    assert inside(a, lambda: kind.now()).astimezone(datetime.UTC) == moment
    assert inside(a, lambda: datetime.date.today()) == kind.fromtimestamp(moment.timestamp()).date()  # noqa: DTZ011

    class Own(kind):
        pass

    assert isinstance(inside(a, lambda: Own.now(datetime.UTC)), Own)
    assert abs((kind.now(datetime.UTC) - now(datetime.UTC)).total_seconds()) < 5
    assert abs(kind.now(datetime.UTC).timestamp() - time.time()) < 5


def test_a_clock_that_is_wrong(world: World) -> None:
    a = world.session()
    a.clock.set(5 * SECOND, offset=-3600 * SECOND, drift_ppb=1000)
    world.now = 1005 * SECOND
    assert inside(a, lambda: time.monotonic_ns()) == 1005 * SECOND + 1_000_000
    assert inside(a, lambda: time.time_ns()) == EPOCH - 2595 * SECOND + 1_000_000


def test_the_outside_stays_real(world: World) -> None:
    world.session()
    assert time.time() > EPOCH / SECOND
    assert abs(time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) < SECOND
    assert os.urandom(16) != os.urandom(16)
    assert socket.gethostname() != "a"


def test_other_threads_stay_real(world: World) -> None:
    a = world.session()
    seen: list[float] = []

    def start() -> None:
        thread = threading.Thread(target=lambda: seen.append(time.monotonic()))
        thread.start()
        thread.join()

    before = time.monotonic()
    inside(a, start)
    assert before <= seen[0] <= time.monotonic()


def draw() -> list[Any]:
    letters = list("abcdef")
    random.shuffle(letters)
    return [
        random.random(),
        random.randint(1, 10**9),
        random.gauss(0, 1),
        choice("abcdefgh" * 100),
        sample(range(10**9), 3),
        random.Random().random(),
        random.SystemRandom().random(),
        letters,
        os.urandom(8),
        secrets.token_hex(8),
        uuid.uuid4(),
        uuid.uuid1(),
    ]


def test_randomness_follows_the_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        world = World()
        drawn.append(inside(world.session(seed=seed), draw))
        world.close()
    assert drawn[0] == drawn[1]
    assert not any(first == second for first, second in zip(drawn[0], drawn[2], strict=True))


def test_nodes_draw_apart(world: World) -> None:
    a, b = world.session("a", 1), world.session("b", 2)
    alone = [inside(a, random.random) for _ in range(3)]
    other = World()
    again = other.session("a", 1)
    mixed = []
    for _ in range(3):
        inside(b, random.random)
        mixed.append(inside(again, lambda: random.random()))
    other.close()
    assert alone == mixed


def test_seeding_in_a_node_stays_there(world: World) -> None:
    a = world.session()
    random.seed(7)
    expected = random.random()
    random.seed(7)
    inside(a, lambda: random.seed(7))
    assert inside(a, lambda: random.random()) == expected == random.random()
    first = inside(a, lambda: os.urandom(8))
    inside(a, lambda: random.seed(7))
    assert inside(a, lambda: os.urandom(8)) != first


def test_sleeping_says_what_to_do(world: World) -> None:
    a = world.session()
    with pytest.raises(RuntimeError, match=r"await asyncio\.sleep"):
        inside(a, lambda: time.sleep(0.5))
    inside(a, lambda: time.sleep(0))
    time.sleep(0)


def test_names_are_the_labs(world: World) -> None:
    a = world.session()
    assert inside(a, lambda: socket.gethostname()) == inside(a, lambda: socket.getfqdn()) == "a"
    assert inside(a, lambda: socket.gethostbyname("b")) == "10.0.0.2"
    found = inside(a, lambda: socket.getaddrinfo("b", 80, type=socket.SOCK_STREAM))
    assert [entry[4] for entry in found] == [("10.0.0.2", 80)]
    assert inside(a, lambda: socket.getnameinfo(("10.0.0.2", 80), 0))[0] == "b"
    assert inside(a, lambda: socket.gethostbyname_ex("b")) == ("b", [], ["10.0.0.2"])
    assert inside(a, lambda: socket.gethostbyaddr("10.0.0.2")) == ("b", [], ["10.0.0.2"])
    with pytest.raises(socket.gaierror):
        inside(a, lambda: socket.getaddrinfo("no.such.host", 80))
    with pytest.raises(socket.herror, match="Unknown host"):
        inside(a, lambda: socket.gethostbyaddr("10.9.9.9"))


def test_what_is_imported_while_they_are_installed_knows_of_nodes(world: World) -> None:
    real = time.time
    with installed():
        taken = time.time
        assert taken is not real
        with installed():
            a = world.session()
        world.close()
        assert time.time is taken
        a = world.session()
        assert inside(a, taken) == (EPOCH + 5 * SECOND) / SECOND
    assert time.time is taken  # as long as there is a node
    world.close()
    assert time.time is real
    assert abs(taken() - real()) < 60


def test_all_is_put_back() -> None:
    before = {
        (module, name): value for module in (time, os, random, socket, uuid) for name, value in vars(module).items()
    }
    dates = {name: datetime.datetime.__dict__[name] for name in ("now", "utcnow")}
    first, second = World(), World()
    first.session()
    second.session()
    assert time.time is not before[time, "time"]
    first.close()
    assert time.time is not before[time, "time"]  # the other is still open
    second.close()
    second.close()
    after = {
        (module, name): value for module in (time, os, random, socket, uuid) for name, value in vars(module).items()
    }
    changed = {name for (_, name), value in after.items() if value is not before.get((_, name))} - {"_last_timestamp"}
    assert not changed
    assert {name: datetime.datetime.__dict__[name] for name in dates} == dates
    assert set(vars(getattr(random, "_inst"))) <= {"gauss_next"}  # noqa: B009


def test_another_patch_on_top_survives() -> None:
    world = World()
    world.session()
    ours = time.time
    time.time = theirs = lambda: ours()
    try:
        world.close()
        assert time.time is theirs
        assert time.time() > EPOCH / SECOND
    finally:
        time.time = ours.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.slow
def test_hash_seeds_do_not_matter() -> None:
    """What a node draws is the same in every process."""
    code = (
        "import sys, importlib.util as u; s = u.spec_from_file_location('m', sys.argv[1]); m = u.module_from_spec(s);"
        "s.loader.exec_module(m); print(m.inside(m.World().session(), m.draw))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.fspath(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
