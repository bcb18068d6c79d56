"""A running lab as a test looks into it: commands inside nodes, applications, sockets, events, captures.

`Bench` is one lab on a desk (labs.py). It talks to the supervisor and to agents as the `lab` command does, without the
start of a new interpreter for each question; what a person would type in a node goes through `lab exec`.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from lab.engine.client import LabClient, follow
from lab.errors import LabError
from nodes.io.control import ControlError
from nodes.trace.sqlog import read
from tests.system.labs import Done, Labs, wait_for

PATIENCE = 15.0
"""Seconds for what takes milliseconds on a machine that has nothing else to do."""

CHECKED = (
    "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-d", "udp.port==1024-65535,data",
)  # fmt: skip
"""Checksums are checked. Ports above the well-known are dynamic and their data is ours: tshark would take a datagram
from a port that some product happens to use for that product's, and call it malformed."""

SUSPICIOUS = (
    "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0"
    " || igmp.checksum.status == 0 || _ws.expert.severity >= 6291456"
)
"""A display filter: malformed, a wrong checksum, or an expert's warning or error (PI_WARN, PI_ERROR)."""


class Bench:
    def __init__(self, desk: Labs, name: str) -> None:
        self.desk = desk
        self.name = name
        self.client = LabClient(name)
        self.folder = Path(self.client.status()["run"])
        self.addresses = {
            node.name: [address.partition("/")[0] for address in node.addresses]
            for node in self.client.nodes().values()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()

    def address(self, node: str) -> str:
        """The first address of a node."""
        return self.addresses[node][0]

    # Commands of Linux

    def inside(self, node: str, *command: str, code: int | None = 0) -> Done:
        """`lab exec NODE -- COMMAND`, until it ends, with that exit code."""
        return self.desk.run("exec", "--lab", self.name, node, "--", *command, code=code)

    @contextmanager
    def begin(self, node: str, *command: str) -> Iterator[subprocess.Popen[str]]:
        """`lab exec NODE -- COMMAND` in the background, ended at the end of the context at the latest."""
        with self.desk.start("exec", "--lab", self.name, node, "--", *command) as process:
            try:
                yield process
            finally:
                process.kill()

    # Our stack

    def call(self, node: str, method: str, **params: Any) -> dict[str, Any]:
        """One request to a node's agent. Raises ControlError, whose `code` is the name of an errno."""
        with self.client.agent(node) as agent:
            try:
                return agent.call(method, **params)
            except LabError as error:
                raise error.__cause__ if isinstance(error.__cause__, ControlError) else error from None

    def run(self, node: str, application: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The result of an application, and what it reported on the way."""
        events: list[dict[str, Any]] = []
        with self.client.agent(node) as agent:
            stream = agent.stream("run", {"application": application, "options": options})
            return follow(stream, events.append), events

    def ping(self, node: str, to: str, **options: Any) -> dict[str, Any]:
        return self.run(node, "ping", to=to, **{"interval": 0.05, "timeout": 5.0, "count": 2, **options})[0]

    def state(self, node: str) -> dict[str, Any]:
        return dict(self.call(node, "state")["device"])

    @contextmanager
    def socket(self, node: str, **options: Any) -> Iterator[OutsideSocket]:
        opened = OutsideSocket(self, node, self.call(node, "open", **options))
        try:
            yield opened
        finally:
            self.call(node, "close", socket=opened.number)

    # What was recorded

    def events(self, node: str, name: str, **fields: object) -> list[dict[str, Any]]:
        return events_of(self.folder, node, name, **fields)

    def wait_for_event(self, node: str, name: str, **fields: object) -> dict[str, Any]:
        """The first such event; a trace reaches its file within a second."""
        wait_for(lambda: bool(self.events(node, name, **fields)), PATIENCE, lambda: f"{node}: {name} {fields}")
        return self.events(node, name, **fields)[0]


class OutsideSocket:
    """A UDP socket of a node of ours."""

    def __init__(self, bench: Bench, node: str, opened: dict[str, Any]) -> None:
        self.number = opened["socket"]
        self.address = opened["address"]
        self.port = opened["port"]
        self._bench = bench
        self._node = node

    def send(self, data: bytes, **where: Any) -> None:
        self._bench.call(self._node, "send", socket=self.number, data=base64.b64encode(data).decode(), **where)

    def receive(self, timeout: float = 5.0) -> dict[str, Any]:
        """The next datagram, `data` as bytes."""
        received = self._bench.call(
            self._node, "receive", within=timeout + PATIENCE, socket=self.number, timeout=timeout
        )
        return {**received, "data": base64.b64decode(received["data"])}


def records(folder: Path, node: str) -> list[dict[str, Any]]:
    """The events of a node, oldest first, the header and the closing record left out."""
    rows = list(read(folder / "nodes" / node / "trace.sqlog"))
    return [row for row in rows if "name" in row and row["name"] != "trace:closed"]


def events_of(folder: Path, node: str, name: str, **fields: object) -> list[dict[str, Any]]:
    """The events of that name in which those fields have those values."""
    rows = [row for row in records(folder, node) if row["name"] == name]
    return [row for row in rows if fields.items() <= row["data"].items()]


def last_state(folder: Path, node: str) -> dict[str, Any]:
    return dict(json.loads((folder / "nodes" / node / "state.json").read_text()))


def tshark(path: Path, wanted: str = "", *arguments: str) -> list[str]:
    """A line for each frame of a capture that the display filter wants."""
    command = ["tshark", "-n", "-r", str(path), *CHECKED, *(("-Y", wanted) if wanted else ()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def complaints(folder: Path, but: str = "") -> list[str]:
    """What tshark finds wrong in the captures of a run. `but` is a display filter of what it may say."""
    wanted = f"({SUSPICIOUS}) && !({but})" if but else SUSPICIOUS
    paths = sorted(folder.glob("nodes/*/capture*.pcapng"))
    assert paths, "no captures"
    return [f"{path.parent.name}: {line}" for path in paths for line in tshark(path, wanted)]
