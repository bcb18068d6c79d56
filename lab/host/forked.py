"""The life of a process that was forked from one of ours and goes on as something else."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from lab.host import syscalls


def run_and_exit(work: Callable[[], None], keep: int) -> NoReturn:
    """Leave everything of the forking process behind but standard streams and one descriptor, work, and end without
    running its clean-up. When the parent dies, so does this process: not every driver has a PID namespace that would
    see to that."""
    status = 1
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.close_all_but(keep)
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of a process: nothing may unwind into the parent's stack
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
