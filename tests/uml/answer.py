"""What a guest answered, and what it said on its console before it ended without an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONSOLE_LINES = 40


class GuestError(Exception):
    """The guest did not do its job; the text ends with its own words."""


def result(job: str, answer: Path, scratch: Path, errors: str = "") -> Any:
    """What the job returned, of the file that the guest wrote; `errors` are those of the program that it runs in.
    Raises GuestError."""
    try:
        found = json.loads(answer.read_text())
    except (FileNotFoundError, ValueError):
        raise GuestError(f"{job}: the guest ended without a result\n{errors}{last_words(scratch)}") from None
    if "error" in found:
        raise GuestError(f"{job} failed in the guest\n{found['error']}\n{last_words(scratch)}")
    return found["result"]


def last_words(scratch: Path) -> str:
    """The end of what it said on its console, a file of that name."""
    console = scratch / "console"
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    return "\n".join(["the guest's console:", *lines[-CONSOLE_LINES:]])
