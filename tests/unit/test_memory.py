"""Memory for large frames stays with a process that asked for that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from nodes.io.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def batch():
    return [bytearray(b"x" * 65_000) for _ in range(64)]
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_large_frames_cost_no_page_faults() -> None:
    """20 batches of 64 frames: without it, nearly every page of each comes from the kernel anew."""
    assert faults("keep") < 200
    assert faults("not") > 2000
