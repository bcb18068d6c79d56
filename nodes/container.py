"""The program of a container: `python -m nodes.container`, which the image calls `lab-node`.

    lab-node --supervised        be the node that a lab's supervisor describes (the docker driver)
    lab-node --environment       be the node that the variables LAYERLAB_NODE and LAYERLAB_HOSTS describe
    lab-node --config FILE       the same, from a JSON file {"container": ..., "hosts": ...}
    lab-node ping b, state ...   ask the node that runs in this container (nodes/container_client.py)

A node that cannot begin says why on standard error and ends with 5, as `lab` does where a driver fails.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nodes import container_client, container_supervised
from nodes.container_configured import CONTROL_ADDRESS, run
from nodes.container_settings import HOSTS_VARIABLE, NODE_VARIABLE, ContainerSettings, from_json
from nodes.errors import StackError
from nodes.io.kernel_interfaces import TakeoverError

USAGE_EXIT = 2
FAILED_EXIT = 5


def main(words: Sequence[str]) -> int:
    """Do what the words of a command line say; returns the exit code."""
    match list(words):
        case ["--supervised"]:
            return container_supervised.main(CONTROL_ADDRESS)
        case ["--environment"]:
            return _be_node(lambda: from_json(_variable(NODE_VARIABLE), _variable(HOSTS_VARIABLE)))
        case ["--config", file]:
            return _be_node(lambda: _from_file(Path(file)))
        case [command, *rest] if command in container_client.COMMANDS:
            return container_client.main(CONTROL_ADDRESS, [command, *rest])
        case ["--help" | "-h"]:
            print(__doc__)
            print(container_client.__doc__)
            return 0
        case _:
            print(f"error: {' '.join(words) or 'no command'!r} is not understood\n\n{__doc__}", file=sys.stderr)
            return USAGE_EXIT


def _be_node(read: Callable[[], ContainerSettings]) -> int:
    try:
        settings = read()
    except (OSError, ValueError, KeyError) as error:
        print(f"error: the node's settings: {error}", file=sys.stderr)
        return USAGE_EXIT
    try:
        run(settings)
    except (TakeoverError, StackError, OSError) as error:
        print(f"error: node {settings.node.name}: {error}", file=sys.stderr)
        return FAILED_EXIT
    return 0


def _variable(name: str) -> str:
    if name not in os.environ:
        raise ValueError(f"the environment has no {name}")
    return os.environ[name]


def _from_file(path: Path) -> ContainerSettings:
    data = json.loads(path.read_text(encoding="utf-8"))
    return from_json(json.dumps(data["container"]), json.dumps(data["hosts"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
