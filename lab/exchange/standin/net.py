"""mininet.net: what runs a network, and so is absent."""

from __future__ import annotations

from lab.exchange.standin.absent import Absent

VERSION = "2.3.0"


class Mininet(Absent):
    """A running network."""


class MininetWithControlNet(Mininet):
    """The same with a network for its controllers."""
