"""What one node leaves behind in its run: a trace, a capture, and its last state.

All nodes of a lab share one epoch, a reading of the monotonic clock at the lab's start and the wall clock beside it.
Event times count from it, and captures add it to the wall clock read once: files of different nodes merge in order even
when the wall clock is set meanwhile.

A capture has frames as they are: one of an interface with offload without its virtio-net header, and with the checksum
that was left to the link; a segment of 64 KiB stays one frame, as tcpdump shows it on a machine whose card cuts them.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import MisuseError, StackError, WireError
from nodes.trace.pcapng import PcapngWriter
from nodes.trace.sqlog import FLUSH_INTERVAL, SqlogWriter
from nodes.units import earliest
from nodes.wire import virtio
from nodes.wire.checksum import Buffer


@dataclass(frozen=True, slots=True)
class Recording:
    """Where a node records. `epoch` is nanoseconds of the monotonic clock, `epoch_wall` the same instant since 1970."""

    folder: Path
    epoch: int
    epoch_wall: int


class Recorder:
    """`trace` is the node's tracer. Raises OSError where the files cannot be opened; afterwards a full disk stops the
    recording, is said in `status`, and never disturbs the node."""

    def __init__(self, config: NodeConfig, recording: Recording) -> None:
        self._config = config
        self._recording = recording
        self._capture: PcapngWriter | None = None
        self._captures = 0
        self._capture_flush: int | None = None
        self._offload = tuple(interface.offload for interface in config.interfaces)
        self._wall_offset = recording.epoch_wall - recording.epoch
        self.trace = SqlogWriter(
            recording.folder / "trace.sqlog",
            node=config.name,
            title=f"{config.lab}/{config.name}",
            start=recording.epoch,
            wall_ns=recording.epoch_wall,
            level=config.trace,
        )

    @property
    def capturing(self) -> bool:
        return self._capture is not None

    def start_capture(self) -> Path:
        """Open the next capture file of this node. Raises MisuseError while one is open, StackError where the file
        cannot be made."""
        if self._capture is not None:
            raise MisuseError(
                "a capture is already running", hint="`lab capture NODE --stop` ends it", errno=errno.EALREADY
            )
        suffix = "" if not self._captures else f".{self._captures + 1}"
        path = self._recording.folder / f"capture{suffix}.pcapng"
        try:
            self._capture = PcapngWriter(path, comment=f"lab {self._config.lab}, node {self._config.name}")
        except OSError as error:
            raise StackError(f"cannot write {path}: {error.strerror}", errno=error.errno) from error
        self._captures += 1
        for interface in self._config.interfaces:
            self._capture.add_interface(interface.name, _description(interface))
        self._capture.flush()  # from now on it is a capture, for whoever opens it while it grows
        return path

    def stop_capture(self, statistics: list[tuple[int, int]]) -> dict[str, object]:
        """Close the capture. `statistics` are (received, dropped) frames of each interface."""
        if self._capture is None:
            raise MisuseError("no capture is running", hint="`lab capture NODE` starts one", errno=errno.EALREADY)
        capture, self._capture, self._capture_flush = self._capture, None, None
        for number, (received, dropped) in enumerate(statistics):
            capture.statistics(number, received, dropped)
        capture.close()
        return {"failed": capture.failed, "lost": capture.lost, "dropped": capture.dropped}

    def frame(self, port: int, frame: Buffer, now: int, *, inbound: bool) -> None:
        """Capture a frame; call it only while `capturing`."""
        if self._capture is not None:
            if self._offload[port]:
                frame = _finished(frame)
            self._capture.packet(port, now + self._wall_offset, frame, inbound)
            if self._capture_flush is None:
                self._capture_flush = now + FLUSH_INTERVAL

    @property
    def flush_deadline(self) -> int | None:
        """When `flush` should be called at the latest (ns); None while nothing waits."""
        return earliest(self.trace.flush_deadline, self._capture_flush)

    def flush(self) -> None:
        """Hand events and frames to the operating system."""
        self._capture_flush = None
        self.trace.flush()
        if self._capture is not None:
            self._capture.flush()

    def status(self) -> dict[str, object]:
        """What was recorded, and what could not be."""
        return {
            "trace": self.trace.level,
            "events": self.trace.events,
            "events_lost": self.trace.lost + self.trace.dropped,
            "capturing": self.capturing,
            "failed": self.trace.failed or (self._capture.failed if self._capture else None),
        }

    def write_state(self, state: dict[str, object]) -> str | None:
        """Write state.json; returns why that failed, or None."""
        try:
            (self._recording.folder / "state.json").write_text(json.dumps(state, indent=1) + "\n")
        except OSError as error:
            return error.strerror
        return None

    def close(self, now: int, statistics: list[tuple[int, int]]) -> None:
        if self._capture is not None:
            self.stop_capture(statistics)
        self.trace.close(now)


def _finished(frame: Buffer) -> Buffer:
    """A frame as a wire would carry it, but for its length. One whose header makes no sense is shown as it came."""
    try:
        return virtio.finish(frame)
    except WireError:
        return memoryview(frame)[virtio.LENGTH :]


def _description(interface: InterfaceConfig) -> str:
    where = f"to {interface.peer}" if interface.peer else "not linked"
    return f"{interface.mac}, {where}"
