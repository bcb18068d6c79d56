"""aiohttp: a server and a client of HTTP/1.1 and websockets, in the clear or over TLS 1.3."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

from aiohttp import ClientConnectorError, ClientSession, ClientTimeout, TCPConnector, WSMsgType, web

from tests.programs.common import HOSTNAME, blocks, client_tls, digest, for_ever, octets, reachable, server_tls

LARGE = 10_000_000
MESSAGE = 1_000_000


# ---------------------------------------------------------------------------------------------------------- the server


async def server(address: str, port: int, tls: bool = False) -> None:
    """Serves until it is cancelled."""
    application = web.Application(client_max_size=2 * LARGE)
    application.router.add_get("/", hello)
    application.router.add_get("/body/{size}", body)
    application.router.add_get("/chunked/{size}", chunked)
    application.router.add_put("/upload", upload)
    application.router.add_post("/echo", echo)
    application.router.add_get("/never", never)
    application.router.add_get("/websocket", websocket)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=server_tls() if tls else None).start()
        await for_ever()
    finally:
        await runner.cleanup()


async def hello(request: web.Request) -> web.Response:
    """Tells the client which connection it used."""
    transport = request.transport
    assert transport is not None
    tls = transport.get_extra_info("ssl_object")
    return web.json_response(
        {
            "hello": request.query.get("name", "nobody"),
            "peer": transport.get_extra_info("peername")[:2],
            "own": transport.get_extra_info("sockname")[:2],
            "tls": tls.version() if tls else None,
        }
    )


async def body(request: web.Request) -> web.Response:
    return web.Response(body=octets(int(request.match_info["size"])))


async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for block in blocks(int(request.match_info["size"])):
        await response.write(block)
    await response.write_eof()
    return response


async def upload(request: web.Request) -> web.Response:
    sha, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_any():
        sha.update(chunk)
        size += len(chunk)
    return web.json_response({"size": size, "digest": sha.hexdigest(), "length": request.content_length})


async def echo(request: web.Request) -> web.StreamResponse:
    """Answers while the request is still coming."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    return response


async def never(request: web.Request) -> web.Response:
    await for_ever()
    raise AssertionError


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Sends back what comes, until the client has enough."""
    socket = web.WebSocketResponse(max_msg_size=2 * MESSAGE)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "close":
            await socket.close(code=4000, message=b"as you wish")
        else:
            await socket.send_str(message.data[::-1])
    return socket


# ---------------------------------------------------------------------------------------------------------- the client


async def client(address: str, port: int, tls: bool = False, large: int = LARGE) -> dict[str, Any]:
    """Everything the server can do, checked; what is left to compare."""
    await reachable(address, port)
    connector = TCPConnector(ssl=client_tls() if tls else True, limit=8)
    base = f"{'https' if tls else 'http'}://{address}:{port}"
    # The name of the certificate is not one of the network's.
    options: dict[str, Any] = {"server_hostname": HOSTNAME} if tls else {}
    async with ClientSession(base, connector=connector, timeout=ClientTimeout(total=600)) as session:
        first = await _json(session, "/?name=one", **options)
        second = await _json(session, "/?name=two", **options)
        assert (first["hello"], second["hello"]) == ("one", "two")
        found = {
            "kept alive": first["peer"] == second["peer"],
            "peer": first["peer"],
            "own": first["own"],
            "tls": first["tls"],
            "body": await _get(session, f"/body/{large}", **options) == (200, large, digest(large)),
            "chunked": await _get(session, f"/chunked/{large}", **options) == (200, large, digest(large)),
            "upload": await _upload(session, BytesIO(octets(large)), **options) == (large, digest(large), large),
            "chunked upload": await _upload(session, _generated(large), **options) == (large, digest(large), None),
            "echo": await _echo(session, large // 10, **options),
            "not found": (await _get(session, "/nothing", **options))[0],
            "many at once": await _many(session, large // 100, **options),
            "websocket": await _websocket(session, **options),
            "timeout": await _timeout(session, **options),
        }
    found["refused"] = await _refused(address, port + 1)
    return found


async def _json(session: ClientSession, path: str, **options: Any) -> dict[str, Any]:
    async with session.get(path, **options) as response:
        return dict(await response.json())


async def _get(session: ClientSession, path: str, **options: Any) -> tuple[int, int, str]:
    """(status, octets, SHA-256)"""
    sha, size = hashlib.sha256(), 0
    async with session.get(path, **options) as response:
        async for chunk in response.content.iter_any():
            sha.update(chunk)
            size += len(chunk)
        return response.status, size, sha.hexdigest()


async def _upload(session: ClientSession, data: Any, **options: Any) -> tuple[int, str, int | None]:
    async with session.put("/upload", data=data, **options) as response:
        answer = await response.json()
    return answer["size"], answer["digest"], answer["length"]


async def _generated(size: int) -> AsyncIterator[bytes]:
    for block in blocks(size):
        yield block


async def _echo(session: ClientSession, size: int, **options: Any) -> bool:
    async with session.post("/echo", data=_generated(size), **options) as response:
        return await response.read() == octets(size)


async def _many(session: ClientSession, size: int, **options: Any) -> int:
    answers = await asyncio.gather(*(_get(session, f"/body/{size + each}", **options) for each in range(30)))
    return sum(answer[1] == size + each for each, answer in enumerate(answers))


async def _websocket(session: ClientSession, **options: Any) -> dict[str, Any]:
    async with session.ws_connect("/websocket", max_msg_size=2 * MESSAGE, **options) as socket:
        await socket.send_str("olleh")
        text = await socket.receive_str()
        await socket.send_bytes(octets(MESSAGE))
        large = await socket.receive_bytes() == octets(MESSAGE)
        await socket.ping(b"there?")
        for number in range(100):
            await socket.send_str(str(number))
        answers = [await socket.receive_str() for _ in range(100)]
        await socket.send_str("close")
        last = await socket.receive()
    return {
        "text": text,
        "large": large,
        "in order": answers == [str(number)[::-1] for number in range(100)],
        "close": (last.type is WSMsgType.CLOSE, last.data, last.extra),
    }


async def _timeout(session: ClientSession, **options: Any) -> bool:
    try:
        await _get(session, "/never", timeout=ClientTimeout(total=1.0), **options)
    except TimeoutError:
        return True
    return False


async def _refused(address: str, port: int) -> str:
    async with ClientSession() as session:
        try:
            await _get(session, f"http://{address}:{port}/")
        except ClientConnectorError as error:
            return type(error.os_error).__name__
    return "somebody listens"
