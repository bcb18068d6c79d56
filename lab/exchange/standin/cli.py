"""mininet.cli: the command line of a running network."""

from __future__ import annotations

from lab.exchange.standin.absent import Absent


class CLI(Absent):
    """Reads commands."""
