"""Programs of users in a node: called, heard, cancelled, and ended with a clear word when they fail."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.engine.program_calls import LINE, ProgramError, outcome, program_params
from lab.errors import UserInputError
from nodes.errors import StuckError
from nodes.io.control import ControlClient, ControlError
from tests.unit import agent_user
from tests.unit.agent_user import Point
from tests.unit.agent_world import World

pytestmark = pytest.mark.timeout(120, method="thread")  # the other method has the timer of a node's patience


@pytest.fixture
def world() -> Iterator[World]:
    path, folder, main = list(sys.path), Path.cwd(), sys.modules["__main__"]
    with World() as world:
        yield world
    sys.path[:] = path  # the node lives in this process
    os.chdir(folder)
    sys.modules["__main__"] = main


class Said:
    """The events of a program."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def text(self, stream: str) -> str:
        return "".join(event["text"] for event in self.events if event.get("stream") == stream)


def call(
    client: ControlClient,
    function: Callable[..., Any],
    *args: Any,
    said: Said | None = None,
    then: Callable[[], None] | None = None,
    **keywords: Any,
) -> Any:
    """Run a program to its end. `then` is called when it runs."""
    stream = client.stream("program", program_params(function, args, keywords), timeout=20)
    for event in stream:
        if said is not None:
            said.events.append(event)
        if then is not None and "program" in event:
            then()
    return outcome(stream.result, stream.fds)


def run(world: World, function: Callable[..., Any], *args: Any, node: str = "a", **more: Any) -> Any:
    def work() -> Any:
        with world.client(node) as client:
            return call(client, function, *args, **more)

    return world.run(work)


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.001)


def test_values_both_ways(world: World) -> None:
    assert run(world, agent_user.add, 2, second=3) == 5
    assert run(world, agent_user.move, Point(1, 2)) == Point(2, 2)
    assert run(world, functools.partial(agent_user.add, 4)) == 5


def test_a_value_longer_than_a_line(world: World) -> None:
    assert run(world, agent_user.octets, 3 << 20) == bytes(3 << 20)


def test_arguments_longer_than_a_line(world: World, tmp_path: Path) -> None:
    params = program_params(agent_user.move, [Point(1, 2)], {})
    assert "call" in params
    params = program_params(agent_user.add, [bytes(LINE)], {"second": b"x"})
    file = tmp_path / "call"
    file.write_bytes(params.pop("call_bytes"))

    def work() -> Any:
        with world.client("a") as client:
            result, fds = client.call("program", {**params, "call_file": str(file)})
            return outcome(result, fds)

    assert world.run(work) == bytes(LINE) + b"x"


def test_what_it_raises(world: World) -> None:
    with pytest.raises(LookupError, match="nothing here") as caught:
        run(world, agent_user.fail, "nothing here")
    assert "in fail" in caught.value.__notes__[0]
    assert "agent_user.py" in caught.value.__notes__[0]


def test_an_exception_that_cannot_travel(world: World) -> None:
    with pytest.raises(ProgramError, match="WordyError: a b") as caught:
        run(world, agent_user.fail_wordily)
    assert "in fail_wordily" in caught.value.__notes__[0]


def test_sys_exit_ends_the_program_and_not_the_node(world: World) -> None:
    with pytest.raises(SystemExit) as caught:
        run(world, agent_user.leave)
    assert caught.value.code == 3
    assert run(world, agent_user.add, 1) == 2


def test_a_value_that_cannot_travel(world: World) -> None:
    with pytest.raises(TypeError, match="the result of a_lock cannot be sent"):
        run(world, agent_user.a_lock)


def test_no_coroutine_function(world: World) -> None:
    with pytest.raises(TypeError, match="is no coroutine function: it returned int"):
        run(world, agent_user.no_coroutine)
    with pytest.raises(TypeError, match="missing 1 required"):
        run(world, agent_user.add)


def test_what_it_prints(world: World) -> None:
    said = Said()
    run(world, agent_user.talk, said=said)
    assert said.events[0] == {"program": 1}
    assert said.text("stdout") == "one\ngrün\nthree\n"
    assert said.text("stderr") == "two\n"
    streams = [event["stream"] for event in said.events[1:]]
    assert streams[:3] == ["stdout", "stderr", "stdout"], "in order"


def test_it_is_heard_while_it_runs(world: World) -> None:
    def work() -> None:
        with world.client("a") as client:
            stream = client.stream("program", program_params(agent_user.talk_for_ever), timeout=20)
            assert [next(stream) for _ in range(2)] == [{"program": 1}, {"stream": "stdout", "text": "here\n"}]
            stream.close()

    world.run(work)


def test_each_hears_its_own(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = Said(), Said()

    def work() -> None:
        with world.client("a") as client:
            one = client.stream("program", program_params(agent_user.talk))
            two = client.stream("program", program_params(agent_user.talk_much, [5]))
            first.events.extend(one)
            second.events.extend(two)

    world.run(work)
    assert first.text("stdout") == "one\ngrün\nthree\n"
    assert len(second.text("stdout")) == 5 * 91
    assert capfd.readouterr().out == ""


def test_much_output(world: World) -> None:
    said = Said()
    run(world, agent_user.talk_much, 20_000, said=said)
    assert len(said.text("stdout")) + said.text("stderr").count("lost") > 0
    assert said.text("stdout").startswith("000000000")


def test_cancelling_waits_for_the_end(world: World) -> None:
    said = Said()

    def work() -> None:
        with world.client("a") as client:
            call(
                client, agent_user.wait_for_ever, said=said, then=lambda: client.call("program_cancel", {"program": 1})
            )

    with pytest.raises(asyncio.CancelledError):
        world.run(work)
    assert said.text("stdout") == "cleaned up\n"


def test_a_program_may_refuse_to_be_cancelled(world: World) -> None:
    def work() -> Any:
        with world.client("a") as client, world.client("a") as other:
            stream = client.stream("program", program_params(agent_user.outlive_cancelling))
            assert next(stream) == {"program": 1}
            tasks = other.call("programs")[0]["tasks"]
            assert isinstance(tasks, list)
            wait_for(lambda: "time to pass" in str(other.call("programs")[0]["tasks"]))
            other.call("program_cancel", {"program": 1})
            list(stream)
            return outcome(stream.result, stream.fds)

    assert world.run(work) == "still here"


def test_a_client_that_goes_away_takes_its_programs_along(world: World) -> None:
    def work() -> None:
        with world.client("a") as other:
            with world.client("a") as client:
                stream = client.stream("program", program_params(agent_user.wait_for_ever))
                next(stream)
                assert len(other.call("programs")[0]["programs"]) == 1  # type: ignore[arg-type]
            wait_for(lambda: other.call("programs")[0] == {"programs": [], "tasks": []})

    world.run(work)


def test_cancelling_what_does_not_run(world: World) -> None:
    def work() -> None:
        with world.client("a") as client:
            for _ in range(2):
                with pytest.raises(ControlError) as caught:
                    client.call("program_cancel", {"program": 1})
                assert caught.value.code == "ESRCH"
                call(client, agent_user.add, 1)

    world.run(work)


def test_tasks_that_are_left_behind(world: World) -> None:
    def work() -> Any:
        with world.client("a") as client:
            call(client, agent_user.leave_a_task)
            return client.call("programs")[0]

    state = world.run(work)
    assert state["programs"] == []
    (task,) = state["tasks"]
    assert (task["task"], task["coroutine"], task["waits_for"]) == ("left", "sleep", "time to pass")


def test_an_exception_that_nobody_retrieved(world: World) -> None:
    said = Said()
    run(world, agent_user.lose_an_exception, said=said)
    assert "LookupError: lost" in said.text("stderr")


@pytest.mark.parametrize("function", [agent_user.block, agent_user.spin])
def test_a_program_that_does_not_let_others_run(
    world: World, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, agent_user.add, 1)
    programs = world.nodes["a"].methods.programs
    assert programs is not None
    monkeypatch.setattr(programs._patience, "_seconds", 0.2)
    monkeypatch.setattr(programs._patience, "_tick", 0.05)
    with pytest.raises(
        StuckError, match=f"has not let others run for 0.2 s, at .*agent_user.py.* in {function.__name__}"
    ):
        run(world, function)
    assert run(world, agent_user.add, 1) == 2


def test_threads(world: World) -> None:
    assert run(world, agent_user.in_a_thread) is True


def test_two_nodes_talk(world: World) -> None:
    """Server and client, each in its node; 2 MB there and back."""

    def work() -> tuple[int, int]:
        with world.client("a") as a, world.client("b") as b:
            server = b.stream("program", program_params(agent_user.serve, [7000]), timeout=20)
            next(server)
            wait_for(lambda: "a future" in str(b.call("programs")[0]["tasks"]))
            received = call(a, agent_user.ask, "b", 7000, 2_000_000)
            list(server)
            return received, outcome(server.result, server.fds)

    assert world.run(work) == (2_000_000, 2_000_000)


def test_connection_refused(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        run(world, agent_user.ask, "b", 7001, 1)


# ------------------------------------------------------------------------------------------------- the user's modules


def load(world: World, file: Path, pickled: bytes, name: str = "__main__", **more: Any) -> Any:
    import base64

    params = {"call": base64.b64encode(pickled).decode(), "modules": [{"name": name, "file": str(file)}], **more}

    def work() -> Any:
        with world.client("a") as client:
            result, fds = client.call("program", params)
            return outcome(result, fds)

    return world.run(work)


def by_name(module: str, name: str) -> bytes:
    """A pickle of (function, (), {})."""
    return f"c{module}\n{name}\n(t}}t.".encode().replace(b"(t}t.", b")}\x87.")


def test_the_program_itself_is_imported_under_another_name(world: World, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("async def f():\n    return __name__\nif __name__ == '__main__':\n    raise SystemExit\n")
    assert load(world, script, by_name("__main__", "f")) == "__mp_main__"


def test_a_file_that_has_changed_is_read_again(world: World, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    for value in (1, 22, 333):
        script.write_text(f"async def f():\n    return {value}\n")
        assert load(world, script, by_name("__main__", "f")) == value


def test_a_module_that_no_path_leads_to(world: World, tmp_path: Path) -> None:
    file = tmp_path / "far.py"
    file.write_text("async def f():\n    return __name__\n")
    assert load(world, file, by_name("far_away", "f"), "far_away") == "far_away"
    del sys.modules["far_away"]


def test_neighbors_are_found_by_the_path_and_the_folder_is_set(world: World, tmp_path: Path) -> None:
    (tmp_path / "s5_neighbor.py").write_text("VALUE = 7\n")
    script = tmp_path / "script.py"
    script.write_text("import os, s5_neighbor\nasync def f():\n    return s5_neighbor.VALUE, os.getcwd()\n")
    got = load(world, script, by_name("__main__", "f"), path=[str(tmp_path), *sys.path], folder=str(tmp_path))
    assert got == (7, str(tmp_path))
    del sys.modules["s5_neighbor"]


def test_a_changed_file_that_a_path_leads_to(world: World, tmp_path: Path) -> None:
    file = tmp_path / "s5_found.py"
    for value in (1, 22):
        file.write_text(f"async def f():\n    return {value}\n")
        path = [str(tmp_path), *sys.path]
        assert load(world, file, by_name("s5_found", "f"), "s5_found", path=path) == value
    del sys.modules["s5_found"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("import nobody_has_this", ModuleNotFoundError, "nobody_has_this"),
        ("x = (", SyntaxError, "was never closed"),
        ("1 / 0", ZeroDivisionError, "division"),
        ("import sys; sys.exit('no')", SystemExit, "no"),
        ("g = 1", AttributeError, "f"),
    ],
)
def test_a_module_that_cannot_be_imported(
    world: World, tmp_path: Path, text: str, error: type[BaseException], message: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    with pytest.raises(error, match=message):
        load(world, script, by_name("__main__", "f"))
    assert run(world, agent_user.add, 1) == 2


def test_a_call_that_cannot_be_read(world: World, tmp_path: Path) -> None:
    def work() -> None:
        with world.client("a") as client:
            for params, code in (
                ({}, "bad-params"),
                ({"call": "!"}, "bad-params"),
                ({"call_file": str(tmp_path / "none")}, "ENOENT"),
            ):
                with pytest.raises(ControlError) as caught:
                    client.call("program", params)
                assert caught.value.code == code

    world.run(work)


@pytest.mark.parametrize("function", [lambda: None, test_a_call_that_cannot_be_read.__class__])
def test_what_no_node_can_import(function: Callable[..., Any]) -> None:
    async def nested() -> None: ...

    for each in (nested, lambda: None):
        with pytest.raises(UserInputError, match="cannot be sent to a node") as caught:
            program_params(each)
        assert "at the top level" in caught.value.hint
