"""What a class of nodes does in Mininet's `config`, found out without a network: its commands are taken down.

    class LinuxRouter(Node):
        def config(self, **params):
            super().config(**params)
            self.cmd("sysctl net.ipv4.ip_forward=1")

A class of the person's own is derived once more, with methods in front of it that run nothing, and its `config` is
called with the node's parameters. Of the commands, forwarding and static routes are understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from lab.exchange.library import is_library

_FORWARDING = re.compile(
    r"net[./]ipv4[./](?:ip_forward|conf[./](?:all|default)[./]forwarding)\s*=\s*['\"]?([01])"
    r"|echo\s+['\"]?([01])['\"]?\s*>+\s*/proc/sys/net/ipv4/(?:ip_forward|conf/all/forwarding)"
)
_IP_ROUTE = re.compile(r"(?:sudo )?ip (?:-4 )?r(?:o|oute)? (?:a|add|replace) (\S+) via (\S+)(?: .*)?")
_ROUTE = re.compile(r"(?:sudo )?route add (?:-(?:net|host) )?(\S+)(?: netmask (\S+))? gw (\S+)(?: .*)?")
_HARMLESS = re.compile(
    r"(?:sudo )?(?:ifconfig lo(?: .*)?|ip (?:link|l) set (?:dev )?lo up|ip route del default.*|true"
    r"|sysctl .*(?:rp_filter|disable_ipv6|send_redirects).*|echo .*>+\s*/proc/sys/net/\S*(?:rp_filter|disable_ipv6).*)"
)


@dataclass
class Rehearsed:
    """`routes` are (destination, next hop); `other` are commands that mean nothing here; `failure` is why there may be
    more."""

    forwards: bool = False
    routes: list[tuple[str, str]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    failure: str = ""


class _Rehearsal:
    """In front of a class of nodes: all that reaches the system, with nothing behind it."""

    _commands: list[str]

    def _take(self, words: tuple[Any, ...]) -> None:
        parts = words[0] if len(words) == 1 and isinstance(words[0], list | tuple) else words
        self._commands.append(" ".join(map(str, parts)))

    def cmd(self, *args: Any, **_: Any) -> str:
        self._take(args)
        return ""

    cmdPrint = sendCmd = popen = cmd

    def pexec(self, *args: Any, **_: Any) -> tuple[str, str, int]:
        self._take(args)
        return "", "", 0

    def _nothing(self, *_args: Any, **_params: Any) -> str:
        return ""

    startShell = mountPrivateDirs = waitOutput = monitor = read = write = cleanup = _nothing
    setIP = setMAC = setARP = setDefaultRoute = IP = MAC = intf = defaultIntf = addIntf = linkTo = _nothing

    def setHostRoute(self, ip: Any, intf: Any) -> None:
        self._take(("ip route add", ip, "dev", intf))

    def intfList(self) -> list[Any]:
        return []

    intfNames = intfList

    @classmethod
    def checkSetup(cls) -> None:
        """No programs are needed."""


def rehearse(cls: type, name: str, params: dict[str, Any]) -> Rehearsed:
    """Of Mininet's own classes, only NAT forwards. Parameters are those of the node."""
    found = Rehearsed()
    own = [base for base in cls.__mro__ if base is not object and not is_library(base.__module__)]
    if not own:
        found.forwards = cls.__name__ == "NAT"
        return found
    if any(base.__name__ == "CPULimitedHost" for base in cls.__mro__):
        found.failure = "it makes control groups when it is tried"
        return found
    commands: list[str] = []
    try:
        node: Any = type(cls.__name__, (_Rehearsal, cls), {"_commands": commands})(name, **params)
        node.config(**params)
    except Exception as error:  # noqa: BLE001 (whatever a person's class raises)
        found.failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for command in commands:
        for part in re.split(r"\s*(?:&&|;|\|\||\n)\s*", command):
            _understand(re.sub(r"\s+", " ", part).strip(), found)
    return found


def _understand(command: str, found: Rehearsed) -> None:
    if match := _FORWARDING.search(command):
        found.forwards = (match[1] or match[2]) == "1"
    elif match := _IP_ROUTE.fullmatch(command):
        found.routes.append((match[1], match[2]))
    elif match := _ROUTE.fullmatch(command):
        found.routes.append((_prefix(match[1], match[2]), match[3]))
    elif command and not _HARMLESS.fullmatch(command):
        found.other.append(command)


def _prefix(destination: str, netmask: str | None) -> str:
    """`10.1.0.0` with `255.255.0.0` is `10.1.0.0/16`; what cannot be read is the model's to refuse."""
    try:
        return str(IPv4Network(f"{destination}/{netmask}", strict=False)) if netmask else destination
    except ValueError:
        return destination
