"""The rule of tests/conftest.py, tried on a small project of its own: with CI set, a skipped system test fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFTEST = Path(__file__).parents[1] / "conftest.py"

CALL = "import pytest\ndef test_it():\n    pytest.skip('no namespaces here')\n"
FIXTURE = """
import pytest

@pytest.fixture
def lab():
    pytest.skip('no namespaces here')

def test_it(lab):
    pass
"""
MARK = "import pytest\n@pytest.mark.skipif(True, reason='no namespaces here')\ndef test_it():\n    pass\n"
MODULE = "import pytest\npytest.skip('no namespaces here', allow_module_level=True)\n"
IMPORT = "import pytest\npytest.importorskip('no_such_module', reason='no namespaces here')\n"
MARKED = "import pytest\n@pytest.mark.system\ndef test_it():\n    pytest.skip('no namespaces here')\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n"
PASSING = "def test_it():\n    pass\n"

PROJECT = {
    "system/test_call.py": CALL,
    "system/test_fixture.py": FIXTURE,
    "system/test_mark.py": MARK,
    "system/test_module.py": MODULE,
    "system/test_import.py": IMPORT,
    "system/test_expected.py": EXPECTED_FAILURE,
    "system/test_passing.py": PASSING,
    "unit/test_marked.py": MARKED,
    "unit/test_unmarked.py": CALL,
}


def run(folder: Path, ci: str | None) -> str:
    """What pytest prints about PROJECT, with our conftest.py."""
    for name, source in PROJECT.items():
        path = folder / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    shutil.copy(CONFTEST, folder / "tests")
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers --import-mode=importlib -p no:cacheprovider\nmarkers =\n  system: s\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    if ci is not None:
        environment["CI"] = ci
    command = [sys.executable, "-m", "pytest", "-rA", "--continue-on-collection-errors", "tests"]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == (1 if ci == "true" else 0), finished.stdout + finished.stderr
    return finished.stdout


def test_in_ci_a_skipped_system_test_fails_with_the_reason(tmp_path: Path) -> None:
    output = run(tmp_path, "true")
    assert "FAILED tests/system/test_call.py::test_it" in output
    for name in ("fixture", "mark"):
        assert f"ERROR tests/system/test_{name}.py::test_it" in output
    for name in ("module", "import"):
        assert f"ERROR tests/system/test_{name}.py" in output
    assert "FAILED tests/unit/test_marked.py::test_it" in output
    assert output.count("a system test may not be skipped where CI is set. Skipped: no namespaces here") >= 6
    assert "2 failed, 1 passed, 1 skipped, 1 xfailed, 4 errors" in output


@pytest.mark.parametrize("ci", [None, "false"])
def test_elsewhere_it_is_skipped(ci: str | None, tmp_path: Path) -> None:
    assert "1 passed, 7 skipped, 1 xfailed" in run(tmp_path, ci)
