"""The asyncio end of the control protocol against a server of the tests, which answers exactly what it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.api.channel import BUSY, Channel, Door
from nodes.io.control_protocol import ControlError

SECONDS = 10.0


class Server:
    """The other end of the connections of a door."""

    def __init__(self) -> None:
        self.links: list[socket.socket] = []
        self.greets = True
        self._greeted: set[int] = set()
        self._buffers: list[bytes] = []

    async def connect(self) -> socket.socket:
        near, far = socket.socketpair()
        far.setblocking(False)
        self.links.append(far)
        self._buffers.append(b"")
        if self.greets:
            asyncio.get_running_loop().create_task(self.greet(len(self.links) - 1))
        return near

    async def greet(self, link: int) -> None:
        hello = await self.read(link)
        assert (hello["method"], hello["params"]) == ("hello", {"version": 1})
        self.say({"id": hello["id"], "result": {}}, link=link)
        self._greeted.add(link)

    async def heard(self, link: int = 0) -> dict[str, Any]:
        """The next request after the greeting."""
        while link not in self._greeted:
            await asyncio.sleep(0)
        return await self.read(link)

    async def read(self, link: int) -> dict[str, Any]:
        while b"\n" not in self._buffers[link]:
            data = await asyncio.get_running_loop().sock_recv(self.links[link], 65536)
            assert data, "the client closed"
            self._buffers[link] += data
        line, _, self._buffers[link] = self._buffers[link].partition(b"\n")
        return dict(json.loads(line))

    def say(self, *messages: dict[str, Any], link: int = 0, fds: tuple[int, ...] = ()) -> None:
        data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        socket.send_fds(self.links[link], [data], list(fds))

    def close(self) -> None:
        for link in self.links:
            link.close()


def play(scene: Callable[[Server, Door], Awaitable[None]]) -> None:
    async def main() -> None:
        server = Server()
        door = Door(server.connect)
        try:
            async with asyncio.timeout(SECONDS):
                await scene(server, door)
        finally:
            door.close()
            server.close()

    asyncio.run(main())


def begun(door: Door, method: str, **options: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(door.ask(method, **options))


def test_answers_come_in_any_order() -> None:
    async def scene(server: Server, door: Door) -> None:
        first, second = begun(door, "one", params={"a": 1}), begun(door, "two")
        one, two = await server.heard(), await server.heard()
        assert (one["method"], one["params"], two["method"]) == ("one", {"a": 1}, "two")
        server.say({"id": two["id"], "result": {"n": 2}}, {"id": one["id"], "result": {"n": 1}})
        assert ((await first).result, (await second).result) == ({"n": 1}, {"n": 2})
        assert len(server.links) == 1

    play(scene)


def test_events_come_before_the_result_and_in_their_order() -> None:
    async def scene(server: Server, door: Door) -> None:
        seen: list[Any] = []

        def hear(event: dict[str, Any]) -> None:
            seen.append(event["n"])
            if event["n"] == 1:
                raise ValueError("of who listens")

        unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        asked = begun(door, "run", heard=hear)
        number = (await server.heard())["id"]
        server.say(*({"id": number, "event": {"n": n}} for n in range(3)), {"id": number, "result": {"end": True}})
        assert (await asked).result == {"end": True}
        assert seen == [0, 1, 2]
        assert [str(context["exception"]) for context in unhandled] == ["of who listens"]

    play(scene)


def test_an_error_has_its_code_message_and_hint() -> None:
    async def scene(server: Server, door: Door) -> None:
        asked = begun(door, "run")
        number = (await server.heard())["id"]
        server.say({"id": number, "error": {"code": "EINVAL", "message": "no", "hint": "say yes"}})
        with pytest.raises(ControlError) as caught:
            await asked
        assert (caught.value.code, caught.value.message, caught.value.hint) == ("EINVAL", "no", "say yes")

    play(scene)


def test_descriptors_go_to_the_answers_that_announce_them() -> None:
    async def scene(server: Server, door: Door) -> None:
        read, write = os.pipe()
        tasks = [begun(door, "connect") for _ in range(3)]
        numbers = [(await server.heard())["id"] for _ in tasks]
        server.say({"id": numbers[0], "result": {}})
        server.say({"id": numbers[2], "result": {}, "fds": 1}, fds=(write,))
        server.say({"id": numbers[1], "result": {}, "fds": 1}, fds=(read,))
        answers = [await task for task in tasks]
        assert [len(answer.fds) for answer in answers] == [0, 1, 1]
        assert not any(os.get_inheritable(fd) for answer in answers for fd in answer.fds)
        os.write(answers[2].fds[0], b"x")
        assert os.read(answers[1].fds[0], 1) == b"x"
        for descriptor in (read, write, answers[1].fds[0], answers[2].fds[0]):
            os.close(descriptor)

    play(scene)


def test_who_stops_waiting_cancels() -> None:
    """And what still comes of it is thrown away, with its descriptors."""

    async def scene(server: Server, door: Door) -> None:
        asked = begun(door, "run")
        number = (await server.heard())["id"]
        asked.cancel()
        cancel = await server.heard()
        assert (cancel["method"], cancel["params"]) == ("cancel", {"id": number})
        read, write = os.pipe()
        server.say({"id": number, "result": {}, "fds": 1}, fds=(write,))
        server.say({"id": cancel["id"], "result": {"cancelled": False}})
        os.close(write)
        again = begun(door, "again")  # when it is answered, what came before has been read
        server.say({"id": (await server.heard())["id"], "result": {}})
        await again
        assert os.read(read, 1) == b""  # nobody has the writing end any more
        os.close(read)

    play(scene)


def test_the_end_of_the_connection_ends_all_that_wait() -> None:
    async def scene(server: Server, door: Door) -> None:
        tasks = [begun(door, "run") for _ in range(3)]
        for _ in tasks:
            await server.heard()
        server.links[0].close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ControlError)
            assert outcome.code == "closed"
        later = begun(door, "state")  # which connects again
        server.say({"id": (await server.heard(1))["id"], "result": {"n": 1}}, link=1)
        assert (await later).result == {"n": 1}

    play(scene)


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON\n",
        b"[]\n",
        b'{"id": 2, "result": {}, "fds": 1}\n',
        b'{"id": null, "error": {"code": "too-many", "message": "m", "hint": ""}}\n',
        b'{"id": 2}\n',
        b'{"id": 2, "result": 7}\n',
        b'{"id": 2, "error": "text"}\n',
        b"x" * (1 << 20) + b"\n",
    ],
)
def test_nonsense_ends_the_question(line: bytes) -> None:
    async def scene(server: Server, door: Door) -> None:
        asked = begun(door, "run")
        assert (await server.heard())["id"] == 2
        await asyncio.get_running_loop().sock_sendall(server.links[0], line)
        with pytest.raises(ControlError):
            await asked

    play(scene)


@pytest.mark.parametrize("line", [b'{"id": 77, "result": {}}\n', b'{"id": "2", "result": {}}\n', b'{"event": {}}\n'])
def test_answers_to_nobody_are_thrown_away(line: bytes) -> None:
    async def scene(server: Server, door: Door) -> None:
        asked = begun(door, "run")
        number = (await server.heard())["id"]
        await asyncio.get_running_loop().sock_sendall(server.links[0], line)
        server.say({"id": number, "result": {"n": 1}})
        assert (await asked).result == {"n": 1}

    play(scene)


def test_nobody_waits_longer_than_wanted() -> None:
    async def scene(server: Server, door: Door) -> None:
        with pytest.raises(ControlError) as caught:
            await door.ask("run", within=0.02)
        assert caught.value.code == "timeout"
        assert [(await server.heard())["method"] for _ in range(2)] == ["run", "cancel"]

    play(scene)


def test_nobody_waits_longer_for_a_server_that_does_not_greet() -> None:
    """A node that stands still. The connection is kept for the next question."""

    async def scene(server: Server, door: Door) -> None:
        server.greets = False
        with pytest.raises(ControlError) as caught:
            await door.ask("run", within=0.02)
        assert caught.value.code == "timeout"
        await server.greet(0)
        later = begun(door, "state")
        server.say({"id": (await server.heard())["id"], "result": {}})
        await later
        assert len(server.links) == 1

    play(scene)


def test_more_questions_than_a_connection_holds() -> None:
    async def scene(server: Server, door: Door) -> None:
        tasks = [begun(door, "run") for _ in range(BUSY + 5)]
        heard = [await server.heard() for _ in range(BUSY)]
        others = [await server.heard(1) for _ in range(5)]
        for link, questions in ((0, heard), (1, others)):
            server.say(*({"id": question["id"], "result": {"link": link}} for question in questions), link=link)
        answers = [(await task).result["link"] for task in tasks]
        assert answers.count(1) == 5
        assert len(server.links) == 2

    play(scene)


def test_one_who_gives_up_leaves_the_connection_to_the_others() -> None:
    async def scene(server: Server, door: Door) -> None:
        server.greets = False
        impatient, patient = begun(door, "one"), begun(door, "two")
        while not server.links:
            await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        await server.greet(0)
        question = await server.heard()
        assert question["method"] == "two"
        server.say({"id": question["id"], "result": {}})
        await patient

    play(scene)


def test_nobody_is_there() -> None:
    async def connect() -> socket.socket:
        raise ConnectionRefusedError("nobody")

    async def main() -> None:
        door = Door(connect)
        outcomes = await asyncio.gather(*(door.ask("run") for _ in range(2)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 2

    asyncio.run(main())


def test_another_version_is_refused() -> None:
    async def scene(server: Server, door: Door) -> None:
        server.greets = False
        asked = begun(door, "run")
        while not server.links:
            await asyncio.sleep(0)
        number = (await server.read(0))["id"]
        server.say({"id": number, "error": {"code": "version", "message": "version 1, this end speaks 2", "hint": ""}})
        with pytest.raises(ControlError) as caught:
            await asked
        assert caught.value.code == "version"

    play(scene)


def test_a_server_that_does_not_read_holds_nobody_up() -> None:
    """Long questions wait in memory, and arrive whole."""

    async def scene(server: Server, door: Door) -> None:
        text = "x" * 900_000
        tasks = [begun(door, "run", params={"text": text}) for _ in range(3)]
        await asyncio.sleep(0.05)
        for _ in tasks:
            question = await server.heard()
            assert question["params"]["text"] == text
            server.say({"id": question["id"], "result": {}})
        await asyncio.gather(*tasks)

    play(scene)


def test_a_closed_channel() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        channel = Channel(near)
        waiting = asyncio.get_running_loop().create_task(channel.ask("run", {}))
        await asyncio.sleep(0)
        channel.close()
        channel.close()
        for question in (waiting, channel.ask("run", {})):
            with pytest.raises(ControlError) as caught:
                await question
            assert caught.value.code == "closed"
        far.close()

    asyncio.run(main())
