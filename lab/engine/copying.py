"""Files and folders on their way between two processes that see different file systems.

    sender ── data ──▶ receiver       one-way pipes; each end then says how it went (`Outcome`)

The data are records: a line of JSON, and after that of a file's piece as many octets as it says.

    {"folder": "www", "mode": 493, "id": ..}  a folder, to be made; names are relative to what is copied, "" is itself
    {"link": "www/latest", "to": "v2"}        a symbolic link inside a folder, as it is
    {"file": "www/index.html", "mode": 420, "id": ..}    a file begins
    {"data": 65536}                           a piece of it follows
    {"end": true}                             nothing else comes

A pipe that closes before the end says that the other side failed, and its outcome says why. `id` is device and inode:
where both sides see one file system, as on netns, nothing is copied onto or into itself. The format is our own because
the standard library's tar looks up names of users on the way: in a container, with the container's libraries, and with
our rights.

Modes are kept, owners and times are not: what is made belongs to who makes it. A path that is a symbolic link is
followed; links inside of a folder are copied. Devices, pipes and sockets are refused: reading one may never end.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 1 << 18
LINE = 1 << 16
"""Octets of the longest record: a path has 4096 at most, which JSON may write with six for each."""

PERMISSIONS = 0o777
"""Bits of a mode that are kept: no set-user-ID from one file system to another."""

_WRONG_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went on one side. `error` is empty where all is well; `wrong_path` says that the person's path is the
    cause, and not the file system. `left`: the other side closed the pipe, and knows why."""

    files: int = 0
    octets: int = 0
    error: str = ""
    wrong_path: bool = False
    left: bool = False


class _LeftError(Exception):
    """The other side is gone."""


class _Counter:
    def __init__(self) -> None:
        self.files = 0
        self.octets = 0


def send(path: str, pipe: int) -> Outcome:
    """Write a file or a folder into a pipe, and close it."""
    counter = _Counter()
    try:
        for chunk in _records(Path(path), counter):
            _write(pipe, chunk)
        _write(pipe, _line(end=True))
    except (OSError, _LeftError) as error:
        return _failed(error, counter, path)
    finally:
        os.close(pipe)
    return Outcome(counter.files, counter.octets)


def receive(path: str, name: str, pipe: int) -> Outcome:
    """Make what comes out of a pipe at `path`, or in it under `name` where that is a folder; close the pipe. Of a file
    that cannot be completed nothing is left, unless it was there before."""
    counter = _Counter()
    with os.fdopen(pipe, "rb") as data:
        try:
            _receive(_target(path, name), data, counter)
        except (OSError, _LeftError) as error:
            return _failed(error, counter, path)
    return Outcome(counter.files, counter.octets)


def _failed(error: Exception, counter: _Counter, path: str) -> Outcome:
    if isinstance(error, OSError):
        at = os.fsdecode(error.filename) if error.filename is not None else path
        return Outcome(
            counter.files,
            counter.octets,
            f"{at}: {(error.strerror or str(error)).lower()}",
            wrong_path=error.errno in _WRONG_PATH,
        )
    return Outcome(counter.files, counter.octets, "the other side is gone", left=True)


# Sending


def _write(pipe: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    try:
        while left:
            left = left[os.write(pipe, left) :]
    except BrokenPipeError:
        raise _LeftError from None


def _records(path: Path, counter: _Counter) -> Iterator[bytes]:
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        yield from _file(path, "", counter)
        return
    yield _line(folder="", mode=found.st_mode & PERMISSIONS, id=_identity(found))
    for folder, folders, files in os.walk(path, onerror=_raise):
        for name in sorted(folders + files):
            full = Path(folder, name)
            relative, mode = str(full.relative_to(path)), full.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield _line(link=relative, to=str(full.readlink()))
            elif stat.S_ISDIR(mode):
                yield _line(folder=relative, mode=mode & PERMISSIONS, id=None)
            else:
                yield from _file(full, relative, counter)


def _raise(error: OSError) -> None:
    raise error


def _file(path: Path, relative: str, counter: _Counter) -> Iterator[bytes]:
    """`relative` is empty for what the person named, where a symbolic link is followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if relative else 0))
    with FileIO(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ENOENT, "neither a file nor a folder", str(path))
        yield _line(file=relative, mode=found.st_mode & PERMISSIONS, id=_identity(found))
        while piece := _read(file, path):
            yield _line(data=len(piece))
            yield piece
            counter.octets += len(piece)
    counter.files += 1


def _identity(found: os.stat_result) -> list[int]:
    return [found.st_dev, found.st_ino]


def _read(file: FileIO, path: Path) -> bytes:
    try:
        return file.read(PIECE)
    except OSError as error:
        error.filename = str(path)
        raise


def _line(**record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


# Receiving


def _target(path: str, name: str) -> Path:
    """Where it goes, as `cp` has it. Raises OSError."""
    target = Path(path)
    if target.is_dir():
        return target / name
    if path.endswith("/"):
        raise OSError(errno.ENOENT, "no such folder", path)
    return target


def _receive(target: Path, data: BinaryIO, counter: _Counter) -> None:
    modes: list[tuple[Path, int]] = []
    record = _next(data)
    while "end" not in record:
        kind = next(iter(record))
        path = target / record[kind]
        if kind == "folder":
            _make_folder(path, record["id"])
            modes.append((path, record["mode"]))
            record = _next(data)
        elif kind == "link":
            if path.is_symlink():
                path.unlink()
            path.symlink_to(record["to"])
            record = _next(data)
        else:
            record = _write_file(path, record, data, counter, follow=path == target)
    for path, mode in reversed(modes):  # last: a folder may be one that nobody may write in
        path.chmod(mode)


def _make_folder(path: Path, identity: list[int] | None) -> None:
    above = path.parent.resolve()
    if identity is not None and identity in [_identity(each.stat()) for each in (above, *above.parents)]:
        raise OSError(errno.EEXIST, "is inside of what is to be copied", str(path))
    try:
        path.mkdir(0o700)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise


def _write_file(
    path: Path, begun: dict[str, Any], data: BinaryIO, counter: _Counter, *, follow: bool
) -> dict[str, Any]:
    """Returns the record after the file's last piece."""
    is_new = not (path.exists() or path.is_symlink())
    try:
        record = _write_pieces(path, begun, data, counter, os.O_EXCL if is_new else 0 if follow else os.O_NOFOLLOW)
    except (OSError, _LeftError):
        if is_new:
            path.unlink(missing_ok=True)  # it may be that it could not even be made
        raise
    counter.files += 1
    return record


def _write_pieces(path: Path, begun: dict[str, Any], data: BinaryIO, counter: _Counter, flags: int) -> dict[str, Any]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
    with FileIO(descriptor, "wb") as file:
        found = os.fstat(descriptor)
        if _identity(found) == begun["id"]:
            raise OSError(errno.EEXIST, "is the same file", str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EEXIST, "is there, and is neither a file nor a folder", str(path))
        try:
            os.ftruncate(descriptor, 0)
            while "data" in (record := _next(data)):
                left = memoryview(_exactly(data, record["data"]))
                counter.octets += len(left)
                while left:
                    left = left[file.write(left) :]
            os.fchmod(descriptor, begun["mode"])
        except OSError as error:
            error.filename = str(path)
            raise
    return record


def _next(data: BinaryIO) -> dict[str, Any]:
    line = data.readline(LINE)
    if not line.endswith(b"\n"):
        raise _LeftError
    return dict(json.loads(line))


def _exactly(data: BinaryIO, length: int) -> bytes:
    piece = data.read(length)
    if len(piece) < length:
        raise _LeftError
    return piece


def base_name(path: str) -> str:
    """What a file or folder is called when it is copied into a folder."""
    return Path(path).name or Path(path).resolve().name
