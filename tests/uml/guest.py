"""PID 1 of a guest (boot.py): file systems, kernel modules, the job, and off.

Nothing is known here but the folder that came as argument: request.json in it says what to do, result.json gets what
came out, or the exception. `/` is the host's and read-only; /run is in memory, and TMPDIR and HOME are in it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.host import syscalls
from tests.uml.first_process import load_module, power_off

MODULES = Path("/usr/lib/uml/modules")
RIG = Path("/run/rig")
"""Where the host's folder is writable."""
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(folder: str) -> None:
    """Never returns."""
    try:
        _mount(folder)
        answer = _answer()
        partial = RIG / "partial"
        partial.write_text(json.dumps(answer))
        partial.rename(RIG / "result.json")
    except BaseException:  # noqa: BLE001  the end of PID 1 is a kernel panic, which would hide why
        traceback.print_exc()
        sys.stderr.flush()
    os.sync()
    power_off()


def _mount(folder: str) -> None:
    syscalls.mount_proc()
    syscalls.mount_sysfs()
    syscalls.mount_tmpfs("/run")
    for path in (RIG, Path("/run/tmp"), Path("/run/home"), Path("/dev/pts"), Path("/dev/shm")):
        path.mkdir(exist_ok=True)
    syscalls.mount("none", str(RIG), "hostfs", 0, folder)
    syscalls.mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666")
    syscalls.mount_tmpfs("/dev/shm", mode=0o1777)
    os.environ.update(PATH=PATHS, TMPDIR="/run/tmp", HOME="/run/home")
    os.chdir("/run/tmp")


def _answer() -> dict[str, Any]:
    request = json.loads((RIG / "request.json").read_text())
    try:
        load_modules(request["modules"])
        job = importlib.import_module(request["job"])
        return {"result": job.run(request["arguments"])}
    except Exception:  # noqa: BLE001  whatever it is, the test on the host has to see it
        return {"error": traceback.format_exc()}


def load_modules(names: Sequence[str]) -> None:
    """Each after those that it needs. Raises OSError for one that there is not, or that the kernel refuses."""
    folder = MODULES / os.uname().release
    needs = dict(_dependencies(folder))
    paths = {Path(path).stem.replace("-", "_"): path for path in needs}
    loaded: set[str] = set()
    for name in names:
        if name not in paths:
            raise FileNotFoundError(f"no kernel module {name} in {folder}")
        for path in (*reversed(needs[paths[name]]), paths[name]):
            if path not in loaded:
                load_module(folder / path)
                loaded.add(path)


def _dependencies(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """modules.dep: a module and all that it needs, the most basic last (modules.dep(5))."""
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        yield path, needed.split()


if __name__ == "__main__":
    main(sys.argv[1])
