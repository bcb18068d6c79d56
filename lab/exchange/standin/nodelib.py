"""mininet.nodelib: more classes of nodes."""

from __future__ import annotations

from lab.exchange.standin.node import Node, Switch


class LinuxBridge(Switch):
    """A Linux bridge, with a spanning tree where it is asked for."""


class NAT(Node):
    """A way out to the machine's own network."""
