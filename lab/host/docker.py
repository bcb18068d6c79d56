"""What this machine has of Docker, found by trying it without Docker's own library."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import sys
from typing import NamedTuple

SOCKET = "unix:///var/run/docker.sock"
PING_SECONDS = 2.0


class Answer(NamedTuple):
    """What was found, or what is missing and what to do about it."""

    ok: bool
    detail: str
    hint: str = ""


def sdk() -> Answer:
    """Whether this Python has the library that the docker driver speaks to the engine with."""
    if importlib.util.find_spec("docker") is None:
        hint = f"only for the docker driver: pip install 'layerlab[docker]', with the pip of {sys.executable}"
        return Answer(False, "this Python has no module 'docker'", hint)
    return Answer(True, "found")


def engine() -> Answer:
    """Whether an engine answers where the driver looks for one."""
    host = os.environ.get("DOCKER_HOST") or SOCKET
    if not host.startswith("unix://"):
        return Answer(False, f"DOCKER_HOST is {host}", "the docker driver needs an engine behind a UNIX socket")
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PING_SECONDS)
            link.connect(host.removeprefix("unix://"))
            link.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = link.recv(65536).decode(errors="replace")
    except OSError as error:
        words, hint = refusal_of(host, error.errno or errno.ETIMEDOUT)
        return Answer(False, words, f"only for the docker driver: {hint}")
    status, *headers = answer.splitlines() or [""]
    if " 200 " not in status:
        return Answer(False, f"{host} answered {status!r}", "is this the socket of a Docker engine?")
    version = next((line.partition(":")[2].strip() for line in headers if line.lower().startswith("api-version")), "?")
    return Answer(True, f"answers, API {version}")


def refusal_of(host: str, number: int) -> tuple[str, str]:
    """Why a connection to the engine failed with that errno, and what to do."""
    if number in (errno.EACCES, errno.EPERM):
        return f"this user may not use the Docker engine at {host}", "run as root, or be in the group docker"
    words = os.strerror(number)
    if number == errno.ENOENT:
        return f"there is no Docker engine at {host}: {words}", "install and start Docker, or set DOCKER_HOST"
    return f"no Docker engine answers at {host}: {words}", "start it (systemctl start docker), or set DOCKER_HOST"
