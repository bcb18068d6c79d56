"""The stack's errors as the exceptions that programs of the socket API expect.

    StackError            errno          what a program catches
    DisconnectedError     ECONNREFUSED   ConnectionRefusedError
                          ECONNRESET     ConnectionResetError
                          ECONNABORTED   ConnectionAbortedError
                          EPIPE          BrokenPipeError
                          ETIMEDOUT      TimeoutError
    MisuseError           EACCES         PermissionError
    anything              any other      OSError

Python chooses the class by the number. Number and message are the stack's, its hint is a note of the exception, and the
StackError itself is the cause.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

from nodes.errors import StackError


def os_error(error: StackError) -> OSError:
    """The exception for `error`, to be raised or handed to a protocol."""
    translated = OSError(error.errno, error.message)
    translated.__cause__ = error
    if error.hint:
        translated.add_note(f"hint: {error.hint}")
    return translated


def plain_error(number: int) -> OSError:
    """An error that the stack does not know, in the words of the operating system."""
    return OSError(number, os.strerror(number))


def would_block() -> BlockingIOError:
    """Nothing is there yet, or there is no room."""
    return BlockingIOError(errno.EAGAIN, "nothing is ready: the sockets of a node never wait")


class Raising:
    """See `raising`."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, StackError):
            raise os_error(error)


_RAISING = Raising()


def raising() -> Raising:
    """A context in which a StackError becomes an OSError."""
    return _RAISING
