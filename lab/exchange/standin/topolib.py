"""mininet.topolib: trees and tori."""

from __future__ import annotations

from typing import Any, NoReturn

from lab.exchange.standin.absent import absent
from lab.exchange.standin.topo import Topo


class TreeTopo(Topo):
    """Switches in a tree of `depth` levels, hosts below the last; depth first, as Mininet numbers them."""

    def build(self, depth: int = 1, fanout: int = 2) -> None:
        self.hostNum = self.switchNum = 1
        self.addTree(depth, fanout)

    def addTree(self, depth: int, fanout: int) -> str:
        """Returns the name of the root."""
        if depth == 0:
            self.hostNum += 1
            return self.addHost(f"h{self.hostNum - 1}")
        self.switchNum += 1
        switch = self.addSwitch(f"s{self.switchNum - 1}")
        for _ in range(fanout):
            self.addLink(switch, self.addTree(depth - 1, fanout))
        return switch


class TorusTopo(Topo):
    """`x` times `y` switches that are closed to a torus, `n` hosts on each. Full of loops."""

    def build(self, x: int, y: int, n: int = 1) -> None:
        if x < 3 or y < 3:
            raise ValueError("a torus has at least 3x3 switches")
        places = [(i, j) for i in range(1, x + 1) for j in range(1, y + 1)]
        for i, j in places:
            switch = self.addSwitch(f"s{i}x{j}", dpid=f"{256 * i + j:x}")
            for number in range(1, n + 1):
                self.addLink(self.addHost(f"h{i}x{j}" if n == 1 else f"h{i}x{j}x{number}"), switch)
        for i, j in places:
            self.addLink(f"s{i}x{j}", f"s{i}x{j % y + 1}")
            self.addLink(f"s{i}x{j}", f"s{i % x + 1}x{j}")


def TreeNet(*_args: Any, **_params: Any) -> NoReturn:
    absent("TreeNet")
