"""The errors that a node raises on purpose.

    StackError
    ├── MisuseError        the caller broke a rule of the API
    ├── WireError          a peer sent bytes that the protocol does not allow
    ├── LimitError         a table, a buffer or the port space is full
    ├── UnreachableError   the network reported that what was sent cannot arrive
    ├── DisconnectedError  a connection is over: refused, reset, timed out
    │   └── NodeCrashedError   the node that a program ran in crashed
    ├── StuckError         a program in a node did not let others run
    └── DeadlockError      all wait, and nothing will ever happen
        └── LivelockError      programs run, and time does not go on

Every error carries `errno`, so that a socket API above can raise the `OSError` programs expect, and a `hint`
that says what to do. Nothing else is ever raised by `receive`, `timeout` or `transmit` of a stack.
"""

from __future__ import annotations

import errno


class StackError(Exception):
    """Base of all errors of the stack. `errno` is a number of the standard `errno` module."""

    errno: int = errno.EIO

    def __init__(self, message: str, *, hint: str = "", errno: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if errno is not None:
            self.errno = errno


class MisuseError(StackError):
    """The caller broke a rule of the API: a port out of range, a closed socket, a datagram that is too long."""

    errno = errno.EINVAL


class LimitError(StackError):
    """A bounded resource is used up: no free port, a full buffer, a full table."""

    errno = errno.ENOBUFS


class UnreachableError(StackError):
    """The network said that a destination, a protocol or a port cannot be reached (RFC 1122 section 4.1.3.3)."""

    errno = errno.EHOSTUNREACH


class DisconnectedError(StackError):
    """A connection is over, and not by an orderly close: `errno` says how (ECONNREFUSED, ECONNRESET, ETIMEDOUT,
    ECONNABORTED, EPIPE)."""

    errno = errno.ECONNRESET


class NodeCrashedError(DisconnectedError):
    """The node that a program ran in crashed, and the program with it."""

    errno = errno.EHOSTDOWN if hasattr(errno, "EHOSTDOWN") else errno.ECONNABORTED


class StuckError(StackError):
    """A program in a node computed or blocked for so long that nothing else in the node could happen. It is raised in
    that program, where it stands."""

    errno = errno.ETIME


class DeadlockError(StackError):
    """All programs of a simulation wait, and nothing will ever happen that they wait for. The text says who waits for
    what."""

    errno = errno.EDEADLK


class LivelockError(DeadlockError):
    """Programs of a simulation run again and again, and virtual time does not go on."""

    errno = errno.ELOOP


class WireError(StackError):
    """Bytes from a peer that the protocol does not allow. `protocol` and `field` name the place, `offset` the byte
    from the start of that protocol's header."""

    errno = errno.EBADMSG

    def __init__(self, protocol: str, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{protocol} {field} at byte {offset}: {reason}")
        self.protocol = protocol
        self.field = field
        self.offset = offset
        self.reason = reason

    def __reduce__(self) -> tuple[type[WireError], tuple[str, str, int, str]]:
        # An exception is copied and pickled by its `args`, which hold the message and not the four parts of it.
        return WireError, (self.protocol, self.field, self.offset, self.reason)
