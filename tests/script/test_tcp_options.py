"""Options: MSS (RFC 9293 section 3.7.1), window scale, timestamps and PAWS (RFC 7323), SACK blocks (RFC 2018, 2883),
unknown ones and illegal ones (RFC 9293 section 3.1)."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable

import pytest

from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from tests.script.tcp_capture import (
    ACK,
    END,
    FIN,
    MODULUS,
    NOP,
    PSH,
    RST,
    SYN,
    Segment,
    mss,
    sack_permitted,
    timestamps,
    unknown,
    window_scale,
)
from tests.script.tcp_peer import QUIET, Peer
from tests.script.tcp_script import DEFAULTS, THEIRS, Script

Maker = Callable[..., Script]


def sizes(peer: Peer, octets: int = 3000) -> list[int]:
    """The payloads of what leaves when the program sends `octets`, Nagle off."""
    peer.program.socket.set_option("nodelay", True, peer.script.now)
    peer.program.send(bytes(octets))
    lengths = [len(segment.payload) for segment in peer.script.out]
    peer.script.out.clear()
    return lengths


def called(script: Script, options: bytes, win: int = 65535, **segment: int) -> tuple[Peer, Segment]:
    """A peer whose SYN has these options, and the SYN-ACK it gets."""
    peer = script.peer()
    peer.program = script.listen()
    peer.send(SYN, seq=0, options=options, win=win, **segment)
    return peer, peer.expect(SYN | ACK, seq=0, ack=1)


def complete(peer: Peer, win: int = 65535, options: bytes = b"") -> None:
    """The third segment of the handshake."""
    peer.send(ACK, seq=1, ack=1, win=win, options=options)
    peer.program = peer.program.accept()


# ----------------------------------------------------------------------------------------------------------------- MSS


@pytest.mark.parametrize("value", [88, 200, 536, 1000, 1459, 1460])
@pytest.mark.parametrize("passive", [True, False])
def test_mss_of_the_peer(script: Script, value: int, passive: bool) -> None:
    """MUST-14: no payload is longer than the peer said, in either role."""
    peer = script.established(passive=passive, options=mss(value))
    lengths = sizes(peer, 2 * value + 1)
    assert lengths == [value, value, 1]


@pytest.mark.parametrize("passive", [True, False])
def test_no_mss(script: Script, passive: bool) -> None:
    """MUST-15: 536."""
    peer = script.established(passive=passive, options=b"")
    assert sizes(peer) == [536] * 5 + [320]


@pytest.mark.parametrize("value", [1461, 9000, 65535])
def test_mss_larger_than_the_link(script: Script, value: int) -> None:
    """MUST-16: the MTU of our own link limits too."""
    assert sizes(script.established(options=mss(value))) == [1460, 1460, 80]


@pytest.mark.parametrize("value", [0, 1, 7])
def test_mss_that_is_an_attack(script: Script, value: int) -> None:
    """MUST-14: neither a loop nor a segment per octet: no stack goes below some tens."""
    lengths = sizes(script.established(options=mss(value)), 100)
    assert sum(lengths) == 100
    assert len(lengths) <= 5


@pytest.mark.parametrize(("mtu", "value"), [(1500, 1460), (600, 560), (1280, 1240), (9000, 8960), (576, 536)])
@pytest.mark.parametrize("passive", [True, False])
def test_mss_that_we_announce(make_script: Maker, mtu: int, value: int, passive: bool) -> None:
    """MUST-67, SHLD-5: the MTU less 40, in SYN and in SYN-ACK (it may be left out where it is 536)."""
    script = make_script(mtu=mtu)
    if passive:
        _, syn = called(script, mss(1460))
    else:
        peer = script.peer()
        script.connect(peer)
        syn = peer.expect(SYN, seq=0)
    assert syn.options.mss == value or (value == 536 and syn.options.mss is None)


def test_small_link(make_script: Maker) -> None:
    """MUST-16: what we send fits our own link."""
    script = make_script(mtu=600)
    assert sizes(script.established(options=mss(1460)), 1200) == [560, 560, 80]


def test_mss_follows_the_link(script: Script) -> None:
    """SHLD-6: after a change of the MTU the next SYN says so."""
    script.stack.set_mtu(0, 1000, script.now)
    peer = script.peer()
    script.connect(peer)
    assert peer.expect(SYN, seq=0).options.mss == 960


def test_mss_later_is_none(script: Script) -> None:
    """MUST-65: in a segment without SYN it means nothing."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, options=mss(200))
    assert sizes(peer, 1460) == [1460]


def test_options_count(make_script: Maker) -> None:
    """MUST-16, 7323-App: with timestamps the payload is 12 octets shorter."""
    script = make_script()
    peer, _ = called(script, mss(1000) + timestamps(1))
    complete(peer, options=timestamps(2))
    assert sizes(peer, 1976) == [988, 988]


def test_sack_blocks_count(make_script: Maker) -> None:
    """MUST-16, J-4: data that carries SACK blocks is shorter by their length."""
    script = make_script()
    peer, _ = called(script, mss(1000) + sack_permitted())
    complete(peer)
    peer.send(ACK, seq=101, ack=1, data=THEIRS)
    script.out.clear()
    peer.program.send(bytes(2000))
    assert sum(len(segment.payload) for segment in script.out) >= 1000
    assert all(len(segment.payload) + segment.options.length <= 1000 for segment in script.out)
    script.out.clear()


# -------------------------------------------------------------------------------------------- any option, any segment


SYN_OPTIONS = {
    "mss": mss(500),
    "NOPs before": NOP * 4 + mss(500),
    "NOPs after": mss(500) + NOP * 4,
    "odd": NOP + mss(500),
    "odd by three": NOP * 3 + mss(500),
    "END after": mss(500) + END,
    "END and garbage after": mss(500) + END + b"\x02\x04\x00",
    "unknown before": unknown(253, b"layer") + mss(500),
    "unknown after": mss(500) + unknown(254, b"lab"),
    "unknown without data": unknown(253) + mss(500),
    "many": window_scale(2) + sack_permitted() + timestamps(7) + mss(500),
    "forty octets": NOP * 36 + mss(500),
    "user timeout": unknown(28, b"\x00\x10") + mss(500),
    "fast open": unknown(34) + mss(500),
}


@pytest.mark.parametrize("name", SYN_OPTIONS)
@pytest.mark.parametrize("passive", [True, False])
def test_options_of_syn(script: Script, name: str, passive: bool) -> None:
    """MUST-4, MUST-6, MUST-64: in all orders, at all offsets, between unknown ones, the MSS is found."""
    peer = script.established(passive=passive, options=SYN_OPTIONS[name])
    agreed = 12 if "many" in name else 0
    if agreed:
        peer.send(ACK, seq=1, ack=1, options=timestamps(8))
    assert sizes(peer, 500 - agreed) == [500 - agreed]


def test_nothing_counts_after_the_end(script: Script) -> None:
    """MUST-4: an MSS behind the end of the list is padding."""
    assert sizes(script.established(options=END + mss(1000)), 1000) == [536, 464]


ILLEGAL = {
    "length 0": b"\x02\x00\x05\xb4",
    "length 1": b"\x02\x01\x05\xb4",
    "length past the header": b"\x02\x08\x05\xb4",
    "MSS of 3": b"\x02\x03\x05\x01",
    "MSS of 6": b"\x02\x06\x05\xb4\x00\x00",
    "no length": NOP * 3 + b"\x02",
    "window scale of 4": b"\x03\x04\x07\x00",
    "timestamps of 9": b"\x08\x09" + bytes(7),
    "SACK of 9": b"\x05\x09" + bytes(7),
    "unknown of 0": b"\xfd\x00\x01\x01",
    "unknown of 255": b"\xfd\xff\x01\x01",
    "forty octets of length 0": b"\x1e\x00" * 20,
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_options_of_syn(script: Script, name: str) -> None:
    """MUST-7: the answer is a SYN-ACK or nothing; a proper handshake works afterwards, nothing hangs."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, options=ILLEGAL[name])
    if script.out:
        peer.expect(SYN | ACK, seq=0, ack=1)
        peer.send(RST, seq=1)
    fresh = script.peer(port=5001)
    fresh.send(SYN, seq=0, options=mss(1460))
    fresh.expect(SYN | ACK, seq=0, ack=1)
    fresh.send(ACK, seq=1, ack=1)
    assert listener.accept().state is State.ESTABLISHED


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_options_of_data(script: Script, name: str) -> None:
    """MUST-7: such a segment is taken or dropped; the next one is taken."""
    peer = script.established()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x", options=ILLEGAL[name])
    script.advance(QUIET)
    script.out.clear()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"xy")
    peer.expect_ack(seq=1, ack=3)
    assert peer.program.sees() == b"xy"


ANY_OPTIONS = {
    "NOPs": NOP * 8,
    "END": END * 4,
    "unknown": unknown(253, b"whatever"),
    "mss": mss(200),
    "window scale": window_scale(14),
    "SACK permitted": sack_permitted(),
    "timestamps": timestamps(5, 6),
    "user timeout": unknown(28, b"\x00\x10"),
    "forty octets": unknown(254, bytes(38)),
}


@pytest.mark.parametrize("name", ANY_OPTIONS)
@pytest.mark.parametrize("kind", ["data", "fin", "ack"])
def test_options_of_any_segment(script: Script, name: str, kind: str) -> None:
    """MUST-5, MUST-6: options that were not agreed on are skipped; the segment counts."""
    peer = script.in_state(State.ESTABLISHED)
    options = ANY_OPTIONS[name]
    if kind == "data":
        peer.send(ACK | PSH, seq=101, ack=101, data=THEIRS, options=options)
        peer.expect_ack(seq=201, ack=201)
        assert peer.program.sees() == THEIRS
    elif kind == "fin":
        peer.send(FIN | ACK, seq=101, ack=101, options=options)
        peer.expect_ack(seq=201, ack=102)
        assert peer.program.sees() == b""
    else:
        peer.send(ACK, seq=101, ack=201, options=options)
        assert peer.program.socket.unsent == 0
    peer.expect_nothing()


# -------------------------------------------------------------------------------------------------------- window scale


def test_window_scale_answered(make_script: Maker) -> None:
    """7323-2.2a: in the SYN-ACK where the SYN had it, in ours always."""
    script = make_script()
    _, syn_ack = called(script, mss(1460) + window_scale(7))
    assert syn_ack.options.window_scale is not None
    peer = script.peer(port=5001, local_port=81)
    script.connect(peer)
    assert peer.expect(SYN, seq=0).options.window_scale is not None


def test_window_scale_not_offered(script: Script) -> None:
    """7323-2.2a: none in the SYN-ACK where the SYN had none; windows are plain then, both ways."""
    peer, syn_ack = called(script, mss(1460))
    assert syn_ack.options.window_scale is None
    complete(peer, win=2920)
    assert sizes(peer, 10_000) == [1460, 1460]
    assert peer.edge == 65536


def test_window_scale_not_answered(script: Script) -> None:
    """7323-2.2a: we offered, the SYN-ACK has none: our own windows are plain too."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=2920)
    assert sizes(peer, 10_000) == [1460, 1460]
    assert peer.edge == 65536


def test_our_window_scaled(script: Script) -> None:
    """7323-2.2b: 65,535 at most in the SYN-ACK, more as soon as it can be said."""
    peer = script.peer()
    peer.program = script.listen()
    peer.program.socket.set_option("receive_limit", DEFAULTS.receive_buffer, script.now)
    peer.send(SYN, seq=0, options=mss(1460) + window_scale(7))
    syn_ack = peer.expect(SYN | ACK, seq=0, ack=1)
    assert syn_ack.window == min(65535, DEFAULTS.receive_buffer)
    complete(peer)
    peer.send(ACK | PSH, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=101)
    assert 65_536 + 101 < peer.edge <= DEFAULTS.receive_buffer + 101


def test_scale_fits_the_buffer(make_script: Maker) -> None:
    """7323-2.3: a small buffer needs no scale; the option may still say 0, which lets the peer scale."""
    script = make_script(dataclasses.replace(DEFAULTS, receive_buffer=20_000))
    peer, syn_ack = called(script, mss(1460) + window_scale(7))
    assert syn_ack.options.window_scale == 0
    complete(peer)
    assert peer.edge == 20_001


def test_window_of_a_syn_is_not_scaled(script: Script) -> None:
    """7323-2.2b: that of a SYN-ACK, literally."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    program.send(bytes(10_000))
    peer.send(SYN | ACK, seq=0, ack=1, win=2920, options=mss(1460) + window_scale(7))
    total = sum(len(segment.payload) for segment in script.out)
    script.out.clear()
    assert total == 2920


@pytest.mark.parametrize("shift", [1, 7, 14])
def test_windows_after_the_handshake_are_scaled(script: Script, shift: int) -> None:
    """7323-2.2b: those of the third segment and of all after it."""
    peer, _ = called(script, mss(512) + window_scale(shift), win=100)
    complete(peer, win=max(2048 >> shift, 1))
    window = max(2048 >> shift, 1) << shift
    assert sum(sizes(peer, 5000)) == min(window, 5000, 10 * 512)


@pytest.mark.parametrize("shift", [14, 15, 16, 31, 32, 255])
def test_shift_over_14(script: Script, shift: int) -> None:
    """7323-2.3: is used as 14."""
    peer, _ = called(script, mss(1024) + window_scale(shift))
    complete(peer, win=1)
    peer.program.send(bytes(200_000))
    for _ in range(4):
        script.out.clear()
        before = peer.flow.nxt
        peer.send(ACK, seq=1, ack=before, win=1)
    script.out.clear()
    assert peer.flow.nxt - before == 1 << 14


def test_window_scale_switched_off(make_script: Maker) -> None:
    """7323-2.2a: a node that does not want it neither offers nor answers."""
    script = make_script(dataclasses.replace(DEFAULTS, window_scale=False))
    peer, syn_ack = called(script, mss(1460) + window_scale(7))
    assert syn_ack.options.window_scale is None
    complete(peer, win=2920)
    assert sizes(peer, 10_000) == [1460, 1460]


def test_right_edge_with_scaled_windows(script: Script) -> None:
    """7323-2.4, SHLD-14: rounding never moves the edge back (the flow's rules look at every segment)."""
    peer, _ = called(script, mss(1460) + window_scale(7))
    complete(peer)
    seq = 1
    for length in (1, 3, 127, 129, 1000, 1460, 77) * 6:
        peer.send(ACK | PSH, seq=seq, ack=1, data=bytes(length))
        seq += length
        peer.expect_ack(seq=1, ack=seq)
        if length == 129:
            peer.program.receive(50)
    script.out.clear()


# ---------------------------------------------------------------------------------------------------------- timestamps


def stamped(script: Script, value: int = 1000) -> Peer:
    """A connection with timestamps, opened by the peer, whose last TSval is `value`."""
    peer, _ = called(script, mss(1460) + timestamps(value))
    complete(peer, options=timestamps(value))
    return peer


def echo(segment: Segment) -> int:
    assert segment.options.timestamps is not None
    return segment.options.timestamps[1]


def test_timestamps_answered(script: Script) -> None:
    """7323-3.2a: in the SYN-ACK where the SYN had them, with its TSval as echo."""
    _, syn_ack = called(script, mss(1460) + timestamps(0xFFFFFFF0))
    assert echo(syn_ack) == 0xFFFFFFF0


def test_timestamps_not_offered(script: Script) -> None:
    """7323-3.2a: none in the SYN-ACK, none later (the flow's rules look at every segment)."""
    peer, syn_ack = called(script, mss(1460))
    assert syn_ack.options.timestamps is None
    complete(peer)
    assert sizes(peer, 1460) == [1460]


def test_timestamps_not_answered(script: Script) -> None:
    """7323-3.2a: the peer's SYN-ACK has none: none later, and its later ones are ignored."""
    peer = script.established()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x", options=timestamps(7))
    assert peer.expect_ack(seq=1, ack=2).options.timestamps is None


def test_our_syn_has_timestamps(script: Script) -> None:
    """7323-3.2c: TSecr is 0 in a SYN, which acknowledges nothing."""
    peer = script.peer()
    script.connect(peer)
    value, echoed = peer.expect(SYN, seq=0).options.timestamps
    assert echoed == 0
    script.advance(SECOND)
    later, _ = peer.expect(SYN, seq=0).options.timestamps
    assert 1 <= later - value <= 1000


def test_every_segment_has_timestamps(script: Script) -> None:
    """7323-3.2a: data, acknowledgments, FIN, retransmissions (the flow's rules), with the newest echo."""
    peer = stamped(script)
    peer.program.send(b"data")
    assert echo(peer.expect(ACK, seq=1, ack=1, data=b"data")) == 1000
    script.advance_to_output(2 * SECOND)
    peer.expect(ACK, seq=1, ack=1, data=b"data")
    peer.send(ACK, seq=1, ack=5, options=timestamps(1500))
    peer.program.close()
    assert echo(peer.expect(FIN | ACK, seq=5, ack=1)) == 1500


def test_timestamps_switched_off(make_script: Maker) -> None:
    """7323-3.2a: a node that does not want them neither offers nor answers."""
    script = make_script(dataclasses.replace(DEFAULTS, timestamps=False))
    _, syn_ack = called(script, mss(1460) + timestamps(1))
    assert syn_ack.options.timestamps is None


def test_timestamp_clock(script: Script) -> None:
    """7323-4.1: between 1 ms and 1 s per tick."""
    peer = stamped(script)
    values = []
    for index in range(3):
        peer.send(ACK, seq=0, ack=1, options=timestamps(1000))
        values.append(peer.expect(ACK, seq=1, ack=1).options.timestamps[0])
        script.advance(SECOND)
        assert index or values
    assert 1 <= values[1] - values[0] <= 1000
    assert values[2] - values[1] == values[1] - values[0]


def test_timestamp_wraps(script: Script) -> None:
    """J-2: our clock passes 2^32 while the connection lives."""
    script.sequences.offset = (MODULUS - script.now // MILLISECOND - 500) % MODULUS
    peer = stamped(script)
    for index in range(4):
        peer.send(ACK | PSH, seq=1 + index, ack=1, data=b"x", options=timestamps(1001 + index))
        peer.expect_ack(seq=1, ack=2 + index)
        script.advance(300 * MILLISECOND)


@pytest.mark.parametrize("padding", [b"", NOP, NOP * 2, NOP * 3])
def test_odd_timestamps(script: Script, padding: bytes) -> None:
    """MUST-64: at any offset."""
    peer = stamped(script)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x", options=padding + timestamps(2000))
    assert echo(peer.expect_ack(seq=1, ack=2)) == 2000


def test_echo_of_the_first_unacknowledged_segment(script: Script) -> None:
    """7323-4.3 (case A): an ACK for two segments echoes the older, which includes the delay."""
    peer = stamped(script)
    for index in range(20):  # past the acknowledgments at once, with which a connection may begin
        peer.send(ACK | PSH, seq=1 + index, ack=1, data=b"x", options=timestamps(1001))
        peer.expect_ack(seq=1, ack=2 + index)
        script.advance(SECOND)
    with script.burst():
        peer.send(ACK | PSH, seq=21, ack=1, data=bytes(1448), options=timestamps(2000))
        peer.send(ACK | PSH, seq=1469, ack=1, data=bytes(1448), options=timestamps(2001))
    assert echo(peer.expect_ack(seq=1, ack=2917)) == 2000


def test_echo_beside_a_gap(script: Script) -> None:
    """7323-4.3 (cases B and C): a segment beyond a gap is not echoed; the one that fills the gap is."""
    peer = stamped(script)
    peer.send(ACK, seq=1, ack=1, data=THEIRS, options=timestamps(1100))
    assert echo(peer.expect_ack(seq=1, ack=101)) == 1100
    peer.send(ACK, seq=201, ack=1, data=THEIRS, options=timestamps(1300))
    assert echo(peer.expect(ACK, seq=1, ack=101)) == 1100
    peer.send(ACK, seq=301, ack=1, data=THEIRS, options=timestamps(1400))
    assert echo(peer.expect(ACK, seq=1, ack=101)) == 1100
    peer.send(ACK, seq=101, ack=1, data=THEIRS, options=timestamps(1200))
    assert echo(peer.expect(ACK, seq=1, ack=401)) == 1200


def test_echo_is_not_that_of_an_old_segment(script: Script) -> None:
    """7323-4.3, 7323-5.3a: a duplicate with an older TSval changes nothing."""
    peer = stamped(script)
    peer.send(ACK, seq=1, ack=1, data=THEIRS, options=timestamps(1100))
    peer.expect_ack(seq=1, ack=101)
    peer.send(ACK, seq=1, ack=1, data=THEIRS, options=timestamps(1050))
    assert echo(peer.expect(ACK, seq=1, ack=101)) == 1100


def test_missing_timestamps(script: Script) -> None:
    """7323-3.2b, deliberately different: a segment without its timestamps is taken, as Linux does (gVisor #11536:
    middleboxes remove options); the RFC would have it dropped."""
    peer = stamped(script)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x")
    peer.expect_ack(seq=1, ack=2)
    assert peer.program.sees() == b"x"


# --------------------------------------------------------------------------------------------------------------- PAWS


@pytest.mark.parametrize("age", [1, 2, 1000, 1 << 20, (1 << 31) - 1])
def test_paws(script: Script, age: int) -> None:
    """7323-5.3a: data with an older TSval is answered and dropped, no reset."""
    peer = stamped(script)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"old", options=timestamps(1000 - age))
    peer.expect(ACK, seq=1, ack=1)
    assert peer.program.sees() is None
    peer.send(ACK | PSH, seq=1, ack=1, data=b"new", options=timestamps(1000))
    peer.expect_ack(seq=1, ack=4)
    assert peer.program.sees() == b"new"


@pytest.mark.parametrize("ahead", [0, 1, 1 << 20, (1 << 31) - 1])
def test_paws_takes_what_is_newer(script: Script, ahead: int) -> None:
    """7323-5.2: modulo 2^32."""
    peer = stamped(script, 0xFFFFFFF0)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"new", options=timestamps(0xFFFFFFF0 + ahead))
    peer.expect_ack(seq=1, ack=4)
    assert peer.program.sees() == b"new"


def test_paws_exempts_resets(script: Script) -> None:
    """7323-5.3b: a RST at RCV.NXT resets, whatever its timestamps."""
    peer = stamped(script)
    peer.send(RST, seq=1, options=timestamps(1))
    assert peer.program.sees() == errno.ECONNRESET


@pytest.mark.parametrize("flags", [FIN | ACK, ACK, SYN, ACK | PSH])
def test_paws_comes_before_everything_else(script: Script, flags: int) -> None:
    """7323-5.3b: FIN, acknowledgment, SYN and window of an old segment do not count."""
    peer = stamped(script)
    peer.program.send(b"unacknowledged")
    peer.expect(ACK, seq=1, ack=1, data=b"unacknowledged")
    peer.send(flags, seq=1, ack=15, win=0, options=timestamps(900))
    peer.expect(ACK, seq=15, ack=1)
    assert peer.state is State.ESTABLISHED
    assert peer.program.socket.unsent == 14


@pytest.mark.parametrize(
    ("flags", "ack"),
    [(SYN, 0), (SYN | ACK, 1), (ACK, 5000), (ACK, -70_000), (0, 0), (PSH, 0)],
    ids=["SYN", "SYN-ACK", "future ACK", "too old ACK", "no flags", "no ACK"],
)
def test_dropped_segments_leave_no_timestamp(script: Script, flags: int, ack: int) -> None:
    """5961-4.2, 5961-5.2, B-ACK-1, B-ACK-3: what is dropped changes nothing, TS.Recent neither: after a
    forged segment with a TSval of tomorrow all that is real would look old. (Appendix D of RFC 7323 takes it with the
    sequence check; Linux waits for the checks that follow.)"""
    peer = stamped(script)
    peer.send(flags, seq=1, ack=ack, options=timestamps(1000 + (1 << 30)))
    script.out.clear()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"real", options=timestamps(1001))
    peer.expect_ack(seq=1, ack=5)
    assert peer.program.sees() == b"real"


def test_paws_in_fin_wait_2(script: Script) -> None:
    """7323-5.3a: in later states as well."""
    peer = stamped(script)
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2, options=timestamps(1001))
    peer.send(FIN | ACK, seq=1, ack=2, options=timestamps(900))
    peer.expect(ACK, seq=2, ack=1)
    assert peer.state is State.FIN_WAIT_2


def test_paws_after_a_long_silence(script: Script) -> None:
    """7323-5.5: after 24 days the peer's clock may have wrapped: its timestamp is taken as it is."""
    peer = stamped(script)
    script.advance(25 * 24 * 3600 * SECOND)
    script.out.clear()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"hello again", options=timestamps(999))
    assert echo(peer.expect_ack(seq=1, ack=12)) == 999
    assert peer.program.sees() == b"hello again"


def test_paws_within_a_long_silence(script: Script) -> None:
    """7323-5.5: not earlier."""
    peer = stamped(script)
    script.advance(23 * 24 * 3600 * SECOND)
    script.out.clear()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"old", options=timestamps(999))
    peer.expect(ACK, seq=1, ack=1)


def test_reordered_segments_are_not_old(script: Script) -> None:
    """7323-5.3 and 4.3: what waits behind a gap is not put through PAWS again (a defect of PyTCP): it was acknowledged
    by SACK, and must be delivered."""
    peer, _ = called(script, mss(1460) + timestamps(1000) + sack_permitted())
    complete(peer, options=timestamps(1000))
    for index in range(1, 5):
        peer.send(ACK, seq=1 + 100 * index, ack=1, data=THEIRS, options=timestamps(1000 + index))
        script.out.clear()
    peer.send(ACK, seq=1, ack=1, data=THEIRS, options=timestamps(1500))
    peer.expect(ACK, seq=1, ack=501)
    assert peer.program.sees() == THEIRS * 5


# ---------------------------------------------------------------------------------------------------------------- SACK


def selective(script: Script, options: bytes = b"") -> Peer:
    peer, syn_ack = called(script, mss(1460) + sack_permitted() + options)
    assert syn_ack.options.sack_permitted
    complete(peer, options=timestamps(1001) if options else b"")
    return peer


def blocks(peer: Peer, segment: Segment) -> list[tuple[int, int]]:
    """The SACK blocks of a segment, relative."""
    return [tuple((edge - peer.irs) % MODULUS for edge in block) for block in segment.options.sack]  # type: ignore[misc]


def test_sack_permitted_answered(script: Script) -> None:
    """2018-2: only where the SYN had it."""
    _, syn_ack = called(script, mss(1460))
    assert not syn_ack.options.sack_permitted


def test_no_sack_without_permission(script: Script) -> None:
    """2018-2: duplicate acknowledgments are bare."""
    peer = script.established()
    peer.send(ACK, seq=101, ack=1, data=THEIRS)
    assert not peer.expect(ACK, seq=1, ack=1).options.sack


def test_sack_switched_off(make_script: Maker) -> None:
    """2018-2: a node that does not want it does not answer."""
    script = make_script(dataclasses.replace(DEFAULTS, sack=False))
    _, syn_ack = called(script, mss(1460) + sack_permitted())
    assert not syn_ack.options.sack_permitted


def test_newest_block_first(script: Script) -> None:
    """2018-4a: segments C, E, G beyond gaps: each ACK begins with the block of what came last."""
    peer = selective(script)
    seen = []
    for seq in (201, 601, 401):
        peer.send(ACK, seq=seq, ack=1, data=THEIRS)
        seen.append(blocks(peer, peer.expect(ACK, seq=1, ack=1)))
    assert seen == [[(201, 301)], [(601, 701), (201, 301)], [(401, 501), (601, 701), (201, 301)]]


def test_blocks_are_merged(script: Script) -> None:
    """2018-4c: what touches is one block (PyTCP never merged them)."""
    peer = selective(script)
    for seq in (201, 401):
        peer.send(ACK, seq=seq, ack=1, data=THEIRS)
        peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=301, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(201, 501)]
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=101)) == [(201, 501)]
    peer.send(ACK, seq=101, ack=1, data=THEIRS)
    assert not peer.expect(ACK, seq=1, ack=501).options.sack


def test_a_fin_with_data_beyond_a_gap(script: Script) -> None:
    """2018-4: it has a number like any octet; a sender that did not see it would send the segment again."""
    peer = selective(script)
    peer.send(ACK | FIN, seq=101, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(101, 202)]
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    assert not peer.expect(ACK, seq=1, ack=202).options.sack


def test_a_fin_alone_beyond_a_gap(script: Script) -> None:
    """2018-4a: a block of its own, and the first as long as nothing comes after it."""
    peer = selective(script)
    peer.send(ACK, seq=201, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(201, 301)]
    peer.send(ACK | FIN, seq=501, ack=1)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(501, 502), (201, 301)]
    peer.send(ACK, seq=101, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(101, 301), (501, 502)]
    peer.send(ACK, seq=401, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(401, 502), (101, 301)]
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=301)) == [(401, 502)]
    peer.send(ACK, seq=301, ack=1, data=THEIRS)
    assert not peer.expect(ACK, seq=1, ack=502).options.sack
    assert peer.program.sees() == THEIRS * 5


def test_a_fin_after_all_data_that_is_missing(script: Script) -> None:
    """Nothing but the FIN is held; repeated data that is reported comes before it (2883-4)."""
    peer = selective(script)
    peer.send(ACK | FIN, seq=101, ack=1)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(101, 102)]
    peer.send(ACK, seq=1, ack=1, data=THEIRS[:50])
    assert blocks(peer, peer.expect(ACK, seq=1, ack=51)) == [(101, 102)]
    peer.send(ACK, seq=1, ack=1, data=THEIRS[:50])
    assert blocks(peer, peer.expect(ACK, seq=1, ack=51)) == [(1, 51), (101, 102)]
    peer.send(ACK, seq=51, ack=1, data=THEIRS[50:])
    assert not peer.expect(ACK, seq=1, ack=102).options.sack


def test_room_for_the_block_of_a_fin(script: Script) -> None:
    """Segments with data leave room for it, too (RFC 9293 section 3.7.1)."""
    peer = selective(script)
    peer.send(ACK | FIN, seq=101, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    peer.program.send(bytes(1460))
    segment = peer.expect(ACK, seq=1, ack=1, data=bytes(1460 - 12))
    assert blocks(peer, segment) == [(101, 102)]
    peer.expect(ACK | PSH, seq=1449, ack=1, data=bytes(12))


@pytest.mark.parametrize(("options", "most"), [(b"", 4), (timestamps(1000), 3)])
def test_as_many_blocks_as_fit(script: Script, options: bytes, most: int) -> None:
    """2018-4b: four, or three beside timestamps; the most recent ones."""
    peer = selective(script, options)
    later = timestamps(1001) if options else b""
    for index in range(6):
        peer.send(ACK, seq=201 + 200 * index, ack=1, data=THEIRS, options=later)
        newest = [(201 + 200 * back, 301 + 200 * back) for back in range(index, -1, -1)]
        assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == newest[:most]


def test_duplicate_below_the_acknowledgment(script: Script) -> None:
    """2883-4: data that came twice is reported in the first block."""
    peer = selective(script)
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=101)
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=101)) == [(1, 101)]


def test_duplicate_above_the_acknowledgment(script: Script) -> None:
    """2883-4: then the second block is the one that contains it."""
    peer = selective(script)
    peer.send(ACK, seq=201, ack=1, data=THEIRS * 2)
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=301, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=1)) == [(301, 401), (201, 401)]


def test_partly_duplicate(script: Script) -> None:
    """2883-4: only the part that came before."""
    peer = selective(script)
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=101)
    peer.send(ACK, seq=51, ack=1, data=THEIRS)
    assert blocks(peer, peer.expect(ACK, seq=1, ack=151)) == [(51, 101)]


@pytest.mark.parametrize(
    "edges",
    [(201, 101), (101, 101), (5000, 6000), (-5000, -4000), (1 << 30, 1 << 31)],
    ids=["backwards", "empty", "never sent", "long ago", "far"],
)
def test_impossible_blocks_of_the_peer(script: Script, edges: tuple[int, int]) -> None:
    """2018-8, RFC 2883 section 4: blocks that cannot be are ignored: what is lost is sent again."""
    peer = selective(script)
    peer.program.send(THEIRS)
    peer.expect(ACK, seq=1, ack=1, data=THEIRS)
    peer.send(ACK, seq=1, ack=1, options=peer.sack(edges))
    script.advance_to_output(2 * SECOND)
    peer.expect(ACK, seq=1, ack=1, data=THEIRS)
    peer.send(ACK, seq=1, ack=101)
    peer.expect_nothing(10 * SECOND)
