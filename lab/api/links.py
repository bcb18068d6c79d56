"""A link of a lab, as a script sees it."""

from __future__ import annotations

import json
from typing import Any

from lab.api.backend import Backend
from lab.api.times import nanoseconds
from lab.errors import UserInputError
from lab.lint.impairments import errors_of
from lab.model.settings import parse_settings
from lab.plan.values import LinkPlan
from nodes.impairment import DIRECTIONS, NOTHING, Direction, Patch, decode, merged


class Link:
    """From `lab.link(name)`."""

    def __init__(self, backend: Backend, plan: LinkPlan) -> None:
        self._backend = backend
        self._plan = plan

    def __repr__(self) -> str:
        return f"<link {self.name}: {self._plan.a} -- {self._plan.b}>"

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def ends(self) -> tuple[str, str]:
        """The names of its nodes."""
        return self._plan.a.node, self._plan.b.node

    async def impair(self, *, from_: str | None = None, replace: bool = False, **settings: Any) -> None:
        """Change what it does to frames: `delay="20ms", loss="1%"`, keys and values as in a topology. What is not named
        stays as it is, unless `replace`. `from_`: only frames that this end sends. Raises UserInputError."""
        words = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]
        await self._change(parse_settings(words).patch(), from_, replace=replace)

    async def clear(self) -> None:
        """It only carries."""
        await self._change({}, None, replace=True)

    async def down(self) -> None:
        """Pull the cable out: its ends lose the carrier, and what is on it is lost."""
        await self._backend.set_link(self.name, up=False)

    async def up(self) -> None:
        """Put the cable back."""
        await self._backend.set_link(self.name, up=True)

    async def set_mtu(self, mtu: int) -> None:
        """Octets of IP packet, at both ends."""
        await self._backend.set_link(self.name, mtu=mtu)

    async def flap(self, *, down: str | float, every: str | float, times: int = 1) -> None:
        """Down at once for so long, and again each `every`, `times` times in all."""
        off, period = nanoseconds(down), nanoseconds(every)
        if not 0 < off < period or times < 1:
            raise UserInputError("a flap is down for a shorter time than it takes", hint='down="1s", every="5s"')
        await self._backend.flap(self.name, off, period, times)

    async def state(self) -> dict[str, Any]:
        """What is asked, applied and measured, as `lab impair LINK --json`."""
        return await self._backend.link_state(self.name)

    async def _change(self, patch: Patch, sender: str | None, *, replace: bool) -> None:
        directions = self._directions(sender)
        state = await self.state()
        for side in state["directions"]:
            if side["direction"] in directions:
                before = NOTHING if replace else decode(side["asked"])
                for field, message, hint in errors_of(merged(before, patch), state["mtu"]):
                    raise UserInputError(f"{field}: {message}", hint=hint)
        await self._backend.impair(self.name, patch, directions, replace=replace)

    def _directions(self, sender: str | None) -> tuple[Direction, ...]:
        ends = self._plan.a, self._plan.b
        chosen = tuple(
            direction for direction, end in zip(DIRECTIONS, ends, strict=True) if sender in (None, end.node, str(end))
        )
        if not chosen:
            hint = " or ".join(map(str, ends))
            raise UserInputError(f"{sender!r} is not an end of link {self.name}", hint=hint)
        return chosen
