"""In a guest: files and command lines, in a folder in memory. With it, what people type can be tried on this kernel.

The kernel's IPv6 is off before there is any interface: it would send frames of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.host.namespaces import NO_IPV6, write_sysctls

FOLDER = Path("/run/desk")
TIMEOUT = 60.0
"""Seconds for a command."""


def run(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`files`: text by name; `commands`: argument lists, run one after another. Of each command `status`, `output` and
    `errors`; those after one that failed are not run."""
    FOLDER.mkdir()
    for name, text in arguments.get("files", {}).items():
        (FOLDER / name).write_text(text)
    write_sysctls(NO_IPV6)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(FOLDER), "NO_COLOR": "1", "COLUMNS": "200"}
    done = []
    for command in arguments["commands"]:
        finished = subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        done.append({"status": finished.returncode, "output": finished.stdout, "errors": finished.stderr})
        if finished.returncode:
            break
    return done
