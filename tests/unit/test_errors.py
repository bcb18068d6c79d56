"""The tree of errors: what each is, the errno a socket API raises for it, and that it survives copying and pickling."""

from __future__ import annotations

import copy
import errno
import pickle
import re
from collections.abc import Iterator

import pytest

from nodes import errors
from nodes.errors import (
    DeadlockError,
    DisconnectedError,
    LimitError,
    LivelockError,
    MisuseError,
    NodeCrashedError,
    StackError,
    StuckError,
    UnreachableError,
    WireError,
)


def every(cls: type[StackError]) -> Iterator[type[StackError]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every(child)


@pytest.mark.parametrize(
    ("cls", "number"),
    [
        (StackError, errno.EIO),
        (MisuseError, errno.EINVAL),
        (LimitError, errno.ENOBUFS),
        (UnreachableError, errno.EHOSTUNREACH),
    ],
)
def test_an_error_carries_its_errno_message_and_hint(cls: type[StackError], number: int) -> None:
    error = cls("no route to 10.0.0.1", hint="add a route")
    assert (str(error), error.message, error.hint, error.errno) == (
        error.message,
        "no route to 10.0.0.1",
        "add a route",
        number,
    )
    assert cls("x").hint == ""


def test_the_errno_of_one_error_is_not_that_of_its_class() -> None:
    assert UnreachableError("x", errno=errno.ENETUNREACH).errno == errno.ENETUNREACH
    assert MisuseError("x", errno=0).errno == 0
    assert UnreachableError("x").errno == errno.EHOSTUNREACH


def test_a_wire_error_names_the_place() -> None:
    error = WireError("ipv4", "total length", 2, "10 octets, header has 20")
    assert str(error) == "ipv4 total length at byte 2: 10 octets, header has 20"
    assert (error.protocol, error.field, error.offset, error.reason) == (
        "ipv4",
        "total length",
        2,
        "10 octets, header has 20",
    )
    assert error.errno == errno.EBADMSG


TREE = (
    StackError,
    MisuseError,
    WireError,
    LimitError,
    UnreachableError,
    DisconnectedError,
    NodeCrashedError,
    StuckError,
    DeadlockError,
    LivelockError,
)


def test_the_tree_is_the_one_drawn_in_the_module() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^ +(?:│? *[├└]── )?(\w+Error)\b", errors.__doc__, re.MULTILINE)
    assert drawn == [cls.__name__ for cls in TREE]
    assert set(drawn) == {cls.__name__ for cls in every(StackError)}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("no route", hint="add one", errno=errno.ENETUNREACH),
        LimitError("no free port"),
        WireError("udp", "length", 4, "7 octets, 8 arrived"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_copied_and_pickled(error: StackError, duplicate) -> None:  # type: ignore[no-untyped-def]
    """An error that cannot be pickled hangs a pool of processes instead of being seen."""
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    assert other.errno == error.errno
