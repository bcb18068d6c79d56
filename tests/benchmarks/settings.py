"""What all benchmarks are told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`quick` takes one short round of the smallest sizes, to see that everything works. `scratch` is a folder for
    topologies and runs, thrown away at the end. `pytcp`: measure pmd-pytcp as well, which is then installed."""

    scratch: Path
    quick: bool = False
    pytcp: bool = True

    def say(self, text: str) -> None:
        """Progress, for people who wait."""
        print(text, file=sys.stderr, flush=True)
