"""The supervisor: the process that owns a lab, from `lab up` to `lab down`.

It claims the lab's name, has the driver build the nodes and links, starts an agent in each node and waits until all
answer; then it serves the command line over its UNIX socket until it is told to go down, until the warm parent dies,
or until it is killed. It runs no network: agents do, and a command that wants something of a node gets a connection
to that node's agent passed through, so that nothing is relayed.

While the lab is being built, the command that started it holds the other end of a socket pair. When that closes before
the lab is up, whoever asked for the lab is gone, and the lab goes too.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn, cast

from lab.drivers.abilities import require_for
from lab.drivers.base import Driver, Epoch, NodeExit
from lab.drivers.choice import DriverName, load, make_driver
from lab.engine import registry
from lab.engine.links_table import LinkTable
from lab.engine.links_trace import LinksTrace
from lab.engine.nodes_table import NodeTable
from lab.engine.registry import Record
from lab.engine.runs import Run
from lab.engine.starter import HEARD, HEARD_TIMEOUT
from lab.engine.supervisor_methods import SupervisorMethods
from lab.errors import DriverError, LabError
from lab.plan.values import Plan
from nodes.io.control import ControlServer
from nodes.io.reactor import Reactor

ANSWER_TIMEOUT = 30.0
"""Seconds that an agent may take to answer for the first time, on a machine that starts hundreds at once."""

PROGRAM_MODULES = ("nodes.agent_programs", "lab.api.lab")
"""What a program of a user needs in a node: its event loop, and `from lab import Lab` at the head of its file. Half a
second of work for each node that has a program, unless all nodes inherit them."""


class Supervisor:
    """`starter` is the connection to the command that wants the lab; None once the lab is up."""

    def __init__(self, plan: Plan, run: Run, driver: Driver, epoch: Epoch, starter: socket.socket) -> None:
        self.plan = plan
        self.run = run
        self.driver = driver
        self.nodes = NodeTable(plan, driver)
        self.reactor = Reactor()
        self.links_trace = LinksTrace(plan.lab, run.folder, epoch, self.reactor)
        self.links = LinkTable(plan, driver, run, epoch, self.links_trace, self.reactor)
        self._starter = starter

    def build(self) -> None:
        """Nodes, links, agents; returns when every agent answers. Raises DriverError as soon as the starter is gone,
        in the middle of whatever is going on."""
        self._watch_starter()
        self.driver.create(self._progress)
        self.links.build()
        names = [node.name for node in self.plan.nodes]
        for number, name in enumerate(names, 1):
            self.nodes.start(name)
            self._progress("nodes", number, len(names))
        for number, name in enumerate(names, 1):
            self.nodes.wait_for_answer(name, ANSWER_TIMEOUT)
            self._progress("agents answering", number, len(names))

    def serve(self, listener: socket.socket) -> None:
        """Until the lab goes down."""
        descriptor, read_exits = self.driver.exits()
        self.reactor.add(descriptor, lambda: self._note_exits(read_exits()))
        methods = SupervisorMethods(self)
        server = ControlServer(listener, self.reactor, methods.handle, name=self.plan.lab)
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.reactor.add_signal(number, self.reactor.stop)
        self.links.begin()
        self._hand_over()
        self.reactor.run()
        server.close()

    def go_down(self, *, orderly: bool) -> dict[str, object]:
        """Take everything away. When `orderly`, every agent is first asked to write its state and end, and what was
        measured on the links is written; after a failure neither is done, because what is left of the lab has to be
        gone at once. Returns what is to be said of the links in run.json."""
        for number in (signal.SIGIO, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        verdict = None
        if orderly:
            verdict = self.links.finish()
            self.nodes.shut_down_all()
        self.driver.destroy()
        return {} if verdict is None else {"links": verdict}

    def _note_exits(self, exits: list[NodeExit]) -> None:
        for ended in exits:
            self.nodes.note_exit(ended)

    def _watch_starter(self) -> None:
        """Have the kernel interrupt us (SIGIO) when the starter's end closes: nothing else is ever to be read there."""
        signal.signal(signal.SIGIO, _starter_is_gone)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _told_to_end)
        fcntl.fcntl(self._starter, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._starter, fcntl.F_SETFL, fcntl.fcntl(self._starter, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([self._starter], [], [], 0)[0]:
            _starter_is_gone()

    def _hand_over(self) -> None:
        """Say that the lab is up, and let go of the starter once it has heard so. One that died before it could tell
        anybody takes the lab with it."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        self._say({"up": self.run.name})
        self._starter.settimeout(HEARD_TIMEOUT)
        try:
            heard = self._starter.recv(len(HEARD))
        except OSError:
            heard = b""
        if heard != HEARD:
            _starter_is_gone()
        self._starter.close()

    def _progress(self, what: str, done: int, total: int) -> None:
        if done == total or done % 10 == 0:
            self._say({"progress": what, "done": done, "total": total})

    def _say(self, message: dict[str, object]) -> None:
        try:
            self._starter.sendall(json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            _starter_is_gone()


def _told_to_end(number: int, _: object) -> NoReturn:
    raise DriverError(f"the supervisor was told to end ({signal.Signals(number).name})")


def _starter_is_gone(*_: object) -> NoReturn:
    raise DriverError("the command that started the lab is gone")


def supervise(lab: str, run: Run, starter: socket.socket) -> None:
    """The whole life of a supervisor. What fails before the lab is up is told to the starter."""
    plan = run.plan()
    try:
        records = registry.runtime_folder()
        listener = registry.claim(lab)
        epoch = Epoch(time.monotonic_ns(), time.time_ns())
        driver = make_driver(run.facts()["driver"], plan, run.folder, epoch)
        require_for(driver, plan)
    except LabError as error:
        run.finish("failed", reason=error.message)
        raise
    supervisor = None
    ending: dict[str, object] = {"outcome": "failed"}
    try:
        driver.enter()
        listener.listen(registry.BACKLOG)  # again, by the process that stays: its pid is what clients see
        registry.write_record(Record(lab, driver.name, str(run.folder), run.facts()["started"]), records)
        supervisor = Supervisor(plan, run, driver, epoch, starter)
        supervisor.build()
        supervisor.serve(listener)
        ending = {"outcome": "down"}
    except LabError as error:
        ending["reason"] = error.message
        raise
    finally:
        if supervisor is not None:
            ending |= supervisor.go_down(orderly=ending["outcome"] == "down")
        registry.remove_record(lab, records)
        run.finish(**ending)


def main() -> None:
    """`python -m lab.engine.supervisor DESCRIPTOR DRIVER`: started by `lab up`, never by a person."""
    starter = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(LabError):  # which is said when it is certain that the driver is wanted
        load(cast("DriverName", sys.argv[2]))  # while the command reads the topology
    task = _told(starter)
    if task is None:
        return
    folder = Path(task["run"])
    with (folder / "supervisor.log").open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    error: LabError | None = None
    try:
        if task["programs"]:
            for name in PROGRAM_MODULES:
                importlib.import_module(name)
        supervise(task["lab"], Run(folder), starter)
    except LabError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001 - the last frame: the person who typed `lab up` must hear of it
        traceback.print_exc()
        error = DriverError(f"the supervisor failed: {caught!r}", hint=f"{folder}/supervisor.log has the details")
    if error is None:
        return
    message = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
    try:
        starter.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        print(f"{time.strftime('%H:%M:%S')} {error.message}", file=sys.stderr)  # noqa: T201 - the supervisor's log
    os._exit(error.exit_code)


def _told(starter: socket.socket) -> dict[str, Any] | None:
    """What the starter wants; None when it has changed its mind."""
    line = b""
    while not line.endswith(b"\n"):
        data = starter.recv(4096)
        if not data:
            return None
        line += data
    return dict(json.loads(line))


if __name__ == "__main__":
    main()
