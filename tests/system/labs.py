"""Labs for system tests: the command `lab` as people run it, and proof that nothing of it is left afterwards.

`Labs` is one person's desk: an account, a folder that is home, runtime folder and runs folder at once, and the labs
started from it. Every command is a process of its own. Their environment is made here, so that nothing of the
tester's own shell plays a part, and carries a mark: whatever process has that mark was started, directly or not, by
this desk. So a test tells its own processes from those of other labs on the same machine.

`ordinary_user` is the account of a user without rights. Where the tests run as root that is a user who has no name and
owns nothing, and who may not be able to read the checkout, the virtual environment or even the Python in it (root's
home is often private). So that user gets copies: of lab, nodes and topologies, of the distributions that they require,
and of the interpreter where it cannot be executed in place. Where the tests run as an ordinary user, that user is the
account and everything is used in place.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from packaging.requirements import Requirement

import lab
from lab.engine.client import LabClient

ORDINARY = 60_000 + os.getpid() % 5_000
"""A user that nobody is: the names of labs are a user's own, so two runs of the tests do not see each other's."""
GONE_WITHIN = 10.0
"""Seconds after which nothing may be left of what was killed. It takes some tenths; a busy machine may need more."""

COMMAND_TIMEOUT = 60.0
DRIVER_PACKAGES = ("mininet", "setuptools")
"""What drivers need that labs of ordinary users are tested with, where it is installed."""

_MARK = "LAYERLAB_TEST_DESK"
_CHECKOUT = Path(lab.__file__).parent.parent
_UNUSED_LIBRARY = ("site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "config-*")

MIXED = """\
name: mixed
nodes:
  a: host
  b: host
  k: {kind: host, stack: kernel}
  s1: switch
  s2: {kind: switch, impl: stack}
links: [a -- s2, s2 -- s1, b -- s1, k -- s1]
"""
"""Two hosts of ours, one of the kernel's, a switch of each kind. Addresses: a 10.0.0.1, b 10.0.0.2, k 10.0.0.3."""


def star(count: int) -> str:
    """`count` hosts on a kernel switch."""
    nodes = "".join(f"  h{number}: host\n" for number in range(1, count + 1))
    links = "".join(f"  - h{number} -- s1\n" for number in range(1, count + 1))
    return f"name: star\nnodes:\n  s1: switch\n{nodes}links:\n{links}"


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the command, and how the command is called. `uid` is None for the user who runs the tests."""

    name: str
    uid: int | None
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def become(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` that make the child this user."""
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


def own_account() -> Account:
    """The user who runs the tests, with the command that is installed beside this Python."""
    installed = Path(sys.executable).with_name("lab")
    command = (str(installed),) if installed.exists() else (sys.executable, "-m", "lab")
    return Account("root" if os.geteuid() == 0 else "user", None, command)


def ordinary_account(folder: Path) -> Account:
    """A user without rights, with everything it needs copied into `folder`, which every user can read."""
    packages = folder / "packages"
    for name in ("lab", "nodes", "topologies"):
        if (_CHECKOUT / name).is_dir():  # an installed package has its topologies inside
            shutil.copytree(_CHECKOUT / name, packages / name)
    for name in (*_required("layerlab"), *DRIVER_PACKAGES):
        with suppress(metadata.PackageNotFoundError):
            _copy_distribution(name, packages)
    python = Path(sys.executable).resolve()
    environment = {"PYTHONPATH": str(packages)}
    if not _runs_as_anybody(python):
        python = copy_interpreter(folder)
        environment["LD_LIBRARY_PATH"] = str(folder / "lib")
    _open_to_all(folder)
    return Account("user", ORDINARY, (str(python), "-m", "lab"), environment)


def _required(name: str) -> set[str]:
    """The distributions that a distribution needs here, directly or not, without extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for text in metadata.requires(waiting.pop()) or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return found


def _copy_distribution(name: str, target: Path) -> None:
    for file in metadata.files(name) or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and source.exists():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / file)


def _runs_as_anybody(python: Path) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", "import encodings, json, socket"],
            user=ORDINARY,
            group=ORDINARY,
            extra_groups=[],
            cwd="/",
            env={},
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def copy_interpreter(folder: Path) -> Path:
    """This Python and its standard library: it finds the library from where it stands itself."""
    source = Path(sys.executable).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sys.base_prefix) / "lib"
    shutil.copytree(library / version, folder / "lib" / version, ignore=shutil.ignore_patterns(*_UNUSED_LIBRARY))
    for shared in library.glob("libpython*.so*"):
        shutil.copy2(shared, folder / "lib" / shared.name)
    (folder / "bin").mkdir()
    return Path(shutil.copy2(source, folder / "bin" / version))


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


class Labs:
    """One desk. Use it as a context manager: at the end every lab of it is taken down, and nothing may be left."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.folder = Path(tempfile.mkdtemp(prefix="labs-")).resolve()
        self.name = self.folder.name.replace("_", "x")
        """Begins the name of every lab of this desk: unique on this machine."""
        self.names: list[str] = []
        for name in ("home", "run", "runs", "tmp"):
            (self.folder / name).mkdir(mode=0o700)
        for path in (self.folder, *self.folder.iterdir()):
            if account.uid is not None:
                os.chown(path, account.uid, account.uid)
        self.runs = self.folder / "runs"
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
            "HOME": str(self.folder / "home"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LAYERLAB_RUNS": str(self.runs),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            _MARK: self.name,
            **account.environment,
        }
        self._before = _Machine.now()
        self._inhabitants: set[tuple[int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            for name in self.names:
                if self.listens(name):
                    self.run("down", name)
            self.assert_nothing_left()
            assert not list((self.folder / "tmp").iterdir()), "temporary files are left"
        finally:
            for process in self.processes():
                os.kill(process.pid, signal.SIGKILL)
            shutil.rmtree(self.folder)

    # Commands

    def run(
        self, *arguments: str, code: int | None = None, timeout: float = COMMAND_TIMEOUT, **environment: str
    ) -> Done:
        """`lab ARGUMENTS`, until it ends. With `code`, fails unless that is the exit code."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"lab {' '.join(arguments)} does not end: {out}{err}") from None
        done = Done(process.returncode, out, err)
        assert code is None or done.code == code, f"lab {' '.join(arguments)}: {done} {self._last_words()}"
        return done

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`lab ARGUMENTS` in the background."""
        return self.popen([*self.account.command, *arguments], **environment)

    def popen(self, command: list[str], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **self.account.become(),
        )

    def _last_words(self) -> str:
        """What agents and supervisors of this desk said in their last moments."""
        paths = [*self.runs.glob("*/nodes/*/error.txt"), *self.runs.glob("*/supervisor.log")]
        return "\n".join(path.read_text() for path in paths)

    # Labs

    def new_name(self, suffix: str = "") -> str:
        """A name that no other desk uses, known to be taken down at the end."""
        name = f"{self.name}{suffix}"
        self.names.append(name)
        return name

    def write(self, text: str, file: str = "topology.yml") -> str:
        """A topology file on this desk."""
        path = self.folder / file
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    def up(self, text: str = MIXED, suffix: str = "") -> str:
        """Start a lab and return its name."""
        name = self.new_name(suffix)
        self.run("up", self.write(text), "--name", name, code=0)
        self.note_namespaces()
        return name

    def status(self, name: str) -> dict[str, Any]:
        """What `lab ps NAME --json` says; asked without a process of its own where this user may."""
        if self.account.uid is not None:
            return dict(json.loads(self.run("ps", name, "--json", code=0).out))
        client = LabClient(name)
        try:
            return {**client.status(), "supervisor": client.supervisor_pid}
        finally:
            client.close()

    def state(self, name: str, node: str) -> dict[str, Any]:
        """What `lab state NODE --json` says."""
        return dict(json.loads(self.run("state", "--lab", name, node, "--json", code=0).out))

    def node(self, name: str, node: str) -> dict[str, Any]:
        return next(row for row in self.status(name)["nodes"] if row["name"] == node)

    def supervisor(self, name: str) -> int:
        return int(self.status(name)["supervisor"])

    def outcome(self, name: str, number: int = -1) -> str:
        """How a run of a lab ended; the latest one if no other is asked for."""
        folders = sorted(self.runs.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime_ns)
        return str(json.loads((folders[number] / "run.json").read_text())["outcome"])

    def pings(self, name: str, source: str, target: str) -> bool:
        done = self.run("ping", "--lab", name, source, target, "-c", "2", "-i", "0.2", "-W", "0.7")
        assert done.code in (0, 7), f"{done} {self._last_words()}"
        return done.code == 0

    def reaches(self, name: str, source: str, target: str) -> bool:
        """Within some seconds. Nodes hear of cables and of each other when the machine lets them, and an ARP request
        that was lost is sent again after a second."""
        return any(self.pings(name, source, target) for _ in range(4))

    # What there is

    def processes(self, comm: str | None = None) -> list[Process]:
        """The processes that were started from this desk, or those of them with that name."""
        mark = f"{_MARK}={self.name}".encode()
        found = [process for process in _processes() if mark in process.environment]
        return found if comm is None else [process for process in found if process.comm == comm]

    def process(self, comm: str) -> int:
        """The pid of the one process with that name."""
        (process,) = self.processes(comm)
        return process.pid

    def listens(self, name: str) -> bool:
        return any(line.endswith(f"/{name}\n") for line in _abstract_sockets())

    def stays_up(self, name: str) -> bool:
        """Whether a lab stays after its `lab up` was killed, which it may only when it is complete."""
        with suppress(AssertionError):
            wait_for(lambda: not self.listens(name), GONE_WITHIN)
            return False
        return all(node["state"] == "running" for node in self.status(name)["nodes"])

    def note_namespaces(self) -> None:
        """Remember who lives in the network namespaces of this desk's processes, or holds them: none of these may be
        left, also if it gave up the desk's mark. (The kernel uses the numbers of namespaces again, so that later
        inhabitants prove nothing.)"""
        ours: set[str] = set()
        for process in self.processes():
            ours |= process.network_namespaces()
        ours -= {_link("/proc/self/ns/net")}
        for process in _processes():
            if process.network_namespaces() & ours:
                self._inhabitants.add((process.pid, process.started))

    def leftovers(self) -> list[str]:
        """All that is there of this desk's labs."""
        left = [f"process {process.pid} {process.comm}" for process in self.processes()]
        left += [f"socket {line.split()[-1]}" for line in _abstract_sockets() if f"/{self.name}" in line]
        left += [
            f"process {process.pid} {process.comm}, which was in a namespace of the lab"
            for process in _processes()
            if (process.pid, process.started) in self._inhabitants
        ]
        return left + _Machine.now().more_than(self._before)

    def assert_nothing_left(self, within: float = GONE_WITHIN) -> None:
        wait_for(lambda: not self.leftovers(), within, self.leftovers)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    comm: str
    environment: tuple[bytes, ...]
    started: str
    """Clock ticks since boot: with the pid, this is one process for ever."""

    def network_namespaces(self) -> set[str]:
        """Those it lives in and those it holds a descriptor of."""
        folder = Path(f"/proc/{self.pid}")
        try:
            links = [_link(folder / "ns/net"), *(_link(path) for path in (folder / "fd").iterdir())]
        except OSError:
            return set()  # it has ended, or is somebody else's
        return {link for link in links if link.startswith("net:")}


@dataclass(frozen=True, slots=True)
class _Machine:
    """What a lab must never touch."""

    interfaces: frozenset[str]
    named_namespaces: frozenset[str]
    mounts: frozenset[str]

    @classmethod
    def now(cls) -> _Machine:
        named = Path("/run/netns")
        return cls(
            frozenset(name for _, name in socket.if_nameindex()),
            frozenset(path.name for path in named.iterdir()) if named.is_dir() else frozenset(),
            frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        )

    def more_than(self, before: _Machine) -> list[str]:
        more = [f"interface {name}" for name in self.interfaces - before.interfaces]
        more += [f"named network namespace {name}" for name in self.named_namespaces - before.named_namespaces]
        return more + [f"mount {path}" for path in self.mounts - before.mounts]


def _processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = tuple((folder / "environ").read_bytes().split(b"\0"))
            comm, status = (folder / "comm").read_text().strip(), (folder / "stat").read_text()
            yield Process(int(folder.name), comm, environment, status.rpartition(")")[2].split()[19])
        except OSError:
            continue  # it has ended, or is somebody else's


def _abstract_sockets() -> list[str]:
    with Path("/proc/net/unix").open(encoding="utf-8", errors="replace") as table:
        return [line for line in table if "@layerlab/" in line]


def _link(path: Path | str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def wait_for(condition: Callable[[], bool], within: float, what: Callable[[], object] = lambda: "") -> None:
    """Poll until the condition holds. Fails after so many seconds, with what `what` says."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within:g} s: {what()}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@contextmanager
def ordinary_user() -> Iterator[Account]:
    """The account of an ordinary user, for as long as the copies that it needs are there."""
    if os.geteuid():
        yield own_account()
        return
    folder = Path(tempfile.mkdtemp(prefix="labs-user-")).resolve()
    try:
        yield ordinary_account(folder)
    finally:
        shutil.rmtree(folder)
