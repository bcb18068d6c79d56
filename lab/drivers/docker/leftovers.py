"""Containers of labs whose supervisor died: found by their labels, removed, and nothing else touched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from lab.drivers.docker.containers import remove_all
from lab.drivers.docker.engine import connect, errors
from lab.drivers.docker.names import LAB, RUN, SUPERVISOR, USER, Supervisor, is_ours
from lab.errors import DriverError

ROUNDS = 5
"""An engine may still be making what a supervisor asked for just before it died."""


@dataclass(slots=True)
class Leftover:
    """What was removed of one lab."""

    lab: str
    run: str
    containers: int = 0


def remove_leftovers(lab: str | None = None) -> list[Leftover]:
    """Of this user's dead labs, or of the one with that name. Raises EnvironmentLackError without an engine,
    DriverError for what cannot be removed."""
    client = connect()
    found: dict[str, Leftover] = {}
    for _ in range(ROUNDS):
        with errors("list containers"):
            rows = client.containers(all=True, filters={"label": [f"{USER}={os.getuid()}", LAB]})
        dead = [row for row in rows if _is_left(row, lab)]
        if not dead:
            break
        troubles = remove_all(client, dead)
        if troubles:
            raise DriverError(f"containers of dead labs are left: {'; '.join(troubles)}")
        for row in dead:
            labels = row["Labels"]
            entry = found.setdefault(labels[RUN], Leftover(labels[LAB], labels[RUN]))
            entry.containers += 1
    return list(found.values())


def _is_left(row: dict[str, Any], lab: str | None) -> bool:
    labels = row["Labels"] or {}
    if not is_ours(labels) or RUN not in labels or lab not in (None, labels[LAB]):
        return False
    supervisor = Supervisor.parse(labels[SUPERVISOR])
    runs = row["State"] not in ("created", "exited", "dead")
    return supervisor is not None and supervisor.is_gone(container_runs=runs) is True
