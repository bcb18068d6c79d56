"""Netlink messages as bytes: golden messages (as `strace ip ...` shows them on a little-endian machine), and the
strict parser on the way back."""

from __future__ import annotations

import struct
import sys

import pytest

from lab.host import link_state
from lab.host import links as rt
from lab.host.ethtool import OFFLOADS
from lab.host.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    NetlinkError,
    Request,
    _failure,
    attribute,
    attribute_text,
    attribute_u16,
    encode,
    nested,
    parse_attributes,
    parse_messages,
)
from nodes.wire.addresses import Prefix, parse_ip4

golden = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are little-endian")


@golden
def test_header_and_padding() -> None:
    message = encode(Request(16, NLM_F_CREATE | NLM_F_EXCL, b"\x01\x02\x03\x04\x05", "x"), 7)
    assert message.hex() == "150000001000050607000000000000000102030405000000"


@golden
def test_attributes() -> None:
    assert attribute_text(3, "eth0").hex() == "090003006574683000000000"
    assert attribute_u16(6, 0x8000).hex() == "0600060000800000"
    assert nested(18, attribute(1, b"ab")).hex() == "0c0012800600010061620000"


def test_attribute_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        attribute(1, bytes(65536))


@golden
def test_address() -> None:
    request = rt.add_address(5, Prefix.parse("10.0.0.1/24"), "x")
    assert (request.type, request.flags) == (20, NLM_F_CREATE | NLM_F_EXCL)
    assert request.body.hex() == ("0218000005000000080002000a000001080001000a000001080004000a0000ff")
    assert rt.add_address(5, Prefix.parse("10.0.0.1/31"), "x").body.hex().endswith("080001000a000001")


@golden
def test_routes() -> None:
    default = rt.add_route(2, Prefix.parse("0.0.0.0/0"), parse_ip4("10.0.0.254"), "x", replace=True)
    assert (default.type, default.flags) == (24, NLM_F_CREATE | NLM_F_REPLACE)
    assert default.body.hex() == "02000000fe04000100000000080005000a0000fe0800040002000000"
    link = rt.add_route(2, Prefix.parse("10.1.0.9/16"), None, "x", metric=3)
    assert link.body.hex() == ("02100000fe04fd0100000000080001000a01000008000600030000000800040002000000")


@golden
def test_change_link() -> None:
    assert rt.change_link(7, "x", up=True, master=2).body.hex() == ("0000000007000000010000000100000008000a0002000000")
    assert rt.change_link(7, "x", mtu=1400).body.hex() == "0000000007000000" + "00" * 8 + "0800040078050000"


def test_veth_has_both_ends() -> None:
    first = rt.VethEnd("eth0", 5, bytes.fromhex("020000000001"), 1400, 9)
    second = rt.VethEnd("p6", 6, bytes.fromhex("020000000002"), 1400)
    request = rt.create_veth(first, second, "x", up=True)
    assert rt.IFINFO.unpack_from(request.body) == (0, 0, 5, 1, 1)
    outer = parse_attributes(request.body[rt.IFINFO.size :])
    assert outer[rt.IFLA_IFNAME] == b"eth0\0"
    assert outer[rt.IFLA_ADDRESS] == first.mac
    assert struct.unpack("=I", outer[rt.IFLA_NET_NS_FD]) == (9,)
    info = parse_attributes(outer[rt.IFLA_LINKINFO])
    assert info[rt.IFLA_INFO_KIND] == b"veth\0"
    peer = parse_attributes(info[rt.IFLA_INFO_DATA])[rt.VETH_INFO_PEER]
    assert rt.IFINFO.unpack_from(peer) == (0, 0, 6, 0, 0)
    inner = parse_attributes(peer[rt.IFINFO.size :])
    assert inner[rt.IFLA_IFNAME] == b"p6\0"
    assert rt.IFLA_NET_NS_FD not in inner
    assert struct.unpack("=I", inner[rt.IFLA_MTU]) == (1400,)


def test_bridge_times_are_in_ticks() -> None:
    def data(settings: rt.BridgeSettings) -> dict[int, bytes]:
        body = rt.create_bridge("s1", settings, "x").body
        info = parse_attributes(parse_attributes(body[rt.IFINFO.size :])[rt.IFLA_LINKINFO])
        return parse_attributes(info[rt.IFLA_INFO_DATA])

    plain = data(rt.BridgeSettings(ageing_time=1.5))
    assert struct.unpack("=I", plain[rt.IFLA_BR_AGEING_TIME]) == (150,)
    assert struct.unpack("=I", plain[rt.IFLA_BR_FORWARD_DELAY]) == (0,)
    assert struct.unpack("=I", plain[rt.IFLA_BR_STP_STATE]) == (0,)
    assert plain[rt.IFLA_BR_MCAST_SNOOPING] == b"\0"
    tree = data(rt.BridgeSettings(spanning_tree=True, priority=4096))
    assert struct.unpack("=I", tree[rt.IFLA_BR_FORWARD_DELAY]) == (1500,)
    assert struct.unpack("=H", tree[rt.IFLA_BR_PRIORITY]) == (4096,)


@pytest.mark.parametrize("name", ["", "sixteen-letters-x", "a/b", "a b", "a:b", "p%d", "..", "all", "default", "ä" * 8])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="not an interface name"):
        rt.change_link(1, "x", name=name or "\0")
    assert not rt.is_interface_name(name)


def test_messages_come_back() -> None:
    first, second = Request(1000, 0, b"abc", "x"), Request(1001, 0, b"", "y")
    data = encode(first, 1) + encode(second, 2)
    assert [(m.type, m.sequence, m.body) for m in parse_messages(data)] == [(1000, 1, b"abc"), (1001, 2, b"")]


@pytest.mark.parametrize("length", [0, 15, 21, 0xFFFF_FFFF])
def test_message_length_is_checked(length: int) -> None:
    with pytest.raises(NetlinkError, match="message length"):
        list(parse_messages(struct.pack("=IHHII", length, 1, 0, 0, 0) + b"abcd"))


def test_half_a_header() -> None:
    with pytest.raises(NetlinkError, match="a header needs 16"):
        list(parse_messages(bytes(15)))


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_attribute_length_is_checked(length: int) -> None:
    with pytest.raises(NetlinkError, match="attribute length"):
        parse_attributes(struct.pack("=HH", length, 1) + b"abcd")


def test_half_an_attribute() -> None:
    with pytest.raises(NetlinkError, match="an attribute needs 4"):
        parse_attributes(attribute(1, b"abcd") + b"\0\0")


def test_nested_flag_is_not_part_of_the_type() -> None:
    assert parse_attributes(nested(18, attribute(1, b"abcd"))) == {18: attribute(1, b"abcd")}


def _refusal(number: int, words: str, *, capped: bool) -> Message:
    request = b"" if capped else b"the body!"
    header = struct.pack("=IHHII", 16 + len(request), 16, 5, 1, 0)
    body = struct.pack("=i", -number) + header + request + bytes(-len(request) & 3)
    return Message(2, 0x200 | 0x100 * capped, 1, body + attribute_text(1, words))


@pytest.mark.parametrize("capped", [True, False])
def test_refusal_has_description_errno_and_words(capped: bool) -> None:
    failure = _failure(_refusal(1, "no way", capped=capped), Request(16, 0, b"", "create veth a -- b"))
    assert failure is not None
    assert failure.message == "create veth a -- b: Operation not permitted (no way)"
    assert (failure.errno, failure.words, failure.exit_code) == (1, "no way", 5)
    assert "root" in failure.hint


def test_acknowledgement_of_success() -> None:
    assert _failure(Message(2, 0x100, 1, bytes(20)), Request(16, 0, b"", "x")) is None


def test_short_acknowledgement() -> None:
    with pytest.raises(NetlinkError, match="acknowledgement of 3 bytes"):
        _failure(Message(2, 0, 1, bytes(3)), Request(16, 0, b"", "x"))


def test_link_with_counters() -> None:
    body = rt.IFINFO.pack(0, 1, 4, rt.IFF_UP | link_state.IFF_LOWER_UP, 0) + attribute_text(rt.IFLA_IFNAME, "p4")
    body += attribute(rt.IFLA_STATS64, struct.pack("=24Q", *range(1, 25)))
    link = link_state._link(Message(16, 0, 1, body))
    assert (link.name, link.up, link.carrier) == ("p4", True, True)
    assert link.statistics["rx_packets"] == 1
    assert link.statistics["tx_dropped"] == 8


def test_short_link() -> None:
    with pytest.raises(NetlinkError, match="16 expected"):
        link_state._link(Message(16, 0, 1, bytes(15)))


@pytest.mark.parametrize("name", ["tx-checksum-ip-generic", "tx-scatter-gather", "tx-tcp6-segmentation", "rx-gro-list",
                                  "rx-checksum", "tx-vlan-stag-hw-insert", "rx-vlan-hw-parse"])  # fmt: skip
def test_offloads(name: str) -> None:
    assert OFFLOADS.match(name)


@pytest.mark.parametrize("name", ["highdma", "tx-lockless", "tx-nocache-copy", "rx-hashing", "loopback"])
def test_features_that_are_left(name: str) -> None:
    assert not OFFLOADS.match(name)
