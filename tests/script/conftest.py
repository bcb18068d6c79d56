"""Fixtures of the TCP scripts: every one runs with plain and with wrapping sequence numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.script.tcp_script import DATA_WRAPS, PLAIN, SYN_WRAPS, Numbers, Script


@pytest.fixture(params=[PLAIN, DATA_WRAPS, SYN_WRAPS], ids=["plain", "data_wraps", "syn_wraps"])
def numbers(request: pytest.FixtureRequest) -> Numbers:
    """B-WRAP: initial sequence numbers, plain and just below 2^32."""
    return request.param


@pytest.fixture
def make_script(numbers: Numbers, request: pytest.FixtureRequest) -> Iterator[Callable[..., Script]]:
    """Makes scripts with settings of their own; all of them must end with nothing left that was not expected, unless
    the test has failed already."""
    made: list[Script] = []
    failures = request.session.testsfailed

    def make(*arguments: object, **options: object) -> Script:
        made.append(Script(numbers, *arguments, **options))
        return made[-1]

    yield make
    if request.session.testsfailed == failures:
        for script in made:
            script.finish()


@pytest.fixture
def script(make_script: Callable[..., Script]) -> Script:
    """A node with the settings of `tcp_script.DEFAULTS`."""
    return make_script()
