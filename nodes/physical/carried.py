"""A frame inside a line, with what its stages must know of it."""

from __future__ import annotations


class Carried:
    """`frame` is the whole Ethernet frame. Times in ns: `arrived` when it entered the line, `due` when it leaves the
    stage it is in. `is_copy`: made by netem's duplication, which is not done to it again. `note` is a number that
    belongs to the stage that holds the frame, such as the time at which it was queued."""

    __slots__ = ("arrived", "due", "frame", "is_copy", "note")

    def __init__(self, frame: bytes, arrived: int, *, is_copy: bool = False) -> None:
        self.frame = frame
        self.arrived = arrived
        self.due = arrived
        self.is_copy = is_copy
        self.note = 0
