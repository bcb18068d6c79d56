"""The programs of tests/programs in nodes of a lab, beside each other and beside Linux's own clients.

client ──┐
linux  ──┼── s1 ── r ── server        client, server: ours; linux: a plain Linux host
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.programs import asgi, http, mail, names, ssh
from tests.programs.common import HOSTNAME, TLS, digest, octets, reachable
from tests.programs.expected import CASES, Call, Case, ssh_key
from tests.system.conftest import Needs

TOPOLOGY = """\
name: servers
defaults: {tcp: {msl: 1}}
nodes:
  client: host
  linux: {kind: host, stack: kernel}
  s1: switch
  r: router
  server: host
links: [client -- s1, linux -- s1, s1 -- r, r -- server]
"""
SIZE = 1_000_000
CERTIFICATE = str(TLS / "certificate.pem")
PATIENCE = 60.0

Talk = Callable[[Lab, Path], Awaitable[None]]


@pytest.fixture
def desk(needs: Needs, tmp_path: Path) -> Iterator[Path]:
    needs("veth", "bridge", "packet sockets")
    (tmp_path / "topology.yml").write_text(TOPOLOGY)
    (tmp_path / "files").mkdir()
    yield tmp_path


def run(desk: Path, talk: Talk) -> None:
    async def main() -> None:
        async with Lab.open(desk / "topology.yml", driver="netns", runs=desk / "runs") as lab:
            await asyncio.wait_for(talk(lab, desk / "files"), 2 * PATIENCE)

    asyncio.run(main())


async def exec_ok(lab: Lab, *command: str) -> str:
    """What a command in the Linux host prints; it must succeed."""
    status, out, err = await lab.node("linux").exec(*command, timeout=PATIENCE)
    assert status == 0, f"{command}: {status} {err}"
    return out


async def started(lab: Lab, call: Call, port: int) -> None:
    """The server runs in its node and answers."""
    lab.node("server").start(call.function, "0.0.0.0", port, *call.arguments)
    await lab.node("client").run(reachable, lab.node("server").address, port)


# ------------------------------------------------------------------------------------------------------- ours with ours


def test_all_programs_in_one_lab(desk: Path) -> None:
    """One after the other, each on a port of its own."""

    async def talk(lab: Lab, files: Path) -> None:
        for number, case in enumerate(CASES):
            await meet(lab, case, files, 8000 + 10 * number)

    run(desk, talk)


async def meet(lab: Lab, case: Case, files: Path, port: int) -> None:
    server, client = case.pair(str(files))
    there, here = lab.node("server"), lab.node("client")
    serving = there.start(server.function, "0.0.0.0", port, *server.arguments)
    found = await here.run(client.function, there.address, port, *client.arguments)
    case.check(found, here.address, there.address, port)
    serving.cancel()


# ------------------------------------------------------------------------------------------------- Linux's own programs


def test_curl(desk: Path, needs: Needs) -> None:
    """HTTP in the clear and over TLS 1.3, of aiohttp and of uvicorn; mail with STARTTLS."""
    needs("curl")

    async def talk(lab: Lab, files: Path) -> None:
        server = lab.node("server").address
        (files / "data").write_bytes(octets(SIZE))
        await started(lab, Call(http.server), 80)
        await curl_http(lab, files, f"http://{server}:80")
        await started(lab, Call(http.server, (True,)), 443)
        resolve = ("--cacert", CERTIFICATE, "--tlsv1.3", "--resolve", f"{HOSTNAME}:443:{server}")
        await curl_http(lab, files, f"https://{HOSTNAME}", *resolve)
        await started(lab, Call(asgi.server), 8080)
        answer = json.loads(await exec_ok(lab, "curl", "-sS", f"http://{server}:8080/hello/Linux"))
        assert (answer["hello"], answer["peer"][0]) == ("Linux", lab.node("linux").address)

    run(desk, talk)


async def curl_http(lab: Lab, files: Path, base: str, *options: str) -> None:
    curl = ("curl", "-sS", "--fail", "--http1.1", *options)
    await exec_ok(lab, *curl, "-o", str(files / "body"), f"{base}/body/{SIZE}")
    await exec_ok(lab, *curl, "-o", str(files / "chunked"), f"{base}/chunked/{SIZE}")
    for name in ("body", "chunked"):
        assert hashlib.sha256((files / name).read_bytes()).hexdigest() == digest(SIZE)
    put = await exec_ok(lab, *curl, "-T", str(files / "data"), f"{base}/upload")
    assert digest(SIZE) in put
    echo = ("-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", str(files / "data"), "-o", str(files / "echo"))
    await exec_ok(lab, *curl, *echo, f"{base}/echo")
    assert (files / "echo").read_bytes() == octets(SIZE)
    alive = await exec_ok(lab, *curl, "-w", "%{num_connects}\\n", f"{base}/", f"{base}/")
    assert [line[-1] for line in alive.splitlines()] == ["1", "0"], "the second request used the connection again"


def test_ssh_and_sftp(desk: Path, needs: Needs) -> None:
    needs("ssh", "sftp")

    async def talk(lab: Lab, files: Path) -> None:
        private, public = ssh_key()
        server = lab.node("server").address
        key, root = files / "key", files / "root"
        key.write_text(private)
        key.chmod(0o600)
        root.mkdir()
        (files / "data").write_bytes(octets(SIZE))
        await started(lab, Call(ssh.server, (public, str(root))), 22)
        options = [
            *("-i", str(key), "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", f"UserKnownHostsFile={files / 'known'}", "-o", "IdentitiesOnly=yes"),
        ]
        login = ("ssh", *options, f"{ssh.USER}@{server}")
        assert await exec_ok(lab, *login, "echo Hello, world") == "Hello, world\n"
        status, _, err = await lab.node("linux").exec(*login, "make coffee", timeout=PATIENCE)
        assert (status, err.splitlines()[-1]) == (ssh.FAILED, "make: no such command")
        text = f"{' '.join(login)} cat < {files / 'data'} > {files / 'back'}"
        await exec_ok(lab, "sh", "-c", text)
        assert (files / "back").read_bytes() == octets(SIZE)
        (files / "batch").write_text(
            f"mkdir sub\nput {files / 'data'} sub/file\nget sub/file {files / 'got'}\nrename sub/file there\nls\n"
        )
        await exec_ok(lab, "sftp", "-q", "-b", str(files / "batch"), *options, f"{ssh.USER}@{server}")
        assert (files / "got").read_bytes() == (root / "there").read_bytes() == octets(SIZE)

    run(desk, talk)


def test_dig(desk: Path, needs: Needs) -> None:
    needs("dig")

    async def talk(lab: Lab, files: Path) -> None:
        server = lab.node("server").address
        await started(lab, Call(names.server), 53)

        async def dig(*arguments: str) -> list[str]:
            return sorted((await exec_ok(lab, "dig", f"@{server}", "+tries=5", "+time=2", *arguments)).splitlines())

        assert await dig("+short", "www.test", "A") == ["192.0.2.1", "192.0.2.2"]
        assert await dig("+short", "alias.test", "A") == ["192.0.2.1", "192.0.2.2", "www.test."]
        assert await dig("+short", "+tcp", "test", "MX") == ["10 mail.test."]
        assert await dig("+short", "-x", "192.0.2.1") == ["www.test."]
        slow = await dig("+short", "a.slow.test", "A")
        assert "192.0.2.3" in slow, "asked again"
        assert any("timed out" in line for line in slow if line.startswith(";;"))
        long = await dig("+noall", "+answer", "+comments", "long.test", "TXT")
        assert sum("IN\tTXT" in line for line in long) == names.LONG
        assert ";; Truncated, retrying in TCP mode." in long
        assert any("status: NXDOMAIN" in line for line in await dig("absent.test"))

    run(desk, talk)


def test_openssl(desk: Path, needs: Needs) -> None:
    """A handshake that openssl follows: TLS 1.3 from the first octet, and after STARTTLS in SMTP."""
    needs("openssl", "curl")

    async def talk(lab: Lab, files: Path) -> None:
        server = lab.node("server").address
        await started(lab, Call(http.server, (True,)), 443)
        await started(lab, Call(mail.server), 25)
        verify = f"-CAfile {CERTIFICATE} -verify_return_error -verify_hostname {HOSTNAME}"
        request = f"GET /?name=openssl HTTP/1.0\\r\\nHost: {HOSTNAME}\\r\\n\\r\\n"
        for target, said in ((f"{server}:443", request), (f"{server}:25 -starttls smtp", "QUIT\\r\\n")):
            command = f"printf '{said}' | openssl s_client -ign_eof -connect {target} {verify}"
            out = await exec_ok(lab, "sh", "-c", command)
            assert "Verify return code: 0 (ok)" in out
            assert "TLSv1.3" in out
            assert '"hello": "openssl"' in out or "221 Bye" in out
        (files / "letter").write_bytes(b"Subject: from Linux\r\n\r\nHello.\r\n")
        letter = ("--mail-from", "a@client.test", "--mail-rcpt", "b@service.test", "-T", str(files / "letter"))
        secure = ("--ssl-reqd", "--cacert", CERTIFICATE, "--resolve", f"{HOSTNAME}:25:{server}")
        status, _, err = await lab.node("linux").exec(
            "curl", "-sSv", *secure, *letter, f"smtp://{HOSTNAME}", timeout=PATIENCE
        )
        assert status == 0, err
        assert "250 1 TLS" in err

    run(desk, talk)
