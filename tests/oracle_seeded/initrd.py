"""The guest's disk: an archive with this Python, just the modules of it that a job imports, and nothing else.

What a job needs is found by importing it here, without site packages, and asking what came with it: some 150 files of
Python, the extensions among them, and the shared libraries of those (ldd). Each has its own path in the guest, so
Python finds itself there as it does here. The kernel unpacks the archive (cpio, "newc") into its root file system:

    "070701" | 13 numbers of 8 hexadecimal digits: inode, mode, owner, group, links, mtime, size, 2 + 2 devices,
    length of the name, checksum (0) | name, NUL | to a multiple of 4 | content | to a multiple of 4 | ...

It is not compressed: to unpack it would cost the guest more than the reading.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()
"""Not the virtual environment's link to it: there is no such environment in the guest."""
_LIST = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
found = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
files = [path for spec in found if spec.has_location for path in (spec.origin, spec.cached)]
print(json.dumps(sorted({path for path in files if path})))
"""
_LIBRARY = re.compile(r"(/\S+) \(0x")
_TRAILER = "TRAILER!!!"


def build(modules: Sequence[str], contents: Mapping[str, bytes]) -> bytes:
    """What the Python modules named need, and `contents` by absolute path. Raises CalledProcessError."""
    files = [PYTHON, *(Path(path) for path in _imported(modules))]
    files = [path for path in files if path.is_file()]
    libraries = {path for file in files if file == PYTHON or ".so" in file.suffixes for path in _libraries(file)}
    everything = {str(path): path.read_bytes() for path in (*files, *libraries)} | dict(contents)
    times = {str(path): int(path.stat().st_mtime) for path in files}  # compiled files know those of their sources
    return b"".join(_archive(everything, times))


def _imported(modules: Sequence[str]) -> list[str]:
    """The files of all modules that there are then; also of those inside Python, whose files it looks for."""
    command = [str(PYTHON), "-S", "-X", "frozen_modules=off", "-c", _LIST, "runpy", *modules]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    found: list[str] = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    return found


def _libraries(file: Path) -> Iterator[Path]:
    told = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=True).stdout
    return (Path(path) for path in _LIBRARY.findall(told))


def _archive(files: Mapping[str, bytes], times: Mapping[str, int]) -> Iterator[bytes]:
    folders = {str(folder) for path in files for folder in Path(path).parents} - {"/"}
    for folder in sorted(folders):
        yield _entry(folder, stat.S_IFDIR | 0o755)
    for path, content in files.items():
        yield _entry(path, stat.S_IFREG | 0o755, content, times.get(path, 0))
    yield _entry(_TRAILER, 0)


def _entry(path: str, mode: int, content: bytes = b"", time: int = 0) -> bytes:
    name = path.lstrip("/").encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, time, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    return _padded(head) + _padded(content)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
