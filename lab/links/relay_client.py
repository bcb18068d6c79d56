"""The supervisor's end of a relay: blocking calls over its control socket."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Self

from lab.links.base import Samples
from nodes.impairment import DIRECTIONS, Impairment, encode
from nodes.io.control import ControlClient
from nodes.physical.statistics import Sample

TIMEOUT = 5.0
"""Seconds for an answer, which a relay gives between two turns; those who ask the supervisor wait longer than that."""

LINKS_PER_ANSWER = 64
"""States asked for at once: some 200 KiB, while a line of the control protocol holds 1 MiB."""


class RelayState(NamedTuple):
    """`relay`: the process (pid, priority, shares of its processor). `links`: by name, with `up`, `mtu` and for `ab`
    and `ba` what the line measured (`Statistics.snapshot`), beside `not_received`, `not_sent` and `reading`."""

    relay: dict[str, Any]
    links: dict[str, dict[str, Any]]


class RelayClient:
    """Every method raises ControlError. Codes: those of the protocol; `exists`, `unknown-link`, `bad-params`; and names
    of errno (ENODEV, EPERM) where the kernel refuses a socket."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control
        self._names: list[str] = []

    @classmethod
    def connect(cls, path: str | os.PathLike[str]) -> Self:
        """Connect to the relay whose control socket is at `path`. Raises OSError where nobody listens."""
        return cls(ControlClient.connect(path))

    def add(
        self, link: str, left: str, right: str, ab: Impairment, ba: Impairment, *, seeds: tuple[int, int], mtu: int
    ) -> None:
        """Begin to relay between two interfaces: from `left` to `right` as `ab` says, back as `ba` says."""
        settings = {"ab": encode(ab), "ba": encode(ba), "seeds": list(seeds), "mtu": mtu}
        self._call("add", link=link, left=left, right=right, **settings)
        self._names.append(link)

    def change(
        self, link: str, *, ab: Impairment | None = None, ba: Impairment | None = None, mtu: int | None = None
    ) -> int:
        """Other impairments from now on, whole ones; None leaves what there is. Returns when (ns, monotonic)."""
        wanted = zip(DIRECTIONS, (ab, ba), strict=True)
        given: dict[str, object] = {way: encode(it) for way, it in wanted if it is not None}
        if mtu is not None:
            given["mtu"] = mtu
        return int(self._call("change", link=link, **given)["at"])

    def set_up(self, link: str, up: bool) -> int:
        """Both lines lose what they hold when they go down. Returns when (ns, monotonic)."""
        return int(self._call("up", link=link, up=up)["at"])

    def remove(self, link: str) -> None:
        """Relay it no more; what is on the way is lost."""
        self._call("remove", link=link)
        self._names.remove(link)

    def state(self, *links: str) -> RelayState:
        """Of some links, or of all that this client added."""
        names = list(links or self._names)
        state = RelayState({}, {})
        for start in range(0, max(len(names), 1), LINKS_PER_ANSWER):
            answer = self._call("state", links=names[start : start + LINKS_PER_ANSWER])
            state = RelayState(answer["relay"], state.links | answer["links"])
        return state

    def samples(self) -> dict[str, Samples]:
        """Of all links that the relay has, sums since the beginning."""
        told = self._call("samples")["links"]
        return {link: {way: Sample(*sums) for way, sums in sides.items()} for link, sides in told.items()}

    def shutdown(self) -> None:
        """End the process."""
        self._call("shutdown")

    def close(self) -> None:
        """End the connection; the relay goes on. Safe to call twice."""
        self._control.close()

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        result, _ = self._control.call(method, params, TIMEOUT)
        return result
