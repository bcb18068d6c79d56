"""The containers of a lab, from the request to the last word of the engine.

Containers are made in parallel, each by a thread that waits for the engine. What the engine tells is believed for
names and reasons; that a container ended is heard from the kernel, by a descriptor of its first process (pidfd), which
also ends it at once: an engine may take a while for either.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from lab.drivers.base import NodeExit
from lab.drivers.docker.engine import AT_ONCE, CONFLICT, NOT_FOUND, NOT_MODIFIED, check_processes, errors
from lab.drivers.docker.names import LAB, SUPERVISOR, is_ours
from lab.drivers.docker.specs import Spec
from lab.errors import DriverError, LabError, NodeError, StateError

ENDING_SECONDS = 10
"""For a process to end that was killed; one that waits for a disk may need some."""

FAREWELL_SECONDS = 2
"""That a program has between being told to end and being killed."""

WORDS = 10
"""Lines of a container's output that an error quotes."""

KILLED = 128
"""An exit code above it is the number of a signal, as shells and Docker have it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Running:
    """A container that was started: its first process (0: that has ended already), and a descriptor of that."""

    id: str
    name: str
    pid: int
    watch: int

    def has_ended(self, within: float = 0.0) -> bool:
        return bool(select.select([self.watch], [], [], within)[0])

    def kill(self) -> None:
        """Its first process ends, and with it all others of the container. Raises DriverError where it does not."""
        if self.has_ended():
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.watch, signal.SIGKILL)
        if not self.has_ended(ENDING_SECONDS):
            raise DriverError(f"container {self.name} does not end within {ENDING_SECONDS:g} s of being killed")


class Containers:
    """Those of one lab. `exits` has a descriptor of what ends by itself."""

    def __init__(self, client: docker.APIClient) -> None:
        self.client = client
        self.exits = select.epoll()
        self._watched: dict[int, tuple[str, Running]] = {}

    def start(self, spec: Spec) -> Running:
        """Make a container and start it. May be called by several threads. Raises LabError, and leaves no container."""
        identity = self._create(spec)
        try:
            with errors(f"start container {spec.name}"):
                self.client.start(identity)
            with errors(f"look at container {spec.name}"):
                pid = int(self.client.inspect_container(identity)["State"]["Pid"])
            watch = _watch(pid)
            check_processes(self.client, identity, pid)
        except BaseException:
            self.remove(identity)
            raise
        return Running(identity, spec.name, pid, watch)

    def _create(self, spec: Spec) -> str:
        try:
            with errors(f"create container {spec.name}"):
                return str(self.client.create_container(name=spec.name, **spec.arguments)["Id"])
        except LabError as error:
            if isinstance(error.__cause__, APIError) and error.__cause__.status_code == CONFLICT:
                raise self._conflict(spec, error) from error
            raise

    def _conflict(self, spec: Spec, error: LabError) -> LabError:
        """The name is taken: by whom, and what to do."""
        try:
            labels = self.client.inspect_container(spec.name)["Config"]["Labels"] or {}
        except (DockerException, RequestException):  # gone since, or another conflict: the engine's words say more
            return error
        ours = is_ours(labels) and labels[SUPERVISOR] != spec.arguments["labels"][SUPERVISOR]
        if ours:
            message = f"the container {spec.name} of an earlier lab {labels[LAB]!r} is still there"
            return StateError(message, hint="`lab gc` removes it, if that lab is dead")
        message = f"there is a container {spec.name} already, which is not of this lab"
        hint = "another name for the lab (`lab up --name`), or `docker rename` for the container"
        return StateError(message, hint=hint)

    # Watching

    def watch(self, node: str, container: Running) -> None:
        """From now on its end is the node's."""
        self._watched[container.watch] = (node, container)
        self.exits.register(container.watch, select.EPOLLIN | select.EPOLLHUP)

    def unwatch(self, container: Running) -> None:
        if self._watched.pop(container.watch, None) is not None:
            self.exits.unregister(container.watch)

    def read_exits(self) -> list[NodeExit]:
        """Who ended since, and how. Raises LabError where the engine does not know any more."""
        found = []
        for descriptor, _ in self.exits.poll(0):
            node, container = self._watched[descriptor]
            self.unwatch(container)
            found.append(NodeExit(node, self.status_of(container)))
        return found

    def status_of(self, container: Running) -> int:
        """Of one that has ended: its exit code, or minus the signal."""
        with errors(f"ask how {container.name} ended"):
            code = int(self.client.wait(container.id, timeout=ENDING_SECONDS)["StatusCode"])
        return KILLED - code if KILLED < code <= KILLED + signal.NSIG else code

    def last_words(self, identity: str) -> str:
        """The end of what a container said, for a message; empty where it said nothing."""
        with errors("read the output of a container"):
            output: bytes = self.client.logs(identity, tail=WORDS)
        text = output.decode(errors="replace").strip()
        return f": {text}" if text else ""

    def ended_early(self, agent: Running) -> NodeError:
        """Of an agent that never became a node."""
        return NodeError(
            f"container {agent.name} ended before it was a node{self.last_words(agent.id)}",
            hint="is its image one of Layerlab's, of this version? compose/Dockerfile makes one",
        )

    # Changing

    def pause(self, container: Running, *, paused: bool) -> None:
        with errors(f"{'pause' if paused else 'resume'} {container.name}"):
            (self.client.pause if paused else self.client.unpause)(container.id)

    def inspect(self, container: Running) -> dict[str, Any]:
        with errors(f"look at {container.name}"):
            return dict(self.client.inspect_container(container.id))

    def stop(self, container: Running) -> None:
        """Tell a program to end, and kill it if it does not."""
        with errors(f"stop {container.name}"):
            self.client.stop(container.id, timeout=FAREWELL_SECONDS)

    def discard(self, container: Running) -> None:
        """Kill and remove it, and forget it."""
        self.unwatch(container)
        container.kill()
        self.remove(container.id)
        os.close(container.watch)

    def remove(self, identity: str) -> None:
        """Whatever state it is in; its volumes too, for they are nobody's afterwards."""
        remove(self.client, identity)


def _watch(pid: int) -> int:
    """A descriptor that becomes readable when a process ends. Of one that has ended already (pid 0), a pipe that nobody
    writes to."""
    try:
        if pid:
            return os.pidfd_open(pid)
    except ProcessLookupError:
        pid = 0
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(writing)
    return reading


def remove(client: docker.APIClient, identity: str) -> None:
    """Remove a container that may be gone or going already. Raises LabError."""
    try:
        client.remove_container(identity, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != CONFLICT or "already in progress" not in str(error):
            with errors(f"remove container {identity[:12]}"):
                raise
    except (DockerException, RequestException):
        with errors(f"remove container {identity[:12]}"):
            raise


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int], None] | None = None
) -> list[Result]:
    """The results, in the order of the items. The first error ends it: what has not begun is not begun, and what has is
    waited for."""
    with ThreadPoolExecutor(AT_ONCE, "docker") as pool:
        try:
            futures = [pool.submit(work, item) for item in items]
            for number, future in enumerate(as_completed(futures), 1):
                future.result()
                if done is not None:
                    done(number)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def remove_all(client: docker.APIClient, found: Iterable[dict[str, Any]]) -> list[str]:
    """Remove containers of a listing, programs first told to end. Never raises; returns what could not be removed."""
    troubles: list[str] = []

    def end(row: dict[str, Any]) -> None:
        try:
            if row["State"] == "running" and row["Labels"].get("org.layerlab.role") == "program":
                _tell_to_end(client, row["Id"])
            remove(client, row["Id"])
        except LabError as error:
            troubles.append(error.message)

    in_parallel(end, list(found))
    return troubles


def _tell_to_end(client: docker.APIClient, identity: str) -> None:
    try:
        client.stop(identity, timeout=FAREWELL_SECONDS)
    except (DockerException, RequestException) as error:
        gone = isinstance(error, APIError) and error.status_code in (NOT_FOUND, NOT_MODIFIED)
        if not gone:  # it is removed with force next
            print(f"while a program was told to end: {error}", file=sys.stderr)  # noqa: T201 - the supervisor's log
