"""The trace of a lab's links: what the supervisor did to them, beside the traces of the nodes."""

from __future__ import annotations

from pathlib import Path

from lab.drivers.base import Epoch
from nodes.io.reactor import Reactor
from nodes.trace.events import Event
from nodes.trace.sqlog import Listener, SqlogWriter

FOLDER = "links"
"""Of the run; in lists of events the links stand under this name, which no node may have beside them."""


class LinksTrace:
    """Raises OSError where the file cannot be made."""

    def __init__(self, lab: str, folder: Path, epoch: Epoch, reactor: Reactor) -> None:
        self._reactor = reactor
        self._writer = SqlogWriter(
            folder / FOLDER / "trace.sqlog",
            node=FOLDER,
            title=f"{lab}/{FOLDER}",
            start=epoch.monotonic,
            wall_ns=epoch.wall,
        )
        self._waits = False

    def __call__(self, now: int, event: Event) -> None:
        self._writer(now, event)
        deadline = self._writer.flush_deadline
        if deadline is not None and not self._waits:
            self._waits = True
            self._reactor.call_at(deadline, self._due)

    def follow(self, listener: Listener) -> None:
        self._writer.follow(listener)

    def unfollow(self, listener: Listener) -> None:
        self._writer.unfollow(listener)

    def flush(self) -> None:
        """Hand buffered events to the operating system."""
        self._writer.flush()

    def close(self, now: int) -> None:
        self._writer.close(now)

    def _due(self) -> None:
        self._waits = False
        self.flush()
