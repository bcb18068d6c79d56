"""Wrong commands, and right ones at the wrong time: the exact message, its hint and the exit code of each.

Wrong topologies have a table of their own (tests/unit/broken_topologies.txt). The tests run as an ordinary user of
whom nothing else is up, so that "no lab is up" can be said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Needs
from tests.system.labs import MIXED, Account, Done, Labs, own_account, wait_for

EVENTS = "  hint: `lab events` shows what was dropped, and where\n"
NAMES = "  hint: letters, digits, '_', '.', '-', and the first a letter or a digit\n"
NODES = "  hint: its nodes: a, b, k, s1, s2\n"
NOT_OURS = "error: 'k' has the kernel's stack, not ours\n"
A_SWITCH = "error: 's1' is a switch, it has no addresses\n  hint: hosts and routers have\n"
NO_LAB = "error: no lab is up\n  hint: `lab up TOPOLOGY` starts one\n"
NO_NAME = "error: lab 'none' is not up\n  hint: no lab is up; `lab up TOPOLOGY` starts one\n"

# (arguments, exit code, standard error); LAB is the name of a lab that is up with the nodes a, b, k, s1, s2.
WITH_A_LAB = [
    ("up topology.yml --name LAB", 3, "error: lab 'LAB' is already up\n"
        "  hint: `lab ps` shows it, `lab down LAB` ends it\n"),
    ("ps none", 3, "error: lab 'none' is not up\n  hint: up now: LAB\n"),
    ("down none", 3, "error: lab 'none' is not up\n  hint: up now: LAB\n"),
    ("ping --lab none a b", 3, "error: lab 'none' is not up\n  hint: up now: LAB\n"),
    ("ping zz a", 2, "error: no node 'zz' in lab LAB\n" + NODES),
    ("ping a zz", 2, "error: a: 'zz' is neither an IPv4 address nor the name of a node\n  hint: known are a, b, k\n"),
    ("ping a 300.1.1.1", 2, "error: a: '300.1.1.1' is neither an IPv4 address nor the name of a node\n"
        "  hint: known are a, b, k\n"),
    ("ping k a", 2, NOT_OURS + "  hint: `lab exec k -- ping a`\n"),
    ("ping s1 a", 2, A_SWITCH),
    ("ping a 10.0.0.99 -c 1 -W 0.1", 7, "error: no reply from 10.0.0.99\n" + EVENTS),
    ("ping a 1.2.3.4 -c 1 -W 0.1", 7, "error: no reply from 1.2.3.4\n" + EVENTS),
    ("ping a 10.0.0.255 -c 1 -W 0.1", 7, "error: no reply from 10.0.0.255\n" + EVENTS),
    ("traceroute k a", 2, NOT_OURS + "  hint: `lab exec k -- traceroute a`\n"),
    ("traceroute s1 a", 2, A_SWITCH),
    ("traceroute a 10.0.0.99 -m 1 -q 1 -W 0.1", 7, "error: 10.0.0.99 was not reached\n" + EVENTS),
    ("exec k --", 2, "error: no command given\n  hint: `lab exec NODE -- COMMAND ARGUMENTS...`\n"),
    ("exec zz -- true", 2, "error: no node 'zz' in this lab\n" + NODES),
    ("exec s1 -- true", 6, "error: 's1' is a kernel bridge and has no namespace of its own\n"),
    ("exec k -- no-such-command", 127, "error: no command 'no-such-command' on this machine\n"),
    ("exec k -- /etc/passwd", 126, "error: /etc/passwd: Permission denied\n"),
    ("exec k -- /", 126, "error: /: Permission denied\n"),
    ("exec k -- sh -c exit\\ 42", 42, ""),
    ("exec k -- sh -c kill\\ -9\\ $$", 137, ""),
    ("exec k -- sh -c kill\\ -15\\ $$", 143, ""),
    ("exec a -- true", 0, ""),
    ("shell zz", 2, "error: no node 'zz' in this lab\n" + NODES),
    ("state zz", 2, "error: no node 'zz' in this lab\n" + NODES),
    ("state s1 arp", 2, "error: s1 has no section 'arp'\n"
        "  hint: it has kernel_name, mac, up, ageing_time, ports, fdb, spanning_tree\n"),
    ("capture a --stop", 3, "error: a: no capture is running\n  hint: `lab capture NODE` starts one\n"),
    ("capture b", 0, ""),
    ("capture b", 3, "error: b: a capture is already running\n  hint: `lab capture NODE --stop` ends it\n"),
    ("capture s1", 6, "error: 's1' is a kernel bridge: no agent runs in it\n  hint: `lab state s1` shows its table\n"),
    ("start a", 3, "error: node 'a' is already running\n"),
    ("start zz", 2, "error: no node 'zz' in this lab\n" + NODES),
    ("start a frob", 2, "error: there is no application 'frob'\n"
        "  hint: known are chat, echo, ping, sink, source, traceroute, udp_echo, udp_sink, udp_source\n"),
    ("start a udp_echo frob=1", 2, "error: a: udp_echo has no option 'frob'\n  hint: known are address, port\n"),
    ("start a udp_echo port=70000", 2, "error: a: option port: 70000 is not allowed\n"
        "  hint: port is a whole number from 1 to 65535\n"),
    ("start a udp_echo port", 2, "error: 'port' is not an option\n"
        "  hint: options are written --port 7, or port=7\n"),
    ("start a udp_echo port=77", 0, "udp_echo runs in a as number NUMBER\n"),
    ("start a udp_echo port=77", 6, "error: a: port 77 is in use\n"
        "  hint: close the socket that holds it, choose another, or let both set reuse_address\n"),
    ("start k udp_echo", 2, NOT_OURS + "  hint: `lab exec k -- COMMAND`\n"),
    ("stop a 99", 2, "error: a: there is no application with number 99\n"),
    ("stop zz", 2, "error: no node 'zz' in this lab\n" + NODES),
    ("stop b", 0, "node b is stopped\n"),
    ("stop b", 3, "error: node 'b' is not running, it is stopped\n"),
    ("exec b -- true", 6, "error: node 'b' is stopped: it has no namespace\n  hint: `lab start b` starts it again\n"),
    ("ping b a", 6, "error: node 'b' does not answer: Connection refused\n  hint: `lab start b` starts it again\n"),
    ("state b", 6, "error: node 'b' does not answer: Connection refused\n  hint: `lab start b` starts it again\n"),
    ("ping a b -c 1 -W 0.1", 7, "error: no reply from b\n" + EVENTS),
    ("start b", 0, "node b is running\n"),
    ("link frob down", 2, "error: no link 'frob' in this lab\n  hint: its links: a--s2, s2--s1, b--s1, k--s1\n"),
    ("events -f zz", 2, "error: no node or link 'zz' in lab LAB\n" + NODES),
    ("events --run none", 2, "error: none/run.json: No such file or directory\n  hint: is this the folder of a run?\n"),
    ("ladder --run none", 2, "error: none/run.json: No such file or directory\n  hint: is this the folder of a run?\n"),
]  # fmt: skip

WITHOUT_A_LAB = [
    ("down", 3, NO_LAB),
    ("ping a b", 3, NO_LAB),
    ("state a", 3, NO_LAB),
    ("exec a -- true", 3, NO_LAB),
    ("down none", 3, NO_NAME),
    ("ps none", 3, NO_NAME),
    ("ps", 0, "no lab is up\n"),
    ("gc", 0, "nothing to clear away\n"),
    ("events", 2, "error: no run in runs\n  hint: `lab up` makes one; --run FOLDER names another\n"),
    ("up none.yml", 2, "error: none.yml: no such file\n  hint: `lab generate` prints a topology to start from\n"),
    ("up .", 2, "error: .: is a directory\n  hint: give the topology file inside it\n"),
    ("up topology.yml --name a/b", 2, "error: --name: 'a/b' is not a name\n" + NAMES),
    ("up topology.yml --name -x", 2, "error: --name: '-x' is not a name\n" + NAMES),
]

USAGE = [
    ("frob", "no such command 'frob'"),
    ("up", "missing argument 'TOPOLOGY'"),
    ("up topology.yml --seed x", "invalid value for '--seed': a whole number expected"),
    ("ping a", "missing argument 'DESTINATION'"),
    ("ping a b -c 0", "invalid value for '-c' / '--count': at least 1 is possible"),
    ("ping a b -c x", "invalid value for '-c' / '--count': a whole number expected"),
    ("ping a b --size 70000", "invalid value for '-s' / '--size': at most 65507 is possible"),
    ("ping a b -i 0", "invalid value for '-i' / '--interval': at least 0.001 is possible"),
    ("ping a b -t 256", "invalid value for '-t' / '--ttl': at most 255 is possible"),
    ("ping a b --frob", "no such option: --frob"),
    ("traceroute a b --method tcp", "invalid value for '--method': 'tcp' is not one of 'udp', 'icmp'"),
    ("exec a", "missing argument 'COMMAND'"),
    ("stop a x", "invalid value for 'NUMBER': a whole number expected"),
    ("link a--s2 sideways", "invalid value for 'up|down|flap': 'sideways' is not one of 'up', 'down', 'flap'"),
    ("events --last -1", "invalid value for '--last': at least 0 is possible"),
]


def _words(line: str) -> list[str]:
    return [word.replace("\0", " ") for word in line.replace("\\ ", "\0").split()]


def test_with_a_lab(rootless_labs: Labs) -> None:
    """In the order of the table: some rows change the state that the next one meets. All that differ are shown."""
    labs = rootless_labs
    name = labs.up()
    wrong = []
    for line, code, expected in WITH_A_LAB:
        done = labs.run(*_words(line.replace("LAB", name)))
        exact = expected.replace("LAB", name).replace("NUMBER", done.err.split()[-1] if done.err else "")
        if (done.code, done.err) != (code, exact):
            wrong.append(f"lab {line}: {code} {exact!r} expected, got {done.code} {done.err!r}")
    assert not wrong, "\n".join(wrong)
    assert labs.reaches(name, "a", "k")


def test_without_a_lab(rootless_labs: Labs) -> None:
    labs = rootless_labs
    labs.write(MIXED)
    for line, code, expected in WITHOUT_A_LAB:
        done = labs.run(*_words(line), LAYERLAB_RUNS="runs")
        assert done.code == code, (line, done)
        assert done.err == expected, line
    assert not list(labs.runs.iterdir())


def test_usage(rootless_labs: Labs) -> None:
    rootless_labs.write(MIXED)
    for line, message in USAGE:
        done = rootless_labs.run(*_words(line))
        assert (done.code, done.out) == (2, ""), (line, done)
        error, hint = done.err.splitlines()
        assert error == f"error: {message}", line
        assert hint.startswith("  hint: "), line
    done = rootless_labs.run(code=2)
    assert done.out.startswith("Usage: lab ")
    assert not list(rootless_labs.runs.iterdir())


def test_exact_names_and_files(rootless_labs: Labs) -> None:
    labs = rootless_labs
    topology = labs.write(MIXED)
    assert labs.run("up", topology, "--name", "a b") == Done(2, "", "error: --name: 'a b' is not a name\n" + NAMES)
    unreadable = Path(labs.write(MIXED, "unreadable.yml"))
    unreadable.chmod(0)
    done = labs.run("up", "unreadable.yml", code=2)
    assert done.err == "error: unreadable.yml: permission denied\n"
    done = labs.run("up", topology, "--runs", topology, code=4)
    assert done.err.startswith(f"error: cannot write {topology}/")
    assert ": Not a directory\n  hint: runs go to ./runs; LAYERLAB_RUNS=FOLDER or `--runs FOLDER`" in done.err


def test_several_labs(rootless_labs: Labs) -> None:
    """Without --lab only one may be up; LAYERLAB_LAB names one."""
    labs = rootless_labs
    one, two = labs.up(suffix="-one"), labs.up(suffix="-two")
    several = f"error: several labs are up: {one}, {two}\n  hint: "
    for line in ("ping a b", "state a", "exec a -- true", "capture a"):
        assert labs.run(*_words(line)) == Done(2, "", several + "name one with --lab, or set LAYERLAB_LAB\n")
    assert labs.run("down") == Done(2, "", several + "`lab down NAME`, `lab down --all`, or set LAYERLAB_LAB\n")
    assert labs.run("ping", "a", "b", "-c1", LAYERLAB_LAB=two).code == 0
    assert labs.run("stop", "b", LAYERLAB_LAB=two).code == 0
    assert labs.node(one, "b")["state"] == "running"
    assert labs.run("ping", "a", "b", LAYERLAB_LAB="none").code == 3
    assert labs.run("down", one).code == 0
    assert labs.run("state", "a").code == 0


# What the machine or the user lacks


def test_runs_folder_not_writable(rootless_labs: Labs) -> None:
    labs = rootless_labs
    locked = labs.folder / "locked"
    locked.mkdir(mode=0o555)
    done = labs.run("up", labs.write(MIXED), LAYERLAB_RUNS=str(locked / "runs"))
    assert done.code == 4
    assert done.err.startswith(f"error: cannot write {locked}/runs/mixed-")
    assert done.err.endswith(
        ": Permission denied\n  hint: runs go to ./runs; LAYERLAB_RUNS=FOLDER or `--runs FOLDER` puts them elsewhere\n"
    )


def test_runtime_folder_of_somebody_else(rootless_labs: Labs, needs: Needs) -> None:
    """In a place where others may write, somebody else may have made the folder."""
    needs("root")
    labs = rootless_labs
    (labs.folder / "run" / "layerlab").mkdir()  # by root
    done = labs.run("up", labs.write(MIXED), code=4)
    expected = "belongs to somebody else\n  hint: set XDG_RUNTIME_DIR to a folder of yours\n"
    assert done.err == f"error: {labs.folder}/run/layerlab {expected}"
    assert not list(labs.runs.iterdir())


_WITHOUT_USER_NAMESPACES = """
import ctypes, os, sys
user, group = os.getuid(), os.getgid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
for name, text in ("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"):
    open(f"/proc/self/{name}", "w").write(text)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_user_namespaces_forbidden(rootless_labs: Labs) -> None:
    """In a user namespace that allows none inside."""
    labs = rootless_labs
    python = sys.executable if labs.account.uid is None else labs.account.command[0]
    name = labs.new_name()
    command = [*labs.account.command, "up", labs.write(MIXED), "--name", name]
    process = labs.popen([python, "-c", _WITHOUT_USER_NAMESPACES, *command])
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4, err
    first, hint = err.splitlines()
    assert first.startswith("error: cannot make namespaces: unshare(")
    assert first.endswith(": No space left on device")
    assert hint == (
        "  hint: no user namespace is allowed: run as root, or once: sudo sysctl -w user.max_user_namespaces=10000"
    )
    assert labs.outcome(name) == "failed"


@pytest.fixture
def small_disk(needs: Needs) -> Iterator[tuple[Labs, Path]]:
    """A desk whose runs are on a disk of 256 KiB, in a mount namespace of its own.

    The desk's commands enter that namespace; this process sees the files through the holder's /proc."""
    needs("root", "veth", "bridge", "packet sockets")
    with Labs(own_account()) as labs:
        script = 'mount -t tmpfs -o size=256k,nr_inodes=100 tmpfs "$0" && echo ready && exec sleep 1000'
        holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, str(labs.runs)], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        account = Account("root", None, ("nsenter", "--mount", "--target", str(holder.pid), *labs.account.command))
        try:
            labs.account = account
            yield labs, Path(f"/proc/{holder.pid}/root{labs.runs}")
            for name in labs.names:
                if labs.listens(name):
                    labs.run("down", name)
        finally:
            holder.kill()
            holder.communicate()


def test_disk_full_at_up(small_disk: tuple[Labs, Path]) -> None:
    """Nothing stays of the run that could not be begun."""
    labs, runs = small_disk
    (runs / "ballast").write_bytes(bytes(256 * 1024))
    done = labs.run("up", labs.write(MIXED), "--name", labs.new_name())
    assert done.code == 4, done
    first, hint = done.err.splitlines()
    assert first.startswith(f"error: cannot write {labs.runs}/{labs.names[0]}-")
    assert first.endswith(": No space left on device")
    assert hint == "  hint: runs go to ./runs; LAYERLAB_RUNS=FOLDER or `--runs FOLDER` puts them elsewhere"
    assert [path.name for path in runs.iterdir()] == ["ballast"]


def test_disk_full_while_recording(small_disk: tuple[Labs, Path]) -> None:
    """The nodes go on, their state says that recording failed, and the lab goes down."""
    labs, runs = small_disk
    name = labs.new_name()
    labs.run("up", labs.write(MIXED.replace("nodes:", "defaults: {capture: true}\nnodes:", 1)), "--name", name, code=0)
    with (runs / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
    labs.run("ping", "--lab", name, "a", "b", "-c", "50", "-i", "0.01", "-s", "1400", code=0)
    wait_for(lambda: _recording(labs, name)["failed"] is not None, 10, lambda: _recording(labs, name))
    assert "No space left on device" in str(_recording(labs, name)["failed"])
    assert labs.reaches(name, "a", "k")
    labs.run("down", name, code=0)


def _recording(labs: Labs, name: str) -> dict[str, object]:
    return dict(json.loads(labs.run("state", "--lab", name, "a", "recording", "--json", code=0).out)["recording"])


def test_run_folder_missing(labs: Labs) -> None:
    """Somebody deletes the run while the lab is up: the lab goes on, and goes down."""
    name = labs.up()
    (run,) = labs.runs.iterdir()
    run.rename(labs.folder / "moved")
    assert labs.reaches(name, "a", "b")
    done = labs.run("capture", "--lab", name, "a")
    assert done.code == 6, done
    assert "Traceback" not in done.err
    assert labs.reaches(name, "a", "b")
    labs.run("down", name, code=0)
