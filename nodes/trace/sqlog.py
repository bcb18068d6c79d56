"""A node's events as a qlog file: JSON text sequences (RFC 7464), one record per event.

    RS  {"qlog_version": "0.3", "qlog_format": "JSON-SEQ", "title": ..., "trace": {...}}  LF
    RS  {"time": 12.500000, "name": "link:arp_updated", "data": {"interface": "eth0", ...}}  LF
    ...
    RS  {"time": 99.000000, "name": "trace:closed", "data": {"events": 41, "dropped": 0, ...}}  LF

RS is the octet 0x1E, which JSON text never contains: a reader finds the next record behind any damage, and a record
that lost its end (the node was killed while writing) is recognized by its missing LF (RFC 7464 section 2.3). The header
is that of qlog 0.3 (draft-ietf-quic-qlog-main-schema): the node is the vantage point, `time` is in milliseconds
since `reference_time`, with six decimals, so that nanoseconds survive. `reference_time` as a JSON number of
milliseconds does not survive a reader that stores doubles, therefore `reference_wall_ns` repeats it as an integer.

Writing is cheap because each class of events gets its encoder once, from its declared field types: a template of text
with one hole per field, and one function per hole that turns the field's value into JSON text. An event then
costs its fields, one string formatting and a list append.

A trace that ends with `trace:closed` is complete; one that ends otherwise stopped with its node.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import BinaryIO, TypeAlias

from nodes.trace.events import Event
from nodes.trace.files import DEFAULT_MAX_OCTETS, RecordFile, TraceFileError
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import Ip4, Mac, Prefix, format_ip4, format_mac

Level: TypeAlias = typing.Literal["off", "state", "packets"]
Listener: TypeAlias = Callable[[dict[str, object]], None]
Encode: TypeAlias = Callable[[typing.Any], str]
Encoder: TypeAlias = tuple[str, tuple[tuple[str, Encode], ...]]

RECORD_SEPARATOR = b"\x1e"
FLUSH_INTERVAL = SECOND
"""At most this long (ns) does an event wait in the buffer, where the owner honours `flush_deadline`."""

CLOSING_RECORD_OCTETS = 512
"""Room that is kept below the bound of the file for `trace:closed`."""

MAX_RECORD_OCTETS = 1 << 20
"""A longer record is not ours; the reader stops instead of filling the memory."""

READ_OCTETS = 1 << 16


class SqlogWriter:
    """A `Tracer` that writes events to `target` (a path or a binary stream; None: only listeners get them).

    `start` is the caller's clock (ns) at the wall clock time `wall_ns` (ns since 1970): event times are relative to it.
    `level` `state` leaves out events of every frame and packet, `off` everything. After a failed write or at
    the bound of `max_octets` the stack goes on and listeners still get every event: see `failed`, `lost`, `dropped`."""

    def __init__(
        self,
        target: str | Path | BinaryIO | None,
        *,
        node: str,
        title: str,
        start: int,
        wall_ns: int,
        level: Level = "state",
        max_octets: int = DEFAULT_MAX_OCTETS,
        common_fields: dict[str, object] | None = None,
    ) -> None:
        self.level: Level = level
        self.packets = level == "packets"
        self.events = 0
        """Events accepted, those not yet flushed included."""
        self._start = start
        self._last = start
        self._encoders: dict[type[Event], Encoder | None] = {}
        self._listeners: list[Listener] = []
        self._flush_deadline: int | None = None
        self._file: RecordFile | None = None
        if target is not None and level != "off":
            self._file = RecordFile(target, max_octets=max_octets, reserve=CLOSING_RECORD_OCTETS)
            self._file.write(_record(_header(node, title, wall_ns, common_fields or {})))
            self._file.flush()

    @property
    def failed(self) -> str | None:
        """Why writing ended, in the words of the operating system; None while all is well."""
        return self._file.failed if self._file else None

    @property
    def lost(self) -> int:
        """Events that a failed write lost."""
        return self._file.lost if self._file else 0

    @property
    def dropped(self) -> int:
        """Events left out because the file reached its bound."""
        return self._file.dropped if self._file else 0

    @property
    def flush_deadline(self) -> int | None:
        """When `flush` should be called at the latest (ns of the caller's clock); None while nothing waits."""
        return self._flush_deadline

    def __call__(self, now: int, event: Event) -> None:
        kind = type(event)
        try:
            encoder = self._encoders[kind]
        except KeyError:
            encoder = self._encoders[kind] = self._encoder_for(kind)
        if encoder is None:
            return
        template, fields = encoder
        self._last = now
        text = template % (
            _milliseconds(now - self._start),
            *[encode(getattr(event, name)) for name, encode in fields],
        )
        self._put(now, text)

    def _encoder_for(self, kind: type[Event]) -> Encoder | None:
        """None for events that the level leaves out."""
        if self.level == "off" or (getattr(kind, "packets", False) and not self.packets):
            return None
        return event_encoder(kind)

    def _put(self, now: int, text: str) -> None:
        file = self._file
        if file is not None and file.write(b"\x1e%b\n" % text.encode()):
            self.events += 1
            if not file.pending:
                self._flush_deadline = None
            elif self._flush_deadline is None:
                self._flush_deadline = now + FLUSH_INTERVAL
        if self._listeners:
            record = json.loads(text)
            for listener in tuple(self._listeners):
                listener(record)

    def follow(self, listener: Listener) -> None:
        """Call `listener` with each later event, as the dict that a reader of the file would get."""
        self._listeners.append(listener)

    def unfollow(self, listener: Listener) -> None:
        """The reverse of `follow`; a listener that is not there is no error."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def flush(self) -> None:
        """Hand buffered events to the operating system."""
        self._flush_deadline = None
        if self._file is not None:
            self._file.flush()

    def close(self, now: int | None = None) -> None:
        """Write the closing record, flush and close. Later events count as lost."""
        self._flush_deadline = None
        if self._file is None:
            return
        time = _milliseconds((self._last if now is None else now) - self._start)
        data = {"events": self.events, "dropped": self.dropped, "max_octets": self._file.max_octets}
        self._file.write_last(_record(f'{{"time":{time},"name":"trace:closed","data":{_dumps(data)}}}'))
        self._file.close()


def event_name(kind: type[Event]) -> str:
    """`category:event_name` from the class: `ArpUpdated` of category `link` is `link:arp_updated`."""
    return f"{kind.category}:{re.sub(r'(?<!^)(?=[A-Z])', '_', kind.__name__).lower()}"


def prepare() -> None:
    """Make the encoders of all events now, in a process that forks: its children share them."""
    for kind in typing.get_args(Event):
        event_encoder(kind)


_made: dict[type[Event], Encoder] = {}


def event_encoder(kind: type[Event]) -> Encoder:
    """The template of a class of events and its (field name, encoder) pairs, made once in a process. Raises TypeError
    for a field whose declared type has no JSON form; a test walks all classes."""
    made = _made.get(kind)
    if made is None:
        hints = typing.get_type_hints(kind)
        fields = tuple((field.name, _encoder_of(hints[field.name])) for field in dataclasses.fields(kind))
        holes = ",".join(f'"{name}":%s' for name, _ in fields)
        made = _made[kind] = f'{{"time":%s,"name":"{event_name(kind)}","data":{{{holes}}}}}', fields
    return made


def _encoder_of(hint: object) -> Encode:
    """JSON text for values of one declared type. `Mac` and `Ip4` are bytes and int at run time: only the declared
    type tells that they are addresses."""
    simple = _ENCODERS.get(hint)
    if simple is not None:
        return simple
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _dumps
    if origin in (typing.Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        return _optional(_encoder_of(next(argument for argument in arguments if argument is not type(None))))
    if origin in (tuple, list) and arguments[1:] in ((), (Ellipsis,)):
        return _sequence(_encoder_of(arguments[0]))
    raise TypeError(f"no JSON form for a field of type {hint}")


def _optional(encode: Encode) -> Encode:
    return lambda value: "null" if value is None else encode(value)


def _sequence(encode: Encode) -> Encode:
    return lambda values: f"[{','.join(map(encode, values))}]"


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


_ENCODERS: dict[object, Encode] = {
    Mac: lambda mac: f'"{format_mac(mac)}"',
    Ip4: lambda address: f'"{format_ip4(address)}"',
    Prefix: lambda prefix: f'"{prefix}"',
    str: encode_basestring_ascii,
    int: str,
    bool: lambda value: "true" if value else "false",
    float: lambda value: repr(float(value)) if math.isfinite(value) else "null",  # JSON has no infinity
    bytes: lambda value: f'"{bytes(value).hex()}"',
}


def _milliseconds(nanoseconds: int) -> str:
    """Exact decimal text, without the rounding of a float: 1_500_000 -> `1.500000`."""
    sign = "-" if nanoseconds < 0 else ""
    whole, fraction = divmod(abs(nanoseconds), MILLISECOND)
    return f"{sign}{whole}.{fraction:06d}"


def _header(node: str, title: str, wall_ns: int, common_fields: dict[str, object]) -> str:
    common = {"protocol_type": ["LAYERLAB"], "time_format": "relative", "reference_wall_ns": wall_ns, **common_fields}
    common_text = f'{_dumps(common)[:-1]},"reference_time":{_milliseconds(wall_ns)}}}'
    return (
        f'{{"qlog_version":"0.3","qlog_format":"JSON-SEQ","title":{_dumps(title)},"trace":{{"common_fields":{common_text},'
        f'"vantage_point":{{"name":{_dumps(node)},"type":"network"}}}}}}'
    )


def _record(text: str) -> bytes:
    return RECORD_SEPARATOR + text.encode() + b"\n"


def read(path: str | Path) -> Iterator[dict[str, object]]:
    """The records of a JSON text sequence, the header first.

    A last record that lost its end is left out (RFC 7464 section 2.3). Raises TraceFileError, with the octet
    where the record starts, for anything else that is not an object in its own record; OSError where the file is."""
    for offset, record, is_last in _split(Path(path)):
        try:
            value = json.loads(record)
        except ValueError as error:  # broken UTF-8 is one, too
            if is_last and not record.endswith(b"\n"):
                return
            raise TraceFileError(str(path), offset, f"not JSON: {error}") from None
        if not isinstance(value, dict):
            raise TraceFileError(str(path), offset, f"{type(value).__name__}, an object expected")
        yield value


def _split(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """(offset, octets, is it the last) of each record, read in pieces: a trace may be larger than the memory."""
    with path.open("rb") as stream:
        rest, offset = stream.read(READ_OCTETS), 0
        if rest and not rest.startswith(RECORD_SEPARATOR):
            raise TraceFileError(str(path), 0, f"0x{rest[0]:02x}, 0x1e (record separator) expected")
        more = bool(rest)
        while more:
            piece = stream.read(READ_OCTETS)
            more = bool(piece)
            *complete, rest = (rest + piece).split(RECORD_SEPARATOR)
            for record in complete:
                if record:  # RFC 7464 section 2.1: several separators in a row are one
                    yield offset, record, False
                offset += len(record) + 1
            if len(rest) > MAX_RECORD_OCTETS:
                raise TraceFileError(str(path), offset, f"a record of more than {MAX_RECORD_OCTETS} octets")
        if rest:
            yield offset, rest, True
