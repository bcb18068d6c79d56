"""A Linux 6.12 of its own for a comparison: QEMU, Debian's kernel, an initrd with Python (initrd.py).

    run("tests.uml.jobs.netem", {...}) ──▶ qemu ──▶ guest.py as PID 1 ──▶ the job's run({...})
     ◀────── what that returned ────── a virtio port, a file here ◀───────────┘

Theory of operation. The guest's processor is emulated (TCG), which needs neither root nor /dev/kvm. Its clock is not
ours: it advances one nanosecond with each instruction (-icount), and where the guest only waits, it jumps to the next
timer (sleep=off). So the guest sees an idle machine with exact timers, however busy this one is; seconds of delay take
none; and a frame's delay can be compared to some microseconds, not only its loss.

IPv6 is off, and nothing speaks ARP, for each frame of the kernel's own would take numbers from netem's generator.
Jobs are those of tests/uml, where they need no file of the host: they return values of JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.oracle_seeded import initrd
from tests.oracle_seeded.kernel import Kernel
from tests.uml.answer import GuestError, last_words, result

PROGRAMS = ("qemu-system-x86_64", "setpriv", "nice", "ldd")
GUEST = "tests.oracle_seeded.guest"
REQUEST, MODULES = "/request.json", "/modules"
PORT = "result"
TIMEOUT = 900.0
"""Seconds. Emulation is slow, and whoever else uses this machine comes first."""


def missing() -> str | None:
    """Why there can be no guest here, or None."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"no program {', '.join(lacking)}: apt-get install qemu-system-x86 util-linux" if lacking else None


def run(kernel: Kernel, job: str, arguments: Mapping[str, Any], modules: Sequence[str]) -> Any:
    """What `run(arguments)` of the module `job` returns in a new guest that has loaded the kernel modules named.
    Raises GuestError and KernelMissingError."""
    contents = {f"{MODULES}/{place:03}": octets for place, octets in enumerate(kernel.modules(modules))}
    contents[REQUEST] = json.dumps({"job": job, "arguments": arguments}).encode()
    with tempfile.TemporaryDirectory(prefix="layerlab-qemu-") as folder:
        scratch = Path(folder)
        (scratch / "initrd").write_bytes(initrd.build((GUEST, job), contents))
        guest = subprocess.Popen(_command(kernel, scratch), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _out, errors = guest.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise GuestError(f"{job} took longer than {TIMEOUT:g} s\n{last_words(scratch)}") from None
        finally:
            guest.kill()
            guest.wait()
        return result(job, scratch / "result", scratch, errors.decode(errors="replace"))


def _command(kernel: Kernel, scratch: Path) -> list[str]:
    """Dies with us. `NAME=value` that the kernel does not know becomes the environment of PID 1; what follows `--`, its
    arguments."""
    append = [
        "console=ttyS0", "quiet", "panic=-1", "ipv6.disable=1", "mitigations=off",
        f"PYTHONPATH={initrd.CHECKOUT}", "PYTHONDONTWRITEBYTECODE=1", f"rdinit={initrd.PYTHON}",
        "--", "-S", "-m", GUEST,
    ]  # fmt: skip
    return [
        "setpriv", "--pdeathsig", "KILL", "nice", "-n", "10",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-cpu", "max", "-m", "512",
        "-serial", f"file:{scratch / 'console'}",
        "-chardev", f"file,id={PORT},path={scratch / 'result'}",
        "-device", "virtio-serial-pci", "-device", f"virtserialport,chardev={PORT},name={PORT}",
        "-kernel", str(kernel.image), "-initrd", str(scratch / "initrd"), "-append", " ".join(append),
    ]  # fmt: skip
