"""Debian's kernel 6.12 for virtual machines, kept beside this user's other caches and never installed.

The meta package names the newest one; that is fetched and unpacked once. Its modules are compressed and signed; they
are decompressed on this side, where that is quick. What they need stands inside them (`modinfo -F depends`).
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

META_PACKAGES = ("linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64")
"""Of bookworm (security or backports), and of trixie."""
_PACKAGE = re.compile(r"Depends: (linux-image-6\.12\.\S+-cloud-amd64)$", re.MULTILINE)
_NEEDS = re.compile(rb"\0depends=([^\0]*)\0")
_HINT = "run apt-get update; on Debian 12 the kernel comes with bookworm-security or bookworm-backports"


class KernelMissingError(Exception):
    """No such kernel to be had; the text says what failed."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked package."""

    folder: Path

    @property
    def image(self) -> Path:
        return next(self.folder.glob("boot/vmlinuz-*"))

    def modules(self, names: Sequence[str]) -> list[bytes]:
        """The modules named, decompressed, each after those that it needs. Raises KernelMissingError."""
        paths = {path.name.split(".")[0].replace("-", "_"): path for path in self.folder.glob("lib/modules/**/*.ko*")}
        loaded: dict[str, bytes] = {}
        for name in names:
            _add(name, paths, loaded)
        return list(loaded.values())


def _add(name: str, paths: dict[str, Path], loaded: dict[str, bytes]) -> None:
    if name in loaded:
        return
    if name not in paths:
        raise KernelMissingError(f"the kernel has no module {name}")
    octets = paths[name].read_bytes()
    if paths[name].suffix == ".xz":
        octets = lzma.decompress(octets)
    needs = _NEEDS.search(octets)
    for needed in (needs[1] if needs else b"").decode().split(","):
        if needed:
            _add(needed.replace("-", "_"), paths, loaded)
    loaded[name] = octets


def newest() -> Kernel:
    """Fetched where it is not there yet. Raises KernelMissingError."""
    for program in ("apt-cache", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise KernelMissingError(f"no program {program}: the kernel comes from Debian's packages")
    package = next(_packages(), None)
    if package is None:
        raise KernelMissingError(f"no package {' or '.join(META_PACKAGES)}: {_HINT}")
    folder = _cache() / package
    if not folder.is_dir():
        _fetch(package, folder)
    return Kernel(folder)


def _packages() -> Iterator[str]:
    for meta in META_PACKAGES:
        told = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=False).stdout
        yield from _PACKAGE.findall(told)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerlab-kernels"


def _fetch(package: str, folder: Path) -> None:
    """Through a scratch folder beside it, so what has the name is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        # Root's apt would hand the download to a user who may not write here.
        _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], scratch)
        archive = next(Path(scratch).glob("*.deb"))
        _run(["dpkg-deb", "-x", archive.name, "unpacked"], scratch)
        (Path(scratch) / "unpacked").rename(folder)


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelMissingError(f"{' '.join(command)}: {done.stderr.strip()}\n{_HINT}")
