"""The kernel's messages about interfaces: parsed strictly, and nothing in them makes the node fail."""

from __future__ import annotations

import sys
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.io.link_monitor import LinkState, parse

UP, RUNNING, LOWER_UP = 1, 0x40, 0x10000


def attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, flags: int, name: str = "eth0", mtu: int = 1500) -> bytes:
    body = pack("=BxHiII", 0, 1, 7, flags, 0) + attribute(3, name.encode() + b"\0")
    body += attribute(4, mtu.to_bytes(4, sys.byteorder))
    return pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("kind", "flags", "up"),
    [
        (16, UP | RUNNING, True),
        (16, UP | RUNNING | LOWER_UP, True),
        (16, UP | LOWER_UP, False),  # a carrier, but the kernel still drops what is sent
        (16, RUNNING, False),
        (16, 0, False),
        (17, UP | RUNNING, False),  # deleted
    ],
)
def test_up_means_running(kind: int, flags: int, up: bool) -> None:
    assert list(parse(message(kind, flags))) == [LinkState("eth0", up, 1500)]


def test_several_messages_in_a_datagram() -> None:
    data = message(16, UP | RUNNING) + message(3, 0) + message(16, 0, "eth1", 1400)
    assert list(parse(data)) == [LinkState("eth0", True, 1500), LinkState("eth1", False, 1400)]


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    for state in parse(data):
        assert isinstance(state.interface, str)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_attributes(tail: bytes, cut: int) -> None:
    data = message(16, UP) + tail
    list(parse(data[: len(data) - cut]))
