"""Other Python processes of this installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def own_python(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command, and its environment, that runs a module of this installation, and not of a folder `lab` or `nodes`
    that happens to be where the person is (-P)."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return [sys.executable, "-P", "-m", module, *arguments], {**os.environ, "PYTHONPATH": path}
