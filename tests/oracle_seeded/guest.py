"""PID 1 of a guest (boot.py): kernel modules in the order of their names, the job, its result, and off.

The root file system is in memory and writable. The result goes through a virtio port, which the host has as a file.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from lab.host import syscalls
from tests.uml.first_process import load_module, power_off

REQUEST, MODULES = Path("/request.json"), Path("/modules")
PORT = Path("/dev/vport0p1")


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
    power_off()


def _answer() -> dict[str, Any]:
    try:
        for module in sorted(MODULES.iterdir()):
            load_module(module)
        request = json.loads(REQUEST.read_text())
        return {"result": importlib.import_module(request["job"]).run(request["arguments"])}
    except Exception:  # noqa: BLE001  whatever it is, the host has to see it
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    main()
