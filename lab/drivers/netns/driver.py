"""The netns driver: every node a Linux network namespace, every agent a fork of a warm parent.

There is nothing between the plan and the kernel: a node's namespace is a file descriptor of the supervisor, and what
runs in it. All else is in lab/drivers/kernel.
"""

from __future__ import annotations

from lab.drivers.abilities import CANNOT
from lab.drivers.kernel.driver import IsolatedDriver


class NetnsDriver(IsolatedDriver):
    name = "netns"
    cannot = CANNOT["netns"]
