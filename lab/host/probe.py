"""What this machine and this user can do, by trying it: what `lab doctor` shows.

Nothing is concluded from versions or configuration files. Each capability is tried in a child process of its own,
which lives in new namespaces and takes with it whatever it made. A finding says whether it worked, the kernel's words,
and for each lack what to do. `ok` is None where something optional is missing or a value is only shown.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from lab.errors import LabError
from lab.host import docker, namespaces, syscalls, traffic_control
from lab.host import links as rt
from lab.host.mininet import lack_of_mnexec, lack_of_module
from lab.host.netlink import (
    NETLINK_GENERIC,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attribute_text,
    attribute_u32,
)
from lab.host.open_vswitch import lack_of_open_vswitch
from lab.host.qdisc import NetemSettings, decode_netem, differences, pack, with_netem_hint

CHILD_SECONDS = 5.0
_TCA_TBF_PARMS, _TCA_TBF_BURST = 1, 6
_LINKLAYER_ETHERNET = 1
_GENL_CONTROL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 16, 3, 2
_ETH_P_ALL = 3
_MINIMUM_FILES = 1024
_WITH_SEEDS = "works, with seeds"


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` None: optional and missing, or only a value."""

    name: str
    ok: bool | None
    detail: str
    hint: str = ""


class NetemSupport(NamedTuple):
    """`missing`: why the kernel cannot impair links, None where it can. `seeds`: its netem draws from a seed that it is
    given (Linux 6.6 and later)."""

    missing: str | None
    seeds: bool


def probe() -> list[Finding]:
    """Try everything. Takes well under a second."""
    root = os.geteuid() == 0
    hint = namespaces.isolation_hint(root)
    module = "load or build the kernel module {0} (modprobe {0}, or the package with the kernel's extra modules)"
    return [
        Finding("root", root or None, "yes" if root else f"no, uid {os.geteuid()}: labs use a user namespace"),
        _tried("user namespaces", lambda: _enter(False), namespaces.isolation_hint(False), optional=root),
        _tried("network and PID namespaces", lambda: _enter(root), hint),
        _tried("own /proc", lambda: _own_proc(root), "a container hides parts of /proc: run it with --privileged"),
        _tried("veth", lambda: _isolated(root, _veth), module.format("veth")),
        _tried("bridge", lambda: _isolated(root, _bridge), module.format("bridge")),
        _tried("packet sockets", lambda: _isolated(root, _packet_socket), module.format("af_packet")),
        _tried(
            "sch_netem",
            lambda: _isolated(root, _netem),
            "Layerlab's own link emulator takes its place; or " + module.format("sch_netem"),
            optional=True,
        ),
        _tried(
            "act_mirred",
            lambda: _isolated(root, _redirect),
            "only for links by sch_netem: " + module.format("act_mirred, and cls_matchall"),
            optional=True,
        ),
        _tried("sch_tbf", lambda: _isolated(root, _tbf), module.format("sch_tbf"), optional=True),
        _tun(),
        _file_limit(),
        _namespace_limit(),
        _docker("Docker engine", docker.engine),
        _docker("Docker SDK", docker.sdk),
        *_mininet(),
        *_openvswitch(),
        _user_mode_linux(),
        *(_program(name) for name in ("tshark", "tcpdump", "iperf3")),
    ]


def netem_support() -> NetemSupport:
    """Whether the kernel can impair links: netem on a veth, and the redirection that joins two of them, both tried in
    namespaces of a child process."""
    root = os.geteuid() == 0
    for work in (_redirect, _netem):
        ok, detail, _hint = in_child(lambda work=work: _isolated(root, work))  # type: ignore[misc]
        if not ok:
            return NetemSupport(detail, False)
    return NetemSupport(None, detail == _WITH_SEEDS)


def in_child(work: Callable[[], str]) -> tuple[bool, str, str]:
    """Run `work` in a forked child: (it worked, its answer or the error, the error's hint). A child that has not ended
    after CHILD_SECONDS is killed."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        _report(work, write_end)
    os.close(write_end)
    try:
        answer = _read_all(read_end, CHILD_SECONDS)
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if answer is None:
        return False, f"no result in {CHILD_SECONDS:.0f} s", ""
    if not answer:
        return False, "the child died", ""
    ok, detail, hint = json.loads(answer)
    return ok, detail, hint


def _report(work: Callable[[], str], write_end: int) -> NoReturn:
    """The child's whole life."""
    result: tuple[bool, str, str]
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        result = (True, work(), "")
    except LabError as error:
        result = (False, error.message, error.hint)
    except OSError as error:
        result = (False, error.strerror or str(error), "")
    except BaseException:  # noqa: BLE001 - the last frame of a process; the parent reads that it died
        traceback.print_exc()
        os._exit(1)
    os.write(write_end, json.dumps(result).encode())
    os._exit(0)


def _read_all(fd: int, seconds: float) -> bytes | None:
    """Until the writer closes; None where it takes longer."""
    data = b""
    end = time.monotonic() + seconds
    while select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(fd, 65536)
        if not part:
            return data
        data += part
    return None


def _tried(name: str, work: Callable[[], str], hint: str, *, optional: bool = False) -> Finding:
    ok, detail, _hint = in_child(work)
    return Finding(name, ok if ok or not optional else None, detail, "" if ok else hint)


def _enter(root: bool) -> str:
    namespaces.enter_isolation(root)
    return "allowed"


def _own_proc(root: bool) -> str:
    """/proc can only be mounted by the first child in the new PID namespace."""
    namespaces.enter_isolation(root)

    def mount() -> str:
        namespaces.finish_isolation()
        return f"a process of the lab has PID {os.getpid()}"

    ok, detail, _hint = in_child(mount)
    if not ok:
        raise LabError(detail)
    return detail


def _isolated(root: bool, work: Callable[[Netlink], str]) -> str:
    namespaces.enter_isolation(root)
    with Netlink() as netlink:
        return work(netlink)


def _veth(netlink: Netlink) -> str:
    netlink.request(rt.create_veth(rt.VethEnd("probe0", 2), rt.VethEnd("probe1", 3), "create veth", up=True))
    return "created"


def _bridge(netlink: Netlink) -> str:
    netlink.request(rt.create_bridge("probe", rt.BridgeSettings(), "create bridge"))
    return "created"


def _packet_socket(netlink: Netlink) -> str:
    """A frame sent on the loopback comes back."""
    netlink.request(rt.change_link(rt.LOOPBACK_INDEX, "set lo up", up=True))
    frame = bytes(12) + b"\x88\xb5" + b"layerlab" * 6  # 0x88B5: IEEE 802 local experimental
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link:
        link.bind(("lo", _ETH_P_ALL))
        link.settimeout(1.0)
        link.send(frame)
        if link.recv(2048) != frame:
            raise LabError("a frame sent on the loopback came back changed")
    return "a frame sent was received"


def _netem(netlink: Netlink) -> str:
    """Told in a message with every attribute, and read back."""
    _veth(netlink)
    asked, flags = NetemSettings(delay=1_000_000, seed=1), NLM_F_CREATE | NLM_F_EXCL
    try:
        netlink.request(traffic_control.set_qdisc(2, "netem", pack(asked), flags, "try netem"))
    except NetlinkError as error:
        raise with_netem_hint(error) from error
    got = decode_netem(traffic_control.read_qdisc(netlink, 2, "read netem").options)
    unlike = differences(asked, got)
    if unlike:
        raise LabError(f"netem has not taken what it was told: {'; '.join(unlike)}")
    return "works; without seeds, which come with Linux 6.6" if got.seed is None else _WITH_SEEDS


def _redirect(netlink: Netlink) -> str:
    """Frames that arrive at one interface leave by another."""
    _veth(netlink)
    netlink.request(traffic_control.add_clsact(2, "add clsact"))
    return f"works, with {traffic_control.redirect_all(netlink, 2, 3, 'redirect frames')}"


def _tbf(netlink: Netlink) -> str:
    """tc_tbf_qopt: rate and peak rate (tc_ratespec: cell log, link layer, overhead, cell align, mpu, rate), limit,
    buffer, mtu."""
    rate = struct.pack("=BBHhHI", 0, _LINKLAYER_ETHERNET, 0, 0, 0, 1_000_000)
    options = rate + bytes(12) + struct.pack("=III", 100_000, 1_000_000, 0)
    options = attribute(_TCA_TBF_PARMS, options) + attribute_u32(_TCA_TBF_BURST, 10_000)
    flags = NLM_F_CREATE | NLM_F_EXCL
    netlink.request(traffic_control.set_qdisc(rt.LOOPBACK_INDEX, "tbf", options, flags, "add qdisc tbf"))
    return "works"


def _tun() -> Finding:
    hint = "only needed for TAP interfaces: run as root, or chmod 0666 /dev/net/tun"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding("/dev/net/tun", None, os.strerror(error.errno or 0), hint)
    return Finding("/dev/net/tun", True, "opens")


def _file_limit() -> Finding:
    limit = namespaces.file_limit()
    hint = "" if limit >= _MINIMUM_FILES else "a lab holds a file per node: raise it in /etc/security/limits.conf"
    return Finding("open files", not hint, f"at most {limit}", hint)


def _namespace_limit() -> Finding:
    value = namespaces.read_sysctl("user.max_net_namespaces")
    if value is None:
        return Finding("user.max_net_namespaces", None, "unknown: this kernel does not tell")
    enough = int(value) >= _MINIMUM_FILES
    hint = "" if enough else "sudo sysctl -w user.max_net_namespaces=10000"
    return Finding("user.max_net_namespaces", enough, value, hint)


def _docker(name: str, look: Callable[[], docker.Answer]) -> Finding:
    ok, detail, hint = look()
    return Finding(name, ok or None, detail, hint)


def _mininet() -> list[Finding]:
    """Each part by itself: they come from different packages."""
    module, program = lack_of_module(), lack_of_mnexec()
    only = "only for the mininet driver: "
    return [
        Finding("Mininet", None, module.message, only + module.hint)
        if module
        else Finding("Mininet", True, f"Python module, {importlib.metadata.version('mininet')}"),
        Finding("mnexec", None, program.message, only + program.hint)
        if program
        else Finding("mnexec", True, str(shutil.which("mnexec"))),
    ]


def _openvswitch() -> list[Finding]:
    """What labs use is its datapath in user space; the kernel's, a generic netlink family, is only told of."""
    lack = lack_of_open_vswitch()
    name, only = "Open vSwitch", "only for switches with `impl: ovs`: "
    return [
        Finding(name, None, lack[0], only + lack[1])
        if lack
        else Finding(name, True, "its programs, and TAP interfaces"),
        Finding("Open vSwitch module", None, _kernel_datapath(), "not needed: labs use the datapath in user space"),
    ]


def _kernel_datapath() -> str:
    family = attribute_text(_CTRL_ATTR_FAMILY_NAME, "ovs_datapath")
    body = struct.pack("=BBxx", _CTRL_CMD_GETFAMILY, 1) + family
    try:
        with Netlink(NETLINK_GENERIC) as netlink:
            netlink.get(Request(_GENL_CONTROL, 0, body, "look for Open vSwitch"))
    except NetlinkError as error:
        return "missing" if error.errno in (errno.ENOENT, errno.EPROTONOSUPPORT) else error.message
    return "present"


def _user_mode_linux() -> Finding:
    program = shutil.which("linux.uml") or shutil.which("linux")
    if program is None:
        hint = "only for tests of kernel netem: apt-get install user-mode-linux"
        return Finding("User Mode Linux", None, "not found", hint)
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=CHILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("User Mode Linux", None, f"{program}: {error}")
    return Finding("User Mode Linux", done.returncode == 0 or None, done.stdout.decode(errors="replace").strip())


def _program(name: str) -> Finding:
    path = shutil.which(name)
    hint = "" if path else f"only for tests and captures: apt-get install {name}"
    return Finding(name, True if path else None, path or "not found", hint)
