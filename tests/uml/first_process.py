"""What PID 1 of any guest does in the kernel's own words."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_FINIT_MODULE = 313
_POWER_OFF = 0x4321FEDC


def load_module(path: Path) -> None:
    """Raises OSError where the kernel refuses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as module:
        if libc.syscall(_FINIT_MODULE, module.fileno(), b"", 0) == -1:
            number = ctypes.get_errno()
            raise OSError(number, f"load the kernel module {path.name}: {os.strerror(number)}")


def power_off() -> None:
    """Does not return, where the kernel can do it."""
    ctypes.CDLL(None).reboot(_POWER_OFF)
