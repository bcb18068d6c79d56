"""Which of CPython's tests do not apply to sockets of a simulated node, and why.

A pattern is `module.Class.test`, as fnmatch has it. A test that a pattern names is not run, unless `--all`
is given.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Reason(NamedTuple):
    """Why tests do not apply, and which."""

    text: str
    patterns: tuple[str, ...]


REASONS = (
    Reason(
        "UNIX sockets are the kernel's, and a simulated node has none",
        ("*unix_*", "*.test_*_unix"),
    ),
    Reason(
        "the stack has no IPv6",
        ("*ipv6*", "*dual_stack*"),
    ),
    Reason(
        "the same tests again, with another selector of the kernel",
        ("*.PollEventLoopTests.*", "*.SelectEventLoopTests.*"),
    ),
    Reason(
        "child processes are the kernel's, and a simulated node has none",
        ("test_events.*.test_subprocess*", "*_new_process"),
    ),
    Reason(
        "pipes and terminals are the kernel's",
        ("*_pipe*", "*_pty*"),
    ),
    Reason(
        "signals are the machine's, and a simulated node has none",
        ("*_signal_*",),
    ),
    Reason(
        "puts mocks in the place of parts inside of asyncio, which a node does not use",
        (
            "*.test_create_connection_bluetooth",
            "*.test_create_connection_ip_addr",
            "*.test_create_connection_multiple_errors*",
            "*.test_create_connection_no_inet_pton",
            "*.test_create_connection_service_name",
            "*.test_create_connection_timeout",
            "*.test_create_datagram_endpoint_cant_bind",
            "*.test_create_datagram_endpoint_ip_addr",
            "*.test_create_datagram_endpoint_no_addrinfo",
            "*.test_create_datagram_endpoint_no_matching_family",
            "*.test_create_datagram_endpoint_nosoreuseport",
            "*.test_create_datagram_endpoint_setblk_err",
            "*.test_create_datagram_endpoint_socket_err",
            "*.test_create_datagram_endpoint_wrong_sock",
            "*.test_create_server_cant_bind",
            "*.test_create_server_multiple_hosts_ipv4",
            "*.test_create_server_nosoreuseport",
            "*.test_create_server_soreuseport_only_defined",
            "*.test_log_slow_callbacks",
        ),
    ),
    Reason(
        "asks the machine for the name of one of its addresses",
        ("test_base_events.*.test_getnameinfo",),
    ),
)


def why_not(test: str) -> Reason | None:
    """The reason not to run a test; None where it must pass."""
    for reason in REASONS:
        if any(fnmatchcase(test, pattern) for pattern in reason.patterns):
            return reason
    return None
