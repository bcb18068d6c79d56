"""Labs on a real Docker engine: the topology of the demonstration, faults, other people's images, and what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.drivers.docker.names import container_name
from tests.system.docker_rig import CHECKOUT, DockerEngine
from tests.system.labs import Account, Labs, own_account, wait_for

pytestmark = pytest.mark.timeout(600)  # the first test makes the engine, and perhaps its base image

PAIR = "name: pair\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"
LOSSY = "name: lossy\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], impair: {delay: 30ms}}]\n"
WEB = """\
name: web
nodes:
  a: host
  web:
    stack: kernel
    image: layerlab-base
    command: [python3, -m, http.server, "80", --bind, 10.0.0.2, --directory, /pages]
    environment: {GREETING: hello, COUNT: 3}
    mounts: [./pages:/pages:ro]
    healthcheck: [python3, -c, 'import urllib.request as u; u.urlopen("http://10.0.0.2/index.html")']
    memory: 128MiB
    pids: 50
links: [a -- web]
"""
FETCH = """\
import asyncio


async def fetch(path):
    reader, writer = await asyncio.open_connection("web", 80)
    writer.write(f"GET {path} HTTP/1.0\\r\\n\\r\\n".encode())
    return (await reader.read()).decode().splitlines()[-1]


async def main(lab):
    return await lab.node("a").run(fetch, "/index.html")
"""


@pytest.fixture
def desk(docker_engine: DockerEngine) -> Iterator[Labs]:
    with on(docker_engine) as labs:
        yield labs
    left = docker_engine.docker("ps", "--all", "--filter", "label=org.layerlab.lab", "--format", "{{.Names}}")
    assert left == ""


def on(engine: DockerEngine) -> Labs:
    account = own_account()
    named = {name: value for name, value in engine.environment.items() if name.startswith("DOCKER_")}
    own = {"PYTHONPATH": str(CHECKOUT)}  # what is tested, whatever is installed
    return Labs(replace(account, environment={**account.environment, **named, **own}))


def up(desk: Labs, text: str, suffix: str = "") -> str:
    name = desk.new_name(suffix)
    desk.run("up", desk.write(text), "--name", name, "--driver", "docker", code=0, timeout=120)
    desk.note_namespaces()
    return name


def inspect(engine: DockerEngine, lab: str, node: str, suffix: str = "") -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(engine.docker("inspect", container_name(lab, node, suffix)))
    return found[0]


def rows(engine: DockerEngine, lab: str) -> list[str]:
    listed = engine.docker("ps", "--all", "--filter", f"label=org.layerlab.lab={lab}", "--format", "{{.Names}}")
    return listed.split()


def test_the_topology_of_the_demonstration(desk: Labs, docker_engine: DockerEngine) -> None:
    name = up(desk, (CHECKOUT / "topologies" / "demo.yml").read_text())
    status = desk.status(name)
    assert status["driver"] == "docker"
    assert {node["state"] for node in status["nodes"]} == {"running"}
    assert desk.reaches(name, "a", "b")
    assert desk.reaches(name, "a", "k")
    done = desk.run("exec", "--lab", name, "k", "--", "ping", "-c", "1", "a", code=0)
    assert "1 received" in done.out
    hops = desk.run("traceroute", "--lab", name, "a", "b", code=0).out.splitlines()[1:]
    assert [hop.split()[2] for hop in hops] == ["r1", "r2", "b"]
    assert sorted(rows(docker_engine, name)) == sorted(
        container_name(name, node) for node in ("a", "b", "hub", "k", "r1", "r2", "s1")
    )
    run = Path(status["run"])
    desk.run("down", name, code=0)
    assert desk.outcome(name) == "down"
    for node in ("a", "r1", "hub", "k"):
        assert (run / "nodes" / node / "capture.pcapng").stat().st_size > 500
        assert json.loads((run / "nodes" / node / "state.json").read_text())["node"] == node
        assert "node_stopped" in (run / "nodes" / node / "trace.sqlog").read_text()


def test_what_a_container_may(desk: Labs, docker_engine: DockerEngine) -> None:
    name = up(desk, PAIR.replace("a: host", "a: {kind: host, memory: 256MiB, pids: 33, environment: {X: y}}"))
    found = inspect(docker_engine, name, "a")
    host, labels = found["HostConfig"], found["Config"]["Labels"]
    assert sorted(host["CapAdd"]) == ["NET_ADMIN", "NET_RAW"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["NetworkMode"] == "none"
    assert (host["Memory"], host["PidsLimit"]) == (256 << 20, 33)
    assert "X=y" in found["Config"]["Env"]
    assert (labels["org.layerlab.lab"], labels["org.layerlab.user"]) == (name, str(os.getuid()))
    assert labels["org.layerlab.run"] == desk.status(name)["run"]
    assert labels["org.layerlab.supervisor"].split("/")[0] == str(desk.supervisor(name))
    status = (Path("/proc") / str(found["State"]["Pid"]) / "status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert int(effective, 16) == 1 << 12 | 1 << 13  # CAP_NET_ADMIN, CAP_NET_RAW
    interfaces = docker_engine.docker("exec", found["Id"], "ls", "/sys/class/net").split()
    assert interfaces == ["eth0", "lo"]


def test_an_impaired_link(desk: Labs) -> None:
    name = up(desk, LOSSY)
    done = desk.run("ping", "--lab", name, "a", "b", "-c", "4", "-i", "0.1", "--json", code=0)
    assert json.loads(done.out)["rtt_min"] >= 60_000_000
    shown = json.loads(desk.run("impair", "--lab", name, "--show", "--json", code=0).out)
    delays = [direction["measured"]["delay"]["p50"] for direction in shown["links"]["a--b"]["directions"]]
    assert delays == [30_000_000, 30_000_000]
    desk.run("impair", "--lab", name, "a--b", "delay=5ms", code=0)
    desk.run("link", "--lab", name, "a--b", "down", code=0)
    assert not desk.pings(name, "a", "b")
    desk.run("link", "--lab", name, "a--b", "up", code=0)
    assert desk.reaches(name, "a", "b")


def test_somebody_elses_image(desk: Labs, docker_engine: DockerEngine) -> None:
    """Its program finds its address there when it starts, is checked, and is talked to through our stack, by a script
    that the node imports from where the lab was started."""
    pages = desk.folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("a page\n")
    name = up(desk, WEB)
    found = inspect(docker_engine, name, "web")
    assert found["State"]["Health"]["Status"] == "healthy"
    assert {"GREETING=hello", "COUNT=3"} <= set(found["Config"]["Env"])
    assert (found["HostConfig"]["Memory"], found["HostConfig"]["PidsLimit"]) == (128 << 20, 50)
    assert desk.reaches(name, "a", "web")
    told = desk.run("exec", "--lab", name, "web", "--", "sh", "-c", "hostname; cat /pages/index.html; getent hosts a")
    assert (told.code, told.out.split()[:3]) == (0, ["web", "a", "page"])
    assert "10.0.0.1" in told.out
    assert desk.state(name, "web")["addresses"]
    desk.run("down", name, code=0)

    script = desk.folder / "fetch.py"
    script.write_text(FETCH)
    other = desk.new_name("-run")
    ran = desk.run("run", str(script), desk.write(WEB), "--driver", "docker", "--name", other, timeout=120)
    assert (ran.code, ran.out.splitlines()[-1:]) == (0, ['"a page"']), ran


def test_a_program_that_is_not_healthy(desk: Labs) -> None:
    name = desk.new_name()
    sick = WEB.replace("{GREETING: hello, COUNT: 3}", "{}").replace("mounts: [./pages:/pages:ro]", "mounts: []")
    start = sick.index("    healthcheck")
    end = sick.index("    memory")
    sick = (
        sick[:start] + "    healthcheck: {command: 'echo not today; exit 1', interval: 0.2, retries: 2}\n" + sick[end:]
    )
    done = desk.run("up", desk.write(sick), "--name", name, "--driver", "docker", code=6, timeout=120)
    assert "not today" in done.err
    assert desk.outcome(name) == "failed"


def test_a_program_that_ends_at_once(desk: Labs) -> None:
    text = "name: x\nnodes: {k: {kind: host, stack: kernel, command: 'sh -c \"echo no reason; exit 3\"'}, a: host}\n"
    name = up(desk, text + "links: [a -- k]\n")
    wait_for(lambda: desk.node(name, "k")["state"] == "dead", 10.0, lambda: desk.node(name, "k"))
    assert desk.node(name, "k")["exit_status"] == 3


def test_nodes_that_fail(desk: Labs, docker_engine: DockerEngine) -> None:
    name = up(desk, PAIR)
    desk.run("pause", "--lab", name, "b", code=0)
    assert inspect(docker_engine, name, "b")["State"]["Paused"] is True
    assert not desk.pings(name, "a", "b")
    desk.run("resume", "--lab", name, "b", code=0)
    assert desk.reaches(name, "a", "b")

    desk.run("stop", "--lab", name, "b", code=0)
    assert rows(docker_engine, name) == [container_name(name, "a")]
    desk.run("start", "--lab", name, "b", code=0)
    assert desk.reaches(name, "a", "b")

    docker_engine.docker("kill", container_name(name, "b"))  # somebody else's hand
    wait_for(lambda: desk.node(name, "b")["state"] == "dead", 10.0, lambda: desk.node(name, "b"))
    assert desk.node(name, "b")["exit_status"] == -signal.SIGKILL
    assert not desk.pings(name, "a", "b")
    desk.run("start", "--lab", name, "b", code=0)
    assert desk.reaches(name, "a", "b")

    desk.run("pause", "--lab", name, "b", code=0)
    desk.run("down", name, code=0)
    assert desk.outcome(name) == "down"


def test_two_labs_with_odd_names(desk: Labs) -> None:
    odd = "name: x\nnodes: {9.a_-: host, 9: host, a..b: router}\nlinks: [9.a_- -- a..b, 9 -- a..b]\n"
    first, second = up(desk, odd, ".1-_"), up(desk, odd, ".1-_.9")
    assert desk.reaches(first, "9.a_-", "a..b")
    assert desk.reaches(second, "9", "a..b")
    desk.run("down", first, code=0)
    assert desk.reaches(second, "9", "a..b")


def test_killed_while_containers_start(desk: Labs, docker_engine: DockerEngine) -> None:
    """`lab gc` takes what carries the lab's labels, and nothing else."""
    others = [f"{desk.name}-other", f"{desk.name}-labelled"]
    network = f"{desk.name}-network"
    run = ("run", "--detach", "--network", "none", "--entrypoint", "sleep")
    docker_engine.docker("network", "create", "--internal", network)
    docker_engine.docker(*run, "--name", others[0], docker_engine.image, "600")
    # of a lab of another user, whose supervisor nobody knows
    labels = ("--label", "org.layerlab.lab=x", "--label", f"org.layerlab.user={os.getuid() + 1}")
    labels += ("--label", "org.layerlab.supervisor=1/1/1/1", "--label", "org.layerlab.run=/nowhere")
    docker_engine.docker(*run, *labels, "--name", others[1], docker_engine.image, "600")
    try:
        name = desk.new_name()
        text = "name: x\nnodes: {s: switch" + "".join(f", h{i}: host" for i in range(12)) + "}\nlinks: ["
        text += ", ".join(f"h{i} -- s" for i in range(12)) + "]\n"
        process = desk.start("up", desk.write(text), "--name", name, "--driver", "docker")
        wait_for(lambda: len(rows(docker_engine, name)) >= 4, 60.0, lambda: process.poll())
        (supervisor,) = [each.pid for each in desk.processes("lab:supervisor")]
        os.kill(supervisor, signal.SIGKILL)
        assert process.wait(timeout=30) == 5
        process.communicate()
        assert rows(docker_engine, name)
        desk.note_namespaces()

        cleared = json.loads(desk.run("gc", "--json", code=0, timeout=120).out)
        assert [found["lab"] for found in cleared] == [name]
        assert cleared[0]["containers"] >= 4
        assert rows(docker_engine, name) == []
        assert desk.outcome(name) == "crashed"
        names = docker_engine.docker("ps", "--format", "{{.Names}}").split()
        assert set(others) <= set(names)
        assert network in docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()
        assert json.loads(desk.run("gc", "--json", code=0).out) == []
    finally:
        docker_engine.docker("rm", "--force", *others)
        docker_engine.docker("network", "rm", network)


def test_killed_while_it_is_up(desk: Labs, docker_engine: DockerEngine) -> None:
    """Agents end by themselves, with their last state written; `lab up` of the same name clears away the rest."""
    name = up(desk, LOSSY)
    run = Path(desk.status(name)["run"])
    os.kill(desk.supervisor(name), signal.SIGKILL)

    def ended() -> bool:
        return not docker_engine.docker("ps", "--quiet", "--filter", f"label=org.layerlab.lab={name}")

    wait_for(ended, 10.0, lambda: rows(docker_engine, name))
    assert json.loads((run / "nodes" / "a" / "state.json").read_text())["node"] == "a"
    wait_for(lambda: not desk.processes(), 5.0, desk.processes)  # the relay, too
    assert len(rows(docker_engine, name)) == 2
    desk.run("up", desk.write(LOSSY), "--name", name, "--driver", "docker", code=0, timeout=120)
    assert desk.outcome(name, 0) == "crashed"
    assert desk.reaches(name, "a", "b")


def test_ctrl_c_while_containers_start(desk: Labs, docker_engine: DockerEngine) -> None:
    name = desk.new_name()
    process = desk.start("up", desk.write(PAIR.replace("b: host}", "b: host, c: host, d: host}").replace(
        "[a -- b]", "[a -- b, b -- c, c -- d]")), "--name", name, "--driver", "docker")  # fmt: skip
    wait_for(lambda: bool(rows(docker_engine, name)), 60.0, lambda: process.poll())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    wait_for(lambda: not desk.processes(), 30.0, desk.processes)
    assert rows(docker_engine, name) == []
    assert desk.outcome(name) == "failed"


def refused(desk: Labs, code: int, text: str = PAIR, name: str | None = None, **environment: str) -> str:
    """The error of a lab that cannot come up. It leaves nothing, not even a line that Python wrote."""
    name = name or desk.new_name()
    arguments = ("up", desk.write(text), "--name", name, "--driver", "docker")
    done = desk.run(*arguments, code=code, timeout=120, **environment)
    assert "Traceback" not in done.err
    assert desk.outcome(name) == "failed"
    assert "hint: " in done.err
    return done.err


def test_no_engine(desk: Labs) -> None:
    assert "no Docker engine at" in refused(desk, 4, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert "lab compose" in refused(desk, 4, DOCKER_HOST="tcp://127.0.0.1:1")
    desk.run("gc", code=0, DOCKER_HOST="unix:///nowhere/docker.sock")  # not its business: no record says Docker


def test_an_engine_that_died(desk: Labs, tmp_path: Path) -> None:
    """Its socket is there, and nobody listens."""
    left = tmp_path / "docker.sock"
    subprocess.run(["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(left)!r})"], check=True)
    said = refused(desk, 4, DOCKER_HOST=f"unix://{left}")
    assert "Connection refused" in said
    assert "systemctl start docker" in said


def test_images_that_are_not_there(desk: Labs) -> None:
    text = WEB.replace("image: layerlab-base", "image: nobody/has:this").replace("mounts: [./pages:/pages:ro]\n", "\n")
    text += "defaults: {image: not-built}\n"
    said = refused(desk, 4, text)
    assert "not-built, nobody/has:this" in said
    assert "docker pull nobody/has:this" in said


def test_an_image_that_is_none_of_ours(desk: Labs) -> None:
    said = refused(desk, 5, PAIR + "defaults: {image: layerlab-base}\n")
    assert "lab-node" in said
    assert "compose/Dockerfile" in said


def test_a_name_that_is_taken(desk: Labs, docker_engine: DockerEngine) -> None:
    name = desk.new_name()
    taken = container_name(name, "b")
    run = ("run", "--detach", "--network", "none", "--entrypoint", "sleep", "--name", taken)
    docker_engine.docker(*run, docker_engine.image, "600")
    try:
        said = refused(desk, 3, name=name)
        assert f"there is a container {taken} already" in said
        assert docker_engine.docker("ps", "--format", "{{.Names}}", "--filter", f"name={taken}").split() == [taken]
    finally:
        docker_engine.docker("rm", "--force", taken)


def test_a_mount_of_nothing(desk: Labs) -> None:
    said = desk.run("up", desk.write(WEB), "--name", desk.new_name(), "--driver", "docker", code=2).err
    assert f"there is nothing to mount: {desk.folder}/pages (for web)" in said


def test_a_full_disk(desk: Labs, docker_engine: DockerEngine) -> None:
    """The engine keeps what it knows of containers in a folder, on which a full file system is mounted, seen by it
    only."""
    folder = f"{docker_engine.folder}/data/containers"
    inside = ("nsenter", f"--mount=/proc/{docker_engine.process.pid}/ns/mnt")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=4k", "none", folder], check=True)
    try:
        said = refused(desk, 4)
    finally:
        subprocess.run([*inside, "umount", "-l", folder], check=True)
    assert "the engine's disk is full" in said
    assert "docker system df" in said
    assert up(desk, PAIR)


def test_not_root(docker_engine: DockerEngine, ordinary_account: Account) -> None:
    """The engine's socket would be root's, too."""
    with Labs(ordinary_account) as desk:
        name = desk.new_name()
        done = desk.run("up", desk.write(PAIR), "--name", name, "--driver", "docker", code=4)
        assert "pip install 'layerlab[docker]'" in done.err or "sudo lab up" in done.err
        assert "Traceback" not in done.err


def test_what_doctor_says(desk: Labs) -> None:
    def found(**environment: str) -> dict[str, Any]:
        told = json.loads(desk.run("doctor", "--json", code=0, **environment).out)
        return {row["name"]: row for row in told}

    here = found()
    assert here["Docker engine"]["ok"] is True
    assert here["Docker SDK"]["ok"] is True
    gone = found(DOCKER_HOST="unix:///nowhere/docker.sock")["Docker engine"]
    assert gone["ok"] is None
    assert "install and start Docker" in gone["hint"]


def test_warned_of_on_other_drivers(desk: Labs) -> None:
    name = desk.new_name()
    text = PAIR.replace("a: host", "a: {kind: host, image: mine, memory: 64MiB}")
    done = desk.run("up", desk.write(text), "--name", name, code=0)
    assert "only the docker driver knows 'image' of 'a': netns ignores it" in done.err
    assert "2:25" in done.err
