"""Mininet's nodes, switches and links, as a lab has them.

A host is Mininet's: a shell that its program `mnexec` starts in network and mount namespaces of its own, behind a
pseudo terminal, with all of Mininet's methods (`cmd`, `popen`, `pexec`, `intfList`, `IP` ...). What differs is who does
what Mininet does with a program per step:

    start of a shell    `startShell` only begins it and `finish_start` waits, so that many start at once; the terminal's
                        echo is turned off here, not by `stty`; one whose shell cannot start is told of, where Mininet
                        waits for ever
    interfaces          are there already, made by the fabric; a Link only records them, and never deletes one
    addresses, routes   are the fabric's on a kernel host, and the agent's on any other: `config` does nothing
    switches            a LinuxBridge or an OVSBridge that the fabric makes, with the plan's settings

Mininet's own set-up is not run: it looks for programs that are not needed here and ends the process where one is
missing (lab/host/mininet.py looks for those that are), and it changes kernel parameters of the whole machine.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import termios
import time
from typing import Any, ClassVar

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Host, Node, OVSBridge
from mininet.nodelib import LinuxBridge

from lab.errors import DriverError, EnvironmentLackError
from lab.host.namespaces import refused

SHELL_SECONDS = 30.0
"""In which a shell must show its prompt, on a machine that starts hundreds at once."""

END_SECONDS = 2.0
"""In which a shell that is hung up on must end; then it is killed."""

PROMPT = chr(127)
"""What Mininet reads up to: it is in no program's output."""

_LOCAL_MODES = 3
"""In what tcgetattr(3) returns."""


class LabShell(Node):  # type: ignore[misc] # Mininet has no types
    """The life of a node's shell."""

    environment: ClassVar[dict[str, str]] = {}
    """What shells of all nodes have beside the lab's own."""

    ready = False
    """Whether the shell takes commands."""

    shell: Any
    waiting: Any

    @classmethod
    def setup(cls) -> None:
        """Nothing: see above."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """Begin the shell; `finish_start` has to follow. Raises DriverError."""
        self.ready = False
        options = "-dn" if self.inNamespace else "-d"
        command = ["mnexec", mnopts or options, "bash", "--norc", "--noediting", "-is", f"mininet:{self.name}"]
        environment = {name: value for name, value in os.environ.items() if name != "HISTFILE"} | self.environment
        self.master = self.slave = None
        try:
            self.master, self.slave = pty.openpty()
            modes = termios.tcgetattr(self.slave)
            modes[_LOCAL_MODES] &= ~termios.ECHO
            termios.tcsetattr(self.slave, termios.TCSANOW, modes)
            self.shell = subprocess.Popen(
                command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env={**environment, "PS1": PROMPT}
            )
        except OSError as error:
            for descriptor in filter(None, (self.master, self.slave)):
                os.close(descriptor)
            raise refused(f"start Mininet's shell of {self.name}", error) from error
        self.stdin = self.stdout = os.fdopen(self.master, "r")
        self.pid = self.shell.pid
        self.pollOut = select.poll()
        self.pollOut.register(self.stdout, select.POLLIN)  # and not when it can be written to, as poll(2) has it unsaid
        self.outToNode[self.master] = self.inToNode[self.master] = self
        self.lastCmd = self.lastPid = None
        self.execed, self.readbuf, self.waiting = False, "", True

    def finish_start(self) -> None:
        """Wait for the prompt. Raises DriverError with what was said instead."""
        self._wait_for_prompt()
        self.sendCmd("unset HISTFILE; set +m")
        self._wait_for_prompt()
        self.ready = True

    def _wait_for_prompt(self) -> None:
        said, deadline = "", time.monotonic() + SHELL_SECONDS
        while self.waiting:
            has_ended = self.shell.poll() is not None
            said += self.monitor(timeoutms=50)
            if not self.waiting:
                return
            if has_ended:
                raise DriverError(f"Mininet's shell of {self.name} ended: {' '.join(said.split())}")
            if time.monotonic() > deadline:
                raise DriverError(f"Mininet's shell of {self.name} shows no prompt within {SHELL_SECONDS:g} s: {said}")

    def hang_up(self) -> None:
        """Tell the shell and what it runs to end; `terminate` has to follow."""
        self._signal(signal.SIGHUP)

    def terminate(self) -> None:
        """Hang up, wait for the shell's end, close its terminal."""
        self.hang_up()
        if self.shell is not None:
            try:
                self.shell.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
            self.outToNode.pop(self.master, None)
            self.inToNode.pop(self.master, None)
        self.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the shell and what it runs; to `mnexec`, where that has not come as far yet."""
        if self.shell is not None and self.shell.poll() is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                self.shell.send_signal(number)


class LabHost(LabShell, Host):  # type: ignore[misc]
    """A host, router, hub or stack switch: what runs there is the lab's agent, or the kernel's stack."""

    def config(self, **_: Any) -> dict[str, object]:
        """Nothing: the fabric has configured a kernel host, and the agent does what is its own."""
        return {}


class LabBridge(LabShell, LinuxBridge):  # type: ignore[misc]
    """A kernel switch. Its shell is in the lab's namespace, where the bridge is, under the name `bridge`."""

    def __init__(self, name: str, bridge: str, **params: Any) -> None:
        self.bridge = bridge
        super().__init__(name, **params)

    def cmd(self, *arguments: Any, **options: Any) -> Any:
        """As Mininet's. While the switch is being made, nothing: Mininet would set the lab's `lo` up."""
        return super().cmd(*arguments, **options) if self.ready else ""

    def start(self, controllers: list[Any]) -> None:
        """Nothing: the fabric has made the bridge."""

    def connected(self) -> bool:
        """Whether no port is on its way to forward."""
        shown = str(self.cmd("bridge link show master", self.bridge))
        return "state listening" not in shown and "state learning" not in shown


class LabOpenVSwitch(LabShell, OVSBridge):  # type: ignore[misc]
    """A switch with `impl: ovs`: `dpctl` and `vsctl` reach the lab's own Open vSwitch."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, datapath="user", **params)

    def cmd(self, *arguments: Any, **options: Any) -> Any:
        """As that of LabBridge."""
        return super().cmd(*arguments, **options) if self.ready else ""

    def start(self, controllers: list[Any]) -> None:
        """Nothing: the fabric has made the switch."""

    @classmethod
    def batchStartup(cls, switches: list[Any], run: object = None) -> list[Any]:  # noqa: ARG003, N802 - Mininet's name
        """Nothing is left to be done."""
        return switches


class LabInterface(Intf):  # type: ignore[misc]
    """An interface that the fabric has made and configured. `ip` is the plan's address, whoever's stack has it."""

    def config(self, ip: str | None = None, **_: Any) -> dict[str, object]:
        if ip:
            self.ip, _slash, self.prefixLen = ip.partition("/")
        return {}


class LabLink(Link):  # type: ignore[misc]
    """A link whose interfaces the fabric has made, and takes away with the lab."""

    @classmethod
    def makeIntfPair(cls, *_: Any, **__: Any) -> None:  # noqa: N802 - Mininet's name
        """Nothing: both are there."""


def empty_network() -> Mininet:
    """A Mininet network without nodes, and without a controller. Mininet's `init` is kept from running: it sets a dozen
    kernel parameters, most of them the whole machine's. Raises EnvironmentLackError."""
    Mininet.inited = True
    try:
        return Mininet(host=LabHost, switch=LabBridge, link=LabLink, intf=LabInterface, controller=None, build=False)
    except OSError as error:  # it counts processors with grep
        raise EnvironmentLackError(f"Mininet cannot run {error.filename}: {error.strerror}") from error
