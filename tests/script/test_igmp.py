"""The host's side of IGMPv2 (RFC 2236)."""

from random import Random

import pytest

from nodes.datalink.interface import EthernetInterface
from nodes.errors import LimitError, MisuseError
from nodes.network import igmp as igmp_module
from nodes.network.igmp import UNSOLICITED_REPORT_INTERVAL, VERSION_1_ROUTER_PRESENT
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import GroupUpdated, ListTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import igmp, ipv4
from nodes.wire.addresses import ALL_ROUTERS, ALL_SYSTEMS, ANY, Ip4, Mac, Prefix, multicast_mac, parse_ip4
from nodes.wire.igmp import IgmpMessage

OWN, ROUTER, MEMBER = (parse_ip4(text) for text in ("10.0.0.1", "10.0.0.254", "10.0.0.2"))
GROUP, OTHER = parse_ip4("239.1.2.3"), parse_ip4("239.9.9.9")
V1, V2 = igmp.VERSION_1_REPORT, igmp.VERSION_2_REPORT


class Host:
    def __init__(self) -> None:
        self.tracer = ListTracer()
        self.link = EthernetInterface(0, "eth0", Mac(bytes((2, 0, 0, 0, 0, 1))), 1500, Random(1), self.tracer)
        self.stack = Stack([self.link], Random(1), self.tracer, forwarding=False)
        self.stack.add_address(0, Prefix(OWN, 24), 0)
        self.run(10 * SECOND)  # the announcements

    def sent(self) -> list[tuple[int, Ip4, Ip4]]:
        """Type, group and destination of the IGMP messages that left."""
        messages = []
        for _, frame in self.stack.transmit():
            header, body = ipv4.parse(memoryview(frame)[14:])
            message = igmp.parse(body)
            assert (header.ttl, header.options, header.source) == (1, ipv4.ROUTER_ALERT, OWN)
            assert bytes(frame[:6]) == multicast_mac(header.destination)
            messages.append((message.type, message.group, header.destination))
        return messages

    def run(self, end: int) -> None:
        while (due := self.stack.deadline()) is not None and due <= end:
            self.stack.timeout(due)
            assert (self.stack.deadline() or due + 1) > due
            if end <= 10 * SECOND:
                self.stack.transmit()

    def hear(self, kind: int, group: Ip4, now: int, response: int = 100, destination: Ip4 = ALL_SYSTEMS) -> None:
        body = igmp.build(IgmpMessage(kind, response, group))
        packet = ipv4.build(ROUTER, destination, 2, body, ttl=1, options=ipv4.ROUTER_ALERT)
        self.stack.receive(0, multicast_mac(destination) + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + packet, now)

    def query(self, now: int, group: int = 0, response: int = 100) -> None:
        self.hear(igmp.MEMBERSHIP_QUERY, Ip4(group), now, response, Ip4(group) if group else ALL_SYSTEMS)

    def settled(self, *groups: Ip4) -> int:
        """Joins, and lets the second unsolicited report pass; returns the time."""
        for group in groups:
            self.stack.ip.join(group, 0, 20 * SECOND)
        self.run(20 * SECOND + UNSOLICITED_REPORT_INTERVAL)
        self.stack.transmit()
        return 40 * SECOND

    def states(self) -> list[tuple[str, str, str]]:
        events = self.tracer.of(GroupUpdated)
        return [(event.old, event.new, event.trigger) for event in events if isinstance(event, GroupUpdated)]


def test_a_join_is_reported_at_once_and_once_more() -> None:
    """2236-3."""
    host = Host()
    host.stack.ip.join(GROUP, 0, 20 * SECOND)
    assert host.sent() == [(V2, GROUP, GROUP)]
    due = host.stack.deadline()
    assert due is not None
    assert 20 * SECOND < due <= 30 * SECOND
    host.stack.timeout(due)
    assert host.sent() == [(V2, GROUP, GROUP)]
    assert host.stack.deadline() is None
    assert host.states() == [("non-member", "delaying", "join"), ("delaying", "idle", "timeout")]


def test_frames_of_a_group_come_in_only_for_members() -> None:
    """1112-7.2: the filter of the interface and that of the internet layer."""
    host = Host()
    packet = ipv4.build(MEMBER, GROUP, 17, bytes((0, 7, 0, 9, 0, 8, 0, 0)))
    frame = multicast_mac(GROUP) + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + packet
    host.stack.receive(0, frame, 0)
    assert host.link.counters.in_filtered == 1
    host.stack.ip.join(GROUP, 0, 0)
    host.stack.ip.join(GROUP, 0, 0)
    delivered = host.stack.ip.counters.in_delivers
    host.stack.receive(0, frame, 0)
    assert host.stack.ip.counters.in_delivers == delivered + 1
    alias = Ip4(GROUP ^ 0x00800000)  # the same MAC address, another group
    host.stack.receive(0, frame[:14] + ipv4.build(MEMBER, alias, 17, b""), 0)
    assert host.stack.ip.counters.in_delivers == delivered + 1
    host.stack.ip.leave(GROUP, 0, 0)
    host.stack.receive(0, frame, 0)
    assert host.stack.ip.counters.in_delivers == delivered + 2
    host.stack.ip.leave(GROUP, 0, 0)
    host.stack.receive(0, frame, 0)
    assert host.link.counters.in_filtered == 2


def test_a_group_is_on_the_link_whatever_route_leads_there() -> None:
    """1112-6.4: not to the gateway's MAC address."""
    host = Host()
    host.stack.add_route(Route(Prefix(ANY, 0), ROUTER, 0), 0)
    host.stack.ip.send(b"", GROUP, 17, 0)
    ((_, frame),) = host.stack.transmit()
    assert frame[:6] == multicast_mac(GROUP)


def test_a_general_query_is_answered_for_each_group_within_its_time() -> None:
    """2236-3: never for 224.0.0.1."""
    host = Host()
    now = host.settled(GROUP, OTHER, ALL_SYSTEMS)
    host.query(now, response=7)
    assert host.sent() == []
    host.run(now + 700 * MILLISECOND)
    assert sorted(host.sent()) == [(V2, GROUP, GROUP), (V2, OTHER, OTHER)]
    assert host.stack.deadline() is None


def test_a_query_for_one_group() -> None:
    host = Host()
    now = host.settled(GROUP, OTHER)
    host.query(now, GROUP, response=10)
    host.run(now + SECOND)
    assert host.sent() == [(V2, GROUP, GROUP)]


def test_a_running_timer_is_only_shortened() -> None:
    """2236-3."""
    host = Host()
    now = host.settled(GROUP)
    host.query(now, response=10)
    due = host.stack.deadline()
    host.query(now, response=255)
    assert host.stack.deadline() == due
    host.query(now, response=1)
    shorter = host.stack.deadline()
    assert shorter is not None
    assert shorter <= now + 100 * MILLISECOND


def test_the_report_of_another_member_is_enough() -> None:
    """2236-3: suppression, and then no leave message either."""
    host = Host()
    now = host.settled(GROUP)
    host.query(now)
    host.hear(V2, GROUP, now + 1, destination=GROUP)
    assert host.stack.deadline() is None
    host.stack.ip.leave(GROUP, 0, now + 2)
    assert host.sent() == []
    assert host.states()[-2:] == [("delaying", "idle", "report_heard"), ("idle", "non-member", "leave")]


def test_who_reported_last_says_when_it_leaves() -> None:
    """2236-3."""
    host = Host()
    now = host.settled(GROUP)
    host.stack.ip.leave(GROUP, 0, now)
    assert host.sent() == [(igmp.LEAVE_GROUP, GROUP, ALL_ROUTERS)]


def test_a_router_of_version_1() -> None:
    """2236-4: reports of version 1 and no leave, for 400 seconds."""
    host = Host()
    now = host.settled(GROUP)
    host.query(now, response=0)
    host.run(now + 10 * SECOND)
    assert host.sent() == [(V1, GROUP, GROUP)]
    host.stack.ip.join(OTHER, 0, now + VERSION_1_ROUTER_PRESENT - 1)
    assert host.sent() == [(V1, OTHER, OTHER)]
    host.stack.ip.leave(OTHER, 0, now + VERSION_1_ROUTER_PRESENT - 1)
    assert host.sent() == []
    host.stack.ip.leave(GROUP, 0, now + VERSION_1_ROUTER_PRESENT)
    assert host.sent() == [(igmp.LEAVE_GROUP, GROUP, ALL_ROUTERS)]


def test_all_systems_is_never_reported() -> None:
    host = Host()
    host.stack.ip.join(ALL_SYSTEMS, 0, 20 * SECOND)
    host.stack.ip.leave(ALL_SYSTEMS, 0, 20 * SECOND)
    assert host.sent() == []
    assert host.stack.deadline() is None


def test_a_link_that_comes_up_hears_of_the_groups() -> None:
    host = Host()
    now = host.settled(GROUP)
    host.stack.set_port(0, up=False, now=now)
    host.stack.ip.join(OTHER, 0, now)  # nothing can leave, and nothing is raised
    host.stack.set_port(0, up=True, now=now + 1)
    frames = []
    while (due := host.stack.deadline()) is not None:
        host.stack.timeout(due)
        frames += [frame for _, frame in host.stack.transmit() if frame[12:14] == b"\x08\x00"]
    assert sorted(bytes(frame[:6]) for frame in frames) == [multicast_mac(GROUP), multicast_mac(OTHER)]


@pytest.mark.parametrize("body", [b"", b"\x11\x64\x00\x00\x00\x00\x00\x00", bytes(7)])
def test_malformed_messages(body: bytes) -> None:
    host = Host()
    now = host.settled(GROUP)
    packet = ipv4.build(ROUTER, ALL_SYSTEMS, 2, body, ttl=1)
    host.stack.receive(0, multicast_mac(ALL_SYSTEMS) + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + packet, now)
    assert host.stack.deadline() is None


def test_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    for group, interface in ((OWN, 0), (GROUP, 1), (GROUP, -1)):
        with pytest.raises(MisuseError):
            host.stack.ip.join(group, interface, 0)
    with pytest.raises(MisuseError, match="not a member"):
        host.stack.ip.leave(GROUP, 0, 0)
    monkeypatch.setattr(igmp_module, "GROUP_LIMIT", 1)
    host.stack.ip.join(GROUP, 0, 0)
    with pytest.raises(LimitError):
        host.stack.ip.join(OTHER, 0, 0)
    host.stack.ip.join(GROUP, 0, 0)
