"""Link and internet addresses: their text, their classes, and prefixes."""

from __future__ import annotations

import pytest

from nodes.wire import addresses
from nodes.wire.addresses import Prefix, parse_ip4, parse_mac


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("02:5a:00:00:00:01", "025a00000001"),
        ("02-5A-00-00-00-01", "025a00000001"),
        ("2:5a:0:0:0:1", "025a00000001"),
        ("ff:ff:ff:ff:ff:ff", "ffffffffffff"),
    ],
)
def test_a_mac_from_text(text: str, mac: str) -> None:
    assert parse_mac(text) == bytes.fromhex(mac)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:00:01",
        "02:00:00:00:00:",
        "02:00:00:00:00:001",
        "02:00:00:00:00:0g",
        "02-00:00:00:00:01",
        "+2:00:00:00:00:01",
        " 2:00:00:00:00:01",
        "02:00:00:00:00:1\n",
        "\u0660\u0662:00:00:00:00:01",
        "0x:00:00:00:00:01",
        "1_:00:00:00:00:01",
        "025a00000001",
    ],
)
def test_not_a_mac(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_mac(text)
    assert str(caught.value) == f"{text!r} is not a MAC address such as 02:00:00:00:00:01"


def test_a_mac_as_text() -> None:
    assert addresses.format_mac(memoryview(b"\x02\x5a\x00\x00\x00\x0f")) == "02:5a:00:00:00:0f"


@pytest.mark.parametrize(("text", "group"), [("01:00:5e:00:00:01", True), ("02:00:00:00:00:01", False)])
def test_the_group_bit(text: str, group: bool) -> None:
    assert addresses.is_group_mac(parse_mac(text)) is group


def test_broadcast_is_a_group() -> None:
    assert addresses.is_group_mac(addresses.BROADCAST_MAC)
    assert not addresses.is_group_mac(addresses.ZERO_MAC)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.0.0.0", 0), ("10.0.0.1", 0x0A000001), ("255.255.255.255", 0xFFFFFFFF), ("1.2.30.4", 0x01021E04)],
)
def test_ip4_text(text: str, number: int) -> None:
    assert parse_ip4(text) == number
    assert addresses.format_ip4(number) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.1",
        "10.0.0",
        "10.0.0.0.1",
        "10.0.0.256",
        "10.0.0.-1",
        "10.0.0.+1",
        "10.0.0. 1",
        "10.0.0.1\n",
        "10.0.0.",
        "010.0.0.1",
        "10.0.0.00",
        "10.0.0.0x1",
        "10.0.0.1_0",
        "\u0661.0.0.1",
        "\u00b2.0.0.1",
        "::1",
        "10.0.0.1/24",
    ],
)
def test_not_an_ip4(text: str) -> None:
    """A leading zero is refused because `inet_aton` reads such a number as octal."""
    with pytest.raises(ValueError) as caught:
        parse_ip4(text)
    assert str(caught.value) == f"{text!r} is not an IPv4 address such as 10.0.0.1"


@pytest.mark.parametrize(
    ("text", "multicast", "loopback", "reserved"),
    [
        ("0.0.0.0", False, False, False),
        ("126.255.255.255", False, False, False),
        ("127.0.0.0", False, True, False),
        ("127.255.255.255", False, True, False),
        ("128.0.0.0", False, False, False),
        ("223.255.255.255", False, False, False),
        ("224.0.0.0", True, False, False),
        ("239.255.255.255", True, False, False),
        ("240.0.0.0", False, False, True),
        ("255.255.255.254", False, False, True),
        ("255.255.255.255", False, False, False),
    ],
)
def test_classes(text: str, multicast: bool, loopback: bool, reserved: bool) -> None:
    address = parse_ip4(text)
    assert addresses.is_multicast(address) is multicast
    assert addresses.is_loopback(address) is loopback
    assert addresses.is_reserved(address) is reserved


def test_named_addresses() -> None:
    named = (addresses.ANY, addresses.LIMITED_BROADCAST, addresses.ALL_SYSTEMS, addresses.ALL_ROUTERS)
    assert [addresses.format_ip4(address) for address in named] == [
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "224.0.0.2",
    ]


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.1", "01:00:5e:00:00:01"),
        ("224.128.0.1", "01:00:5e:00:00:01"),
        ("239.255.255.255", "01:00:5e:7f:ff:ff"),
    ],
)
def test_the_ethernet_group_of_an_ip_group(group: str, mac: str) -> None:
    """RFC 1112 section 6.4: 23 bits, so 32 groups share each MAC address."""
    assert addresses.format_mac(addresses.multicast_mac(parse_ip4(group))) == mac


@pytest.mark.parametrize(
    ("text", "mask", "network", "broadcast"),
    [
        ("10.0.0.5/24", "255.255.255.0", "10.0.0.0", "10.0.0.255"),
        ("10.0.0.5/30", "255.255.255.252", "10.0.0.4", "10.0.0.7"),
        ("10.0.0.5/31", "255.255.255.254", "10.0.0.4", None),
        ("10.0.0.5/32", "255.255.255.255", "10.0.0.5", None),
        ("10.0.0.5/1", "128.0.0.0", "0.0.0.0", "127.255.255.255"),
        ("0.0.0.0/0", "0.0.0.0", "0.0.0.0", "255.255.255.255"),
    ],
)
def test_a_prefix(text: str, mask: str, network: str, broadcast: str | None) -> None:
    """/31 and /32 have no broadcast address (RFC 3021)."""
    prefix = Prefix.parse(text)
    assert str(prefix) == text
    assert addresses.format_ip4(prefix.mask) == mask
    assert addresses.format_ip4(prefix.network) == network
    assert (None if prefix.broadcast is None else addresses.format_ip4(prefix.broadcast)) == broadcast


@pytest.mark.parametrize(
    ("prefix", "address", "inside"),
    [
        ("10.0.0.5/24", "10.0.0.255", True),
        ("10.0.0.5/24", "10.0.1.0", False),
        ("10.0.0.5/32", "10.0.0.5", True),
        ("10.0.0.5/32", "10.0.0.4", False),
        ("0.0.0.0/0", "255.255.255.255", True),
    ],
)
def test_contains(prefix: str, address: str, inside: bool) -> None:
    assert Prefix.parse(prefix).contains(parse_ip4(address)) is inside


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1",
        "10.0.0.1/",
        "10.0.0.1/33",
        "10.0.0.1/-1",
        "10.0.0.1/024",
        "10.0.0.1/00",
        "10.0.0.1/ 8",
        "10.0.0.1/255.255.255.0",
        "10.0.0.1/\u0663",
        "/24",
        "",
        "10.0.0.1/8/8",
        "10.0.0.1/" + "1" * 5000,
    ],
)
def test_not_a_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an (IPv4 )?address"):
        Prefix.parse(text)


def test_the_messages_of_a_prefix() -> None:
    with pytest.raises(ValueError) as caught:
        Prefix.parse("10.0.0.1/33")
    assert str(caught.value) == "'10.0.0.1/33' is not an address with a prefix length such as 10.0.0.1/24"
    with pytest.raises(ValueError) as caught:
        Prefix.parse("10.0.0/24")
    assert str(caught.value) == "'10.0.0' is not an IPv4 address such as 10.0.0.1"
