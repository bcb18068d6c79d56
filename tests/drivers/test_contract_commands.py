"""The contract of drivers, as people meet it: each command on a lab of each driver does the same, or is refused with
the driver's reason.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from lab.drivers.abilities import WORDS
from tests.drivers.conftest import Up
from tests.system.labs import wait_for


def test_what_is_up(up: Up) -> None:
    status = up.rig.desk.status(up.name)
    assert status["driver"] == up.row.name
    assert status["cannot"] == dict(up.row.cannot)
    assert set(status["cannot"]) <= set(WORDS)
    assert {node["state"] for node in status["nodes"]} == {"running"}
    assert {node["name"]: node["agent"] for node in status["nodes"]}["s"] is not up.row.bridge
    facts = json.loads((Path(status["run"]) / "run.json").read_text())
    assert (facts["driver"], facts["outcome"]) == (up.row.name, "running")
    (row,) = (line for line in up.rig.desk.run("ps", code=0).out.splitlines() if line.startswith(f"{up.name} "))
    assert row.split()[1] == up.row.name


def test_nodes_reach_each_other(up: Up) -> None:
    assert up.reaches("a", "b")
    assert up.reaches("b", "a")
    hops = up.run("traceroute", "a", "b").out.splitlines()[1:]
    assert [hop.split()[2] for hop in hops] == ["r", "b"]
    if "kernel" not in up.row.cannot:
        assert up.reaches("a", "k")


def test_an_application(up: Up) -> None:
    up.run("start", "b", "sink", "port=99")
    told = up.json("start", "a", "source", "to=b:99", "bytes=200kB", "--follow")
    assert told["failed"] == 0


def test_exec(up: Up) -> None:
    if up.is_refused("exec", "a", "exec", "a", "--", "true"):
        assert up.is_refused("exec", "a", "shell", "a")
        return
    assert up.run("exec", "a", "--", "cat", "/sys/class/net/eth0/address").out.strip() == _mac(up, "a")
    assert up.run("exec", "a", "--", "sh", "-c", "exit 42", code=42).out == ""
    assert up.run("exec", "a", "--", "no-such-command", code=127).err.startswith("error: no command 'no-such-command'")
    assert "1 received" in up.run("exec", "k", "--", "ping", "-c", "1", "-W", "5", "a").out
    done = up.run("exec", "zz", "--", "true", code=2)
    assert done.err.startswith("error: no node 'zz' in this lab\n")


def _mac(up: Up, node: str) -> str:
    return str(_interface(up, node)["mac"])


def _interface(up: Up, node: str, name: str = "eth0") -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in up.json("state", node)["interfaces"] if each["name"] == name)
    return found


def test_a_bridge_has_no_inside(up: Up) -> None:
    if not up.row.bridge:
        assert up.json("state", "s")["kind"] == "switch"  # its switches are our own
        return
    for line in (["exec", "s", "--", "true"], ["cp", "s:/etc/hosts", "x"], ["capture", "s"]):
        done = up.run(*line, code=6)
        assert done.err.startswith("error: 's' is a kernel bridge"), done


def test_copy(up: Up) -> None:
    folder = up.rig.desk.folder
    (folder / "page").write_bytes(os.urandom(300_000))
    (folder / "page").chmod(0o640)
    there = "/tmp/copied" if up.row.own_files else str(folder / "copied")
    if up.is_refused("copy", "a", "cp", "page", f"a:{there}"):
        assert up.is_refused("copy", "a", "cp", "a:/etc/hosts", ".")
        return
    assert up.run("cp", "page", f"a:{there}").err == f"1 file, 300000 octets, page to a:{there}\n"
    up.run("cp", f"a:{there}", "back")
    assert (folder / "back").read_bytes() == (folder / "page").read_bytes()
    assert (folder / "back").stat().st_mode & 0o777 == 0o640
    assert Path(there).exists() is not up.row.own_files
    assert up.run("exec", "a", "--", "rm", there).code == 0
    assert up.run("cp", "a:/proc/net/dev", "devices").code == 0
    assert "eth0" in (folder / "devices").read_text()


def test_copy_a_folder(up: Up) -> None:
    if up.is_refused("copy", "a", "cp", "a:/tmp", "folder"):
        return
    folder = up.rig.desk.folder
    (folder / "site" / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "site" / "sub" / "file").write_text("x")
    there = "/tmp" if up.row.own_files else str(folder / "tmp")
    assert up.run("cp", "site", f"k:{there}").err == f"1 file, 1 octet, site to k:{there}\n"
    assert up.run("exec", "k", "--", "cat", f"{there}/site/sub/file").out == "x"
    up.run("cp", f"k:{there}/site", "again")
    assert (folder / "again" / "sub" / "file").read_text() == "x"
    up.run("exec", "k", "--", "rm", "-r", f"{there}/site")


def test_what_cannot_be_copied(up: Up) -> None:
    if up.is_refused("copy", "a", "cp", "none", "a:/tmp"):
        return
    (up.rig.desk.folder / "file").write_text("x")
    for line, code, expected in (
        ("a:/none .", 2, "a:/none: no such file or directory\n"),
        ("a:/dev/zero .", 2, "a:/dev/zero: neither a file nor a folder\n"),
        ("none a:/tmp", 2, "none: no such file or directory\n"),
        ("file a:/none/x", 2, "a:/none/x: no such file or directory\n"),
        ("file a:/none/", 2, "a:/none/: no such folder\n"),
        ("file a:x", 2, "a: 'x' is not an absolute path\n  hint: a:/x\n"),
        ("file zz:/x", 2, "no node 'zz' in this lab\n"),
        ("file a:/sys/x", 6, "a:/sys/x: "),
        ("a:/etc/hostname /proc/x", 2, "/proc/x: no such file or directory\n"),
        ("a:/etc/hostname b:/tmp", 2, "both are of nodes\n"),
    ):
        done = up.run("cp", *line.split(), code=code)
        assert done.err.startswith(f"error: {expected}"), (line, done)
    if up.row.own_files:
        assert up.run("cp", "file", "a:/x", code=6).err == "error: a:/x: read-only file system\n"
        with (up.rig.desk.folder / "large").open("wb") as file:
            file.truncate(100 << 20)
        assert up.run("cp", "large", "a:/tmp/large", code=6).err == "error: a:/tmp/large: no space left on device\n"
        assert "large" not in up.run("exec", "a", "--", "ls", "/tmp").out


def test_state(up: Up) -> None:
    a, r = up.json("state", "a"), up.json("state", "r")
    assert (a["node"], a["kind"]) == ("a", "host")
    assert {each["name"] for each in r["interfaces"]} == {"eth0", "eth1"}
    assert up.run("state", "zz", code=2).err.startswith("error: no node 'zz' in this lab\n")
    if "kernel" not in up.row.cannot:
        assert "10.0.0." in json.dumps(up.json("state", "k"))
    if up.row.bridge:
        assert len(up.json("state", "s")["ports"]) == 3


def test_a_link_goes_down(up: Up) -> None:
    if up.is_refused("link", "far", "link", "far", "down"):
        return
    up.run("link", "far", "down")
    assert not up.pings("a", "b")
    (link,) = (link for link in up.rig.desk.status(up.name)["links"] if link["name"] == "far")
    assert link["up"] is False
    wait_for(lambda: not _is_up(up), 5)
    up.run("link", "far", "up")
    wait_for(lambda: _is_up(up), 5)
    assert up.reaches("a", "b")
    assert up.run("link", "none", "down", code=2).err.startswith("error: no link 'none' in this lab\n")


def _is_up(up: Up) -> bool:
    return bool(_interface(up, "b")["up"])


def test_another_mtu(up: Up) -> None:
    if up.is_refused("link", "far", "link", "far", "--mtu", "1000"):
        return
    up.run("link", "far", "--mtu", "1000")
    wait_for(lambda: _interface(up, "b")["mtu"] == 1000, 5)
    assert up.run("ping", "b", "r", "-c", "1", "-s", "3000").code == 0
    up.run("link", "far", "--mtu", "1500")
    wait_for(lambda: _interface(up, "b")["mtu"] == 1500, 5)


def test_impair(up: Up) -> None:
    if up.is_refused("impair", "far", "impair", "far", "delay=30ms"):
        assert up.reaches("a", "b")
        return
    up.run("impair", "far", "delay=30ms")
    assert up.json("ping", "a", "b", "-c", "3", "-i", "0.1")["rtt_min"] >= 60_000_000
    state = up.json("impair", "far", "--show")["links"]["far"]
    assert [side["asked"]["delay"] for side in state["directions"]] == [30_000_000, 30_000_000]
    up.run("impair", "far", "--clear")
    up.run("impair", "far", "loss=100%", "--from", "b")
    assert not up.pings("a", "b")
    up.run("impair", "far", "--clear")
    assert up.reaches("a", "b")


def test_a_node_stops_and_starts(up: Up) -> None:
    """In order, and by SIGKILL; its neighbor sees no carrier, and all is as before afterwards."""
    for how in ((), ("--kill",)):
        if up.is_refused("restart", "b", "stop", "b", *how):
            continue
        up.run("stop", "b", *how)
        assert up.node("b")["state"] == "stopped"
        assert not up.pings("a", "b")
        assert up.run("stop", "b", code=3).err == "error: node 'b' is not running, it is stopped\n"
        assert "again" in up.run("state", "b", code=6).err
        wait_for(lambda: not _interface(up, "r", "eth1")["up"], 5)
        up.run("start", "b")
        assert up.node("b")["state"] == "running"
        assert up.run("start", "b", code=3).err == "error: node 'b' is already running\n"
        wait_for(lambda: up.pings("a", "b"), 10)


def test_a_node_dies(up: Up) -> None:
    """By itself: that is told, and it can be started again."""
    os.kill(up.rig.agent(up.name, "b"), signal.SIGKILL)
    wait_for(lambda: up.node("b")["state"] == "dead", 10)
    assert up.node("b")["exit_status"] == -signal.SIGKILL
    assert "dead (signal 9)" in up.rig.desk.run("ps", up.name, code=0).out
    assert not up.pings("a", "b")
    up.run("start", "b")
    assert up.node("b")["state"] == "running"
    wait_for(lambda: up.pings("a", "b"), 10)


def test_a_node_pauses(up: Up) -> None:
    if up.is_refused("pause", "b", "pause", "b"):
        return
    up.run("pause", "b")
    assert up.node("b")["state"] == "paused"
    assert not up.pings("a", "b")
    up.run("resume", "b")
    assert up.node("b")["state"] == "running"
    wait_for(lambda: up.pings("a", "b"), 10)


def test_a_bridge_stops_and_starts(up: Up) -> None:
    """The switch, whatever it is: a link of its is no way without it."""
    up.run("stop", "s")
    assert not up.pings("a", "b")
    assert up.reaches("r", "b")
    up.run("start", "s")
    wait_for(lambda: up.pings("a", "b"), 10)
