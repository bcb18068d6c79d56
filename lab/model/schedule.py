"""What changes on a link while the lab runs.

    schedule:
      - {at: 10s, impair: {delay: 50ms}}                       a step
      - {at: 20s, ramp: 10s, impair: {rate: 1mbit}}            there in a straight line
      - {at: 30s, up: false}                                   the cable is pulled
      - {at: 40s, flap: {down: 1s, every: 5s, times: 3}}       and put back, three times
      - {at: 50s, every: 10s, times: 4, impair: {loss: 1%}}    again and again
      - {at: 60s, trace: leo.csv}                              rows of a file

Times count from when the lab is up. An entry with `every` and without `times` goes on without end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from lab.model.impairment import LinkImpairField, NoImpair
from lab.model.impairment_files import read_schedule
from lab.model.names import LinkEnd, wrong
from lab.model.quantities import Count, GivenDuration, GivenLongDuration, Strict
from nodes.impairment import Change, Direction, encode_patch


def _rows(value: Any, info: ValidationInfo) -> tuple[Change, ...]:
    if not isinstance(value, str):
        raise wrong("a trace is the name of a file", "CSV with the columns t, delay, rate, loss")
    return read_schedule(value, info)


Rows = Annotated[tuple[Change, ...] | None, PlainValidator(_rows, json_schema_input_type=str)]


class Flap(Strict):
    """The link goes down, and up again."""

    down: GivenLongDuration = Field(description="How long it is down")
    every: GivenLongDuration | None = Field(default=None, description="Time from one to the next")
    times: Count | None = Field(default=None, description="How often; without end where only `every` is given")

    @model_validator(mode="after")
    def _check_times(self) -> Flap:
        if self.every is not None and self.down >= self.every:
            raise wrong("a link that is down as long as the flap's period never comes up", "down is shorter than every")
        if self.times is not None and self.every is None:
            raise wrong("'times' needs 'every'", "every: 5s")
        return self


class Entry(Strict):
    """One entry of a schedule."""

    at: GivenDuration = Field(description="When, after the lab came up")
    impair: LinkImpairField = Field(default=None, description="What the link does to frames from then on")
    replace: bool = Field(default=False, description="Nothing of what was before stays")
    ramp: GivenLongDuration | None = Field(default=None, description="Numbers go there in a straight line, so long")
    from_: LinkEnd | None = Field(default=None, alias="from", description="Only for frames that this end sends")
    up: bool | None = Field(default=None, description="The cable: false pulls it, true puts it back")
    flap: Flap | None = Field(default=None, description="Pull the cable and put it back")
    trace: Rows = Field(default=None, description="A file of changes: CSV with t, delay, rate, loss")
    every: GivenLongDuration | None = Field(default=None, description="Again, each time so much later")
    times: Count | None = Field(default=None, description="How often; without end where only `every` is given")

    @model_validator(mode="after")
    def _check_together(self) -> Entry:
        for message, hint in self._wrong():
            raise wrong(message, hint)
        return self

    def _wrong(self) -> list[tuple[str, str]]:
        found = [
            (self.replace and self.impair is None, "'replace' needs 'impair'", "impair: false leaves nothing"),
            (self.times is not None and self.every is None, "'times' needs 'every'", "every: 10s"),
            (
                self.impair is not None and bool(self.impair.from_),
                "in a schedule, 'from' stands beside 'impair'",
                "{at: 10s, from: NODE, impair: {delay: 50ms}}",
            ),
            *self._wrong_kinds(),
            *self._wrong_ramp(),
        ]
        return [(message, hint) for applies, message, hint in found if applies]

    def _wrong_kinds(self) -> list[tuple[bool, str, str]]:
        alone = [name for name in ("flap", "trace") if getattr(self, name) is not None]
        beside = [name for name in ("impair", "up", "ramp", "every") if getattr(self, name) is not None]
        is_cable = self.up is not None or self.flap is not None
        return [
            (
                not alone and self.impair is None and self.up is None,
                "nothing changes here",
                "impair, up, flap or trace",
            ),
            (len(alone) + bool(alone and beside) > 1, f"{''.join(alone[:1])!r} stands alone", "make two entries of it"),
            (self.from_ is not None and is_cable, "a cable is pulled in both directions", "loss: 100% stops one"),
        ]

    def _wrong_ramp(self) -> list[tuple[bool, str, str]]:
        if self.ramp is None:
            return []
        too_long = self.every is not None and self.ramp > self.every
        return [
            (self.impair is None, "a ramp needs something to change", "impair: {rate: 1mbit}"),
            (isinstance(self.impair, NoImpair) or self.replace, "a ramp leads to values", "impair: {rate: 1mbit}"),
            (self.up is not None, "a cable has no ramp", "make two entries of it"),
            (too_long, "the ramp is longer than the time to the next one", "every: as long as the ramp, or longer"),
        ]

    def changes(self, directions: tuple[Direction, ...]) -> tuple[Change, ...]:
        """In `directions`, which `from` names."""
        if self.trace is not None:
            return tuple(replace(row, at=self.at + row.at, directions=directions) for row in self.trace)
        if self.flap is not None:
            flap, (every, times) = self.flap, _repeated(self.flap.every, self.flap.times)
            down = Change(at=self.at, up=False, every=every, times=times, origin="flap")
            return (down, replace(down, at=self.at + flap.down, up=True))
        patch = self.impair.patch() if self.impair is not None else {}
        every, times = _repeated(self.every, self.times)
        change = Change(
            at=self.at,
            directions=directions,
            patch=encode_patch(patch),
            replace=self.replace or isinstance(self.impair, NoImpair),
            ramp=self.ramp or 0,
            up=self.up,
            every=every,
            times=times,
        )
        return (change,)


def _repeated(every: int | None, times: int | None) -> tuple[int, int]:
    """As a Change has them: once, or `times` times; 0 is without end."""
    return (0, 1) if every is None else (every, times or 0)


PARTS: dict[str, type[Strict]] = {"schedule": Entry, "flap": Flap}
"""As in `impairment_parts`."""
