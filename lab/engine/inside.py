"""Running a Linux command inside a node: join its namespaces, then be the command.

The command is a child of this process, on this process's own terminal: Ctrl-C, job control and the window size work as
for any command. It lives in the lab's PID namespace, so that it ends with the lab, and dies with this process, so that
nothing is left behind when somebody kills that. In a mount namespace of its own, /etc/hosts knows the lab's nodes and
/sys shows the node's interfaces.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
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
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, previous)
        _become(namespaces.hosts, node, command)
    _, status = os.waitpid(child, 0)
    _take_back_terminal(foreground)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(hosts: dict[str, str], node: str, command: list[str]) -> NoReturn:
    code = CANNOT_EXECUTE
    try:
        syscalls.die_with_parent(signal.SIGKILL)
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
    Path(path).chmod(0o644)
    syscalls.bind_mount(path, str(etc_hosts))
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
