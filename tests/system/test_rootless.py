"""Everything as an ordinary user, who has no right on this machine but to make a user namespace."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.system.labs import Labs, copy_interpreter, ordinary_account


def test_demo(rootless_labs: Labs) -> None:
    """The whole demonstration passes and leaves its run, and nothing else."""
    done = rootless_labs.run("demo", code=0)
    assert "FAIL" not in done.out
    assert done.out.count("  pass  ") >= 9
    (run,) = rootless_labs.runs.iterdir()
    assert json.loads((run / "run.json").read_text())["outcome"] == "down"
    assert {path.parent.name for path in run.glob("nodes/*/state.json")} == {"a", "b", "hub", "k", "r1", "r2", "s1"}
    rootless_labs.assert_nothing_left()


def test_commands(rootless_labs: Labs) -> None:
    """Inside the lab the user is root of the lab's own namespaces, outside it stays who it is."""
    name = rootless_labs.up()
    assert rootless_labs.reaches(name, "a", "k")
    assert rootless_labs.run("exec", "--lab", name, "k", "--", "id", "-u", code=0).out == "0\n"
    rootless_labs.run("exec", "--lab", name, "k", "--", "ping", "-c1", "a", code=0)
    uid = rootless_labs.account.uid if rootless_labs.account.uid is not None else os.getuid()
    files = list(rootless_labs.runs.rglob("*"))
    assert files
    assert {path.stat().st_uid for path in files} == {uid}
    rootless_labs.run("down", name, code=0)


def test_without_a_folder_of_the_session(rootless_labs: Labs) -> None:
    """Where nobody set XDG_RUNTIME_DIR, records are found by the user's own number, also by what became root in a
    namespace of its own."""
    del rootless_labs.environment["XDG_RUNTIME_DIR"]
    uid = rootless_labs.account.uid if rootless_labs.account.uid is not None else os.getuid()
    folder = Path("/tmp") / f"layerlab-{uid}"
    made = not folder.exists()
    try:
        name = rootless_labs.up()
        assert (folder / f"{name}.json").exists()
        assert rootless_labs.reaches(name, "a", "k")
        rootless_labs.run("down", name, code=0)
        assert not (folder / f"{name}.json").exists()
    finally:
        if made and folder.exists():
            folder.rmdir()


def test_copies(tmp_path: Path) -> None:
    """What an ordinary user gets where it may not read ours: the copied interpreter runs the copied packages."""
    account = ordinary_account(tmp_path)
    python = copy_interpreter(tmp_path / "python")
    environment = {**account.environment, "LD_LIBRARY_PATH": str(tmp_path / "python/lib")}
    code = "import encodings, lab, pydantic_core as core; print(encodings.__file__, lab.__file__, core.__file__)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    places = done.stdout.split()
    assert len(places) == 3
    assert all(place.startswith(str(tmp_path)) for place in places), places
