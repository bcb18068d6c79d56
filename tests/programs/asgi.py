"""uvicorn with a Starlette application, and two clients: aiohttp, and the websockets package."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import uvicorn
import websockets
from aiohttp import ClientSession, ClientTimeout
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.programs.common import TLS, blocks, digest, octets, reachable

LARGE = 5_000_000
CLOSE_CODE = 4001


# ---------------------------------------------------------------------------------------------------------- the server


async def hello(request: Request) -> Response:
    assert request.client is not None
    request.app.state.hits += 1
    return JSONResponse({"hello": request.path_params["name"], "peer": list(request.client)})


async def hits(request: Request) -> Response:
    return JSONResponse({"hits": request.app.state.hits, "after": request.app.state.after})


async def stream(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for block in blocks(int(request.path_params["size"])):
            yield block

    return StreamingResponse(body())


async def upload(request: Request) -> Response:
    sha, size = hashlib.sha256(), 0
    try:
        async for chunk in request.stream():
            sha.update(chunk)
            size += len(chunk)
    except ClientDisconnect:
        return PlainTextResponse("gone")
    return JSONResponse({"size": size, "digest": sha.hexdigest()})


async def later(request: Request) -> Response:
    """Answers at once, and works on for a second."""

    async def work() -> None:
        await asyncio.sleep(1)
        request.app.state.after += 1

    return PlainTextResponse("accepted", status_code=202, background=BackgroundTask(work))


def threaded(request: Request) -> Response:
    """No coroutine function: Starlette calls it in a thread."""
    return PlainTextResponse(f"{threading.current_thread() is not threading.main_thread()}")


async def file(request: Request) -> Response:
    """Starlette reads it in a thread."""
    return FileResponse(TLS / "certificate.pem")


async def broken(request: Request) -> Response:
    raise RuntimeError("an error of the application")


async def talk(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat")
    while (text := await socket.receive_text()) != "bye":
        await socket.send_text(text.upper())
    await socket.close(code=CLOSE_CODE, reason="bye")


@contextlib.asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    application.state.hits = application.state.after = 0
    yield


ROUTES = [
    Route("/hello/{name}", hello),
    Route("/hits", hits),
    Route("/stream/{size:int}", stream),
    Route("/upload", upload, methods=["POST"]),
    Route("/later", later),
    Route("/threaded", threaded),
    Route("/file", file),
    Route("/broken", broken),
    WebSocketRoute("/talk", talk),
]


async def server(address: str, port: int, http: str = "httptools") -> None:
    """Serves until it is cancelled. `http` is the parser: httptools (C) or h11 (Python)."""
    application = Starlette(routes=ROUTES, lifespan=lifespan)
    config = uvicorn.Config(
        application,
        host=address,
        port=port,
        http=http,
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving


# ---------------------------------------------------------------------------------------------------------- the client


async def client(address: str, port: int, large: int = LARGE) -> dict[str, Any]:
    await reachable(address, port)
    async with ClientSession(f"http://{address}:{port}", timeout=ClientTimeout(total=600)) as session:
        first, second = await _json(session, "/hello/one"), await _json(session, "/hello/two")
        async with session.get(f"/stream/{large}") as response:
            streamed = hashlib.sha256(await response.read()).hexdigest() == digest(large)
        async with session.post("/upload", data=BytesIO(octets(large))) as response:
            uploaded = await response.json() == {"size": large, "digest": digest(large)}
        async with session.get("/later") as response:
            status = response.status
        before = await _json(session, "/hits")
        await asyncio.sleep(1.5)
        after = await _json(session, "/hits")
        async with session.get("/threaded") as response:
            threads = await response.text()
        async with session.get("/file") as response:
            sent = await response.read() == (TLS / "certificate.pem").read_bytes()
        async with session.get("/broken") as response:
            broken_status = response.status
    return {
        "hello": (first["hello"], second["hello"]),
        "peer": first["peer"],
        "kept alive": first["peer"] == second["peer"],
        "stream": streamed,
        "upload": uploaded,
        "background": (status, before["after"], after["after"]),
        "lifespan": after["hits"],
        "thread": threads,
        "file": sent,
        "broken": broken_status,
        "websocket": await _talk(address, port),
    }


async def _json(session: ClientSession, path: str) -> dict[str, Any]:
    async with session.get(path) as response:
        return dict(await response.json())


async def _talk(address: str, port: int) -> dict[str, Any]:
    uri = f"ws://{address}:{port}/talk"
    async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("chat")], proxy=None) as socket:
        answers = []
        for text in ("hello", "x" * 500_000):
            await socket.send(text)
            answers.append(await socket.recv() == text.upper())
        latency = await (await socket.ping())
        await socket.send("bye")
        await socket.wait_closed()
    return {
        "answers": answers,
        "subprotocol": socket.subprotocol,
        "latency": latency >= 0,
        "close": (socket.close_code, socket.close_reason),
    }
