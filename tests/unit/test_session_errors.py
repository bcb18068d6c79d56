"""The stack's errors as OSError: class, number, words, cause."""

import errno
import pickle

import pytest

from nodes.errors import DisconnectedError, LimitError, MisuseError, UnreachableError, WireError
from nodes.session.errors import os_error, raising


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DisconnectedError("x", errno=errno.ECONNREFUSED), ConnectionRefusedError),
        (DisconnectedError("x"), ConnectionResetError),
        (DisconnectedError("x", errno=errno.ECONNABORTED), ConnectionAbortedError),
        (DisconnectedError("x", errno=errno.EPIPE), BrokenPipeError),
        (DisconnectedError("x", errno=errno.ETIMEDOUT), TimeoutError),
        (MisuseError("x", errno=errno.EACCES), PermissionError),
        (MisuseError("x", errno=errno.EADDRINUSE), OSError),
        (UnreachableError("x"), OSError),
        (LimitError("x"), OSError),
        (WireError("tcp", "port", 0, "x"), OSError),
    ],
)
def test_class_and_number(error, kind):
    translated = os_error(error)
    assert type(translated) is kind
    assert translated.errno == error.errno
    assert translated.strerror == error.message
    assert translated.__cause__ is error


def test_the_hint_is_a_note():
    assert os_error(MisuseError("x", hint="do y")).__notes__ == ["hint: do y"]
    assert not hasattr(os_error(MisuseError("x")), "__notes__")


def test_raising_translates_errors_of_the_stack_and_nothing_else():
    with pytest.raises(ConnectionResetError, match="gone") as caught, raising():
        raise DisconnectedError("gone")
    assert isinstance(caught.value.__cause__, DisconnectedError)
    with pytest.raises(KeyError), raising():
        raise KeyError("x")
    with raising():
        pass


def test_it_can_be_sent_to_another_process():
    again = pickle.loads(pickle.dumps(os_error(DisconnectedError("gone", errno=errno.ETIMEDOUT))))
    assert (type(again), again.errno, again.strerror) == (TimeoutError, errno.ETIMEDOUT, "gone")
