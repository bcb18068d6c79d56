"""Open vSwitch for one lab: a database, a switch daemon, and their sockets, of which nobody else knows.

The machine's own Open vSwitch, if it runs, is not touched. The daemons are children of the caller and live in its
network, mount and PID namespaces; the files are in a file system in memory that only this mount namespace has. The
datapath is the one in user space (`datapath_type=netdev`), which moves frames between packet sockets: so no kernel
module is needed, and labs cannot meet in one. It makes TAP interfaces, for which it must open /dev/net/tun.

    ovs-vsctl ──▶ ovsdb-server ──▶ ovs-vswitchd ──▶ packet sockets on the ports
    FOLDER/db.sock                 FOLDER/vswitchd.ctl, FOLDER/NAME.mgmt (OpenFlow)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from lab.errors import DriverError, EnvironmentLackError
from lab.host import syscalls
from lab.host.switch_port import Port

PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl")
SCHEMAS = (
    Path("/usr/share/openvswitch/vswitch.ovsschema"),
    Path("/usr/local/share/openvswitch/vswitch.ovsschema"),
)
START_SECONDS = 10.0
COMMAND_SECONDS = 10
_TUN = "/dev/net/tun"


def lack_of_open_vswitch() -> tuple[str, str] | None:
    """What is missing for Open vSwitch in user space, and what to do about it."""
    install = "apt-get install openvswitch-switch"
    missing = [name for name in PROGRAMS if _find(name) is None]
    if missing:
        return f"no program {', '.join(missing)}", install
    if not any(path.is_file() for path in SCHEMAS):
        return f"no file {SCHEMAS[0]}", install
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{_TUN}: {error.strerror}", f"run as root, or chmod 0666 {_TUN}"
    return None


class OpenVSwitch:
    """`folder` stays empty outside of the mount namespace in which `start` is called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons. Raises DriverError, and EnvironmentLackError where something is missing."""
        lack = lack_of_open_vswitch()
        if lack is not None:
            raise EnvironmentLackError(f"Open vSwitch cannot run here: {lack[0]}", hint=lack[1])
        try:
            self._folder.mkdir(exist_ok=True)
            syscalls.mount_tmpfs(str(self._folder), mode=0o700, size="64m")
        except OSError as error:
            raise DriverError(f"cannot make a place for Open vSwitch: {error.strerror}") from error
        database, address = self._folder / "conf.db", self._folder / "db.sock"
        schema = next(path for path in SCHEMAS if path.is_file())
        self._run("ovsdb-tool", "create", str(database), str(schema))
        remote, control = f"--remote=punix:{address}", f"--unixctl={self._folder}/ovsdb.ctl"
        self._begin(["ovsdb-server", str(database), remote, control], address)
        self._vsctl("--no-wait", "init")
        socket = self._folder / "vswitchd.ctl"
        self._begin(["ovs-vswitchd", f"unix:{address}", f"--unixctl={socket}"], socket)

    def add_switch(self, name: str, ports: Collection[Port], *, ageing_time: float) -> None:
        """A learning switch with these ports, which must be there. BPDUs pass, as through a Linux bridge without a
        spanning tree. Raises DriverError."""
        arguments = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "fail_mode=standalone"]
        arguments += [f"other-config:mac-aging-time={round(ageing_time)}", "other-config:forward-bpdu=true"]
        self._vsctl(*arguments, *(word for port in ports for word in ("--", *_addition(name, port))))
        self._check(name, ports)

    def add_port(self, name: str, port: Port) -> None:
        """Raises DriverError."""
        self._vsctl(*_addition(name, port))
        self._check(name, [port])

    def remove_port(self, name: str, port: Port) -> None:
        """Before its interface goes: one that comes back under the same name and number is not noticed. Raises
        DriverError."""
        self._vsctl("--if-exists", "del-port", name, port.name)

    def _check(self, name: str, ports: Collection[Port]) -> None:
        failed = [port.name for port in ports if self._vsctl("get", "interface", port.name, "ofport") == "-1"]
        if failed:
            raise DriverError(f"Open vSwitch cannot open the ports {', '.join(failed)} of {name}")

    def remove_switch(self, name: str) -> None:
        """Raises DriverError."""
        self._vsctl("del-br", name)

    def learned(self, name: str) -> list[tuple[int, int, str, int]]:
        """What a switch has learned: port number, VLAN, MAC address, age in seconds. Raises DriverError."""
        shown = self._run("ovs-appctl", "-t", str(self._folder / "vswitchd.ctl"), "fdb/show", name)
        rows = [line.split() for line in shown.splitlines()[1:]]
        return [(int(port), int(vlan), mac, int(age)) for port, vlan, mac, age in rows if port.isdigit()]

    def close(self) -> None:
        """End the daemons. Their interfaces end with them."""
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()
        self._daemons.clear()

    def _begin(self, command: list[str], appears: Path) -> None:
        """Start a daemon, and wait until it has made its socket."""
        program, *arguments = command
        quiet = ["-vconsole:err", "-vsyslog:off", "-vdpif_netdev:console:off"]  # which tells of ports that are down
        path = _find(program) or program
        daemon = subprocess.Popen([path, *arguments, *quiet], env=self._environment(), stdin=subprocess.DEVNULL)
        self._daemons.append(daemon)
        deadline = time.monotonic() + START_SECONDS
        while not appears.exists():
            if daemon.poll() is not None:
                raise DriverError(f"{program} ended with {daemon.returncode}", hint="supervisor.log may say why")
            if time.monotonic() > deadline:
                raise DriverError(f"{program} does not start within {START_SECONDS:g} s")
            time.sleep(0.005)

    def _vsctl(self, *arguments: str) -> str:
        return self._run("ovs-vsctl", f"--timeout={COMMAND_SECONDS}", f"--db=unix:{self._folder}/db.sock", *arguments)

    def _run(self, program: str, *arguments: str) -> str:
        """Run a program to its end. Raises DriverError with what it said."""
        command = [_find(program) or program, *arguments]
        try:
            done = subprocess.run(
                command,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=2 * COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DriverError(f"{program}: {error}") from error
        if done.returncode:
            raise DriverError(f"{program}: {' '.join(done.stderr.split()) or f'ended with {done.returncode}'}")
        return done.stdout.strip()

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {**os.environ, "OVS_RUNDIR": folder, "OVS_DBDIR": folder, "OVS_LOGDIR": folder}


def _addition(switch: str, port: Port) -> list[str]:
    request = f"ofport_request={port.number}"
    return ["add-port", switch, port.name, "--", "set", "interface", port.name, request]


def _find(program: str) -> str | None:
    """Daemons are where an ordinary user's PATH does not lead."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
