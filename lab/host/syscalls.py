"""The Linux system calls that the standard library of Python 3.11 has no door to.

Each function is one call of the C library through ctypes. A call that fails raises the OSError of its errno (so
PermissionError for EPERM), with the name of the call and what it was asked for in the text: "unshare(NEWUSER):
Operation not permitted" says more than the bare errno. The C library is loaded with `use_errno`, which keeps errno
per thread, and ctypes releases the interpreter lock during a call.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
from collections.abc import Collection
from pathlib import Path

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_CAPABILITY_VERSION_3 = 0x2008_0522
_LAST_CAPABILITY_FILE = Path("/proc/sys/kernel/cap_last_cap")
_HIGHEST_CAPABILITY = 63
"""The kernel keeps capabilities in 64 bits; `prctl` answers EINVAL from the first that it does not know."""

_FLAG_NAMES = {
    CLONE_NEWNS: "NEWNS",
    CLONE_NEWCGROUP: "NEWCGROUP",
    CLONE_NEWUTS: "NEWUTS",
    CLONE_NEWIPC: "NEWIPC",
    CLONE_NEWUSER: "NEWUSER",
    CLONE_NEWPID: "NEWPID",
    CLONE_NEWNET: "NEWNET",
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.capset.argtypes = (ctypes.c_void_p, ctypes.c_void_p)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` (CLONE_NEW...) for new ones: unshare(2)."""
    if _libc.unshare(flags) == -1:
        raise _failure("unshare", _flag_text(flags))


def setns(fd: int, flags: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to: setns(2)."""
    if _libc.setns(fd, flags) == -1:
        raise _failure("setns", f"fd {fd}, {_flag_text(flags)}")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2), as it is."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode() or None)
    if result == -1:
        raise _failure("mount", f"{source} on {target}" + (f", {kind}" if kind else ""))


def bind_mount(source: str, target: str, *, recursive: bool = False) -> None:
    """Make the file or folder `source` visible at `target`, which must exist."""
    mount(source, target, "", MS_BIND | (MS_REC if recursive else 0))


def mount_proc(target: str = "/proc") -> None:
    """A proc file system that shows the caller's PID namespace."""
    mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_sysfs(target: str = "/sys") -> None:
    """A sysfs that shows the caller's network namespace under class/net. EBUSY tells that this is what is there."""
    try:
        mount("sysfs", target, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def mount_tmpfs(target: str, *, mode: int = 0o755, size: str = "") -> None:
    """An empty file system in memory; `size` as tmpfs(5) writes it, such as `16m`."""
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}" + (f",size={size}" if size else ""))


def make_private(target: str = "/") -> None:
    """Mounts made under `target` from now on stay in this mount namespace, and those made outside stay outside."""
    mount("none", target, "", MS_REC | MS_PRIVATE)


def unmount(target: str, *, lazy: bool = False) -> None:
    """umount2(2); `lazy` detaches at once and cleans up when the last user is gone."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH if lazy else 0) == -1:
        raise _failure("umount2", target)


def set_hostname(name: str) -> None:
    """The host name in the caller's UTS namespace."""
    try:
        socket.sethostname(name)
    except OSError as error:
        raise OSError(error.errno, f"sethostname({name}): {error.strerror}") from None


def die_with_parent(signal: int) -> None:
    """The kernel sends `signal` to this process when the thread that forked it ends (PR_SET_PDEATHSIG). A parent that
    died before the call is not noticed: compare os.getppid() afterwards."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal)


def set_no_new_privileges() -> None:
    """From here on execve grants nothing: set-user-ID bits and file capabilities have no effect."""
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """Whether /proc/self belongs to the process's own user. A change of user ID clears it; writing one's own uid_map
    needs it."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, int(dumpable))


def set_name(name: str) -> None:
    """The name that ps and top show; the kernel keeps its first 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl("PR_SET_NAME", _PR_SET_NAME, ctypes.addressof(buffer))


def set_title(title: str) -> None:
    """What ps and top show as the command line: written over the arguments of this process, where they lie (fields 48
    and 49 of /proc/self/stat, proc(5)), and cut to their length."""
    start, room = _arguments()
    if room > 1:
        ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


@functools.cache
def _arguments() -> tuple[int, int]:
    """Where this process has its arguments, and how many octets: the same in all that it forks."""
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    return start, end - start


def drop_capabilities(*, but: Collection[int] = ()) -> None:
    """Give up every capability but these (numbers below 32), for this process and whatever it executes. The bounding
    set goes first, because shrinking it takes CAP_SETPCAP."""
    drop_bounding_set(but=but)
    drop_own_capabilities(but=but)


def drop_bounding_set(*, but: Collection[int] = ()) -> None:
    """Let nothing that this process executes have other capabilities than these, and nothing that it forks. It keeps
    its own."""
    _prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_last_capability() + 1):
        if capability not in but:
            _prctl("PR_CAPBSET_DROP", _PR_CAPBSET_DROP, capability)


def drop_own_capabilities(*, but: Collection[int] = ()) -> None:
    """Give up every capability but these; what it executes may have others (see `drop_bounding_set`)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    kept = sum(1 << capability for capability in but)
    sets = (ctypes.c_uint32 * 6)(kept, kept)  # effective, permitted, inheritable; then those of the numbers from 32
    if _libc.capset(header, sets) == -1:
        raise _failure("capset", "none" if not but else f"{kept:#x}")


def _last_capability() -> int:
    try:
        return min(int(_LAST_CAPABILITY_FILE.read_text(encoding="utf-8")), _HIGHEST_CAPABILITY)
    except OSError as error:
        raise OSError(error.errno, f"reading {_LAST_CAPABILITY_FILE}: {error.strerror}") from None


def _prctl(name: str, option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) == -1:
        raise _failure("prctl", name)


def _flag_text(flags: int) -> str:
    return "|".join(name for bit, name in _FLAG_NAMES.items() if flags & bit) or str(flags)


def _failure(call: str, arguments: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}({arguments}): {os.strerror(number)}")


def close_all_but(*descriptors: int) -> None:
    """Close every file descriptor but these and the standard streams."""
    first = 3
    for descriptor in sorted(descriptors):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
