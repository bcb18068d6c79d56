"""A user's coroutine function on its way into a node, and what became of it on its way back.

Functions travel by their names, as `multiprocessing` sends them: the node imports the file in which they are defined.
What is defined inside a function, a lambda, or typed into an interactive shell is nowhere to be imported.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.errors import NodeError, UserInputError

_MAIN, _STAND_IN = "__main__", "__mp_main__"
_HINT = "a node imports it by its name: define it at the top level of a file"

LINE = 512 * 1024
"""Octets of a pickle that fit into a line of the control protocol, in base64 and with the rest of the request."""


class ProgramError(NodeError):
    """A program in a node ended with an exception that cannot be made again here; the message has its text."""


def program_params(
    function: Callable[..., Any], args: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None, name: str = ""
) -> dict[str, Any]:
    """The parameters of the method `program` (docs/control-protocol.md). With `call_bytes` in the place of `call` where
    the pickle is longer than LINE: write it to a file, and send the path as `call_file`. Raises UserInputError for a
    function that no node can import, and for arguments that cannot be pickled."""
    inner = _innermost(function)
    title = getattr(inner, "__qualname__", type(inner).__qualname__)
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    try:
        pickled = pickle.dumps((function, tuple(args), dict(keywords or {})), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        hint = _HINT if "<locals>" in title or "<lambda>" in title else ""
        raise UserInputError(f"{title} cannot be sent to a node: {error}", hint=hint) from error
    modules = [_described(each) for each in _modules(module, pickled)]
    if len(pickled) <= LINE:
        call: dict[str, Any] = {"call": base64.b64encode(pickled).decode()}
    else:
        call = {"call_bytes": pickled}
    path = [entry or str(Path.cwd()) for entry in sys.path]
    return {**call, "modules": modules, "path": path, "folder": str(Path.cwd()), "name": name or title}


def _innermost(function: Callable[..., Any]) -> Any:
    """What a partial or a bound method calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


def _modules(module: ModuleType | None, pickled: bytes) -> list[ModuleType]:
    """Those to load: that of the function, and the program itself where something of it is in the pickle."""
    found = [] if module is None else [module]
    main = sys.modules[_MAIN]
    if main is not module and (_MAIN.encode() in pickled or _STAND_IN.encode() in pickled):
        found.insert(0, main)
    return found


def _described(module: ModuleType) -> dict[str, str]:
    file = getattr(module, "__file__", None)
    if file is None and module.__name__ == _MAIN:
        raise UserInputError("what is typed into a shell cannot be sent to a node", hint=_HINT)
    return {"name": module.__name__} if file is None else {"name": module.__name__, "file": str(Path(file).resolve())}


def outcome(result: Mapping[str, Any], fds: Sequence[int] = ()) -> Any:
    """What the program returned. Raises what it raised, with its traceback in the node as a note; CancelledError where
    it was cancelled; ProgramError for an exception that cannot be made again. Closes the descriptors."""
    pickled = _read(fds[0]) if fds else _decoded(result.get("pickle"))
    if result["outcome"] == "cancelled":
        raise asyncio.CancelledError
    sys.modules.setdefault(_STAND_IN, sys.modules[_MAIN])
    if result["outcome"] == "returned":
        if pickled is None:
            raise ProgramError("a program returned, but its value did not come with it")
        return pickle.loads(pickled)  # noqa: S301 - from the user's own program
    raise _error(result, pickled)


def _error(result: Mapping[str, Any], pickled: bytes | None) -> BaseException:
    error: object = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)  # noqa: S301 - from the user's own program
        except Exception:  # noqa: BLE001 - whatever its class raises; there is its text
            error = None
    if not isinstance(error, BaseException):
        error = ProgramError(f"{result['type']}: {result['message']}")
    error.add_note(f"In the node:\n{result['traceback'].rstrip()}")
    return error


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _read(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
