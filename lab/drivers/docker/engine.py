"""The connection to a Docker engine, and its errors in the words of a person.

The engine must be on this machine and show its processes here: the fabric opens the network namespaces of containers by
the pids that the engine tells. So only engines behind a UNIX socket are talked to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from lab.errors import DriverError, EnvironmentLackError, LabError
from lab.host.docker import SOCKET, refusal_of

ENGINE_SECONDS = 120
"""For one answer of the engine, which on a busy machine may take long."""

AT_ONCE = 8
"""Requests to the engine at the same time: it serializes much of a start, and more only make all of them slow."""

CONFLICT = 409
NOT_FOUND = 404
NOT_MODIFIED = 304


def connect() -> docker.APIClient:
    """A client of the engine that $DOCKER_HOST names, or of the usual one. Raises EnvironmentLackError."""
    host = os.environ.get("DOCKER_HOST") or SOCKET
    if not host.startswith("unix://"):
        raise EnvironmentLackError(
            f"DOCKER_HOST is {host}: only an engine on this machine, behind a UNIX socket, can be a lab's",
            hint="`lab compose` writes a file that runs on any engine",
        )
    try:
        return docker.APIClient(base_url=host, version="auto", timeout=ENGINE_SECONDS, max_pool_size=AT_ONCE)
    except DockerException as error:
        raise _unreachable(host, error) from error


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """What the engine refuses is a LabError that says what was being done."""
    try:
        yield
    except (DockerException, RequestException) as error:
        raise told(error, doing) from error


def told(error: Exception, doing: str) -> LabError:
    """An error of the engine, or of the way to it."""
    words = str(error.explanation or error) if isinstance(error, APIError) else str(error)
    words = " ".join(words.split())
    if isinstance(error, ImageNotFound):
        return EnvironmentLackError(f"cannot {doing}: {words}", hint="docker pull, or docker build")
    if "no space left on device" in words.lower():
        return EnvironmentLackError(
            f"cannot {doing}: the engine's disk is full: {words}",
            hint="`docker system df` shows what fills it, `docker info` where it is (Docker Root Dir)",
        )
    if isinstance(error, APIError):
        hint = next((hint for mark, hint in _HINTS.items() if mark in words), "")
        return DriverError(f"cannot {doing}: Docker says: {words}", hint=hint)
    return DriverError(
        f"cannot {doing}: the Docker engine does not answer: {words}",
        hint="is it still running? `lab doctor` tries it; afterwards `lab gc` removes what is left",
    )


def check_processes(engine: docker.APIClient, container: str, pid: int) -> None:
    """Raises EnvironmentLackError unless the process with that pid is, here, the container's: nothing of another one
    may be touched. Docker mounts files of a folder that bears the container's identity into each."""
    if pid == 0:
        return
    try:
        if container in Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8"):
            return
    except FileNotFoundError:
        with errors("look at a container"):
            state: Mapping[str, Any] = engine.inspect_container(container)["State"]
        if not state["Running"]:
            return  # it has just ended, and will be noticed
    raise EnvironmentLackError(
        "the processes of this Docker engine are not seen from here: it runs in a virtual machine, as Docker Desktop "
        "does, or in another PID namespace",
        hint="`lab compose` writes a file that runs on any engine",
    )


def _unreachable(host: str, error: Exception) -> EnvironmentLackError:
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        seen.append(cause)
        number = _errno_of(cause)
        if number is not None:
            words, hint = refusal_of(host, number)
            return EnvironmentLackError(words, hint=hint)
        cause = cause.__cause__ or cause.__context__
    return EnvironmentLackError(f"the Docker engine at {host} does not answer as one: {error}", hint="`lab doctor`")


def _errno_of(error: BaseException) -> int | None:
    """Of an OSError, also where a library has wrapped it in the arguments of others."""
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return error.errno
    return next((found for each in error.args if isinstance(each, BaseException) and (found := _errno_of(each))), None)


_HINTS = {
    "bind source path does not exist": "the engine does not see this folder: does it run in another mount namespace?",
    "executable file not found": "is this an image of Layerlab's? compose/Dockerfile makes one",
    "permission denied": "is this an image of Layerlab's? compose/Dockerfile makes one",
    "OCI runtime create failed": "`docker info` shows what the engine runs on",
}
