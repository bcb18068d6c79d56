"""A supervisor's process that waits to be told which lab it owns.

Its Python takes as long to start and to import the stack as a command to read a topology. So `lab up` begins it before
anything else, both run at the same time, and whoever brings a lab up takes it. Nothing here imports much.
"""

from __future__ import annotations

import socket
import subprocess
from typing import NamedTuple

from lab.engine.own_python import own_python


class Spare(NamedTuple):
    """`link` is the command's end of the pair (see `lab.engine.starter`): when it closes untold, the process ends."""

    driver: str
    link: socket.socket
    process: subprocess.Popen[bytes]


_begun: list[Spare] = []
"""At most one that nobody has taken."""


def begin(driver: str) -> None:
    """Start one for whoever takes it; `dismiss` ends it if nobody does."""
    _begun.append(_start(driver))


def take(driver: str) -> Spare:
    """The one that was begun, if it is for this driver, or a new one."""
    if _begun and _begun[0].driver == driver:
        return _begun.pop()
    return _start(driver)


def dismiss() -> None:
    while _begun:
        end(_begun.pop())


def end(spare: Spare) -> None:
    """End one that was not told, and wait until it is gone."""
    spare.process.kill()
    spare.link.close()
    spare.process.wait()


def _start(driver: str) -> Spare:
    link, theirs = socket.socketpair()
    with theirs:
        command, environment = own_python("lab.engine.supervisor", str(theirs.fileno()), driver)
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return Spare(driver, link, process)
