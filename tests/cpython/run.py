"""Run modules of `test.test_asyncio` on our loop, and count.

Each test has a network of its own. A test that takes longer than a minute of real time is interrupted, and has failed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import itertools
import json
import signal
import unittest
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from fnmatch import fnmatchcase
from types import FrameType
from typing import Any, NamedTuple

from nodes.session.loop import StackEventLoop
from tests.cpython.reasons import REASONS, why_not
from tests.cpython.world import Machine

MODULES = (
    "test_streams",
    "test_server",
    "test_transports",
    "test_sslproto",
    "test_ssl",
    "test_buffered_proto",
    "test_sock_lowlevel",
    "test_sendfile",
    "test_events",
    "test_base_events",
    "test_tasks",
    "test_taskgroups",
    "test_timeouts",
    "test_waitfor",
    "test_locks",
    "test_queues",
    "test_futures",
    "test_runners",
    "test_threads",
    "test_context",
    "test_pep492",
)
SECONDS = 60
"""Of real time, after which a test is interrupted."""
AGAIN = 5
"""And again after so many: its clean-up may hang, too."""
PASSED, FAILED, SKIPPED, NOT_APPLICABLE, LISTED = "passed", "failed", "skipped", "does not apply", "listed"


class Outcome(NamedTuple):
    """`why`: the traceback, the words of the skip, or the text of the reason."""

    test: str
    outcome: str
    why: str = ""


class TookTooLongError(Exception):
    """A test did not end."""


class Policy(asyncio.DefaultEventLoopPolicy):
    """Makes our loops, all in one machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()

        class Loop(StackEventLoop):
            def __init__(self, selector: object = None) -> None:
                super().__init__(machine)
                machine.loops.append(self)

        self.loop_class = Loop

    def new_event_loop(self) -> StackEventLoop:
        return self.loop_class()


@contextmanager
def our_loops(machine: Machine) -> Iterator[None]:
    """Whoever asks asyncio for a loop gets one of ours."""
    policy = Policy(machine)
    replaced: dict[str, Any] = {"SelectorEventLoop": policy.loop_class, "EventLoop": policy.loop_class}
    # This one would attach itself to the signals of every loop.
    replaced["SafeChildWatcher"] = getattr(asyncio, "ThreadedChildWatcher", None)
    kept = {name: getattr(asyncio, name) for name in replaced if hasattr(asyncio, name)}
    for name in kept:
        setattr(asyncio, name, replaced[name])
    asyncio.set_event_loop_policy(policy)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(asyncio, name, value)
        asyncio.set_event_loop_policy(None)


class Result(unittest.TestResult):
    """Keeps one outcome of a test: the worst of its subtests."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Outcome | None = None

    def _keep(self, test: Any, outcome: str, why: str = "") -> None:
        if self.found is None or outcome == FAILED:
            self.found = Outcome(name_of(test), outcome, why)

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self._keep(test, PASSED)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._keep(test, FAILED, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addError = addFailure  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.addFailure(test, err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self._keep(test, SKIPPED, reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._keep(test, PASSED)


def name_of(test: Any) -> str:
    """module.Class.test"""
    return str(test.id()).removeprefix("test.test_asyncio.")


def tests_of(module: str, pattern: str = "*") -> list[Any]:
    """The tests of a module of `test.test_asyncio`."""
    loaded = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(f"test.test_asyncio.{module}"))
    return [test for test in tests_in(loaded) if fnmatchcase(name_of(test), pattern)]


def tests_in(suite: Any) -> Iterator[Any]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from tests_in(each)
        else:
            yield each


def run_module(name: str, pattern: str = "*", *, everything: bool = False) -> Iterator[Outcome]:
    """The outcome of each test of a module of `test.test_asyncio`. `everything`: also of those that do not apply."""
    machine = Machine()
    machine.enter()
    signal.signal(signal.SIGALRM, _interrupt)
    with machine.mirror.install(), warnings.catch_warnings():
        warnings.simplefilter("default")
        chosen = [(test, None if everything else why_not(name_of(test))) for test in tests_of(name, pattern)]
        gc.freeze()  # each test collects garbage, many a hundred times: not by looking at every module again
        yield from (Outcome(name_of(test), NOT_APPLICABLE, reason.text) for test, reason in chosen if reason)
        for kind, tests in itertools.groupby((test for test, reason in chosen if not reason), key=type):
            with class_fixtures(kind):
                yield from (run_test(test, machine) for test in tests)


@contextmanager
def class_fixtures(kind: Any) -> Iterator[None]:
    """What the tests of a class share."""
    kind.setUpClass()
    try:
        yield
    finally:
        kind.tearDownClass()
        kind.doClassCleanups()


def run_test(test: Any, machine: Machine) -> Outcome:
    """In a network of its own."""
    machine.renew(zlib.crc32(test.id().encode()))  # two tests at a time do not use the same ports
    result = Result()
    signal.setitimer(signal.ITIMER_REAL, SECONDS, AGAIN)
    try:
        with our_loops(machine), redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
            test.run(result)
    except TookTooLongError as error:
        result.addFailure(test, (type(error), error, error.__traceback__))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert result.found is not None, f"{name_of(test)} has no outcome"
    found = result.found
    return found._replace(why=found.why + out.getvalue()) if found.outcome == FAILED else found


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise TookTooLongError(f"longer than {SECONDS} s")


def table(outcomes: list[Outcome]) -> str:
    """The counts of each module, and the reasons with theirs, as Markdown."""
    lines = ["| module | passed | failed | skipped by CPython | does not apply |", "|---|---|---|---|---|"]
    for module in dict.fromkeys(each.test.partition(".")[0] for each in outcomes):
        counts = Counter(each.outcome for each in outcomes if each.test.startswith(f"{module}."))
        cells = [str(counts[outcome]) for outcome in (PASSED, FAILED, SKIPPED, NOT_APPLICABLE)]
        lines.append(f"| {module} | {' | '.join(cells)} |")
    lines += ["", "| tests | do not apply because |", "|---|---|"]
    reasons = Counter(each.why for each in outcomes if each.outcome == NOT_APPLICABLE)
    lines += [f"| {reasons[reason.text]} | {reason.text} |" for reason in REASONS if reasons[reason.text]]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """See __main__.py."""
    options = {each for each in arguments if each.startswith("--")}
    wanted = [each for each in arguments if each not in options] or list(MODULES)
    outcomes: list[Outcome] = []
    for each in wanted:
        module, _, rest = each.partition(".")
        pattern = each if rest else "*"
        if "--list" in options:
            outcomes += [Outcome(name_of(test), LISTED) for test in tests_of(module, pattern)]
        else:
            outcomes += _run(module, pattern, everything="--all" in options, quiet="--json" in options)
    print(json.dumps(outcomes) if "--json" in options else table(outcomes))
    return int(any(each.outcome == FAILED for each in outcomes))


def _run(module: str, pattern: str, *, everything: bool, quiet: bool) -> list[Outcome]:
    found = []
    for outcome in run_module(module, pattern, everything=everything):
        found.append(outcome)
        if outcome.outcome == FAILED and not quiet:
            print(f"--- {outcome.test}\n{outcome.why}", flush=True)
    return found
