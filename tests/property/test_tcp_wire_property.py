"""TCP segments and options for any bytes and any values: a value or a WireError, and build then parse is identity."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from nodes.errors import WireError
from nodes.transport.tcp.sequence import CIRCLE, unwrap, wrap
from nodes.wire import tcp, tcp_options
from nodes.wire.addresses import Ip4
from nodes.wire.summary import summarize
from nodes.wire.tcp_options import NO_OPTIONS, Options

OCTET = st.integers(0, 0xFF)
WORD = st.integers(0, 0xFFFF)
LONG = st.integers(0, 0xFFFF_FFFF)
IPS = LONG.map(Ip4)
PAIR = st.tuples(LONG, LONG)
PAYLOADS = st.binary(max_size=80)
SECONDS, MINUTES = st.integers(0, 0x7FFF), st.integers(0x8000 // 60 + 1, 0x7FFF)
HEADS = st.tuples(WORD, WORD, LONG, LONG, OCTET, WORD)
OPTIONS = st.binary(max_size=40)

FIELDS = {"header", "data offset", "checksum"}


def naive_checksum(source: int, destination: int, segment: bytes) -> int:
    """RFC 9293 section 3.1 word by word, pseudo header first."""
    data = source.to_bytes(4, "big") + destination.to_bytes(4, "big") + b"\x00\x06" + len(segment).to_bytes(2, "big")
    data += segment
    total = 0
    for position in range(0, len(data), 2):
        total += int.from_bytes(data[position : position + 2].ljust(2, b"\x00"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@given(data=st.binary(max_size=120), source=IPS, destination=IPS, verified=st.booleans())
def test_any_bytes_give_a_segment_or_a_wire_error(data: bytes, source: Ip4, destination: Ip4, verified: bool) -> None:
    try:
        segment = tcp.parse(data, source, destination, verified=verified)
    except WireError as error:
        assert error.protocol == "tcp"
        assert error.field in FIELDS
        assert 0 <= error.offset <= len(data)
        assert not (verified and error.field == "checksum")
    else:
        assert len(segment.payload) <= len(data) - 20


@given(head=HEADS, raw=OPTIONS, payload=PAYLOADS, source=IPS, destination=IPS, urgent=WORD)
@example(head=(0,) * 6, raw=b"", payload=b"", source=Ip4(0), destination=Ip4(0), urgent=0)
def test_build_then_parse_is_identity(
    head: tuple[int, int, int, int, int, int], raw: bytes, payload: bytes, source: Ip4, destination: Ip4, urgent: int
) -> None:
    """MUST-2, MUST-3, MUST-5, whatever the octets of the options are"""
    built = tcp.build(source, destination, *head, urgent=urgent, options=raw, payload=payload)
    segment = tcp.parse(built, source, destination)
    assert segment[:7] == (*head, urgent)
    assert segment.payload == payload
    padded = raw + bytes(-len(raw) % 4)  # which may complete an option that was cut off
    assert segment.options == tcp_options.parse_options(padded)
    assert int.from_bytes(built[16:18], "big") == naive_checksum(source, destination, built[:16] + b"\0\0" + built[18:])
    for kind in (bytearray, memoryview):
        assert tcp.build(source, destination, *head, urgent=urgent, options=raw, payload=kind(payload)) == built
        assert tcp.parse(kind(built), source, destination) == segment


@given(head=HEADS, raw=OPTIONS, payload=PAYLOADS, source=IPS, destination=IPS)
def test_a_partial_checksum_is_the_pseudo_header(
    head: tuple[int, int, int, int, int, int], raw: bytes, payload: bytes, source: Ip4, destination: Ip4
) -> None:
    partial = tcp.build(source, destination, *head, options=raw, payload=payload, partial=True)
    completed = naive_checksum(0, 0, partial) + 6 + len(partial)  # the naive sum counts a pseudo header of its own
    whole = tcp.build(source, destination, *head, options=raw, payload=payload)
    assert whole[:16] + whole[18:] == partial[:16] + partial[18:]
    assert completed % 0xFFFF == int.from_bytes(whole[16:18], "big") % 0xFFFF


@given(head=HEADS, payload=PAYLOADS, source=IPS, destination=IPS, bit=st.integers(0, 7), data=st.data())
def test_one_changed_bit_never_passes(
    head: tuple[int, int, int, int, int, int],
    payload: bytes,
    source: Ip4,
    destination: Ip4,
    bit: int,
    data: st.DataObject,
) -> None:
    built = bytearray(tcp.build(source, destination, *head, payload=payload))
    built[data.draw(st.integers(0, len(built) - 1))] ^= 1 << bit
    try:
        tcp.parse(built, source, destination)
    except WireError as error:
        assert error.field in ("data offset", "checksum")
    else:
        raise AssertionError("a changed segment was taken")


@given(data=OPTIONS)
@example(data=bytes(12))
@example(data=bytes.fromhex("0101080a") + bytes(8))
def test_any_options_mean_something(data: bytes) -> None:
    """MUST-7: never an exception, never a loop, and what is understood can be said again."""
    options = tcp_options.parse_options(data)
    assert options.mss != 0
    assert len(options.sack) <= tcp_options.MAXIMUM_SACK_BLOCKS
    again = tcp_options.build(options.timestamp, options.sack[:2], options.user_timeout)
    said = options._replace(mss=None, window_scale=None, sack_permitted=False, sack=options.sack[:2], malformed=False)
    assert tcp_options.parse_options(again) == said


@given(
    mss=st.none() | st.integers(1, 0xFFFF),
    scale=st.none() | OCTET,
    sack=st.booleans(),
    timestamp=st.none() | PAIR,
    timeout=st.none()
    | st.integers(0, 0x7FFF)
    | st.integers(0x8000 // 60 + 1, 0x7FFF).map(lambda minutes: minutes * 60),
)
def test_the_options_of_a_syn(
    mss: int | None, scale: int | None, sack: bool, timestamp: tuple[int, int] | None, timeout: int | None
) -> None:
    """MUST-68: what no option asks for is not there, and any peer can skip each."""
    built = tcp_options.build_syn(mss, scale, sack, timestamp, timeout)
    assert len(built) % 4 == 0
    assert len(built) <= tcp_options.MAXIMUM_LENGTH
    assert tcp_options.parse_options(built) == Options(mss, scale, sack, (), timestamp, timeout, False)


@given(timestamp=st.none() | PAIR, sack=st.lists(PAIR, max_size=6))
def test_the_options_of_a_segment(timestamp: tuple[int, int] | None, sack: list[tuple[int, int]]) -> None:
    """2018-4b"""
    built = tcp_options.build(timestamp, sack)
    assert len(built) % 4 == 0
    assert len(built) <= tcp_options.MAXIMUM_LENGTH
    fit = 4 if timestamp is None else 3
    assert tcp_options.parse_options(built) == NO_OPTIONS._replace(timestamp=timestamp, sack=tuple(sack[:fit]))


@given(data=st.binary(max_size=80))
def test_a_summary_of_any_segment(data: bytes) -> None:
    packet = bytes.fromhex("4500") + (20 + len(data)).to_bytes(2, "big") + bytes.fromhex("0000 0000 40 06 0000")
    assert summarize(packet + bytes(8) + data, link="ip").info


# --- sequence numbers ------------------------------------------------------------------------------------------------


@given(near=st.integers(0, 1 << 70), distance=st.integers(-(CIRCLE // 2), CIRCLE // 2 - 1))
def test_unwrap_gives_the_nearest(near: int, distance: int) -> None:
    """B-WRAP: however often the numbers have gone round."""
    assert unwrap(wrap(near + distance), near) == near + distance


@given(near=st.integers(0, 1 << 70), wire=LONG)
def test_wrap_undoes_unwrap(near: int, wire: int) -> None:
    number = unwrap(wire, near)
    assert wrap(number) == wire
    assert -(CIRCLE // 2) <= number - near < CIRCLE // 2
