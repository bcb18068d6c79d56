"""A simulation where Linux is not: run by test_other_systems.py in a process of its own.

What `mac` and `windows` do not have is taken out of the standard library, once that is imported itself. It shows what
our code reaches for, not how those systems behave.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import http.server
import importlib.abc
import importlib.machinery
import logging
import multiprocessing
import os
import platform
import random
import select
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pydantic
import typer
import yaml

BEFORE = (asyncio, concurrent.futures.thread, http.server, logging, multiprocessing, pydantic, random, shutil, ssl)
BEFORE += (tempfile, typer, uuid, yaml)
"""Imported as they need what is taken away."""

ROOT = Path(__file__).parents[2]
LINUX = {
    os: {"pidfd_open", "setns", "unshare", "memfd_create", "eventfd", "sched_getaffinity", "O_PATH"},
    select: {"epoll", *(name for name in dir(select) if name.startswith("EPOLL"))},
    socket: {"AF_PACKET", "AF_NETLINK", "AF_VSOCK", "SO_PEERCRED", "SOCK_CLOEXEC", "SOCK_NONBLOCK"},
}
UNIX = {
    os: {"fork", "getegid", "geteuid", "getgid", "getpgrp", "getppid", "getuid", "openpty", "setsid", "WNOHANG"},
    select: {"poll"},
    socket: {"AF_UNIX", "SCM_RIGHTS", "send_fds", "recv_fds", "CMSG_LEN"},
    signal: {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGIO", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGTTOU"),
        *("SIGURG", "SIGUSR1", "SIGUSR2", "SIGWINCH", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    },
}
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in UNIX_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def pair(*_: object) -> tuple[socket.socket, socket.socket]:
    """As Python has it where there are no UNIX sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        return near, listening.accept()[0]


def leave_linux(system: str) -> None:
    platform.system = lambda: {"mac": "Darwin", "windows": "Windows"}[system]
    missing = [LINUX, UNIX] if system == "windows" else [LINUX]
    for names in missing:
        for module, gone in names.items():
            for name in gone & set(dir(module)):
                delattr(module, name)
    if system == "windows":
        for name in UNIX_MODULES:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, Missing())
        socket.socketpair = pair  # type: ignore[assignment]


def main() -> int:
    system, *command = sys.argv[1:]
    leave_linux(system)
    sys.path.insert(0, str(ROOT))
    run = __import__("lab.cli.main", fromlist=["run"]).run  # only now
    return int(run(command))


if __name__ == "__main__":
    sys.exit(main())
