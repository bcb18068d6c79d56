"""A Docker engine of the tests' own: nothing of the machine's engine, if it has one, plays a part or is touched.

`dockerd` from Debian's docker.io runs in a temporary folder that holds its data, its socket and its pid file, and in a
network and a mount namespace of its own: bridges of Docker networks, mounts and sysctls are made there and end with
the engine. Its PID namespace is the machine's, as for an installed engine: the processes of containers are seen, and
their network namespaces can be opened, from outside. The engine is told to end when the process that started it ends.

No image is pulled. The base image is a minimal Debian, made by debootstrap from the mirror that apt uses on this
machine, kept as an archive in a cache folder between runs; the image under test is built from `compose/Dockerfile` on
it, without a network.

    with DockerEngine.started() as engine:
        engine.docker("run", "--rm", "--network", "none", engine.image, ...)

The fixture `docker_engine` is one engine for all tests of a folder whose conftest.py imports it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = ("dockerd", "docker", "docker-compose", "debootstrap", "unshare", "setpriv")
"""All in packages of Debian: docker.io, docker-compose, debootstrap, util-linux."""

BASE = "layerlab-base"
IMAGE = "layerlab"
BASE_PACKAGES = "python3,iproute2,iputils-ping"

START_SECONDS = 60.0
END_SECONDS = 30.0
COMMAND_SECONDS = 300.0


class RigError(Exception):
    """The machine could not do what the rig needs. The text has the command and what it said."""


def lacking() -> str:
    """What this machine lacks for an engine of our own; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "a private Docker engine needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"no program {', '.join(missing)}: apt-get install docker.io docker-compose debootstrap" if missing else ""


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """A running engine. `environment` is what a client needs to find it (the SDK's `from_env` reads it, too)."""

    folder: Path
    process: subprocess.Popen[bytes]
    image: str = IMAGE
    base: str = BASE

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_"))}
        # A configuration folder of our own: nothing of the user's clients, such as a context. The classic builder
        # needs no plugin, and is the one that Debian packages.
        own = {"DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self.folder / "client"), "DOCKER_BUILDKIT": "0"}
        return kept | own

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[DockerEngine]:
        """An engine with the two images in it. Raises RigError."""
        archive = base_archive()
        # Short, because it is part of the names of sockets.
        folder = Path(tempfile.mkdtemp(prefix="ll-docker-"))
        try:
            with (folder / "dockerd.log").open("wb") as log:
                engine = cls(folder, _start(folder, log.fileno()))
            try:
                engine._wait_until_it_answers()
                engine._make_images(archive)
                yield engine
            finally:
                engine._end()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def docker(self, *arguments: str, cwd: Path | None = None) -> str:
        """The output of a command of the client. Raises RigError with what it said on an error."""
        return _output(["docker", *arguments], self.environment, cwd)

    def run_in_network_namespace(self, *command: str) -> str:
        """The output of a command beside the engine, where the bridges of its networks are."""
        return _output(["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command], self.environment)

    def log(self) -> str:
        """What the engine wrote, for messages."""
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            asked = subprocess.run(
                ["docker", "version"], env=self.environment, capture_output=True, timeout=COMMAND_SECONDS, check=False
            )
            if asked.returncode == 0:
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise RigError(f"dockerd does not answer: {self.log()[-3000:]}")
            time.sleep(0.1)

    def _make_images(self, archive: Path) -> None:
        self.docker("import", str(archive), self.base)
        self.docker(
            *("build", "--network", "none", "--build-arg", f"BASE={self.base}", "--tag", self.image),
            *("--file", str(CHECKOUT / "compose" / "Dockerfile"), str(CHECKOUT)),
        )

    def _end(self) -> None:
        """The engine ends its containers when it is asked to end. Bridges and mounts go with its namespaces."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print(f"dockerd had to be killed; its last words: {self.log()[-3000:]}", file=sys.stderr)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    if missing := lacking():
        pytest.skip(missing)
    with DockerEngine.started() as engine:
        yield engine


def _start(folder: Path, log: int) -> subprocess.Popen[bytes]:
    (folder / "client").mkdir()
    (folder / "daemon.json").write_text("{}")
    return subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "TERM", "unshare", "--net", "--mount", "--propagation", "private"),
            *("sh", "-c", 'ip link set lo up && exec dockerd "$@"', "dockerd"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"),
            *("--host", f"unix://{folder}/docker.sock", "--iptables=false", "--ip6tables=false", "--bridge=none"),
            # The same on every machine, whether or not systemd runs there, and whatever /etc/docker says.
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--config-file", f"{folder}/daemon.json"),
            *("--shutdown-timeout", "5"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def cache_folder() -> Path:
    """Where the base image is kept between runs."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "layerlab" / "docker"


def base_archive() -> Path:
    """The archive of the base image's files; made if it is not in the cache. Raises RigError."""
    site, release, keyring = _apt_source()
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{release}-{BASE_PACKAGES.replace(',', '-')}.tar"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="base-", dir=folder) as work:
                _bootstrap(Path(work) / "root", site, release, keyring)
                made = Path(work) / "base.tar"
                _output(["tar", "-C", f"{work}/root", "-cf", str(made), "."])
                made.rename(archive)
    return archive


def _bootstrap(root: Path, site: str, release: str, keyring: str) -> None:
    environment = dict(os.environ)
    if proxy := _apt_setting("Acquire::http::Proxy"):
        environment["http_proxy"] = proxy
    # It mounts /proc in the new root: in a namespace of its own nothing of that stays, even if it is killed.
    command = ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]
    command += [f"--keyring={keyring}"] if keyring else []
    _output([*command, f"--include={BASE_PACKAGES}", release, str(root), site], environment)
    for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / unneeded, ignore_errors=True)


def _apt_source() -> tuple[str, str, str]:
    """The mirror of this release of Debian that apt uses here, the release, and the keyring that signs it."""
    release = ""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            release = line.partition("=")[2].strip('"')
    form = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    for line in _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
        site, named, component, keyring = line.split("|")
        if (named, component) == (release, "main"):
            # apt leaves the name of an unset field as it is; a key inside the sources file is no file.
            return site, release, keyring if keyring.startswith("/") else ""
    raise RigError(f"apt has no source for {release!r} main, from which a base image could be made")


def _apt_setting(name: str) -> str:
    return _output(["apt-config", "shell", "value", name]).strip().removeprefix("value=").strip("'\"")


def _output(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    try:
        ran = subprocess.run(
            command,
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{' '.join(command)}: {error}") from error
    if ran.returncode:
        raise RigError(f"{' '.join(command)} ended with {ran.returncode}: {(ran.stdout + ran.stderr)[-3000:]}")
    return ran.stdout
