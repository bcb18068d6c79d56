"""Which algorithms there are: a dict from name to factory.

A factory takes `CongestionSettings` and the time and gives one connection's control; the classes here are factories
themselves. Packages offer their own through the entry point group `layerlab.congestion`; the agent loads those and
calls `register`, so that nothing here looks at the machine. docs/congestion-control.md shows one.
"""

from __future__ import annotations

import difflib
import errno

from nodes.errors import MisuseError
from nodes.transport.tcp.congestion.aimd import Aimd
from nodes.transport.tcp.congestion.base import CongestionControl, CongestionFactory, CongestionSettings
from nodes.transport.tcp.congestion.bbr import Bbr
from nodes.transport.tcp.congestion.cubic import Cubic
from nodes.transport.tcp.congestion.fixed import FixedWindow
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.transport.tcp.congestion.reno import Reno
from nodes.transport.tcp.congestion.tahoe import Tahoe

ENTRY_POINT_GROUP = "layerlab.congestion"

ALGORITHMS: dict[str, CongestionFactory] = {
    "none": FixedWindow,
    "aimd": Aimd,
    "tahoe": Tahoe,
    "reno": Reno,
    "newreno": NewReno,
    "cubic": Cubic,
    "bbr": Bbr,
}

SURFACE = (
    *("name", "fast_recovery", "wants_rate", "uses_recovery_window", "cwnd", "ssthresh", "pacing_rate"),
    *("sent", "acknowledged", "congestion", "timeout", "recovered", "spurious", "idle", "set_mss", "snapshot"),
)
"""What a control must have, as `CongestionControl` says."""


def create(name: str, settings: CongestionSettings, now: int) -> CongestionControl:
    """The control of a new connection. Raises MisuseError (ENOENT) with the nearest name for one that is not there."""
    check(name)
    control = ALGORITHMS[name](settings, now)
    missing = [attribute for attribute in SURFACE if not hasattr(control, attribute)]
    if missing:
        raise MisuseError(
            f"congestion control {name!r} has no {missing[0]!r}",
            hint="deriving from nodes.transport.tcp.congestion.window.WindowControl gives all of them",
        )
    return control


def check(name: str) -> None:
    """Raises MisuseError (ENOENT) where no algorithm has this name."""
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name.lower(), ALGORITHMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(ALGORITHMS))}"
        raise MisuseError(f"there is no congestion control {name!r}", errno=errno.ENOENT, hint=hint)


def register(name: str, factory: CongestionFactory) -> None:
    """Make an algorithm known. The same one may be registered again. Raises MisuseError for a name that another one has
    (EEXIST), that is not a plain word, or for something that cannot be called."""
    if not name.replace("-", "").replace("_", "").isalnum() or name != name.lower():
        raise MisuseError(f"{name!r} is no name for a congestion control", hint="lower-case letters, digits, - and _")
    if not callable(factory):
        raise MisuseError(f"congestion control {name!r} is a {type(factory).__name__}, not a class or a function")
    if ALGORITHMS.get(name, factory) is not factory:
        raise MisuseError(f"there is a congestion control {name!r} already", errno=errno.EEXIST)
    ALGORITHMS[name] = factory
