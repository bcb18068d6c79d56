"""mininet.link: classes that links are given by name. Their parameters are what counts."""

from __future__ import annotations

from lab.exchange.standin.absent import Absent


class Intf(Absent):
    """An interface."""


class TCIntf(Intf):
    """An interface with traffic control."""


class OVSIntf(Intf):
    """A patch port of Open vSwitch."""


class Link(Absent):
    """A veth pair."""


class OVSLink(Link):
    """A patch cable between two Open vSwitches."""


class TCLink(Link):
    """A link with traffic control at both ends."""


class TCULink(TCLink):
    """The same for switches in user space."""
