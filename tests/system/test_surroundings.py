"""Where a person stands when they type: folders and files there are theirs, and not parts of Layerlab."""

from __future__ import annotations

from tests.system.labs import Labs


def test_folders_named_like_our_packages(labs: Labs) -> None:
    """A project may well have a folder `lab` or `nodes`, or a module that would hide one of Python's."""
    for package in ("lab", "nodes", "json"):
        (labs.folder / package).mkdir()
        (labs.folder / package / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    name = labs.up()
    assert labs.reaches(name, "a", "b")
    labs.run("down", name, code=0)
