"""Namespaces of Linux (namespaces(7)): what keeps a lab apart from the machine, and its nodes from each other.

Theory of operation. A lab's supervisor enters namespaces of its own before it does anything else:

    enter_isolation(root)    unshare user (ordinary users only), mount, network and PID namespaces; identity maps;
                             private mounts. The caller's own PID stays; its next child is PID 1 of the new namespace.
    fork                     by the caller
    finish_isolation()       in that child: a /proc of the new PID namespace

When PID 1 ends, for whatever reason, the kernel kills every process of its PID namespace. The network namespaces of
nodes have no name and no mount: they exist as file descriptors of those processes. So with the last process the last
descriptor goes, with it the namespace, and with it every interface and bridge. Nothing has to be cleaned up, because
nothing was ever registered outside.

An ordinary user becomes root of a new user namespace (user_namespaces(7)): all capabilities inside, none outside.
`setgroups` has to be forbidden before the group map may be written.

A new network namespace takes its IPv4 settings from the machine's own namespace (net.core.devconf_inherit_init_net),
so that a machine that forwards or filters would make nodes that do. Everything that matters is therefore written
explicitly, and before an interface exists: IPv6 must be off before, or the kernel would send router solicitations.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.errors import DriverError, EnvironmentLackError
from lab.host import syscalls

NO_IPV6 = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}

PASSIVE = {"net.ipv4.ip_forward": "0"}
"""For a namespace whose kernel must not take part: where our stack runs, and where the bridges are."""

NO_BRIDGE_FILTER = {
    "net.bridge.bridge-nf-call-arptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
}
"""Where br_netfilter is loaded it drops bridged packets that it finds malformed; a bridge must not look into them."""

KERNEL_HOST = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.accept_redirects": "1",
    "net.ipv4.conf.default.accept_redirects": "1",
    "net.ipv4.conf.all.arp_ignore": "1",
    "net.ipv4.conf.all.arp_announce": "2",
}
"""A host as RFC 1122 has it: no forwarding, redirects heeded, no filtering by source. ARP as RFC 826: a request is
answered on the interface that has the address, not on any other of the same machine."""

KERNEL_ROUTER = KERNEL_HOST | {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "1",
    "net.ipv4.conf.default.send_redirects": "1",
}
"""A router as RFC 1812 has it: forwards, sends redirects, heeds none."""

_OPTIONAL_FAMILIES = {"net.ipv6.": "/proc/sys/net/ipv6", "net.bridge.": "/proc/sys/net/bridge"}
"""Settings that only exist where the kernel has that part: without IPv6 there is nothing to turn off."""

_THREAD_NETNS = "/proc/thread-self/ns/net"
_PROGRESS_STEP = 25


def enter_isolation(root: bool) -> None:
    """New mount, network and PID namespaces, and as an ordinary user (`root` false) a user namespace around them.

    The process must have one thread. Raises EnvironmentLackError where this machine does not allow it."""
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS
    user, group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(flags if root else flags | syscalls.CLONE_NEWUSER)
        if not root:
            _become_root_inside(user, group)
        syscalls.make_private("/")
    except OSError as error:
        raise EnvironmentLackError(f"cannot make namespaces: {error.strerror}", hint=isolation_hint(root)) from error


def enter_network_isolation() -> None:
    """Only new mount and network namespaces, for root: a lab whose nodes are processes of somebody else's, such as a
    container engine, has to see them. The process must have one thread. Raises EnvironmentLackError."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
        syscalls.make_private("/")
    except OSError as error:
        raise EnvironmentLackError(f"cannot make namespaces: {error.strerror}", hint=isolation_hint(True)) from error


def finish_isolation() -> None:
    """To be called in the first child after `enter_isolation`: a /proc that shows its PID namespace."""
    try:
        syscalls.mount_proc()
    except OSError as error:
        hint = "a container hides parts of /proc, so that the kernel allows no new one: run it with --privileged"
        raise EnvironmentLackError(f"cannot mount: {error.strerror}", hint=hint) from error


def isolation_hint(root: bool) -> str:
    """What to do where namespaces are refused: the switch that this machine has, as far as it can be seen."""
    if root:
        return "the process is root without CAP_SYS_ADMIN, as in a container: run the container with --privileged"
    for name, right, words in (
        ("kernel.apparmor_restrict_unprivileged_userns", "0", "AppArmor restricts user namespaces"),
        ("kernel.unprivileged_userns_clone", "1", "user namespaces are for root only"),
        ("user.max_user_namespaces", None, "no user namespace is allowed"),
    ):
        value = read_sysctl(name)
        if value is not None and (value == "0" if right is None else value != right):
            return f"{words}: run as root, or once: sudo sysctl -w {name}={right or 10000}"
    return "run as root, or outside of a container that forbids user namespaces (seccomp)"


def create_network_namespaces(
    count: int,
    prepare: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[int]:
    """`count` new network namespaces as file descriptors (close-on-exec), which alone keep them alive.

    `prepare(number)` runs inside each. The thread ends where it began. Raises DriverError, with nothing left."""
    made: list[int] = []
    try:
        home = _open_current()
    except OSError as error:
        raise refused("find the current network namespace", error) from error
    try:
        for number in range(count):
            syscalls.unshare(syscalls.CLONE_NEWNET)
            made.append(_open_current())
            if prepare is not None:
                prepare(number)
            if progress is not None and (number + 1) % _PROGRESS_STEP == 0:
                progress(number + 1)
    except BaseException as error:
        for fd in made:
            os.close(fd)
        if isinstance(error, OSError):
            raise refused(f"create network namespace {len(made) + 1} of {count}", error) from error
        raise
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)
    return made


@contextmanager
def in_namespace(fd: int) -> Iterator[None]:
    """The calling thread is in network namespace `fd` for the block. Sockets made there stay there."""
    home = _open_current()
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)


def open_network_namespace() -> int:
    """The calling thread's network namespace as a file descriptor. Raises DriverError."""
    try:
        return _open_current()
    except OSError as error:
        raise refused("open the current network namespace", error) from error


def write_sysctls(values: Mapping[str, str]) -> None:
    """Set kernel parameters, `net.*` in the calling thread's network namespace. Raises DriverError."""
    for name, value in values.items():
        if any(name.startswith(family) and not Path(place).exists() for family, place in _OPTIONAL_FAMILIES.items()):
            continue
        try:
            fd = os.open(_sysctl_path(name), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise refused(f"set {name} = {value}", error) from error


def read_sysctl(name: str) -> str | None:
    """The value of a kernel parameter, None where this kernel has none of that name or hides it."""
    try:
        return Path(_sysctl_path(name)).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def file_limit() -> int:
    """How many files a process of this user may have open at most (the hard limit)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it: a lab holds a descriptor per node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def refused(doing: str, error: OSError) -> DriverError:
    """A system call's failure as an error for people: what was being done, the kernel's words, and what to do."""
    words = error.strerror or str(error)
    return DriverError(f"cannot {doing}: {words}", hint=_HINTS.get(error.errno or 0, ""))


def _become_root_inside(user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            Path(f"/proc/self/{name}").write_text(text, encoding="utf-8")
        except OSError as error:
            raise OSError(error.errno, f"writing /proc/self/{name}: {error.strerror}") from None


def _open_current() -> int:
    try:
        return os.open(_THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"open {_THREAD_NETNS}: {error.strerror}") from None


def _sysctl_path(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")


_HINTS = {
    errno.EPERM: "run as root, or as a user who may make user namespaces (lab doctor)",
    errno.EACCES: "run as root, or as a user who may make user namespaces (lab doctor)",
    errno.EROFS: "/proc/sys is read-only, as in a container: run the container with --privileged",
    errno.ENOSPC: "too many namespaces: end other labs, or raise user.max_net_namespaces with sysctl -w",
    errno.EMFILE: "too many open files: raise the hard limit (ulimit -Hn), a lab takes one per node and some more",
    errno.ENFILE: "too many open files on this machine: see the sysctl fs.file-max",
    errno.ENOMEM: "the machine is out of memory: end other labs or make this one smaller",
    errno.EINVAL: "this kernel lacks a kind of namespace: lab doctor tells which",
}
