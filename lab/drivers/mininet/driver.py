"""The mininet driver: every node a Mininet host or switch, in a network that is Mininet's, too.

The supervisor is isolated as that of the netns driver is, so everything that Mininet starts ends with it: no clean-up
of Mininet's is ever run, which would end other people's programs. In it is a `mininet.net.Mininet` with the plan's
nodes, links and interfaces under the plan's names:

    host, router, hub, stack switch    a Mininet host: the agent is forked into its network namespace
    kernel switch                      a Mininet LinuxBridge, or with `impl: ovs` an OVSBridge
    link                               a Mininet Link between two Intf

Mininet makes the hosts. The kernel's side of all else is the fabric's: a few batches of netlink messages where Mininet
starts several programs for each link, and the first error ends the lab where Mininet goes on. Impairments are those of
any lab (lab/links), and never Mininet's TCLink, whose errors nobody sees.
"""

from __future__ import annotations

from pathlib import Path

from lab.drivers.abilities import CANNOT
from lab.drivers.base import Epoch, Progress
from lab.drivers.kernel.driver import IsolatedDriver, open_namespace, open_vswitch_folder
from lab.drivers.kernel.layout import Attachment, Bridge, Pair
from lab.drivers.mininet.homes import MininetHomes
from lab.drivers.mininet.nodes import LabInterface, LabOpenVSwitch, LabShell, empty_network
from lab.errors import EnvironmentLackError, NodeError
from lab.host.mininet import lack_of_mininet
from lab.plan.values import Plan
from nodes.wire.addresses import format_mac


class MininetDriver(IsolatedDriver):
    """`net` is the Mininet network."""

    name = "mininet"
    cannot = CANNOT["mininet"]

    def __init__(self, plan: Plan, run: Path, epoch: Epoch) -> None:
        lack = lack_of_mininet()
        if lack is not None:
            raise EnvironmentLackError(f"the mininet driver cannot work here: {lack.message}", hint=lack.hint)
        self.net = empty_network()
        LabShell.environment = {"OVS_RUNDIR": str(open_vswitch_folder(run))}
        super().__init__(plan, run, epoch, MininetHomes(self.net))

    def create(self, progress: Progress) -> None:
        super().create(progress)
        layout = self._fabric.layout
        for switch in [self._begin_switch(bridge) for bridge in layout.bridges.values()]:
            switch.finish_start()
        for pair in layout.pairs:
            self._record(pair)
        self.net.start()

    def destroy(self) -> None:
        for node in self.net.values():  # all at once, then one after the other
            node.hang_up()
        for node in self.net.values():
            node.terminate()
        super().destroy()

    def _mount_namespace(self, node: str) -> int:
        """The host's own, in which are its /sys and what is mounted in it."""
        try:
            return open_namespace(f"/proc/{self.net[node].pid}/ns/mnt")
        except OSError as error:
            raise NodeError(
                f"Mininet's shell of {node!r} is gone, and its mount namespace with it: {error.strerror}",
                hint=f"`lab stop {node}` and `lab start {node}` make a new one",
            ) from error

    def _begin_switch(self, bridge: Bridge) -> LabShell:
        switch: LabShell
        if bridge.is_linux:
            switch = self.net.addSwitch(bridge.node.name, bridge=bridge.name, dpid=f"{bridge.index:x}")
        else:
            switch = self.net.addSwitch(bridge.node.name, cls=LabOpenVSwitch, dpid=f"{bridge.index:x}")
        return switch

    def _record(self, pair: Pair) -> None:
        """Tell Mininet of interfaces that the fabric has made."""
        first, second = pair.first, pair.second
        host = self.net[first.end.node]
        if second is None:
            LabInterface(first.name, node=host, mac=format_mac(first.mac), ip=_address(first), moveIntfFn=_stay)
            return
        self.net.addLink(
            host,
            self.net[second.end.node],
            intfName1=first.name,
            intfName2=second.name,
            addr1=format_mac(first.mac),
            addr2=format_mac(second.mac),
            params1={"ip": _address(first)},
            params2={"ip": _address(second)},
        )


def _address(end: Attachment) -> str | None:
    """The first address that the plan gives to an interface."""
    interface = next(each for each in end.node.interfaces if each.name == end.end.interface)
    return interface.addresses[0] if interface.addresses else None


def _stay(_interface: str, _node: object) -> None:
    """An interface is where it belongs already."""
