"""Which labs of this user are up, and what is known of those that died.

A supervisor listens on an abstract UNIX socket, `layerlab/<uid>/<lab>`, in the network namespace in which `lab up` ran.
The kernel guards the name: binding it is the one atomic test for "is this lab up", and it disappears with the
supervisor, however that ends. So the list of running labs is read from the kernel, never from files.

Beside it, one record per lab in the user's runtime folder says where the run is and what the lab may have left outside
its namespaces. A record without a socket belongs to a lab that died; `lab gc` clears it away.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import EnvironmentLackError, StateError

_PREFIX = "layerlab"
BACKLOG = 64
"""Commands that may wait to be accepted."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down of a lab at its start."""

    lab: str
    driver: str
    run: str
    started: str


def address_of(lab: str) -> str:
    """The abstract socket address of a lab's supervisor, for this user."""
    return f"\0{_PREFIX}/{os.getuid()}/{lab}"


def claim(lab: str) -> socket.socket:
    """The listening socket of a new supervisor. Raises StateError where the lab is already up."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address_of(lab))
    except OSError:
        listener.close()
        raise StateError(
            f"lab {lab!r} is already up", hint=f"`lab ps {lab}` shows it, `lab down {lab}` ends it"
        ) from None
    listener.listen(BACKLOG)
    return listener


def is_up(lab: str) -> bool:
    return lab in running()


def running() -> list[str]:
    """The names of this user's running labs, sorted."""
    mark = f"@{_PREFIX}/{os.getuid()}/"
    listening = "00010000"  # the __SO_ACCEPTCON flag in /proc/net/unix
    names = set()
    with Path("/proc/net/unix").open(encoding="utf-8", errors="replace") as table:
        for line in table:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) == 8 and fields[3] == listening and fields[7].startswith(mark):
                names.add(fields[7].removeprefix(mark))
    return sorted(names)


def connect(lab: str) -> socket.socket:
    """A connection to a lab's supervisor, made sure to be this user's. Raises StateError where the lab is not up."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(address_of(lab))
    except OSError:
        link.close()
        raise not_up(lab) from None
    _, uid, _ = peer_credentials(link)
    if uid != os.getuid():
        link.close()
        raise StateError(f"the socket of lab {lab!r} belongs to user {uid}, not to you")
    return link


def not_up(lab: str) -> StateError:
    names = running()
    if names:
        return StateError(f"lab {lab!r} is not up", hint=f"up now: {', '.join(names)}")
    return StateError(f"lab {lab!r} is not up", hint="no lab is up; `lab up TOPOLOGY` starts one")


def peer_credentials(link: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of the process that listens at the other end, as this process sees them."""
    return struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))


def runtime_folder() -> Path:
    """The folder of this user's records, made if needed and private."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / _PREFIX if base and Path(base).is_dir() else Path("/tmp") / f"{_PREFIX}-{os.getuid()}"  # noqa: S108
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise EnvironmentLackError(
            f"cannot make {folder}: {error.strerror}", hint="set XDG_RUNTIME_DIR to a folder of yours"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise EnvironmentLackError(
            f"{folder} belongs to somebody else", hint="set XDG_RUNTIME_DIR to a folder of yours"
        )
    return folder


def write_record(record: Record, folder: Path) -> None:
    """`folder` is that of `runtime_folder`, asked for outside of any user namespace, in which nobody is who he is."""
    path = folder / f"{record.lab}.json"
    try:
        path.write_text(json.dumps(asdict(record), indent=1) + "\n")
    except OSError as error:
        raise EnvironmentLackError(f"cannot write {path}: {error.strerror}") from error


def remove_record(lab: str, folder: Path) -> None:
    (folder / f"{lab}.json").unlink(missing_ok=True)


def records() -> Iterator[Record]:
    """Every readable record, by name. A file that is no record of ours is passed over: it is not ours to judge."""
    for path in sorted(runtime_folder().glob("*.json")):
        try:
            yield Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue


def dead() -> list[Record]:
    """The records of labs that ended without taking them away. A supervisor listens before it writes its record, so the
    records are read first: those of a lab that is just being started have a socket by then."""
    found = list(records())
    alive = set(running())
    return [record for record in found if record.lab not in alive]
