"""What this machine has of Mininet, found by trying it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from typing import NamedTuple


class Lack(NamedTuple):
    """What is missing, and what to do about it."""

    message: str
    hint: str


def lack_of_module() -> Lack | None:
    """Whether this Python has Mininet. Before 3.12 `distutils`, which Mininet imports, was a part of Python."""
    for name, package in (("mininet", "layerlab[mininet]"), ("distutils", "setuptools")):
        if importlib.util.find_spec(name) is None:
            hint = f"pip install '{package}', with the pip of {sys.executable}"
            return Lack(f"this Python has no module {name!r}", hint)
    return None


def lack_of_mnexec() -> Lack | None:
    """Mininet starts every shell with this program, which PyPI's package does not have."""
    if shutil.which("mnexec") is None:
        return Lack("no program 'mnexec'", "apt-get install mininet, or build it from Mininet's sources")
    return None


def lack_of_mininet() -> Lack | None:
    """What the mininet driver cannot do without."""
    return lack_of_module() or lack_of_mnexec()
