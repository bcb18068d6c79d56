"""Before a lab's containers are made: are the images there? Afterwards: are the programs healthy?"""

from __future__ import annotations

import time

import docker
from docker.errors import ImageNotFound

from lab.drivers.docker.containers import Containers, Running
from lab.drivers.docker.engine import errors
from lab.drivers.docker.specs import IMAGE, agent_image, has_program, program_image
from lab.errors import EnvironmentLackError, NodeError
from lab.plan.values import Plan
from nodes.contract import NodeConfig

LOOK_SECONDS = 0.1
SPARE_SECONDS = 10.0
"""Beyond what the health check says itself, until it is given up."""
DEFAULT_CHECK_SECONDS = 300.0
"""For an image's own health check, whose times are not known here."""


def check_images(client: docker.APIClient, plan: Plan) -> None:
    """Raises EnvironmentLackError with all images that the engine does not have."""
    nodes = [node for node in plan.nodes if not node.is_bridge]
    ours = {agent_image(node) for node in nodes}
    others = {program_image(node) for node in nodes if has_program(node)} - ours
    missing = [image for image in sorted(ours) + sorted(others) if not _has(client, image)]
    if not missing:
        return
    hints = []
    if IMAGE in missing:
        hints.append(f"in Layerlab's folder: docker build -f compose/Dockerfile -t {IMAGE} .")
    hints += [f"docker pull {image}" for image in missing if image != IMAGE]
    raise EnvironmentLackError(f"the Docker engine has no image {', '.join(missing)}", hint="; ".join(hints))


def _has(client: docker.APIClient, image: str) -> bool:
    with errors(f"look for image {image}"):
        try:
            client.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
    return True


def wait_until_healthy(containers: Containers, node: NodeConfig, program: Running) -> None:
    """Returns at once where nothing checks the program. Raises NodeError where it is found ill, or has ended."""
    check = node.container.healthcheck if node.container else None
    seconds = DEFAULT_CHECK_SECONDS
    if check is not None:
        seconds = check.start_period + check.retries * (check.interval + check.timeout) + SPARE_SECONDS
    end = time.monotonic() + seconds
    while True:
        health = containers.inspect(program)["State"].get("Health") or {}
        status = health.get("Status", "none")
        if status in ("none", "healthy"):
            return
        if program.has_ended():
            words = containers.last_words(program.id)
            raise NodeError(f"the program of node {node.name!r} ended before it was healthy{words}")
        if status == "unhealthy" or time.monotonic() > end:
            log = health.get("Log") or [{"Output": ""}]
            said = " ".join(str(log[-1]["Output"]).split())
            raise NodeError(f"the program of node {node.name!r} is {status}: its health check says {said or 'nothing'}")
        program.has_ended(LOOK_SECONDS)
