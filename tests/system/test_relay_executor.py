"""Relays as processes of an executor, without a lab."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest

from lab.errors import DriverError
from lab.host.links import Interface
from lab.links.base import OpenedLink
from lab.links.relay_client import RelayClient
from lab.links.relay_executor import ATTEMPTS, RelayExecutor
from nodes.impairment import Impairment
from tests.system.conftest import Isolated


def test_a_relay_that_dies_while_it_replaces_another(isolated: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one gets the links; only when none lives long enough, the lab hears of it."""

    def check() -> None:
        for name in ("left", "right"):
            subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer"], check=True)
        link = OpenedLink("l", Interface("left", 0), Interface("right", 0), 1500, (Impairment(delay=1),) * 2, (1, 2))
        executor = RelayExecutor("test")
        executor.add(link)
        deaths = [0, 2]

        def add(client: RelayClient, *arguments: Any, **more: Any) -> None:
            if deaths[0] < deaths[1]:
                deaths[0] += 1
                os.kill(int(client.state().relay["pid"]), signal.SIGKILL)
            real(client, *arguments, **more)

        real = RelayClient.add
        monkeypatch.setattr(RelayClient, "add", add)
        os.kill(executor._processes[0].child.pid, signal.SIGKILL)
        assert executor.restart("relay-0") == "was killed by SIGKILL"
        assert deaths == [2, 2]
        assert set(executor.samples()) == {"l"}
        os.kill(executor._processes[0].child.pid, signal.SIGKILL)
        deaths[1] = 9
        with pytest.raises(DriverError, match="relay-0: "):
            executor.restart("relay-0")
        assert deaths[0] == 2 + ATTEMPTS

    isolated(check)
