"""Tools of the system tests.

`needs` skips a test with its reason where this machine lacks something; in CI the skip is a failure, as
tests/conftest.py has it.

`isolated` runs a function in a process of its own, in namespaces of its own, as a lab's supervisor would be, once as
root and once as an ordinary user. Whatever the function makes lives and ends with that process. Afterwards the host
must have the interfaces that it had, and no process may be left in those namespaces.

`labs`, `rootless_labs` and `any_labs` are desks (labs.py) of the user who runs the tests, of an ordinary user, and of
each in turn. What a test leaves behind of its labs fails it.

`docker_engine` is a Docker engine of the tests' own (docker_rig.py).
"""

from __future__ import annotations

import encodings.ascii
import encodings.idna  # noqa: F401
import os
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import namespaces, probe, syscalls
from tests.system.docker_rig import docker_engine
from tests.system.labs import Account, Labs, ordinary_user, own_account

__all__ = ["docker_engine"]

NOBODY = 65534
SECONDS = 60.0
GONE_SECONDS = 5.0

Needs = Callable[..., None]
Isolated = Callable[[Callable[[], None]], None]


@pytest.fixture(scope="session")
def findings() -> dict[str, probe.Finding]:
    """What this machine can do, by name: `root`, `veth`, `tshark` and so on (lab/host/probe.py)."""
    return {finding.name: finding for finding in probe.probe()}


@pytest.fixture(scope="session")
def needs(findings: dict[str, probe.Finding]) -> Needs:
    """`needs("root", "tshark")`: names of findings, or of programs."""

    def check(*names: str) -> None:
        for name in names:
            finding = findings.get(name)
            if finding is None and shutil.which(name) is None:
                pytest.skip(f"no program {name!r}")
            if finding is not None and not finding.ok:
                pytest.skip(f"{name}: {finding.detail}. {finding.hint}")

    return check


@pytest.fixture(params=["root", "rootless"])
def isolated(request: pytest.FixtureRequest, needs: Needs) -> Iterator[Isolated]:
    """`isolated(function)` runs the function as PID 1 of new namespaces; its exception fails the test."""
    as_root = request.param == "root"
    needs("root" if as_root else "user namespaces", "veth", "bridge", "packet sockets")
    interfaces = socket.if_nameindex()
    yield lambda function: run_isolated(function, as_root)
    assert socket.if_nameindex() == interfaces, "interfaces of the host have changed"


@pytest.fixture
def rootless(needs: Needs) -> Isolated:
    """As `isolated`, only as an ordinary user."""
    needs("user namespaces", "veth", "bridge")
    return lambda function: run_isolated(function, as_root=False)


def run_isolated(function: Callable[[], None], as_root: bool) -> None:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_end)
        _live(function, as_root, write_end)
    os.close(write_end)
    answer = probe._read_all(read_end, SECONDS)
    os.close(read_end)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert answer is not None, f"no result in {SECONDS} s"
    inode, _, failure = answer.decode().partition("\n")
    _assert_gone(inode)
    if failure != "passed":
        pytest.fail(failure or "the child died", pytrace=False)


def _live(function: Callable[[], None], as_root: bool, write_end: int) -> None:
    """The first child: enters the namespaces, and waits for its own child, PID 1 in them."""
    result = "the isolated process died"
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        if not as_root and os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            syscalls.set_dumpable(True)  # what a shell of that user would be
        namespaces.enter_isolation(root=as_root)
        os.write(write_end, f"{Path('/proc/self/ns/net').stat().st_ino}\n".encode())
        if pid := os.fork():
            os.waitpid(pid, 0)
            os._exit(0)
        namespaces.finish_isolation()
        function()
        result = "passed"
    except LabError as error:
        result = f"{traceback.format_exc()}\n{error.hint}"
    except BaseException:  # noqa: BLE001 - the last frame of a process; the test is told
        result = traceback.format_exc()
    finally:
        os.write(write_end, result.encode())
        os._exit(0)


def _assert_gone(inode: str) -> None:
    """No process is left in the network namespace of that number."""
    end = time.monotonic() + GONE_SECONDS
    while left := [process for process in Path("/proc").glob("[0-9]*") if _namespace_of(process) == inode]:
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.01)


def _namespace_of(process: Path) -> str:
    try:
        return str((process / "ns/net").stat().st_ino)
    except OSError:
        return ""  # it has just ended, or is another user's


@pytest.fixture(scope="session")
def ordinary_account() -> Iterator[Account]:
    with ordinary_user() as account:
        yield account


@pytest.fixture
def labs(needs: Needs) -> Iterator[Labs]:
    needs("root" if os.geteuid() == 0 else "user namespaces", "veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk:
        yield desk


@pytest.fixture
def rootless_labs(needs: Needs, ordinary_account: Account) -> Iterator[Labs]:
    needs("user namespaces", "veth", "bridge", "packet sockets")
    with Labs(ordinary_account) as desk:
        yield desk


@pytest.fixture(params=["root", "user"])
def any_labs(request: pytest.FixtureRequest, needs: Needs) -> Iterator[Labs]:
    needs("root" if request.param == "root" else "user namespaces", "veth", "bridge", "packet sockets")
    account = own_account() if request.param == "root" else request.getfixturevalue("ordinary_account")
    with Labs(account) as desk:
        yield desk
