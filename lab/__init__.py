"""What a person drives: builds labs out of nodes.

`from lab import Lab` is the way in for scripts. It is imported when it is asked for: agents and supervisors,
which import other modules of this package, do without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.api.lab import Lab as Lab

__version__ = "0.1.0"

__all__ = ["Lab", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Lab":
        return importlib.import_module("lab.api.lab").Lab
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
