"""Netlink against the kernel: batches, refusals with the kernel's words, dumps, ethtool."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from lab.errors import DriverError
from lab.host import ethtool, link_state
from lab.host import links as rt
from lab.host import netlink as netlink_module
from lab.host.netlink import BATCH_MESSAGES, Netlink, NetlinkError, Request
from nodes.wire.addresses import Prefix, parse_ip4

Isolated = Callable[[Callable[[], None]], None]


def _veth(number: int, *, up: bool = False) -> Request:
    first, second = rt.VethEnd(f"a{number}", 10 + 2 * number), rt.VethEnd(f"b{number}", 11 + 2 * number)
    return rt.create_veth(first, second, f"create veth a{number} -- b{number}", up=up)


def test_batch_larger_than_one_send(isolated: Isolated) -> None:
    def body() -> None:
        count = 2 * BATCH_MESSAGES + 3
        with Netlink() as netlink:
            netlink.batch([_veth(number) for number in range(count)])
            names = {link.name: link.index for link in link_state.read_links(netlink)}
        assert names == {"lo": 1} | {f"a{n}": 10 + 2 * n for n in range(count)} | {
            f"b{n}": 11 + 2 * n for n in range(count)
        }

    isolated(body)


def test_first_refusal_of_a_batch_is_raised(isolated: Isolated) -> None:
    """What was sent together is carried out, what would have followed is not sent."""

    def body() -> None:
        requests = [_veth(0), _veth(0), _veth(1), _veth(1)] + [_veth(n) for n in range(2, 60)]
        with Netlink() as netlink:
            with pytest.raises(NetlinkError) as caught:
                netlink.batch(requests)
            assert caught.value.errno == errno.EEXIST
            assert caught.value.message.startswith("create veth a0 -- b0: File exists")
            names = {link.name for link in link_state.read_links(netlink)}
            assert "a47" in names
            assert "a48" not in names
            netlink.request(rt.delete_link(10, "delete a0"))
            assert {"a0", "b0"}.isdisjoint(link.name for link in link_state.read_links(netlink))

    isolated(body)


def test_bytes_of_a_send_are_bounded(isolated: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one message a send, nothing follows the one that is refused."""

    def body() -> None:
        with Netlink() as netlink:
            with pytest.raises(NetlinkError, match="create veth a0"):
                netlink.batch([_veth(0), _veth(0), _veth(1)])
            assert "a1" not in {link.name for link in link_state.read_links(netlink)}

    monkeypatch.setattr(netlink_module, "BATCH_BYTES", 1)
    isolated(body)


def test_the_kernels_words(isolated: Isolated) -> None:
    def body() -> None:
        with Netlink() as netlink, pytest.raises(NetlinkError) as caught:
            netlink.batch([_veth(0), rt.change_link(10, "set the MTU of a0", mtu=70000)])
        assert caught.value.words == "mtu greater than device maximum"
        assert caught.value.message == "set the MTU of a0: Invalid argument (mtu greater than device maximum)"

    isolated(body)


def test_no_permission(rootless: Isolated) -> None:
    def body() -> None:
        from lab.host import syscalls

        syscalls.drop_capabilities()
        with Netlink() as netlink, pytest.raises(NetlinkError) as caught:
            netlink.request(_veth(0))
        assert caught.value.errno == errno.EPERM
        assert "root" in caught.value.hint
        with pytest.raises(PermissionError, match="unshare"):
            syscalls.unshare(syscalls.CLONE_NEWNET)

    rootless(body)


def test_addresses_routes_and_neighbors(isolated: Isolated) -> None:
    def body() -> None:
        with Netlink() as netlink:
            netlink.batch(
                [
                    _veth(0, up=True),
                    rt.change_link(11, "set b0 up", up=True),
                    rt.add_address(10, Prefix.parse("10.0.0.1/24"), "address"),
                    rt.add_route(10, Prefix.parse("10.1.0.0/16"), parse_ip4("10.0.0.254"), "route", metric=7),
                    rt.add_route(10, Prefix.parse("0.0.0.0/0"), None, "route"),
                ]
            )
            names = {link.index: link.name for link in link_state.read_links(netlink)}
            assert link_state.read_addresses(netlink, names) == [{"interface": "a0", "address": "10.0.0.1/24"}]
            routes = {str(route["destination"]): route for route in link_state.read_routes(netlink, names)}
            assert set(routes) == {"0.0.0.0/0", "10.0.0.0/24", "10.1.0.0/16"}
            assert (routes["10.1.0.0/16"]["via"], routes["10.1.0.0/16"]["metric"]) == ("10.0.0.254", 7)
            netlink.request(rt.delete_route(10, Prefix.parse("10.1.0.0/16"), parse_ip4("10.0.0.254"), "x", metric=7))
            assert len(link_state.read_routes(netlink, names)) == 2
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(b"x", ("10.0.0.9", 9))
            (neighbor,) = link_state.read_neighbors(netlink, names)
            assert neighbor == {"interface": "a0", "address": "10.0.0.9", "mac": "", "state": "incomplete"}
            with pytest.raises(NetlinkError, match="to nowhere: Network is unreachable"):
                netlink.request(rt.add_route(11, Prefix.parse("1.0.0.0/8"), parse_ip4("99.0.0.1"), "to nowhere"))

    isolated(body)


def test_move_and_rename(isolated: Isolated) -> None:
    def body() -> None:
        from lab.host.namespaces import create_network_namespaces, in_namespace

        (fd,) = create_network_namespaces(1)
        with Netlink() as netlink:
            netlink.batch([_veth(0), rt.move_link(10, fd, "moved", "move")])
            assert {link.name for link in link_state.read_links(netlink)} == {"lo", "b0"}
        with in_namespace(fd), Netlink() as netlink:
            assert {(link.name, link.index) for link in link_state.read_links(netlink)} == {("lo", 1), ("moved", 10)}

    isolated(body)


def test_offloads(isolated: Isolated) -> None:
    def body() -> None:
        with Netlink() as netlink:
            netlink.request(_veth(0))
        tool = ethtool.Ethtool()
        before = tool.features("a0")
        assert before["tx-checksum-ip-generic"]
        assert before["tx-tcp-segmentation"]
        ethtool.set_offloads([("a0", False)])
        after = tool.features("a0")
        assert not any(on for name, on in after.items() if ethtool.OFFLOADS.match(name))
        assert {name: on for name, on in after.items() if not ethtool.OFFLOADS.match(name)} == {
            name: on for name, on in before.items() if not ethtool.OFFLOADS.match(name)
        }
        assert tool.features("b0")["tx-tcp-segmentation"], "the other end is not touched"
        with pytest.raises(DriverError, match="read features of nothing: No such device"):
            tool.offloads_off("nothing")

    isolated(body)
