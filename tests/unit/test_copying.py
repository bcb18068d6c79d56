"""Copying through a pipe: files and folders as they were, and what the person is told where it cannot be."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from lab.cli.cp import _sides
from lab.engine import copying
from lab.engine.copying import PIECE, Outcome, base_name, receive, send
from lab.errors import UserInputError


def copy(source: Path | str, target: Path | str) -> tuple[Outcome, Outcome]:
    """How it went for the sender and the receiver."""
    reader, writer = os.pipe()
    sent: list[Outcome] = []
    thread = threading.Thread(target=lambda: sent.append(send(str(source), writer)))
    thread.start()
    received = receive(str(target), base_name(str(source)), reader)
    thread.join()
    return sent[0], received


def told(outcomes: tuple[Outcome, Outcome]) -> list[str]:
    """The errors of those that did not only leave because the other did."""
    return [each.error for each in outcomes if each.error and not each.left]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 7])
def test_a_file(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.write_bytes(os.urandom(size))
    source.chmod(0o751)
    assert copy(source, target) == (Outcome(1, size), Outcome(1, size))
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o7777 == 0o751


def test_where_it_goes(tmp_path: Path) -> None:
    source, folder = tmp_path / "from", tmp_path / "folder"
    source.write_text("new")
    folder.mkdir()
    (folder / "from").write_text("something old, and longer")
    assert told(copy(source, folder)) == []
    assert (folder / "from").read_text() == "new"
    assert told(copy(source, f"{tmp_path}/none/")) == [f"{tmp_path}/none/: no such folder"]
    assert told(copy(folder, f"{tmp_path}/other")) == []
    assert told(copy(folder, f"{tmp_path}/other")) == []
    assert sorted(str(path.relative_to(tmp_path / "other")) for path in (tmp_path / "other").rglob("*")) == [
        "folder",
        "folder/from",
        "from",
    ]


def test_a_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "sub" / "a\nname: {}").write_text("x")
    (source / "sub" / "a\nname: {}").chmod(0o600)
    (source / "outside").symlink_to("/etc/passwd")
    (source / "to a folder").symlink_to("sub")
    (source / "dangling").symlink_to("../nowhere")
    (source / "sub" / "empty").chmod(0o500)
    (source / "sub").chmod(0o555)
    try:
        assert copy(source, target)[1] == Outcome(1, 1)
        assert (target / "sub" / "a\nname: {}").read_text() == "x"
        assert (target / "sub" / "a\nname: {}").stat().st_mode & 0o777 == 0o600
        assert [(target / name).readlink() for name in ("outside", "to a folder", "dangling")] == [
            Path("/etc/passwd"),
            Path("sub"),
            Path("../nowhere"),
        ]
        assert (target / "sub").stat().st_mode & 0o777 == 0o555
        assert (target / "sub" / "empty").stat().st_mode & 0o777 == 0o500
    finally:
        for folder in (source, target):
            (folder / "sub").chmod(0o755)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    (source / os.fsdecode(b"\xff\xfe")).write_text("x")
    assert told(copy(source, target)) == []
    assert [os.fsencode(path.name) for path in target.iterdir()] == [b"\xff\xfe"]


def test_a_link_that_the_person_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "other").symlink_to("made")
    assert told(copy(tmp_path / "link", tmp_path / "other")) == []
    assert not (tmp_path / "made").is_symlink()
    assert (tmp_path / "made").read_text() == "x"


def test_a_link_in_the_target_does_not_lead_out(tmp_path: Path) -> None:
    """What somebody has put there must not direct what comes elsewhere."""
    source, target, elsewhere = tmp_path / "from", tmp_path / "to", tmp_path / "elsewhere"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("x")
    (source / "sub" / "inner").write_text("x")
    elsewhere.mkdir()
    (target / "from").mkdir(parents=True)
    (target / "from" / "file").symlink_to(elsewhere / "file")
    assert told(copy(source, target)) == [f"{target}/from/file: too many levels of symbolic links"]
    (target / "from" / "file").unlink()
    (target / "from" / "sub").symlink_to(elsewhere)
    assert told(copy(source, target)) == [f"{target}/from/sub: file exists"]
    assert not list(elsewhere.iterdir())


def test_the_person_is_told(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("x")
    folder.mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for source, target, expected in (
        ("none", "to", "none: no such file or directory"),
        ("file/x", "to", "file/x: not a directory"),
        ("/dev/zero", "to", "/dev/zero: neither a file nor a folder"),
        ("pipe", "to", "pipe: neither a file nor a folder"),
        ("socket", "to", "socket: no such device or address"),
        ("file", "none/to", "none/to: no such file or directory"),
        ("file", "/dev/null", "/dev/null: is there, and is neither a file nor a folder"),
        ("folder", "file", "file: file exists"),
        ("file", "file", "file: is the same file"),
        ("folder", "folder", "folder/folder: is inside of what is to be copied"),
        ("folder", "folder/new", "folder/new: is inside of what is to be copied"),
    ):
        names = [str(tmp_path / name) for name in (source, target)]
        (found,) = told(copy(*names))
        assert found.replace(f"{tmp_path}/", "") == expected
        assert not (tmp_path / "to").exists()
    assert file.read_text() == "x"
    assert not list(folder.iterdir())


def test_the_other_side_goes(tmp_path: Path) -> None:
    """In the middle of a file: the one that is left ends, and leaves no half of it."""
    file = tmp_path / "file"
    file.write_bytes(bytes(4 * PIECE))
    reader, writer = os.pipe()
    os.close(reader)
    assert send(str(file), writer).left
    reader, writer = os.pipe()
    os.write(writer, b'{"file": "", "mode": 420, "id": [0, 0]}\n{"data": 9}\n12345')
    os.close(writer)
    assert receive(str(tmp_path / "to"), "file", reader).left
    assert not (tmp_path / "to").exists()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there keeps its name; what is new goes."""

    class Full(copying.FileIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "file"
    file.write_bytes(bytes(2 * PIECE))
    real = copying.FileIO
    monkeypatch.setattr(copying, "FileIO", lambda fd, mode: (Full if mode == "wb" else real)(fd, mode))
    sent, received = copy(file, tmp_path / "to")
    assert received.error == f"{tmp_path}/to: no space left on device"
    assert not received.wrong_path
    assert sent.left
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a:/x", ".", ("a", "out", ".", "/x")),
        ("x", "a.b-c_d:/", ("a.b-c_d", "in", "x", "/")),
        ("./a:b", "a:/x:y", ("a", "in", "./a:b", "/x:y")),
        ("a:", "x", ("a", "out", "x", "")),
    ],
)
def test_which_side_is_the_node(source: str, target: str, expected: tuple[str, ...]) -> None:
    assert _sides(source, target) == expected


@pytest.mark.parametrize(("source", "target"), [("a:/x", "b:/x"), ("x", "y"), ("./a:x", "/b:y"), (":x", "y")])
def test_one_side_is_a_node(source: str, target: str) -> None:
    with pytest.raises(UserInputError, match=r"of (a node|nodes)"):
        _sides(source, target)
