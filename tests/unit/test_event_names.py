"""Events that are asked for by name: those that cannot be are refused, with what was meant."""

from __future__ import annotations

import pytest

from lab.engine.event_names import check_pattern, known_events
from lab.errors import UserInputError


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        ("*", ()),
        ("link:*", ("interface",)),
        ("transport:connection_state_updated", ("old", "new", "trigger")),
        ("*:carrier_updated", ("new",)),
    ],
)
def test_possible(pattern: str, fields: tuple[str, ...]) -> None:
    check_pattern(pattern, fields)


@pytest.mark.parametrize(
    ("pattern", "fields", "error", "hint"),
    [
        ("tcp:connection_state_updated", (), "no event is named", "did you mean 'transport:connection_state_updated'?"),
        ("link:arp_update", (), "no event is named", "did you mean 'link:arp_updated'?"),
        ("tcp:*", (), "no event is named", "patterns that fit: "),
        ("link:arp_updated", ("interfaces",), "events have no field 'interfaces'", "did you mean 'interface'?"),
    ],
)
def test_impossible(pattern: str, fields: tuple[str, ...], error: str, hint: str) -> None:
    with pytest.raises(UserInputError, match=error) as caught:
        check_pattern(pattern, fields)
    assert caught.value.hint.startswith(hint)


def test_all_are_known() -> None:
    assert {"node:node_started", "link:carrier_updated", "transport:connection_state_updated"} <= known_events().keys()
