"""Several labs at once: same addresses, same node names, one machine, and they do not hear each other."""

from __future__ import annotations

import json

from tests.system.labs import MIXED, Labs


def _icmp(labs: Labs, name: str, node: str) -> object:
    return json.loads(labs.run("state", "--lab", name, node, "icmp", "--json", code=0).out)


def test_same_addresses(any_labs: Labs) -> None:
    """Pings in one lab are not heard in the other; a node that is stopped in one still answers in the other."""
    one = any_labs.up(suffix="-one")
    two = any_labs.up(suffix="-two")
    heard = _icmp(any_labs, two, "b")
    before = _icmp(any_labs, one, "b")
    assert any_labs.reaches(one, "a", "b")
    assert _icmp(any_labs, one, "b") != before
    assert _icmp(any_labs, two, "b") == heard
    any_labs.run("stop", "--lab", one, "b", code=0)
    assert not any_labs.pings(one, "a", "b")
    assert any_labs.reaches(two, "a", "b")
    any_labs.run("down", one, code=0)
    assert any_labs.reaches(two, "a", "k")


def test_same_name_is_refused(labs: Labs) -> None:
    """While it is up, or coming up; the one that is there is not disturbed, and no run is begun for the other."""
    name = labs.new_name()
    first = labs.start("up", labs.write(MIXED), "--name", name)
    second = labs.start("up", labs.write(MIXED), "--name", name)
    errors = [process.communicate()[1] for process in (first, second)]
    assert sorted((first.returncode, second.returncode)) == [0, 3], errors
    (error,) = (error for error in errors if "error" in error)
    assert error.startswith(f"error: lab '{name}' is already up\n  hint: `lab ps")
    third = labs.run("up", labs.write(MIXED), "--name", name, code=3)
    assert third.err == f"error: lab '{name}' is already up\n  hint: `lab ps` shows it, `lab down {name}` ends it\n"
    assert labs.reaches(name, "a", "b")
    outcomes = [json.loads(path.read_text())["outcome"] for path in labs.runs.glob("*/run.json")]
    assert outcomes.count("running") == 1


def test_five_at_once(rootless_labs: Labs) -> None:
    """Started together, listed together, each with its own processes, ended together."""
    names = [rootless_labs.new_name(f"-{number}") for number in range(5)]
    topology = rootless_labs.write(MIXED)
    starting = [rootless_labs.start("up", topology, "--name", name) for name in names]
    assert [(process.communicate()[1], process.returncode)[1] for process in starting] == [0] * 5
    rootless_labs.note_namespaces()
    rows = {row["lab"]: row for row in json.loads(rootless_labs.run("ps", "--json", code=0).out)}
    assert set(names) <= set(rows)
    assert len({rows[name]["supervisor"] for name in names}) == 5
    assert all(rootless_labs.reaches(name, "a", "k") for name in names)
    assert len(rootless_labs.processes("lab:a")) == 5
    rootless_labs.run("down", names[0], code=0)
    assert len(rootless_labs.processes("lab:a")) == 4
    rootless_labs.run("down", "--all", code=0)
    rootless_labs.assert_nothing_left()
