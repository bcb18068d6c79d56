"""Saying to the agent in a container which node it is: the supervisor's side of nodes/container_supervised.py."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

from lab.drivers.docker.containers import Containers, Running
from lab.errors import NodeError
from lab.host.namespaces import in_namespace
from nodes.container_configured import CONTROL_ADDRESS
from nodes.container_supervised import Task, encode_task

LISTEN_SECONDS = 60.0
"""For a container to listen: a Python has to start in it, beside those of all others."""
AGAIN_SECONDS = 0.005
SEND_SECONDS = 10.0

__all__ = ["CONTROL_ADDRESS", "tell"]


def tell(namespace: int, task: Task, agent: Running, containers: Containers) -> socket.socket:
    """Returns the connection, for whose end the agent waits. Raises NodeError."""
    link = _connect(namespace, agent, containers)
    try:
        link.settimeout(SEND_SECONDS)
        link.sendall(encode_task(replace(task, node=replace(task.node, container=None))))
    except OSError as error:
        link.close()
        raise NodeError(f"node {task.node.name!r} cannot be told what it is: {error}") from error
    return link


def _connect(namespace: int, agent: Running, containers: Containers) -> socket.socket:
    end = time.monotonic() + LISTEN_SECONDS
    while True:
        with in_namespace(namespace):  # the address is one of the network namespace that the socket was made in
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(CONTROL_ADDRESS)
        except OSError as error:
            link.close()
            if agent.has_ended(AGAIN_SECONDS):
                raise containers.ended_early(agent) from error
            if time.monotonic() > end:
                raise NodeError(f"container {agent.name} does not listen: {error.strerror}") from error
            continue
        return link
