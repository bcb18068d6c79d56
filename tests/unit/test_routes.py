from random import Random

import pytest

from nodes.errors import LimitError
from nodes.network import routes as routes_module
from nodes.network.routes import CACHE_LIMIT, Route, RouteTable
from nodes.wire.addresses import Ip4, Prefix, parse_ip4


def route(prefix: str, via: str | None = None, interface: int = 0, metric: int = 0) -> Route:
    return Route(Prefix.parse(prefix), None if via is None else parse_ip4(via), interface, metric)


def leads(table: RouteTable, destination: str) -> Route | None:
    return table.lookup(parse_ip4(destination))


def test_the_longest_prefix_wins() -> None:
    """1812-5.2.4.3: whatever the order of insertion."""
    entries = [route("0.0.0.0/0", "10.0.0.1"), route("10.1.0.0/16", "10.0.0.2"), route("10.1.2.0/24", "10.0.0.3")]
    entries.append(route("10.1.2.3/32", "10.0.0.4"))
    for order in (entries, entries[::-1]):
        table = RouteTable()
        for entry in order:
            table.add(entry)
        assert leads(table, "10.1.2.3") == entries[3]
        assert leads(table, "10.1.2.4") == entries[2]
        assert leads(table, "10.1.3.4") == entries[1]
        assert leads(table, "10.2.0.1") == entries[0]
        assert table.routes() == entries[::-1]


def test_no_route_is_none_and_the_answer_changes_with_the_table() -> None:
    table = RouteTable()
    assert leads(table, "10.0.0.1") is None
    version = table.version
    table.add(route("10.0.0.0/8"))
    assert table.version != version
    assert leads(table, "10.0.0.1") == route("10.0.0.0/8")
    table.remove(Prefix.parse("10.0.0.0/8"), None, 0)
    assert leads(table, "10.0.0.1") is None
    assert len(table) == 0


def test_the_lowest_metric_wins_then_the_older() -> None:
    table = RouteTable()
    table.add(route("0.0.0.0/0", "10.0.0.1", 0, 10))
    table.add(route("0.0.0.0/0", "10.0.1.1", 1, 5))
    table.add(route("0.0.0.0/0", "10.0.2.1", 2, 5))
    assert leads(table, "8.8.8.8") == route("0.0.0.0/0", "10.0.1.1", 1, 5)


def test_a_route_over_a_link_that_is_down_gives_way() -> None:
    table = RouteTable()
    table.add(route("10.1.0.0/16", "10.0.1.1", 1))
    table.add(route("0.0.0.0/0", "10.0.0.1", 0))
    assert leads(table, "10.1.0.1") == route("10.1.0.0/16", "10.0.1.1", 1)
    table.set_interface(1, up=False)
    assert leads(table, "10.1.0.1") == route("0.0.0.0/0", "10.0.0.1", 0)
    table.set_interface(1, up=True)
    assert leads(table, "10.1.0.1") == route("10.1.0.0/16", "10.0.1.1", 1)


def test_lookup_for_one_interface() -> None:
    table = RouteTable()
    table.add(route("10.1.0.0/16", "10.0.1.1", 1))
    table.add(route("0.0.0.0/0", "10.0.0.1", 0))
    assert table.lookup(parse_ip4("10.1.0.1"), 0) == route("0.0.0.0/0", "10.0.0.1", 0)
    assert table.lookup(parse_ip4("10.1.0.1"), 2) is None


def test_host_bits_are_cleared_and_the_same_route_is_replaced() -> None:
    table = RouteTable()
    assert table.add(route("10.0.0.77/24", "10.9.9.9", 0, 1)) is None
    assert table.add(route("10.0.0.0/24", "10.9.9.9", 0, 2)) == route("10.0.0.0/24", "10.9.9.9", 0, 1)
    assert len(table) == 1
    assert table.best(Prefix.parse("10.0.0.0/24")) == route("10.0.0.0/24", "10.9.9.9", 0, 2)


def test_removing_what_is_not_there() -> None:
    table = RouteTable()
    table.add(route("10.0.0.0/24", "10.9.9.9"))
    assert table.remove(Prefix.parse("10.0.0.0/24"), None, 0) is None
    assert table.remove(Prefix.parse("10.0.0.0/25"), parse_ip4("10.9.9.9"), 0) is None
    assert len(table) == 1


def test_the_cache_is_bounded() -> None:
    table = RouteTable()
    table.add(route("0.0.0.0/0"))
    for number in range(CACHE_LIMIT + 10):
        table.lookup(Ip4(number))
    assert len(table._cache) <= CACHE_LIMIT


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "ROUTE_LIMIT", 2)
    table = RouteTable()
    table.add(route("10.0.0.0/24"))
    table.add(route("10.0.1.0/24"))
    with pytest.raises(LimitError):
        table.add(route("10.0.2.0/24"))
    table.add(route("10.0.1.0/24", metric=7))  # a replacement needs no room


def test_against_a_linear_search() -> None:
    random = Random(7)
    table = RouteTable()
    entries: dict[Prefix, Route] = {}
    for index in range(300):
        length = random.randint(0, 32)
        prefix = Prefix(Ip4(random.getrandbits(32)), length)
        prefix = Prefix(prefix.network, length)
        entries.setdefault(prefix, Route(prefix, Ip4(index), index))
        if entries[prefix].interface == index:
            table.add(entries[prefix])
    for _ in range(2000):
        base = random.choice(list(entries)).address
        destination = Ip4(base ^ random.getrandbits(random.randint(0, 32)))
        matching = [entry for entry in entries.values() if entry.prefix.contains(destination)]
        expected = max(matching, key=lambda entry: entry.prefix.length, default=None)
        assert table.lookup(destination) == expected
