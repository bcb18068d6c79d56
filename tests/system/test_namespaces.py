"""Namespaces: made fast, held by descriptors only, with settings of their own; and the probe."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import DriverError, EnvironmentLackError
from lab.host import namespaces, probe, syscalls

Isolated = Callable[[Callable[[], None]], None]


def _current() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_isolation(isolated: Isolated) -> None:
    def body() -> None:
        assert os.getpid() == 1
        assert os.geteuid() == 0
        assert sorted(p.name for p in Path("/proc").iterdir() if p.name.isdigit()) == ["1"]
        assert [name for _index, name in socket.if_nameindex()] == ["lo"]
        assert " shared:" not in Path("/proc/self/mountinfo").read_text()
        before = socket.gethostname()
        syscalls.set_hostname("inside")
        assert socket.gethostname() == "inside" != before

    name = socket.gethostname()
    isolated(body)
    assert socket.gethostname() == name


def test_create_and_enter(isolated: Isolated) -> None:
    def body() -> None:
        home = _current()
        seen: list[int] = []
        fds = namespaces.create_network_namespaces(5, lambda _number: seen.append(_current()))
        assert _current() == home
        assert [os.fstat(fd).st_ino for fd in fds] == seen
        assert len({home, *seen}) == 6
        assert not any(os.get_inheritable(fd) for fd in fds)
        with namespaces.in_namespace(fds[3]):
            assert _current() == seen[3]
        with pytest.raises(ZeroDivisionError), namespaces.in_namespace(fds[3]):
            _ = 1 / 0
        assert _current() == home

    isolated(body)


def test_failure_in_a_new_namespace_leaves_nothing(isolated: Isolated) -> None:
    def body() -> None:
        home, files = _current(), len(list(Path("/proc/self/fd").iterdir()))

        def prepare(number: int) -> None:
            if number == 3:
                namespaces.write_sysctls({"net.ipv4.no_such_thing": "1"})

        with pytest.raises(DriverError, match=r"cannot set net.ipv4.no_such_thing = 1: No such file"):
            namespaces.create_network_namespaces(5, prepare)
        assert _current() == home
        assert len(list(Path("/proc/self/fd").iterdir())) == files

    isolated(body)


def test_too_many_namespaces(rootless: Isolated) -> None:
    """The limit is the user namespace's own, so that it can be lowered without touching the host."""

    def body() -> None:
        Path("/proc/sys/user/max_net_namespaces").write_text("3")
        with pytest.raises(DriverError, match=r"namespace 3 of 5: unshare\(NEWNET\): No space") as caught:
            namespaces.create_network_namespaces(5)
        assert "user.max_net_namespaces" in caught.value.hint

    rootless(body)


def test_too_many_files(isolated: Isolated) -> None:
    def body() -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
        with pytest.raises(DriverError, match="Too many open files") as caught:
            namespaces.create_network_namespaces(50)
        assert "ulimit" in caught.value.hint
        assert namespaces.raise_file_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    isolated(body)


def test_settings_belong_to_the_namespace(isolated: Isolated) -> None:
    def body() -> None:
        outside = namespaces.read_sysctl("net.ipv4.ip_forward")
        settings = namespaces.NO_IPV6 | namespaces.KERNEL_ROUTER
        (fd,) = namespaces.create_network_namespaces(1, lambda _n: namespaces.write_sysctls(settings))
        with namespaces.in_namespace(fd):
            assert {name: namespaces.read_sysctl(name) for name in settings} == settings
        assert namespaces.read_sysctl("net.ipv4.ip_forward") == outside
        assert namespaces.read_sysctl("net.ipv4.no_such_thing") is None

    isolated(body)


def test_drop_capabilities(isolated: Isolated) -> None:
    def body() -> None:
        syscalls.set_no_new_privileges()
        syscalls.drop_capabilities()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"].strip() == "1"

    isolated(body)


def test_capabilities_that_are_kept(isolated: Isolated) -> None:
    def body() -> None:
        syscalls.drop_capabilities(but=(12, 13))
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        kept = {kind: int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert kept == {"CapInh": 0, "CapPrm": 0x3000, "CapEff": 0x3000, "CapBnd": 0x3000, "CapAmb": 0}

    isolated(body)


def test_mounts_and_name(isolated: Isolated) -> None:
    def body() -> None:
        syscalls.mount_tmpfs("/tmp", size="1m")
        Path("/tmp/a").write_text("a")
        Path("/tmp/b").touch()
        syscalls.bind_mount("/tmp/a", "/tmp/b")
        assert Path("/tmp/b").read_text() == "a"
        syscalls.unmount("/tmp/b")
        assert Path("/tmp/b").read_text() == ""
        syscalls.mount_sysfs()
        assert [path.name for path in Path("/sys/class/net").iterdir()] == ["lo"]
        syscalls.set_name("a name of more than fifteen bytes")
        assert Path("/proc/self/comm").read_text() == "a name of more \n"
        with pytest.raises(FileNotFoundError, match=r"mount\(a on /none"):
            syscalls.mount("a", "/none", "tmpfs")
        with pytest.raises(OSError, match=r"setns\(fd 0, NEWNET\)"):
            syscalls.setns(0, syscalls.CLONE_NEWNET)

    isolated(body)


def test_isolation_refused(isolated: Isolated) -> None:
    """Without capabilities, "root" may make no namespace, and is told so."""

    def body() -> None:
        syscalls.drop_capabilities()
        with pytest.raises(EnvironmentLackError, match="cannot make namespaces: unshare") as caught:
            namespaces.enter_isolation(root=True)
        assert "--privileged" in caught.value.hint

    isolated(body)


def test_hint_names_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"kernel.apparmor_restrict_unprivileged_userns": "1", "user.max_user_namespaces": "100"}
    monkeypatch.setattr(namespaces, "read_sysctl", values.get)
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in namespaces.isolation_hint(root=False)
    values = {"user.max_user_namespaces": "0"}
    monkeypatch.setattr(namespaces, "read_sysctl", values.get)
    assert "sysctl -w user.max_user_namespaces=10000" in namespaces.isolation_hint(root=False)


def test_probe_finds_everything_once() -> None:
    interfaces = socket.if_nameindex()
    findings = probe.probe()
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    assert all(finding.ok or finding.hint or finding.name == "root" for finding in findings)
    assert socket.if_nameindex() == interfaces


def test_probe_tells_what_failed() -> None:
    def fail() -> str:
        raise DriverError("no", hint="do it")

    assert probe.in_child(lambda: "fine") == (True, "fine", "")
    assert probe.in_child(fail) == (False, "no", "do it")
    assert probe.in_child(lambda: os._exit(1)) == (False, "the child died", "")


def test_probe_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(probe, "CHILD_SECONDS", 0.1)
    ok, detail, _hint = probe.in_child(lambda: str(signal.pause()))  # type: ignore[func-returns-value]
    assert (ok, detail) == (False, "no result in 0 s")
