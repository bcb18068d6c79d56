"""The programs of tests/programs on a plain asyncio loop: what they find there is what they must find on ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.programs.expected import CASES, Case

pytestmark = pytest.mark.slow


def free_port() -> int:
    """One whose successor is free as well."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


async def together(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    serving = asyncio.ensure_future(server)
    try:
        return await client
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_program_on_a_plain_loop(case: Case, tmp_path: Path) -> None:
    port = free_port()
    server, client = case.pair(str(tmp_path))
    serving = server.function("127.0.0.1", port, *server.arguments)
    found = asyncio.run(together(serving, client.function("127.0.0.1", port, *client.arguments)))
    case.check(found, "127.0.0.1", "127.0.0.1", port)
