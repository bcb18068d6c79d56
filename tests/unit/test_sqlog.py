"""The qlog writer and its reader."""

from __future__ import annotations

import errno
import io
import json
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from nodes.trace.events import ArpUpdated, Event, FrameDropped, FrameReceived, NodeStarted, PacketDropped, RouteUpdated
from nodes.trace.files import RecordFile, TraceFileError
from nodes.trace.sqlog import FLUSH_INTERVAL, SqlogWriter, event_encoder, event_name, read
from nodes.units import SECOND
from nodes.wire.addresses import Prefix, parse_ip4, parse_mac

WALL = 1_790_000_000_123_456_789
START = 5 * SECOND
MAC = parse_mac("02:5a:00:00:00:01")
A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
DROP = FrameDropped("eth0", "runt", 7)


class FullDisk(io.BytesIO):
    """Takes `room` octets, then says that the disk is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: typing.Any) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return super().write(part)


def writer(target: Path | typing.BinaryIO | None, **options: typing.Any) -> SqlogWriter:
    return SqlogWriter(target, node="h1", title="lab demo", start=START, wall_ns=WALL, **options)


def test_header_names_format_node_and_reference_time(tmp_path: Path) -> None:
    trace = writer(tmp_path / "h1.sqlog", common_fields={"lab": "demo"})
    trace.close()
    header = next(read(tmp_path / "h1.sqlog"))
    assert header["qlog_version"] == "0.3"
    assert header["qlog_format"] == "JSON-SEQ"
    assert header["title"] == "lab demo"
    inner = header["trace"]
    assert isinstance(inner, dict)
    assert inner["vantage_point"] == {"name": "h1", "type": "network"}
    common = inner["common_fields"]
    assert common["time_format"] == "relative"
    assert common["reference_wall_ns"] == WALL
    assert common["reference_time"] == pytest.approx(WALL / 1e6)
    assert common["lab"] == "demo"


def test_events_are_records_between_separator_and_line_feed(tmp_path: Path) -> None:
    """RFC 7464 section 2.2; nanoseconds survive as six decimals of a millisecond."""
    path = tmp_path / "h1.sqlog"
    trace = writer(path)
    trace(START + 12_000_001, ArpUpdated("eth0", B, MAC, "incomplete", "reachable", "reply received"))
    trace.close()
    record = path.read_bytes().split(b"\x1e")[2]
    assert record == (
        b'{"time":12.000001,"name":"link:arp_updated","data":{"interface":"eth0","address":"10.0.0.2",'
        b'"mac":"02:5a:00:00:00:01","old":"incomplete","new":"reachable","trigger":"reply received"}}\n'
    )


def test_values_are_written_by_their_declared_types(tmp_path: Path) -> None:
    path = tmp_path / "h1.sqlog"
    trace = writer(path)
    trace(START, ArpUpdated("eth0", B, None, "none", "incomplete", 'a "quote", \n ü %s'))
    trace(START, RouteUpdated(Prefix(A, 24), "none", "eth0", "configured"))
    trace(START - 1, PacketDropped("eth0", A, B, 17, "no route"))
    trace.close()
    _, arp, route, packet, end = read(path)
    assert arp["data"]["mac"] is None
    assert arp["data"]["trigger"] == 'a "quote", \n ü %s'
    assert route["data"]["prefix"] == "10.0.0.1/24"
    assert packet["data"] == {
        "interface": "eth0",
        "source": "10.0.0.1",
        "destination": "10.0.0.2",
        "protocol": 17,
        "reason": "no route",
    }
    assert packet["time"] == -0.000001
    assert end["name"] == "trace:closed"
    assert end["data"]["events"] == 3


@pytest.mark.parametrize("kind", typing.get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_has_an_encoder(kind: type[Event]) -> None:
    template, fields = event_encoder(kind)
    text = template % ("0.000000", *["0" for _ in fields])
    assert json.loads(text)["name"] == event_name(kind)


def test_other_types_of_fields() -> None:
    @dataclass
    class Sampled:
        category: ClassVar[str] = "test"
        ratio: float
        worst: float | None
        active: bool
        ports: tuple[int, ...]
        raw: bytes
        mode: typing.Literal["a", "b"]

    hints = {
        "ratio": float,
        "worst": float | None,
        "active": bool,
        "ports": tuple[int, ...],
        "raw": bytes,
        "mode": typing.Literal["a", "b"],
    }
    Sampled.__annotations__.update(hints)
    Sampled.__annotations__["category"] = ClassVar[str]
    template, fields = event_encoder(Sampled)  # type: ignore[arg-type]
    event = Sampled(0.25, float("inf"), True, (1, 2), b"\x01\xff", "a")
    text = template % ("1.000000", *[encode(getattr(event, name)) for name, encode in fields])
    data = {"ratio": 0.25, "worst": None, "active": True, "ports": [1, 2], "raw": "01ff", "mode": "a"}
    assert json.loads(text) == {"time": 1.0, "name": "test:sampled", "data": data}


def test_a_field_without_json_form_is_a_bug_of_the_event() -> None:
    @dataclass
    class Odd:
        category: ClassVar[str] = "test"
        value: complex

    Odd.__annotations__.update(category=ClassVar[str], value=complex)
    with pytest.raises(TypeError, match="no JSON form"):
        event_encoder(Odd)  # type: ignore[arg-type]


def test_levels() -> None:
    received = FrameReceived("eth0", MAC, MAC, 0x0800, 60)
    counts = {}
    for level in ("off", "state", "packets"):
        stream = io.BytesIO()
        trace = writer(stream, level=level)
        trace(START, received)
        trace(START, DROP)
        trace.close()
        counts[level] = trace.packets, trace.events, stream.getvalue() == b""
    assert counts == {"off": (False, 0, True), "state": (False, 1, False), "packets": (True, 2, False)}


def test_events_wait_in_the_buffer_until_the_flush_deadline(tmp_path: Path) -> None:
    path = tmp_path / "h1.sqlog"
    trace = writer(path)
    assert trace.flush_deadline is None
    assert len(list(read(path))) == 1  # the header is there at once
    trace(START + 10, DROP)
    trace(START + 20, DROP)
    assert trace.flush_deadline == START + 10 + FLUSH_INTERVAL
    assert len(list(read(path))) == 1
    trace.flush()
    assert trace.flush_deadline is None
    assert len(list(read(path))) == 3
    trace.close()


def test_a_full_buffer_flushes_itself(tmp_path: Path) -> None:
    path = tmp_path / "h1.sqlog"
    trace = writer(path)
    for _ in range(2000):
        trace(START, DROP)
    assert path.stat().st_size > 64 * 1024
    trace.close()


def test_a_trace_at_its_bound_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "h1.sqlog"
    trace = writer(path, max_octets=4096)
    for _ in range(100):
        trace(START, DROP)
    trace.close()
    *_, last = read(path)
    assert path.stat().st_size <= 4096
    assert trace.dropped + trace.events == 100
    assert trace.dropped > 50
    assert last["data"] == {"events": trace.events, "dropped": trace.dropped, "max_octets": 4096}
    assert trace.failed is None


def test_a_full_disk_does_not_reach_the_stack() -> None:
    disk = FullDisk(1000)
    trace = writer(disk)
    for _ in range(10):
        trace(START, DROP)
    trace.flush()
    trace(START, DROP)
    trace.close()
    assert trace.failed == "No space left on device"
    assert trace.lost == 11
    assert len(disk.getvalue()) == 1000


def test_an_unwritable_path_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writer(tmp_path / "missing" / "h1.sqlog")


def test_listeners_get_what_a_reader_would_get(tmp_path: Path) -> None:
    path = tmp_path / "h1.sqlog"
    trace, heard = writer(path), []
    trace(START, DROP)
    trace.follow(heard.append)
    trace(START + 5, NodeStarted("host", "lab up"))
    trace.unfollow(heard.append)
    trace(START, DROP)
    trace.close()
    assert heard == [list(read(path))[2]]


def test_listeners_hear_on_without_a_file_and_after_its_bound() -> None:
    for target in (None, FullDisk(0)):
        trace, heard = writer(target), []
        trace.follow(heard.append)
        trace(START, DROP)
        trace.flush()
        trace(START, DROP)
        assert len(heard) == 2


def test_a_listener_may_leave_while_it_is_called() -> None:
    trace, heard = writer(None), []

    def once(record: dict[str, object]) -> None:
        heard.append(record)
        trace.unfollow(once)

    trace.follow(once)
    trace.follow(heard.append)
    trace(START, DROP)
    assert len(heard) == 2


def test_a_truncated_last_record_is_left_out(tmp_path: Path) -> None:
    """RFC 7464 section 2.3: every cut of the file gives the records before it."""
    path, cut = tmp_path / "h1.sqlog", tmp_path / "cut.sqlog"
    trace = writer(path)
    trace(START, DROP)
    trace(START, DROP)
    trace.close()
    data, whole = path.read_bytes(), list(read(path))
    ends = [index for index, octet in enumerate(data) if octet == 0x0A]
    for length in range(len(data) + 1):
        cut.write_bytes(data[:length])
        expected = sum(end <= length for end in ends)  # a record is whole with its }, before its LF
        assert list(read(cut)) == whole[:expected]


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"{}\n", 0, "0x1e"),
        (b"\x1e{}\n\x1e{broken}\n\x1e{}\n", 5, "not JSON"),
        (b"\x1e{}\n\x1e{broken}\n", 5, "not JSON"),
        (b"\x1e{}\n\x1e{\x1e{}\n", 5, "not JSON"),
        (b"\x1e{}\n\x1e[1]\n", 5, "an object expected"),
        (b"\x1e{}\n\x1e\xff\n", 5, "not JSON"),
    ],
)
def test_damage_is_located(tmp_path: Path, data: bytes, offset: int, reason: str) -> None:
    path = tmp_path / "damaged.sqlog"
    path.write_bytes(data)
    with pytest.raises(TraceFileError, match=reason) as caught:
        list(read(path))
    assert (caught.value.path, caught.value.offset) == (str(path), offset)


def test_records_across_the_pieces_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large.sqlog"
    records = [{"n": number, "text": "x" * (number % 977)} for number in range(3000)]
    path.write_bytes(b"".join(b"\x1e" + json.dumps(record).encode() + b"\n" for record in records))
    assert list(read(path)) == records


def test_an_endless_record_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "endless.sqlog"
    path.write_bytes(b'\x1e{"a":"' + b"x" * (2 << 20))
    with pytest.raises(TraceFileError, match="more than"):
        list(read(path))


def test_record_file_keeps_no_holes(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "f", max_octets=10)
    assert [file.write(b"12345678"), file.write(b"1234"), file.write(b"1")] == [True, False, False]
    file.close()
    file.close()
    assert (file.dropped, file.octets, (tmp_path / "f").read_bytes()) == (2, 8, b"12345678")
    assert not file.write(b"late")
    assert file.lost == 1
