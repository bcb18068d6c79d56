"""Set-up common to all tests: hypothesis profiles, and the rule that CI never skips a system test.

A test of tests/system needs real parts of the machine: namespaces, packet sockets, tshark. Where one is missing the
test is skipped with its reason, so that `make test` works everywhere. With `CI` set that would be a hole that nobody
sees, so there a skip of a `system` test is a failure, which says what was missing. Every test in tests/system is
marked `system`, whether it says so or not.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell that runs the tests in the background has Ctrl-C ignored, and so has what they start; some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SYSTEM_FOLDER = Path(__file__).parent / "system"
ALONE = (
    "test_campus.py",
    "test_link_meter.py",
    "test_link_meter_uml.py",
    "test_links_lab.py",
    "test_links_schedule.py",
    "test_netem_lab.py",
    "test_netem_oracle_times.py",
    "test_queue_oracle.py",
    "test_queue_oracle_chance.py",
    "test_relay.py",
    "test_relay_executor.py",
)
"""Files whose tests measure times; `make test` runs them after the others, one by one."""

# No deadlines and no "too slow": both read the wall clock, and a busy machine would fail a test that is right.
settings.register_profile("dev", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=400,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def in_ci() -> bool:
    """True where the environment says so, as GitHub, GitLab and others do with `CI=true`."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if in_ci() else "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(SYSTEM_FOLDER):
            item.add_marker(pytest.mark.system)
        if item.path.name in ALONE:
            item.add_marker(pytest.mark.alone)


def pytest_collection_finish() -> None:
    """Ten thousand tests are half a million objects: no test that collects its garbage shall look at all of them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip in a test, a fixture or a mark of a system test fails in CI."""
    report = yield
    if item.get_closest_marker("system") is not None and not hasattr(report, "wasxfail"):
        _forbid_skip(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does the skip of a whole module: `importorskip`, `skip(allow_module_level=True)`."""
    report = yield
    if collector.path.is_relative_to(SYSTEM_FOLDER):
        _forbid_skip(report, collector.nodeid)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, name: str) -> None:
    if not (report.skipped and in_ci()):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{name}: a system test may not be skipped where CI is set. {reason}"
