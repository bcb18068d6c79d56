"""mininet.node: classes that nodes are given by name, and that a file derives its own from.

A `Node` has a name and parameters, and no shell: `lab.exchange.rehearsal` lets a class derived from it run `config`,
and takes down its commands.
"""

from __future__ import annotations

from typing import Any, NoReturn

from lab.exchange.standin.absent import absent


class Node:
    """A network namespace with a shell, in Mininet."""

    portBase = 0

    def __init__(self, name: str, inNamespace: bool = True, **params: Any) -> None:
        self.name = name
        self.inNamespace = inNamespace
        self.params = params
        self.intfs: dict[int, Any] = {}
        self.ports: dict[Any, int] = {}
        self.nameToIntf: dict[str, Any] = {}
        self.waiting = False
        self.pid = 0

    def config(self, **_params: Any) -> dict[str, Any]:
        """Addresses and routes of the parameters are read from them, not from here."""
        return {}

    def configDefault(self, **moreParams: Any) -> dict[str, Any]:
        return self.config(**{**self.params, **moreParams})

    def setParam(self, results: dict[str, Any], method: str, **param: Any) -> Any:
        """Call the method with the value of one parameter, unless that is None."""
        ((name, value),) = param.items()
        function = getattr(self, method, None)
        if value is None or function is None:
            return None
        if isinstance(value, list):
            results[name] = function(*value)
        else:
            results[name] = function(**value) if isinstance(value, dict) else function(value)
        return results[name]

    def cmd(self, *_args: Any, **_params: Any) -> Any:
        absent(f"a command in {self.name}")

    def start(self, *_args: Any) -> None:
        """Switches and controllers have more to do."""

    def stop(self, *_args: Any, **_params: Any) -> None:
        """Nothing runs."""

    terminate = cleanup = stop

    def __str__(self) -> str:
        return self.name


class Host(Node):
    """A host."""


class CPULimitedHost(Host):
    """A host in a control group."""


class Switch(Node):
    """A switch."""

    portBase = 1


class UserSwitch(Switch):
    """The reference switch in user space."""


class OVSSwitch(Switch):
    """Open vSwitch."""


OVSKernelSwitch = OVSSwitch


class OVSBridge(OVSSwitch):
    """Open vSwitch without a controller."""


class IVSSwitch(Switch):
    """Indigo Virtual Switch."""


class Controller:
    """An OpenFlow controller. Files make them beside their topologies; they are only kept."""

    def __init__(self, name: str, **params: Any) -> None:
        self.name = name
        self.params = params


class OVSController(Controller):
    """That of Open vSwitch."""


class NOX(Controller):
    """NOX."""


class Ryu(Controller):
    """Ryu."""


class RemoteController(Controller):
    """One that runs elsewhere."""


def DefaultController(*_args: Any, **_params: Any) -> NoReturn:
    absent("DefaultController")


def NullController(*_args: Any, **_params: Any) -> None:
    """No controller."""
