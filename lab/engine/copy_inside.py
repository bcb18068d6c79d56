"""Copying between this file system and that of a node.

    this process ──fork──▶ joins the node's namespaces ──fork──▶ reads or writes the node's files
         │                                                               │
         └──────────────── data (lab/engine/copying.py) ─────────────────┘

The fork in between is because a PID namespace takes only children in, and /proc shows files by it. The node's end dies
with this process. It sees what `lab exec` sees, but for /etc/hosts and /sys, over which that lays its own.

`python -m lab.engine.copy_inside LAB NODE in|out FROM TO` is for the API, whose process has threads and cannot fork: it
prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Literal, NoReturn

from lab.engine.client import LabClient, Namespaces
from lab.engine.copying import Outcome, base_name, receive, send
from lab.engine.inside import join
from lab.errors import EnvironmentLackError, LabError, NodeError, UserInputError
from lab.host import syscalls

Direction = Literal["in", "out"]


def copy(client: LabClient, node: str, direction: Direction, source: str, target: str) -> Outcome:
    """Copy a file or folder into a node, or out of it. Raises LabError."""
    inside = target if direction == "in" else source
    if not inside.startswith("/"):
        raise UserInputError(f"{node}: {inside!r} is not an absolute path", hint=f"{node}:/{inside.lstrip('./')}")
    namespaces = client.enter(node, "copy")
    try:
        there, here = _both_ends(namespaces, node, direction, source, target)
    finally:
        _close(*namespaces.descriptors.values())
    for outcome, where in ((there, node), (here, "")):  # who stopped because the other did has nothing to tell
        if outcome.error and not outcome.left:
            raise _error(outcome, where)
    if there.error:
        raise NodeError(f"{node}: what copies in the node ended in the middle", hint="`lab ps LAB` shows what runs")
    return here


def _error(outcome: Outcome, node: str) -> LabError:
    message = f"{node}:{outcome.error}" if node else outcome.error
    if outcome.wrong_path:
        return UserInputError(message)
    return NodeError(message) if node else EnvironmentLackError(message)


def _both_ends(
    namespaces: Namespaces, node: str, direction: Direction, source: str, target: str
) -> tuple[Outcome, Outcome]:
    """How it went in the node, and here."""
    sending, receiving = partial(send, source), partial(receive, target, base_name(source))
    reader, writer = os.pipe()
    said_reader, said_writer = os.pipe()
    parent = os.getpid()
    (ours, theirs) = (writer, reader) if direction == "in" else (reader, writer)
    child = os.fork()
    if not child:
        _close(ours, said_reader)
        _go_inside(namespaces, node, parent, said_writer, partial(receiving if direction == "in" else sending, theirs))
    _close(theirs, said_writer)
    try:
        here = (sending if direction == "in" else receiving)(ours)
        with os.fdopen(said_reader, "rb") as said:
            told = said.read()
    finally:
        os.waitpid(child, 0)
    if not told:
        return Outcome(error="ended", left=True), here
    answer = json.loads(told)
    if "hint" in answer:
        raise EnvironmentLackError(answer["message"], hint=answer["hint"])
    return Outcome(**answer), here


def _go_inside(namespaces: Namespaces, node: str, parent: int, answer: int, work: Callable[[], Outcome]) -> NoReturn:
    """Join, fork, and be what copies in the node. Says how it went; ends when our parent does."""
    status = 1
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os._exit(status)
        try:
            join(namespaces, node)
        except EnvironmentLackError as error:
            _say(answer, {"message": error.message, "hint": error.hint})
            os._exit(status)
        child = os.fork()
        if not child:
            syscalls.die_with_parent(signal.SIGKILL)
            _say(answer, asdict(work()))
        else:
            _close(answer)
            os.waitpid(child, 0)
        status = 0
    finally:
        os._exit(status)


def _say(descriptor: int, answer: dict[str, object]) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(answer).encode())


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def main() -> None:
    lab, node, direction, source, target = sys.argv[1:]
    syscalls.die_with_parent(signal.SIGTERM)
    try:
        client = LabClient(lab)
        outcome = copy(client, node, "in" if direction == "in" else "out", source, target)
    except LabError as error:
        answer = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
    else:
        answer = asdict(outcome)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
