"""What a program may set on a socket: names, types and bounds in one table."""

from __future__ import annotations

import difflib
import errno
from typing import NamedTuple

from nodes.errors import MisuseError
from nodes.transport.tcp.congestion import registry
from nodes.units import SECOND

_LONGEST = 1_000_000 * SECOND
_LARGEST_BUFFER = 1 << 30
"""RFC 7323 section 2.3: no window reaches 2^30 octets."""


class Rule(NamedTuple):
    """`kind` is the type; numbers are from `lowest` to `highest`; `optional` allows None."""

    kind: type
    lowest: int = 0
    highest: int = 0
    optional: bool = False


RULES = {
    "nodelay": Rule(bool),
    "keepalive": Rule(bool),
    "keepalive_idle": Rule(int, 1, _LONGEST),
    "keepalive_interval": Rule(int, 1, _LONGEST),
    "keepalive_probes": Rule(int, 1, 127),
    "linger": Rule(int, 0, _LONGEST, optional=True),
    "user_timeout": Rule(int, 1, _LONGEST, optional=True),
    "exchange_user_timeout": Rule(bool),
    "congestion": Rule(str),
    "ttl": Rule(int, 1, 255),
    "traffic_class": Rule(int, 0, 252),
    "receive_limit": Rule(int, 1, _LARGEST_BUFFER),
    "send_limit": Rule(int, 1, _LARGEST_BUFFER),
    "mss": Rule(int, 48, 65_495, optional=True),
}
"""By the fields of `SocketOptions`."""


def check_option(name: str, value: object) -> None:
    """Raises MisuseError: ENOPROTOOPT for an unknown name, EINVAL for a wrong value, ENOENT for an unknown congestion
    control."""
    rule = RULES.get(name)
    if rule is None:
        near = difflib.get_close_matches(name, RULES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(RULES))}"
        raise MisuseError(f"there is no TCP option {name!r}", errno=errno.ENOPROTOOPT, hint=hint)
    if value is None and rule.optional:
        return
    if type(value) is not rule.kind:
        raise MisuseError(f"option {name}: {value!r} is not of type {rule.kind.__name__}")
    if isinstance(value, str):
        registry.check(value)
    elif isinstance(value, int) and rule.kind is int and not rule.lowest <= value <= rule.highest:
        raise MisuseError(f"option {name}: {value} is outside {rule.lowest} to {rule.highest}")
    if name == "traffic_class" and isinstance(value, int) and value & 3:
        raise MisuseError(f"option {name}: {value} sets bits of ECN, which belong to TCP (RFC 3168)")
