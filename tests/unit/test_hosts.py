"""The table of names: read when asked, strict when read."""

from __future__ import annotations

import pytest

from nodes.errors import MisuseError
from nodes.network.hosts import HostTable
from nodes.wire.addresses import parse_ip4


def test_names_are_addresses() -> None:
    table = HostTable({"a": "10.0.0.1", "b": "10.0.0.2"})
    assert table["b"] == parse_ip4("10.0.0.2")
    assert dict(table) == {"a": parse_ip4("10.0.0.1"), "b": parse_ip4("10.0.0.2")}
    assert len(table) == 2
    assert "a" in table
    assert "c" not in table


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        HostTable({})["a"]


def test_an_entry_that_is_no_address_is_refused_when_read() -> None:
    with pytest.raises(MisuseError, match=r"host 'a': '10\.0\.0' is not an IPv4 address"):
        HostTable({"a": "10.0.0"})["a"]
