"""Running a Linux command inside a node: join its namespaces, then be the command.

The command runs on this process's own terminal: Ctrl-C, job control and the window size work as for any command. It
lives in the lab's PID namespace, so that it ends with the lab, and dies with this process, so that nothing is left
behind when somebody kills that. In a mount namespace of its own, /etc/hosts knows the lab's nodes and /sys shows the
node's interfaces.

    this process ──fork──▶ guard ──fork, exec──▶ command
    (outside)              (inside the lab's PID namespace)

The kernel can signal a child when its parent ends (PR_SET_PDEATHSIG), but forgets that when the child changes its user,
as tcpdump does. So a guard stands between, which changes nothing, hears of our end and kills the command.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lab.engine.client import Namespaces
from lab.errors import EnvironmentLackError
from lab.host import syscalls

_KINDS = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
}
_Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.signal` takes and returns."""

CANNOT_EXECUTE = 126
NOT_FOUND = 127


def run_inside(namespaces: Namespaces, node: str, command: list[str]) -> int:
    """Run `command` and return its exit code, 128 plus the number of a signal that ended it, 126 or 127 where it cannot
    be started (as shells have it)."""
    try:
        for name, descriptor in namespaces.descriptors.items():
            syscalls.setns(descriptor, _KINDS[name])
    except OSError as error:
        raise EnvironmentLackError(
            f"cannot enter node {node!r}: {error.strerror}", hint="a lab can be entered by the user who started it"
        ) from error
    foreground = _foreground_group()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides what Ctrl-C means
    ours = os.getpid()
    guard = os.fork()
    if not guard:
        _guard(ours, lambda: _become(namespaces.hosts, node, command, previous))
    _, status = os.waitpid(guard, 0)
    _take_back_terminal(foreground)
    return _shell_code(status)


def _shell_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _guard(parent: int, command: Callable[[], NoReturn]) -> NoReturn:
    """Start the command and end with its code; kill it when our parent ends."""
    code = CANNOT_EXECUTE
    waited_for = {signal.SIGCHLD, signal.SIGTERM}
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
        syscalls.die_with_parent(signal.SIGTERM)
        if os.getppid() not in (0, parent):  # 0: outside of this PID namespace. Another one: ours ended before the call
            os._exit(code)
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            command()
        ended, status = 0, 0
        while not ended:
            if signal.sigwait(waited_for) == signal.SIGTERM:
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
        code = _shell_code(status)
    finally:
        os._exit(code)


def _become(hosts: dict[str, str], node: str, command: list[str], on_interrupt: _Handler) -> NoReturn:
    code = CANNOT_EXECUTE
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        syscalls.die_with_parent(signal.SIGKILL)  # for the case that somebody kills the guard
        syscalls.unshare(syscalls.CLONE_NEWNS)
        _mount_hosts(hosts, node)
        syscalls.mount_sysfs()
        os.execvp(command[0], command)  # noqa: S606 - the command is the person's own
    except FileNotFoundError:
        print(f"error: no command {command[0]!r} on this machine", file=sys.stderr)  # noqa: T201
        code = NOT_FOUND
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
    finally:
        os._exit(code)


def _mount_hosts(hosts: dict[str, str], node: str) -> None:
    """Put the lab's names before the machine's own, in this mount namespace only."""
    etc_hosts = Path("/etc/hosts")
    if not etc_hosts.exists():
        return
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in hosts.items())]
    descriptor, path = tempfile.mkstemp(prefix=f"hosts-{node}-")
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    try:
        Path(path).chmod(0o644)
        syscalls.bind_mount(path, str(etc_hosts))
    finally:
        Path(path).unlink()


def _foreground_group() -> int | None:
    try:
        return os.tcgetpgrp(0)
    except OSError:
        return None  # no terminal: nothing to give back


def _take_back_terminal(group: int | None) -> None:
    """A shell in the node made itself the terminal's foreground group and cannot name ours, which lies outside its PID
    namespace."""
    if group is None:
        return
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(0, group)
    finally:
        signal.signal(signal.SIGTTOU, previous)
