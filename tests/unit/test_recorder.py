"""What a node leaves behind: one clock for all nodes, files that follow each other, a full disk that is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.datalink.offload import note_of
from nodes.errors import MisuseError
from nodes.io.recorder import Recorder, Recording
from nodes.trace import sqlog
from nodes.trace.events import NodeStarted
from nodes.trace.pcapng import read
from nodes.trace.pcapng_reader import InterfaceStatistics, read_items
from nodes.wire import ipv4, tcp, virtio
from nodes.wire.addresses import Ip4

CONFIG = NodeConfig("lab", "a", interfaces=(InterfaceConfig("eth0", "02:00:00:00:00:01", peer="s1:p1"),))
ETHERNET = bytes.fromhex("0200000000020200000000010800")
EPOCH, WALL = 5_000_000_000, 1_700_000_000_000_000_000


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(CONFIG, Recording(tmp_path, EPOCH, WALL))
    yield recorder
    recorder.close(EPOCH, [])


def test_times_count_from_the_labs_epoch(recorder: Recorder, tmp_path: Path) -> None:
    recorder.trace(EPOCH + 1_500_000, NodeStarted("host", "started"))
    recorder.start_capture()
    recorder.frame(0, b"\1" * 60, EPOCH + 2_000_000, inbound=True)
    recorder.frame(0, b"\2" * 60, EPOCH + 3_000_000, inbound=False)
    recorder.close(EPOCH + 4_000_000, [(9, 2)])
    header, started, closed = sqlog.read(tmp_path / "trace.sqlog")
    assert header["title"] == "lab/a"
    assert started["time"] == 1.5
    assert closed["name"] == "trace:closed"
    frames = list(read(tmp_path / "capture.pcapng"))
    assert [(frame.interface, frame.wall_ns - WALL, frame.inbound) for frame in frames] == [
        ("eth0", 2_000_000, True),
        ("eth0", 3_000_000, False),
    ]
    assert "to s1:p1" in frames[0].description
    counts = [item for item in read_items(tmp_path / "capture.pcapng") if isinstance(item, InterfaceStatistics)]
    assert [(count.received, count.dropped) for count in counts] == [(9, 2)]


def test_captures_follow_each_other(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.start_capture() == tmp_path / "capture.pcapng"
    with pytest.raises(MisuseError, match="already running"):
        recorder.start_capture()
    assert recorder.stop_capture([(0, 0)]) == {"failed": None, "lost": 0, "dropped": 0}
    with pytest.raises(MisuseError, match="no capture is running"):
        recorder.stop_capture([])
    assert recorder.start_capture() == tmp_path / "capture.2.pcapng"
    assert recorder.capturing


def test_a_growing_capture_can_be_read(recorder: Recorder, tmp_path: Path) -> None:
    """It is a capture from its start, and frames reach the file a second later, events or not."""
    path = recorder.start_capture()
    recorder.flush()
    assert recorder.flush_deadline is None
    assert list(read(path)) == []
    recorder.frame(0, b"\1" * 60, EPOCH + 7, inbound=True)
    recorder.frame(0, b"\2" * 60, EPOCH + 8, inbound=True)
    assert recorder.flush_deadline == EPOCH + 7 + sqlog.FLUSH_INTERVAL
    assert list(read(path)) == []
    recorder.flush()
    assert recorder.flush_deadline is None
    assert len(list(read(path))) == 2
    recorder.frame(0, b"\3" * 60, EPOCH + 9, inbound=True)
    recorder.stop_capture([(3, 0)])
    assert recorder.flush_deadline is None


def test_frames_without_a_capture_go_nowhere(recorder: Recorder, tmp_path: Path) -> None:
    recorder.frame(0, b"\1" * 60, EPOCH, inbound=True)
    recorder.close(EPOCH, [])
    assert not list(tmp_path.glob("*.pcapng"))


def test_the_state_is_written(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.write_state({"node": "a"}) is None
    assert json.loads((tmp_path / "state.json").read_text()) == {"node": "a"}
    (tmp_path / "state.json").unlink()
    (tmp_path / "state.json").mkdir()
    assert recorder.write_state({"node": "a"}) == "Is a directory"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Recorder(CONFIG, Recording(tmp_path / "gone", EPOCH, WALL))


def test_a_capture_has_frames_without_notes(tmp_path: Path) -> None:
    """Of an interface with offload: no virtio-net header, and the checksum that the link was to make."""
    source, destination = Ip4(0x0A00_0001), Ip4(0x0A00_0002)
    parts = (source, destination, 1, 2, 3, 4, tcp.ACK, 5)
    payload = b"x" * 60_000
    whole = ETHERNET + ipv4.build(source, destination, 6, tcp.build(*parts, payload=payload))
    packet = ipv4.build(source, destination, 6, tcp.build(*parts, payload=payload, partial=True))
    interfaces = (CONFIG.interfaces[0], InterfaceConfig("eth1", "02:00:00:00:00:02", offload=True))
    recorder = Recorder(replace(CONFIG, interfaces=interfaces), Recording(tmp_path, EPOCH, WALL))
    recorder.start_capture()
    recorder.frame(1, note_of(packet, 1460) + ETHERNET + packet, EPOCH, inbound=False)
    recorder.frame(1, virtio.PLAIN + ETHERNET + b"abc", EPOCH, inbound=True)
    nonsense = virtio.build(virtio.VirtioHeader(virtio.NEEDS_CSUM, checksum_start=60_000))
    recorder.frame(1, nonsense + ETHERNET, EPOCH, inbound=True)
    recorder.frame(0, ETHERNET + b"abc", EPOCH, inbound=True)
    recorder.close(EPOCH, [(0, 0), (0, 0)])
    frames = list(read(tmp_path / "capture.pcapng"))
    assert [frame.frame for frame in frames] == [whole, ETHERNET + b"abc", ETHERNET, ETHERNET + b"abc"]
    assert [frame.original_length for frame in frames] == [len(whole), 17, 14, 17]
