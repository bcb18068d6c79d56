"""The rules of `tcp_capture` can fail: each broken segment is refused, with the id of the rule in the message."""

from __future__ import annotations

import pytest

from nodes.wire import ipv4
from tests.script.tcp_capture import (
    ACK,
    END,
    RST,
    SYN,
    Flow,
    Options,
    build,
    mss,
    read,
    read_options,
    sack,
    sack_permitted,
    timestamps,
    unknown,
    window_scale,
)
from tests.script.tcp_peer import NODE, PEER


def sent(flags: int, seq: int, ack: int = 0, win: int = 1000, time: int = 0, **fields: object):
    segment = build(NODE, PEER, 80, 5000, seq, ack, flags, win, **fields)  # type: ignore[arg-type]
    return read(ipv4.build(NODE, PEER, 6, segment), time)


def flow(own: bytes = mss(1460), offered: bytes = mss(1460)) -> Flow:
    """A flow of which both SYNs were seen: numbers 1000 and 5000."""
    result = Flow(1500)
    result.peer_opens(read_options(offered + bytes(-len(offered) % 4)))
    result.check(sent(SYN | ACK, 1000, 5001, options=own))
    return result


def test_a_good_flow() -> None:
    rules = flow(mss(1460) + timestamps(7, 1) + window_scale(2), mss(1000) + timestamps(1) + window_scale(1))
    rules.check(sent(ACK, 1001, 5001, options=timestamps(8, 1), payload=bytes(988)))
    rules.check(sent(ACK, 1001, 5100, win=990, options=timestamps(8, 1), payload=bytes(988)))
    rules.check(sent(RST, 77))
    assert (rules.nxt, rules.shift, rules.peer_shift) == (989, 2, 1)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"checksum_field": 1}, "MUST-2"),
        ({"data_offset": 4}, "data offset"),
        ({"reserved": 1}, "reserved"),
        ({"urgent": 9}, "urgent pointer"),
        ({"options": END + b"\1\1\1"}, "MUST-69"),
        ({"options": b"\2\0\1\1"}, "MUST-68"),
        ({"options": b"\2\6\1\1"}, "MUST-68"),
        ({"options": mss(1) + mss(2)}, "twice"),
        ({"options": unknown(253, b"??")}, "option 253"),
    ],
)
def test_a_segment_that_nobody_should_send(fields: dict[str, object], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        sent(ACK, 1, 2, **fields)


def test_acknowledgment_number_without_the_flag() -> None:
    packet = bytearray(build(NODE, PEER, 80, 5000, 1, 2, SYN, 0))
    with pytest.raises(AssertionError, match="without ACK"):
        read(ipv4.build(NODE, PEER, 6, bytes(packet)), 0)


STAMPED = mss(1460) + timestamps(7)


@pytest.mark.parametrize(
    ("own", "offered", "segment", "rule"),
    [
        (mss(1460), mss(1460), {"options": mss(1460)}, "MUST-65"),
        (mss(1460), mss(1460), {"options": sack((1, 2))}, "2018-2"),
        (mss(1460), mss(1460), {"options": timestamps(1)}, "7323-3.2a"),
        (STAMPED, STAMPED, {}, "7323-3.2a"),
        (STAMPED, STAMPED, {"options": timestamps(6)}, "TSval went back"),
        (mss(1460), mss(1000), {"payload": bytes(1001)}, "J-4"),
        (mss(1460), b"", {"payload": bytes(537)}, "J-4"),
        (mss(1460), mss(9000), {"payload": bytes(1461)}, "J-4"),
        (STAMPED, STAMPED, {"payload": bytes(1449), "options": timestamps(8)}, "J-4"),
        (mss(1460), mss(1460), {"seq": 1002}, "J-2: sequence"),
        (mss(1460), mss(1460), {"ack": 5000}, "acknowledgment number went back"),
        (mss(1460), mss(1460), {"win": 999}, "SHLD-14"),
    ],
)
def test_a_segment_that_breaks_a_rule(own: bytes, offered: bytes, segment: dict[str, object], rule: str) -> None:
    rules = flow(own, offered)
    with pytest.raises(AssertionError, match=rule):
        rules.check(sent(**{"flags": ACK, "seq": 1001, "ack": 5001, **segment}))  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [window_scale(1), sack_permitted(), timestamps(1)])
def test_an_answer_to_nothing(option: bytes) -> None:
    with pytest.raises(AssertionError, match="not in SYN"):
        flow(own=mss(1460) + option)


def test_other_contents_in_a_retransmission() -> None:
    rules = flow()
    rules.check(sent(ACK, 1001, 5001, payload=b"abc"))
    rules.check(sent(ACK, 1002, 5001, payload=b"bcd"))
    with pytest.raises(AssertionError, match="J-3"):
        rules.check(sent(ACK, 1003, 5001, payload=b"cX"))


def test_timestamp_echo_in_a_syn() -> None:
    with pytest.raises(AssertionError, match=r"7323-3\.2c"):
        Flow(1500).check(sent(SYN, 1, options=timestamps(1, 2)))


def test_another_number_in_a_repeated_syn() -> None:
    rules = Flow(1500)
    rules.check(sent(SYN, 1))
    with pytest.raises(AssertionError, match="another ISS"):
        rules.check(sent(SYN, 2))
    assert rules.own == Options()
