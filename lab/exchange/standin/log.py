"""mininet.log: what a file says while it is read. Information is dropped, as Mininet drops it unless it is asked."""

from __future__ import annotations

import sys


def setLogLevel(_level: str | None = None) -> None:
    """Nothing is logged here."""


def info(*_words: object) -> None:
    """Only shown at Mininet's level `info`."""


debug = info


def error(*words: object) -> None:
    sys.stderr.write(" ".join(map(str, words)))


output = warn = warning = critical = error


class MininetLogger:
    """`lg`, with the same methods."""

    setLogLevel = staticmethod(setLogLevel)
    info = staticmethod(info)
    debug = staticmethod(debug)
    output = warn = warning = error = critical = staticmethod(error)


lg = MininetLogger()
