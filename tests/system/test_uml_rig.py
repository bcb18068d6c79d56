"""The rig of User Mode Linux itself (tests/uml/boot.py): what a job returns, how it fails, and that nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.uml import boot
from tests.uml.answer import GuestError

pytestmark = pytest.mark.slow

JOB = "tests.uml.jobs.commands"


@pytest.fixture(autouse=True)
def rig() -> Iterator[None]:
    """Afterwards no process and no folder of a guest is left."""
    reason = boot.missing()
    if reason is not None:
        pytest.skip(reason)
    yield
    assert not guests()


def guests() -> list[str]:
    """Command lines of guests that this process started."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith("linux.uml") and f"owner={os.getpid()}" in words:
            found.append(" ".join(words))
    return found


def shell(*lines: str) -> dict[str, list[list[str]]]:
    return {"commands": [["sh", "-c", line] for line in lines]}


def test_a_kernel_of_its_own() -> None:
    """Its own release, processes, network and modules; the files are this machine's, and read-only."""
    lines = ("uname -r", "ls /sys/class/net", "cut -d' ' -f1 /proc/modules | sort", "touch /usr/x; test ! -e /usr/x")
    done = boot.run(JOB, shell(*lines), ["veth", "bridge"])
    outputs = [result["output"].split() for result in done]
    assert outputs[0] != [os.uname().release]
    assert outputs[1] == ["lo"]
    assert {"veth", "bridge", "stp", "llc", "ipv6"} <= set(outputs[2]), "with what they need"
    assert "Read-only" in done[3]["errors"]


def test_the_jobs_exception_comes_back() -> None:
    with pytest.raises(GuestError, match="KeyError: 'commands'") as caught:
        boot.run(JOB, {})
    assert "the guest's console" in str(caught.value)


def test_a_module_that_there_is_not() -> None:
    with pytest.raises(GuestError, match="no kernel module nonesuch"):
        boot.run(JOB, shell(), ["nonesuch"])


def test_a_job_that_takes_too_long() -> None:
    with pytest.raises(GuestError, match="longer than 4 s"):
        boot.run(JOB, shell("sleep 100"), timeout=4)


def test_a_guest_that_breaks_down() -> None:
    """A kernel panic, in the midst of the job."""
    with pytest.raises(GuestError, match="ended without a result") as caught:
        boot.run(JOB, shell("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 30"))
    assert "panic" in str(caught.value).lower()


def test_several_at_once() -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda word: boot.run(JOB, shell(f"echo {word}")), ("one", "two")))
    assert [answer[0]["output"].strip() for answer in answers] == ["one", "two"]
