"""CPython's tests of asyncio on our loop: all pass but those of tests/cpython/reasons.py. Each module in a process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from tests.conftest import in_ci
from tests.cpython.reasons import REASONS
from tests.cpython.run import MODULES, Outcome

SECONDS = 600
SKIPS = ("Windows only", "has no attribute 'gettotalrefcount'")
"""What CPython's tests miss here: another system, an interpreter built for debugging."""
HINT = "Debian has CPython's tests in the package libpython3.X-testsuite"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS)]


@pytest.fixture(scope="module", autouse=True)
def cpython_tests() -> None:
    """They must be there in CI."""
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None:
        (pytest.fail if in_ci() else pytest.skip)(f"this Python came without its tests. {HINT}")


def outcomes(*arguments: str) -> list[Outcome]:
    command = [sys.executable, "-m", "tests.cpython", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stdout.startswith("["), done.stderr
    return [Outcome(*each) for each in json.loads(done.stdout)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_cpython(module: str) -> None:
    found = outcomes(module)
    assert not [each.test for each in found if each.outcome == "failed"], "\n".join(
        f"--- {each.test}\n{each.why}" for each in found if each.outcome == "failed"
    )
    assert not [each for each in found if each.outcome == "skipped" and not each.why.endswith(SKIPS)]
    assert any(each.outcome == "passed" for each in found)


def test_every_reason_is_needed() -> None:
    """A pattern that names no test has outlived it."""
    names = [each.test for each in outcomes("--list")]
    patterns = [pattern for reason in REASONS for pattern in reason.patterns]
    assert not [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
