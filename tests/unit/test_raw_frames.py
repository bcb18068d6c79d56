"""Frames of others: which interface they go out by, and what is no frame."""

from __future__ import annotations

import errno

import pytest

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import MisuseError
from nodes.raw_frames import check_frame, not_taken

ONE = InterfaceConfig("eth0", "02:00:00:00:00:01")
TWO = InterfaceConfig("eth1", "02:00:00:00:00:02")
CABLE = InterfaceConfig("ppp0", "02:00:00:00:00:03", kind="ip")


def node(*interfaces: InterfaceConfig, **rest: object) -> NodeConfig:
    return NodeConfig("lab", "a", interfaces=interfaces, **rest)  # type: ignore[arg-type]


def test_ports() -> None:
    assert check_frame(node(ONE), None, bytes(14)) == 0
    assert check_frame(node(ONE, TWO), "eth1", bytes(14)) == 1
    assert check_frame(node(CABLE), None, bytes(20)) == 0
    assert check_frame(node(ONE, kind="switch"), "eth0", bytes(2000)) == 0, "a link's length is the link's business"


@pytest.mark.parametrize(
    ("config", "interface", "octets", "says", "hint"),
    [
        (node(ONE), None, 13, "a frame of 13 octets on eth0, at least 14 expected", ""),
        (node(CABLE), None, 19, "a packet of 19 octets on ppp0, at least 20 expected", ""),
        (node(ONE, TWO), None, 60, "a frame of a, by which interface?", "it has eth0, eth1"),
        (node(), None, 60, "a frame of a, by which interface?", "it has none"),
        (node(ONE, TWO), "eth2", 60, "a has no interface 'eth2'", "did you mean 'eth1'?"),
        (node(ONE, TWO), "wlan", 60, "a has no interface 'wlan'", "it has eth0, eth1"),
        (
            node(ONE, stack="kernel"),
            None,
            60,
            "the stack of a is the kernel's: frames of others go through ours only",
            "run a Linux program there that sends them",
        ),
    ],
)
def test_what_cannot_be(config: NodeConfig, interface: str | None, octets: int, says: str, hint: str) -> None:
    with pytest.raises(MisuseError) as caught:
        check_frame(config, interface, bytes(octets))
    assert (caught.value.message, caught.value.hint) == (says, hint)


@pytest.mark.parametrize(
    ("reason", "says"), [("ENETDOWN", "it is down"), ("EMSGSIZE", "it is longer than the MTU"), ("EPERM", "EPERM")]
)
def test_what_a_link_does_not_take(reason: str, says: str) -> None:
    error = not_taken("eth0", reason)
    assert error.message == f"eth0 does not take the frame: {says}"
    assert error.errno == getattr(errno, reason)
