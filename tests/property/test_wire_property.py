"""Properties of every codec: any bytes give a value or a WireError, a legal value always builds, and build then parse
is the identity. The checksum is held against the word loop that RFC 1071 describes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nodes.errors import WireError
from nodes.wire import addresses, arp, checksum, ethernet, icmp, igmp, ipv4, udp
from nodes.wire.addresses import Ip4, Mac, Prefix

OCTET = st.integers(0, 0xFF)
WORD = st.integers(0, 0xFFFF)
MACS = st.binary(min_size=6, max_size=6).map(Mac)
IPS = st.integers(0, 0xFFFF_FFFF).map(Ip4)
PAYLOADS = st.binary(max_size=64)


def naive_sum(data: bytes) -> int:
    """RFC 1071 section 4.1 word by word: add, then fold the carries."""
    total = 0
    for position in range(0, len(data), 2):
        total += int.from_bytes(data[position : position + 2].ljust(2, b"\x00"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


# --- any bytes -----------------------------------------------------------------------------------------------------

FIELDS = {
    "ethernet": {"header"},
    "arp": {"packet", "hardware type", "protocol type", "hardware length", "protocol length", "operation"},
    "ipv4": {"header", "version", "header length", "total length", "header checksum"},
    "icmp": {"header", "checksum"},
    "igmp": {"message", "checksum"},
    "udp": {"header", "length", "checksum"},
}
PARSERS: dict[str, Callable[[bytes], object]] = {
    "ethernet": ethernet.parse,
    "arp": arp.parse,
    "ipv4": ipv4.parse,
    "icmp": icmp.parse,
    "igmp": igmp.parse,
    "udp": lambda data: udp.parse(data, Ip4(0x0A000001), Ip4(0x0A000002)),
}
PREFIXES = {  # what the first octets of a packet look like, so that more than the first check is reached
    "ethernet": b"",
    "arp": bytes.fromhex("0001 0800 0604 0001"),
    "ipv4": b"\x45\x00\x00\x14",
    "icmp": b"\x08\x00",
    "igmp": b"\x11\x00",
    "udp": bytes.fromhex("c000 0035 0010"),
}


def check_any_bytes(protocol: str, data: bytes) -> None:
    try:
        PARSERS[protocol](data)
    except WireError as error:
        assert error.protocol == protocol
        assert error.field in FIELDS[protocol]
        assert 0 <= error.offset <= len(data)
        assert str(error) == f"{protocol} {error.field} at byte {error.offset}: {error.reason}"


@pytest.mark.parametrize("protocol", PARSERS)
@given(data=st.binary(max_size=96))
def test_any_bytes_give_a_value_or_a_wire_error(protocol: str, data: bytes) -> None:
    check_any_bytes(protocol, data)


@pytest.mark.parametrize("protocol", PARSERS)
@given(tail=st.binary(max_size=96), cut=st.integers(0, 96), changes=st.dictionaries(st.integers(0, 30), OCTET))
def test_nearly_right_bytes_too(protocol: str, tail: bytes, cut: int, changes: dict[int, int]) -> None:
    data = bytearray(PREFIXES[protocol] + tail)
    for position, octet in changes.items():
        if position < len(data):
            data[position] = octet
    check_any_bytes(protocol, bytes(data[:cut]))


@given(options=st.binary(max_size=40))
def test_any_options_are_a_list_or_a_wire_error(options: bytes) -> None:
    """1122-3.2.1.8: whatever the options are, reading them ends, in order, and inside the header."""
    end = ipv4.HEADER_LENGTH
    try:
        for kind, offset, data in ipv4.option_fields(options):
            start = offset - ipv4.HEADER_LENGTH
            assert offset >= end
            assert options[start] == kind not in (ipv4.OPTION_END, ipv4.OPTION_NOP)
            assert options[start + 1] == len(data) + 2
            assert options[start + 2 : start + 2 + len(data)] == data
            end = offset + 2 + len(data)
    except WireError as error:
        assert (error.protocol, error.field) == ("ipv4", "option length")
        assert end < error.offset <= ipv4.HEADER_LENGTH + len(options)


OPTION = st.one_of(
    st.just(b"\x01"),
    st.builds(lambda kind, data: bytes((kind, len(data) + 2)) + data, st.integers(2, 255), st.binary(max_size=12)),
)


@given(items=st.lists(OPTION, max_size=8), after=st.binary(max_size=8))
def test_every_option_is_found_up_to_the_end_of_the_list(items: list[bytes], after: bytes) -> None:
    found = [
        bytes((kind, len(data) + 2)) + data for kind, _, data in ipv4.option_fields(b"".join(items) + b"\0" + after)
    ]
    assert found == [item for item in items if item != b"\x01"]


# --- build, then parse ---------------------------------------------------------------------------------------------


@given(destination=MACS, source=MACS, ethertype=WORD, payload=PAYLOADS)
def test_ethernet(destination: Mac, source: Mac, ethertype: int, payload: bytes) -> None:
    header, rest = ethernet.parse(ethernet.build(destination, source, ethertype, payload))
    assert (header, rest) == ((destination, source, ethertype), payload)


@given(packet=st.builds(arp.ArpPacket, st.integers(1, 4), MACS, IPS, MACS, IPS), padding=st.binary(max_size=18))
def test_arp(packet: arp.ArpPacket, padding: bytes) -> None:
    """The padding of a minimum frame changes nothing."""
    assert arp.parse(arp.build(packet) + padding) == packet


IPV4_FIELDS = st.fixed_dictionaries(
    {
        "ttl": OCTET,
        "identification": WORD,
        "dont_fragment": st.booleans(),
        "more_fragments": st.booleans(),
        "fragment_offset": st.integers(0, 8191).map(lambda units: units * 8),
        "traffic_class": OCTET,
        "options": st.binary(max_size=40),
    }
)


@given(
    source=IPS, destination=IPS, protocol=OCTET, payload=PAYLOADS, fields=IPV4_FIELDS, padding=st.binary(max_size=46)
)
def test_ipv4(
    source: Ip4, destination: Ip4, protocol: int, payload: bytes, fields: dict[str, object], padding: bytes
) -> None:
    """791-len: the padding of the link is no part of the payload."""
    packet = ipv4.build(source, destination, protocol, payload, **fields)  # type: ignore[arg-type]
    header, rest = ipv4.parse(packet + padding)
    assert rest == payload
    options = fields.pop("options")
    assert isinstance(options, bytes)
    assert header.options == options + bytes(-len(options) % 4)
    assert header.header_length == 20 + len(header.options)
    assert header.total_length == len(packet)
    assert (header.source, header.destination, header.protocol) == (source, destination, protocol)
    assert {name: getattr(header, name) for name in fields} == fields


@given(kind=OCTET, code=OCTET, rest=st.integers(0, 0xFFFF_FFFF), body=PAYLOADS)
def test_icmp(kind: int, code: int, rest: int, body: bytes) -> None:
    if kind or code or rest or any(body):
        assert icmp.parse(icmp.build(kind, code, rest, body)) == (kind, code, rest, body)


@given(kind=st.sampled_from([icmp.ECHO_REPLY, icmp.ECHO_REQUEST]), identifier=WORD, sequence=WORD, data=PAYLOADS)
def test_icmp_echo(kind: int, identifier: int, sequence: int, data: bytes) -> None:
    """792-echo."""
    message = icmp.parse(icmp.echo(kind, identifier, sequence, data))
    assert (message.type, message.code, message.identifier, message.sequence) == (kind, 0, identifier, sequence)
    assert message.body == data


@given(message=st.builds(igmp.IgmpMessage, st.integers(1, 255), OCTET, IPS))
def test_igmp(message: igmp.IgmpMessage) -> None:
    assert igmp.parse(igmp.build(message)) == message


@given(source=IPS, destination=IPS, ports=st.tuples(WORD, WORD), payload=PAYLOADS, plain=st.booleans())
def test_udp(source: Ip4, destination: Ip4, ports: tuple[int, int], payload: bytes, plain: bool) -> None:
    """768-1, 768-2."""
    datagram = udp.build(source, destination, *ports, payload, no_checksum=plain)
    header, rest = udp.parse(datagram + b"padding", source, destination)
    assert (header.source_port, header.destination_port, header.length) == (*ports, 8 + len(payload))
    assert (header.checksum == 0) == plain
    assert rest == payload


@pytest.mark.parametrize("size", [65535 - 28, 65535 - 20])
def test_the_largest_packet(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    header, rest = ipv4.parse(ipv4.build(Ip4(1), Ip4(2), 17, payload))
    assert (header.total_length, rest) == (size + 20, payload)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, bytes(65516)), "an IPv4 packet of 65536 octets, at most 65535 fit"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", options=bytes(41)), "44 octets of IPv4 options, at most 40 fit"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", fragment_offset=4), "fragment offset 4 is not a multiple of 8"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", fragment_offset=65536), "fragment offset 65536 is not"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", fragment_offset=-8), "fragment offset -8 is not"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", ttl=256), "an IPv4 field is out of range"),
        (lambda: ipv4.build(Ip4(1), Ip4(2), 1, b"", identification=65536), "an IPv4 field is out of range"),
        (lambda: ipv4.build(Ip4(1 << 32), Ip4(2), 1, b""), "an IPv4 field is out of range"),
        (lambda: udp.build(Ip4(1), Ip4(2), 65536, 1, b""), "a UDP field is out of range"),
        (lambda: udp.build(Ip4(1), Ip4(2), 1, 1, bytes(65528)), "a UDP field is out of range"),
        (lambda: icmp.build(256, 0, 0), "an ICMP field is out of range"),
        (lambda: icmp.echo(8, 0x10000, 0, b""), "an ICMP field is out of range"),
        (lambda: icmp.echo(8, 1, 0x10000, b""), "echo sequence number 65536, at most 65535 fits"),
    ],
)
def test_what_does_not_fit_is_never_sent(build: Callable[[], bytes], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()


# --- addresses -----------------------------------------------------------------------------------------------------


@given(mac=MACS, address=IPS, length=st.integers(0, 32))
def test_addresses_survive_their_text(mac: Mac, address: Ip4, length: int) -> None:
    assert addresses.parse_mac(addresses.format_mac(mac)) == mac
    assert addresses.parse_ip4(addresses.format_ip4(address)) == address
    assert Prefix.parse(str(Prefix(address, length))) == (address, length)


@given(text=st.text(max_size=24) | st.text("0123456789abcdef.:-/+ _x", max_size=24))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for parse in (addresses.parse_mac, addresses.parse_ip4, Prefix.parse):
        try:
            value = parse(text)
        except ValueError as error:
            assert "such as" in str(error)
        else:
            assert text.isascii()
            if parse is not addresses.parse_mac:  # a MAC has several spellings, an IPv4 address one
                assert text == (str(value) if isinstance(value, Prefix) else addresses.format_ip4(value))


@given(address=IPS, other=IPS, length=st.integers(0, 32))
def test_prefix_arithmetic(address: Ip4, other: Ip4, length: int) -> None:
    prefix = Prefix(address, length)
    assert prefix.contains(address) and prefix.contains(prefix.network)
    assert prefix.contains(other) == (other >> (32 - length) == address >> (32 - length))
    if prefix.broadcast is not None:
        assert prefix.contains(prefix.broadcast) and prefix.broadcast - prefix.network == 2 ** (32 - length) - 1


# --- the checksum --------------------------------------------------------------------------------------------------


@given(
    data=st.binary(max_size=200) | st.lists(st.sampled_from([b"\x00", b"\xff", b"\xfe"])).map(b"".join), initial=WORD
)
def test_the_checksum_is_the_word_loop(data: bytes, initial: int) -> None:
    """1122-3.2.1.2."""
    assert checksum.ones_sum(data) == naive_sum(data)
    expected = naive_sum(data if len(data) % 2 == 0 else data + b"\x00")
    expected += initial
    assert checksum.checksum(data, initial) == 0xFFFF - ((expected & 0xFFFF) + (expected >> 16))


@given(data=st.binary(min_size=2, max_size=80), initial=WORD)
def test_a_packet_with_its_checksum_is_valid(data: bytes, initial: int) -> None:
    zeroed = data[:-2] + b"\x00\x00" if len(data) % 2 == 0 else data + b"\x00\x00\x00"
    value = checksum.checksum(zeroed, initial)
    complete = zeroed[:-2] + value.to_bytes(2, "big")
    assert checksum.is_valid(complete, initial) == (naive_sum(complete) + initial > 0)


@given(words=st.lists(WORD | st.sampled_from([0, 1, 0xFFFF]), min_size=1, max_size=12), data=st.data())
def test_an_updated_checksum_is_the_recomputed_one(words: list[int], data: st.DataObject) -> None:
    """RFC 1624: a router that lowers the TTL need not read the header again."""
    position = data.draw(st.integers(0, len(words) - 1))
    new = data.draw(WORD | st.sampled_from([0, 1, 0xFFFF]))
    before = b"".join(word.to_bytes(2, "big") for word in words)
    after = b"".join(word.to_bytes(2, "big") for word in [*words[:position], new, *words[position + 1 :]])
    updated = checksum.updated(checksum.checksum(before), words[position], new)
    if any(after):
        assert updated == checksum.checksum(after)
    else:
        assert updated == 0


SETS_COVERAGE = {"ipv4": range(4, 8), "udp": range(32, 48)}  # bits of the IPv4 header length, of the UDP length


@given(
    source=IPS,
    destination=IPS,
    payload=PAYLOADS,
    protocol=st.sampled_from(["ipv4", "icmp", "igmp", "udp"]),
    data=st.data(),
)
def test_a_flipped_bit_is_always_seen(
    source: Ip4, destination: Ip4, payload: bytes, protocol: str, data: st.DataObject
) -> None:
    """The Internet checksum finds every single bit error in what it covers: 2^n is never 0 modulo 65535. The exceptions
    are of the formats: a UDP checksum that becomes 0 says that there is none, and two lengths say what is covered."""
    packet = {
        "ipv4": lambda: ipv4.build(source, destination, 17, payload)[:20],
        "icmp": lambda: icmp.build(8, 0, 0x12345678, payload),
        "igmp": lambda: igmp.build(igmp.IgmpMessage(0x16, 0, source)),
        "udp": lambda: udp.build(source, destination, 1, 2, payload),
    }[protocol]()
    bit = data.draw(st.integers(0, len(packet) * 8 - 1))
    assume(bit not in SETS_COVERAGE.get(protocol, ()))
    flipped = bytearray(packet)
    flipped[bit // 8] ^= 0x80 >> bit % 8
    assume(protocol != "udp" or flipped[6:8] != b"\x00\x00")
    if protocol == "ipv4":
        flipped += payload
    parse = {**PARSERS, "udp": lambda raw: udp.parse(raw, source, destination)}[protocol]
    with pytest.raises(WireError) as caught:
        parse(bytes(flipped))
    assert caught.value.protocol == protocol


@given(source=IPS, destination=IPS, payload=PAYLOADS, bit=st.integers(0, 63))
def test_a_datagram_for_another_address_is_seen(source: Ip4, destination: Ip4, payload: bytes, bit: int) -> None:
    """The pseudo header of RFC 768 protects against misrouted datagrams."""
    datagram = udp.build(source, destination, 1, 2, payload)
    both = (source << 32 | destination) ^ 1 << bit
    with pytest.raises(WireError, match="udp checksum at byte 6: wrong"):
        udp.parse(datagram, Ip4(both >> 32), Ip4(both & 0xFFFF_FFFF))
