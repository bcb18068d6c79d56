"""The errors that a person sees, and the exit code of each.

    LabError                       exit  1   something went wrong that has no better place
    ├── UserInputError                   2   a wrong argument, an invalid topology, a name that does not exist
    ├── StateError                       3   the lab is not in the state that the command needs: up twice, not up
    ├── EnvironmentLackError             4   this machine, user or driver cannot do it: permission, disk ...
    ├── DriverError                      5   the machine refused a step of building or of changing a lab
    ├── NodeError                        6   a node refused a request, died, or does not answer
    └── VerdictError                     7   everything ran, and the answer is no: no reply, a failed check

130 is Ctrl-C, as shells have it. A message says what happened, with file, line and column where there is a file; the
hint says what to do about it. Both are plain text: colour and prefixes belong to the command line.
"""

from __future__ import annotations


class LabError(Exception):
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserInputError(LabError):
    exit_code = 2


class StateError(LabError):
    exit_code = 3


class EnvironmentLackError(LabError):
    exit_code = 4


class DriverError(LabError):
    exit_code = 5


class NodeError(LabError):
    exit_code = 6


class VerdictError(LabError):
    exit_code = 7
