"""Who is interrupted for not letting others run, and who is not."""

from __future__ import annotations

import queue
import signal
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import nodes.stack
from nodes.errors import StuckError
from nodes.io.patience import Patience, program_frame

pytestmark = pytest.mark.timeout(60, method="thread")  # the other method has the timer that is tested here


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.signal(signal.SIGALRM, before)


def busy() -> None:
    while True:
        pass


@pytest.mark.parametrize("work", [busy, lambda: time.sleep(60), lambda: queue.Queue[int]().get(timeout=60)])
def test_code_of_a_program_is_interrupted_where_it_stands(work: object) -> None:
    assert callable(work)
    said = r"node a: .* for 0.1 s, at .*test_patience.py:\d+, in (busy|<lambda>)"
    with pytest.raises(StuckError, match=said), Patience("a", 0.1):
        work()


def test_what_swallows_it_is_interrupted_again() -> None:
    count = 0
    with Patience("a", 0.05):
        while count < 3:
            try:
                busy()
            except StuckError:
                count += 1


def test_what_lets_others_run_is_not() -> None:
    """Longer than its patience, in all and while it rests. A busy machine may hold a turn up: one tick of six."""
    patience = Patience("a", 0.3)
    patience._tick = 0.05
    for _ in range(20):
        with patience:
            time.sleep(0.02)
    time.sleep(0.4)


def test_a_process_that_was_stopped_has_lost_no_patience() -> None:
    """One signal is left of all that were sent meanwhile: so it is with SIGSTOP, and with a blocked signal."""
    patience = Patience("a", 0.2)
    patience._tick = 0.05
    with patience:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(0.5)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        time.sleep(0.01)


def frame_in(file: str) -> FrameType:
    """A frame of a function of that file, called from here."""
    namespace: dict[str, Any] = {}
    exec(compile("import sys\ndef f():\n    return sys._getframe()\n", file, "exec"), namespace)
    frame: FrameType = namespace["f"]()
    return frame


def test_our_own_code_is_not_interrupted() -> None:
    assert program_frame(frame_in(nodes.stack.__file__)) is None


def test_the_library_stands_for_who_calls_it() -> None:
    found = program_frame(frame_in(traceback.__file__))
    assert found is not None
    assert found.f_code.co_filename == __file__


def test_an_installed_package_is_a_program() -> None:
    frame = frame_in(f"{Path(traceback.__file__).parent}/site-packages/aiohttp/web.py")
    assert program_frame(frame) is frame
