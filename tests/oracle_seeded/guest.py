"""PID 1 of a guest (boot.py): kernel modules in the order of their names, the job, its result, and off.

The root file system is in memory and writable. The result goes through a virtio port, which the host has as a file.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from lab.host import syscalls

REQUEST, MODULES = Path("/request.json"), Path("/modules")
PORT = Path("/dev/vport0p1")
_FINIT_MODULE = 313
_POWER_OFF = 0x4321FEDC


def main() -> None:
    """Never returns."""
    try:
        for folder in ("/proc", "/sys", "/dev"):
            Path(folder).mkdir(exist_ok=True)
        syscalls.mount_proc()
        syscalls.mount_sysfs()
        syscalls.mount("devtmpfs", "/dev", "devtmpfs")
        PORT.write_text(json.dumps(_answer()))
    except BaseException:  # noqa: BLE001  the end of PID 1 is a kernel panic, which would hide why
        traceback.print_exc()
        sys.stderr.flush()
    ctypes.CDLL(None).reboot(_POWER_OFF)


def _answer() -> dict[str, Any]:
    try:
        for module in sorted(MODULES.iterdir()):
            _load(module)
        request = json.loads(REQUEST.read_text())
        return {"result": importlib.import_module(request["job"]).run(request["arguments"])}
    except Exception:  # noqa: BLE001  whatever it is, the host has to see it
        return {"error": traceback.format_exc()}


def _load(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as module:
        if libc.syscall(_FINIT_MODULE, module.fileno(), b"", 0) == -1:
            number = ctypes.get_errno()
            raise OSError(number, f"load the kernel module {path.name}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
