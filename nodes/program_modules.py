"""The user's code in a node: the modules that a call needs, and the call itself.

A function is pickled by its name. Whoever asks says where the modules of such names are found, as the `spawn` of
`multiprocessing` does: with its own `sys.path`, and for modules that no path leads to with their files. The program
that was started, `__main__` over there, is imported here under the name `__mp_main__`, so that its
`if __name__ == "__main__":` does not run again, and stands for both names.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

MAIN = "__main__"
STAND_IN = "__mp_main__"

_Stamp = tuple[str, int, int]


class Call(NamedTuple):
    """`main` stands for `__main__` in what is pickled."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    main: ModuleType | None


NOT_HERE = (
    "A node imports the file that has the function, and what that imports. A container has only what is in its image: "
    "put functions for nodes into a file that imports nothing else, `lab` for one, or the library into the image."
)


class UserModules:
    """Those that were loaded from their files, each until its file is another."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[_Stamp, ModuleType]] = {}

    def read(
        self, pickled: bytes, modules: Sequence[Mapping[str, str]], path: Sequence[str] | None, folder: str | None
    ) -> Call:
        """Load the modules, then read the call. Raises whatever the user's code raises."""
        importlib.invalidate_caches()  # a file may be younger than the last look into its folder
        if path is not None:
            sys.path[:] = path
        if folder is not None:
            os.chdir(folder)
        main = None
        for entry in modules:
            try:
                module = self._load(entry["name"], entry.get("file"))
            except ModuleNotFoundError as error:
                error.add_note(NOT_HERE)
                raise
            if entry["name"] in (MAIN, STAND_IN):
                main = module
        stand_for_main(main)
        function, arguments, keywords = pickle.loads(pickled)  # noqa: S301 - from the user whose lab this is
        return Call(function, tuple(arguments), dict(keywords), main)

    def _load(self, name: str, file: str | None) -> ModuleType:
        if name == MAIN:
            name = STAND_IN
        if file is None:
            return importlib.import_module(name)
        try:
            status = Path(file).stat()
        except FileNotFoundError:
            why = "its program is not there for this node (a container sees only the folder where its lab was started)"
            raise FileNotFoundError(errno.ENOENT, why, file) from None
        stamp = str(Path(file).resolve()), status.st_mtime_ns, status.st_size
        known = self._loaded.get(name)
        if known is not None:
            if known[0] == stamp:
                return known[1]
            sys.modules.pop(name, None)  # its file has changed
        module = (_by_name(name, stamp[0]) if name != STAND_IN else None) or _from_file(name, file)
        self._loaded[name] = stamp, module
        return module


def _by_name(name: str, file: str) -> ModuleType | None:
    """The module of that name, if it is in that file: as a part of its package, it may import its neighbors."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or str(Path(spec.origin).resolve()) != file:
        return None
    return importlib.import_module(name)


def _from_file(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no file of Python", name=name, path=file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def stand_for_main(main: ModuleType | None) -> None:
    """From now on `main` is what pickles mean by `__main__`; None leaves it as it is."""
    if main is not None:
        sys.modules[MAIN] = sys.modules[STAND_IN] = main
