"""Running a Linux command inside a node: join its namespaces, then be the command.

The command runs on this process's own terminal: Ctrl-C, job control and the window size work as for any command. It
lives in the lab's PID namespace, so that it ends with the lab, and dies with this process, so that nothing is left
behind when somebody kills that. In a mount namespace of its own, /etc/hosts knows the lab's nodes and /sys shows the
node's interfaces.

    this process ──fork──▶ guard ──fork, exec──▶ command
    (outside)              (inside the lab's PID namespace)

The kernel can signal a child when its parent ends (PR_SET_PDEATHSIG), but forgets that when the child changes its user,
as tcpdump does. So a guard stands between, which changes nothing, hears of our end and kills the command.

Shells in the node read and set the terminal's foreground process group, and cannot name ours, which lies outside of
their PID namespace. So on a terminal the command leads a group of its own, and the terminal is handed to it and taken
back, as a shell does with a job.
"""

from __future__ import annotations

import errno
import os
import shutil
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
    "uts": syscalls.CLONE_NEWUTS,
}
_Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.signal` takes and returns."""

_GO_ON_IN_FRONT, _GO_ON_BEHIND = signal.SIGUSR1, signal.SIGUSR2
"""What the guard of a suspended command is told: with the terminal, or without it."""

_HEARD_BY_GUARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, _GO_ON_IN_FRONT, _GO_ON_BEHIND}

CANNOT_EXECUTE = 126
NOT_FOUND = 127


def run_inside(namespaces: Namespaces, node: str, command: list[str]) -> int:
    """Run `command` and return its exit code, 128 plus the number of a signal that ended it, 126 or 127 where it cannot
    be started (as shells have it)."""
    join(namespaces, node)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides what Ctrl-C means
    ours, on_terminal = os.getpid(), _in_foreground()
    guard = os.fork()
    if not guard:
        _guard(ours, on_terminal, lambda: _become(namespaces.hosts, node, command, previous))
    return _shell_code(_wait_for_guard(guard) if on_terminal else os.waitpid(guard, 0)[1])


def join(namespaces: Namespaces, node: str) -> None:
    """Enter a node; of its PID namespace only the next children are. Raises EnvironmentLackError."""
    try:
        for name, descriptor in namespaces.descriptors.items():
            syscalls.setns(descriptor, _KINDS[name])
    except OSError as error:
        raise EnvironmentLackError(
            f"cannot enter node {node!r}: {error.strerror}", hint="a lab can be entered by the user who started it"
        ) from error


def _shell_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wait_for_guard(guard: int) -> int:
    """Wait for the end of a guard whose command has the terminal. When the guard stops, the command was suspended: give
    the terminal back and be suspended too, until a shell tells us to go on."""
    has_terminal = True
    while True:
        _, status = os.waitpid(guard, os.WUNTRACED)
        if has_terminal:
            _give_terminal_to(os.getpgrp())
        if not os.WIFSTOPPED(status):
            return status
        os.kill(0, signal.SIGTSTP)
        has_terminal = _in_foreground()
        os.kill(guard, signal.SIGCONT)
        os.kill(guard, _GO_ON_IN_FRONT if has_terminal else _GO_ON_BEHIND)


def _guard(parent: int, on_terminal: bool, command: Callable[[], NoReturn]) -> NoReturn:
    """Start the command and end with its code; kill it when our parent ends."""
    code = CANNOT_EXECUTE
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD_BY_GUARD)
        syscalls.die_with_parent(signal.SIGTERM)
        if os.getppid() not in (0, parent):  # 0: outside of this PID namespace. Another one: ours ended before the call
            os._exit(code)
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if on_terminal:
                os.setpgid(0, 0)
                _give_terminal_to(os.getpid())
            command()
        code = _shell_code(_watch(child, os.WUNTRACED if on_terminal else 0))
    finally:
        os._exit(code)


def _watch(child: int, stops: int) -> int:
    """The status with which the command ends."""
    while True:
        changed, status = os.waitpid(child, os.WNOHANG | stops)
        if changed and not os.WIFSTOPPED(status):
            return status
        if changed:
            os.kill(os.getpid(), signal.SIGSTOP)
        heard = signal.sigwait(_HEARD_BY_GUARD)
        if heard in (signal.SIGTERM, signal.SIGHUP):
            os.kill(child, signal.SIGKILL)
        elif heard != signal.SIGCHLD:
            if heard == _GO_ON_IN_FRONT:
                _give_terminal_to(child)
            os.killpg(child, signal.SIGCONT)


def _become(hosts: dict[str, str], node: str, command: list[str], on_interrupt: _Handler) -> NoReturn:
    code = CANNOT_EXECUTE
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        syscalls.die_with_parent(signal.SIGKILL)  # for the case that somebody kills the guard
        syscalls.unshare(syscalls.CLONE_NEWNS)
        _mount_hosts(hosts, node)
        syscalls.mount_sysfs()
        os.execvp(command[0], command)  # noqa: S606 - the command is the person's own
    except OSError as error:
        # A folder of $PATH that may not be read gives EACCES for any name that is nowhere else.
        if isinstance(error, FileNotFoundError) or ("/" not in command[0] and shutil.which(command[0]) is None):
            print(f"error: no command {command[0]!r} on this machine", file=sys.stderr)  # noqa: T201
            code = NOT_FOUND
        else:
            print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
    finally:
        os._exit(code)


def _mount_hosts(hosts: dict[str, str], node: str) -> None:
    """Put the lab's names before the machine's own, in this mount namespace only."""
    etc_hosts = Path("/etc/hosts")
    if not etc_hosts.exists():
        return
    there = {tuple(line.split()) for line in etc_hosts.read_text(errors="replace").splitlines()}
    if there.issuperset((address, name) for name, address in hosts.items()):  # a container was made with them
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


def _in_foreground() -> bool:
    """Whether standard input is a terminal that is ours at the moment."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _give_terminal_to(group: int) -> None:
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(0, group)
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOTTY):  # a terminal that was closed
            raise
    finally:
        signal.signal(signal.SIGTTOU, previous)
