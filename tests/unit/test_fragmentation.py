from random import Random

import pytest

from nodes.network.fragmentation import Identifications, fragment
from nodes.wire import ipv4
from nodes.wire.addresses import parse_ip4

SOURCE, DESTINATION = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")


def cut(payload: bytes, mtu: int, **fields: object) -> list[tuple[ipv4.IPv4Header, bytes]]:
    packet = ipv4.build(SOURCE, DESTINATION, 17, payload, identification=7, **fields)  # type: ignore[arg-type]
    header, body = ipv4.parse(packet)
    pieces = fragment(header, body, mtu)
    assert all(len(piece) <= mtu for piece in pieces)
    parsed = [ipv4.parse(piece) for piece in pieces]
    return [(header, bytes(body)) for header, body in parsed]


@pytest.mark.parametrize("mtu", [68, 69, 75, 76, 576, 1499, 1500])
@pytest.mark.parametrize("length", [1481, 1500, 4999, 5000, 5001, 65515])
def test_fragments_cover_the_payload(length: int, mtu: int) -> None:
    """791-frag-2: offsets are multiples of eight, all but the last are as long as fits, and nothing is lost."""
    payload = Random(1).randbytes(length)
    pieces = cut(payload, mtu, ttl=9, traffic_class=0xB8)
    assert b"".join(body for _, body in pieces) == payload
    offset = 0
    for header, body in pieces:
        assert header.fragment_offset == offset
        assert (header.identification, header.ttl, header.traffic_class, header.protocol) == (7, 9, 0xB8, 17)
        offset += len(body)
    assert [header.more_fragments for header, _ in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(body) == (mtu - 20) // 8 * 8 for _, body in pieces[:-1])


def test_only_copied_options_go_into_later_fragments() -> None:
    """791-options: record route (copied bit clear) in the first only, router alert (set) in all."""
    record_route = bytes((7, 7, 4, 0, 0, 0, 0))
    pieces = cut(bytes(3000), 1000, options=record_route + ipv4.ROUTER_ALERT)
    assert pieces[0][0].options == record_route + ipv4.ROUTER_ALERT + b"\0"
    assert [header.options for header, _ in pieces[1:]] == [ipv4.ROUTER_ALERT] * (len(pieces) - 1)


def test_a_fragment_of_a_fragment_keeps_its_place() -> None:
    """791-3.2: offsets go on from the fragment's own; its last piece keeps the more-fragments bit."""
    payload = Random(2).randbytes(1480)
    middle = cut(payload, 576, fragment_offset=2960, more_fragments=True)
    assert [header.fragment_offset for header, _ in middle] == [2960, 2960 + 552, 2960 + 1104]
    assert all(header.more_fragments for header, _ in middle)
    last = cut(payload, 576, fragment_offset=2960)
    assert [header.more_fragments for header, _ in last] == [True, True, False]


def test_identifications_do_not_come_again_within_65536() -> None:
    """6864-4: unique for a source, destination and protocol."""
    identifications = Identifications(Random(3))
    values = {identifications.next(SOURCE, DESTINATION, 17) for _ in range(65536)}
    assert len(values) == 65536


def test_identifications_of_different_nodes_and_flows_start_elsewhere() -> None:
    starts = {Identifications(Random(seed)).next(SOURCE, DESTINATION, 17) for seed in range(50)}
    assert len(starts) > 40
    one = Identifications(Random(3))
    assert len({one.next(SOURCE, parse_ip4(f"10.0.1.{host}"), 17) for host in range(50)}) > 40
