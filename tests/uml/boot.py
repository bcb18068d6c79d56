"""A Linux kernel of its own for a test: User Mode Linux, from Debian's package user-mode-linux.

    test ── run("tests.uml.jobs.netem", {...}) ──▶ linux.uml ──▶ guest.py as PID 1 ──▶ the job's run({...})
         ◀────────────── what that returned ────── result.json ◀──────────────────────────────┘

Theory of operation. User Mode Linux is the kernel as an ordinary program: no virtual machine, no root, no image. Its
disk is this machine's file system, read-only (hostfs), so it runs the same Python with the same packages and the same
checkout. It has its own network, with everything that Debian builds as modules: netem, CoDel, PIE, bridges. From start
to end it takes two seconds. One folder of the host is writable: that of the request, the result and the console.

The guest runs in a PID namespace, which ends with whoever asked for it (PR_SET_PDEATHSIG, `unshare --kill-child`):
nothing of it can be left behind, and nothing else can be hit. Guests share nothing, so several may run at once.

The guest's random numbers are its own, whatever is done here: Linux 6.1's netem has no seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.uml.answer import GuestError, last_words, result

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = ("linux.uml", "setpriv", "unshare")
MODULES = Path("/usr/lib/uml/modules")
MEMORY = 512 << 20
"""Octets. They are taken from the host when they are used."""
SHARED_MEMORY = "/dev/shm"


def missing() -> str | None:
    """Why there can be no guest here, or None."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"no program {', '.join(lacking)}: apt-get install user-mode-linux util-linux"
    if not MODULES.is_dir():
        return f"no {MODULES}: apt-get install user-mode-linux"
    return None


def run(job: str, arguments: Mapping[str, Any], modules: Sequence[str] = (), timeout: float = 60.0) -> Any:
    """What `run(arguments)` of the module `job` returns in a new guest that has loaded the kernel modules named (and
    those that they need). Arguments and result are values of JSON. Raises GuestError, also where the guest is not done
    after `timeout` seconds."""
    with tempfile.TemporaryDirectory(prefix="layerlab-uml-") as folder:
        scratch = Path(folder)
        request = {"job": job, "arguments": arguments, "modules": list(modules)}
        (scratch / "request.json").write_text(json.dumps(request))
        with _started(scratch) as guest:
            try:
                guest.wait(timeout)
            except subprocess.TimeoutExpired:
                raise GuestError(f"{job} took longer than {timeout:g} s\n{last_words(scratch)}") from None
        return result(job, scratch / "result.json", scratch)


@contextlib.contextmanager
def _started(scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The guest, which is gone afterwards, with all its processes: each holds the end of a pipe."""
    alive, held = os.pipe()
    with (scratch / "console").open("wb") as console, os.fdopen(alive, "rb") as ended:
        try:
            guest = subprocess.Popen(
                [*_wrapper(), *_kernel(scratch)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "TMPDIR": _memory_folder(scratch),
                    "HOME": str(scratch),
                },
                pass_fds=(held,),
                start_new_session=True,  # a kernel that panics ends its process group
            )
        finally:
            os.close(held)
        try:
            yield guest
        finally:
            guest.kill()  # of unshare, with which all the guest's processes end
            guest.wait()
            ended.read()


def _wrapper() -> list[str]:
    """Dies with us, and all that it starts dies with it. PID 1 is a shell, for a kernel that panics ends itself by a
    signal, which PID 1 would not get."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, "sh", "-c", 'ulimit -c 0; "$@"; exit', "sh"]


def _kernel(scratch: Path) -> list[str]:
    """`NAME=value` that the kernel does not know becomes the environment of PID 1; what follows `--`, its arguments."""
    return [
        "linux.uml", f"mem={MEMORY >> 10}k", "quiet", "panic=-1", "noreboot",
        "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
        f"uml_dir={scratch}", "umid=guest", "con=null", "con0=fd:0,fd:1",
        f"PYTHONPATH={CHECKOUT}", "PYTHONDONTWRITEBYTECODE=1", f"owner={os.getpid()}",
        f"init={sys.executable}", "--", "-m", "tests.uml.guest", str(scratch),
    ]  # fmt: skip


def _memory_folder(scratch: Path) -> str:
    """Where the guest's memory is a file: shared memory where that is large enough and allows execution, as a
    container's often does not."""
    with contextlib.suppress(OSError):
        found = os.statvfs(SHARED_MEMORY)
        if found.f_bavail * found.f_frsize > 2 * MEMORY and not found.f_flag & os.ST_NOEXEC:
            return SHARED_MEMORY
    return str(scratch)
