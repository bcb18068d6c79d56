"""`lab run`: a script on a lab, in processes or in virtual time."""

from __future__ import annotations

import importlib.util
import inspect
import json as json_module
import os
import re
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import typer

import lab
import nodes
from lab.api.lab import Lab
from lab.api.opening import Topology
from lab.cli.common import DriverOption, JsonOption, SeedOption
from lab.cli.output import counted, print_json, print_note, print_warning
from lab.engine.program_calls import ProgramError
from lab.errors import LabError, UserInputError
from nodes.errors import StackError
from nodes.simulation.surroundings import installed

SETTINGS = {"context_settings": {"allow_interspersed_args": True}}


_NOT_THEIRS = (*(str(Path(module.__file__ or "").parent) + os.sep for module in (lab, nodes)), "<frozen importlib")


class ScriptError(LabError):
    """The script raised something; its traceback has been printed."""


def main(
    script: Annotated[
        Path, typer.Argument(metavar="SCRIPT", help="A Python file with `async def main(lab)`.", show_default=False)
    ],
    topology: Annotated[
        Path | None,
        typer.Argument(metavar="TOPOLOGY", help="A topology file.", show_default="TOPOLOGY of the script"),
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENT", help="For the script, in sys.argv.", show_default=False)
    ] = None,
    driver: DriverOption = "netns",
    seed: SeedOption = None,
    speed: Annotated[
        str, typer.Option("--speed", metavar="N|max", help="Virtual seconds per second: 0.1 is slow motion.")
    ] = "max",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name for the lab.", show_default=False)
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="FOLDER", help="Folder for the run.", show_default="./runs")
    ] = None,
    impair: Annotated[
        Literal["auto", "kernel", "relay"] | None,
        typer.Option("--impair", metavar="auto|kernel|relay", help="Who carries impaired links.", show_default="auto"),
    ] = None,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="In virtual time our stack takes the place of the kernel's.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring a lab up, run a script on it, and take it down.

    What `main` returns is printed. In virtual time (--driver sim) an hour takes seconds, and nothing needs root."""
    options: dict[str, Any] = {"seed": seed, "name": name, "runs": runs, "impair": impair}
    if driver == "sim":
        options |= {"speed": parse_speed(speed), "stand_in": stand_in}
    elif speed != "max" or stand_in:
        option = "--stand-in" if stand_in else "--speed"
        raise UserInputError(f"{option} is for virtual time", hint="add `--driver sim`")
    begun = time.monotonic()
    with installed() if driver == "sim" else nullcontext():  # also for `from time import time` in the script
        module = load_script(script, arguments or [])
        chosen = topology or _topology_of(module, script)
        opened, result = _run(module.main, chosen, script, begun, driver=driver, **options)
    if json:
        print_json(_facts(opened, result))
        return
    if result is not None:
        print(_shown(result))
    _conclude(opened, begun)


def _run(main: Any, topology: Topology, script: Path, begun: float, **options: Any) -> tuple[Lab, Any]:
    """The lab, which is down again, and what the script returned. What it raised is printed, from the script on."""
    labs: list[Lab] = []
    try:
        result = Lab.run(main, topology, told=labs.append, **options)
    except KeyboardInterrupt as error:
        if labs:
            _print_waiting(labs[0], error, script)
            _conclude(labs[0], begun)
        raise
    except (LabError, StackError) as error:
        if labs:
            _print_traceback(error, script)
            _conclude(labs[0], begun)
        if isinstance(error, ProgramError):  # an exception of a program's, which cannot be made again here
            raise ScriptError(error.message, hint=error.hint) from None
        if isinstance(error, StackError):  # a deadlock, for one: the script's, not the command's
            raise ScriptError(error.message, hint=error.hint) from None
        raise
    except Exception as error:  # noqa: BLE001 (whatever a script raises)
        _print_traceback(error, script)
        if labs:
            _conclude(labs[0], begun)
        raise ScriptError(f"{script.name} raised {type(error).__name__}") from None
    return labs[0], result


def load_script(path: Path, arguments: list[str]) -> ModuleType:
    """Import a script as a module of its own name, so that nodes can import it too. Raises UserInputError."""
    if not path.is_file():
        raise UserInputError(f"{path}: no such file", hint="`lab run SCRIPT`: a Python file with `async def main(lab)`")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.argv = [str(path), *arguments]
    name = path.stem
    if not name.isidentifier() or name in sys.modules:
        name = "script_" + re.sub(r"\W", "_", name)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserInputError(f"{path}: not a Python file", hint="its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 (whatever a script raises)
        _print_traceback(error, path)
        raise ScriptError(f"{path.name} cannot be imported: {type(error).__name__}") from None
    main_function = getattr(module, "main", None)
    if not inspect.iscoroutinefunction(main_function):
        raise UserInputError(f"{path} has no `async def main(lab)`", hint="that is what `lab run` runs")
    if len(inspect.signature(main_function).parameters) != 1:
        raise UserInputError(f"{path}: `main` takes one argument, the lab")
    return module


def parse_speed(text: str) -> float | None:
    """None for `max`. Raises UserInputError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserInputError(f"--speed: {text!r} is no speed", hint="0.1 is slow motion, 1 real time, or `max`")
    return speed


def _topology_of(module: ModuleType, script: Path) -> Topology:
    """The script's own: text, or a path beside it."""
    found = getattr(module, "TOPOLOGY", None)
    if found is None:
        raise UserInputError("which topology?", hint=f"`lab run {script} TOPOLOGY`, or TOPOLOGY = ... in the script")
    if isinstance(found, str) and "\n" in found:
        return found
    if not isinstance(found, str | Path):
        return found  # type: ignore[no-any-return]  # a plan
    return script.parent / found


def _shown(result: object) -> str:
    return json_module.dumps(result, indent=1) if _is_json(result) else repr(result)


def _is_json(result: object) -> bool:
    try:
        json_module.dumps(result)
    except (TypeError, ValueError):
        return False
    return True


def _facts(opened: Lab, result: object) -> dict[str, object]:
    return {
        "lab": opened.name,
        "driver": opened.driver,
        "seed": opened.seed,
        "run": str(opened.run_folder),
        "result": result if _is_json(result) else repr(result),
        "virtual_seconds": opened.now if opened.driver == "sim" else None,
        "left_behind": opened.left_behind,
    }


def _conclude(opened: Lab, begun: float) -> None:
    for each in opened.left_behind:
        print_warning(f"left behind: {each}")
    seconds = time.monotonic() - begun
    if opened.driver == "sim":
        print_note(f"{opened.now:.3f} s of virtual time in {seconds:.1f} s, seed {opened.seed}")
    else:
        print_note(f"{counted(len(opened.nodes), 'node')}, {seconds:.1f} s")
    print_note(f"it recorded to {opened.run_folder}")


def _print_waiting(opened: Lab, error: BaseException, script: Path) -> None:
    """Where the script was when it was interrupted, and the programs in the nodes."""
    frames = traceback.extract_tb(None if error.__context__ is None else error.__context__.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(script.resolve())]
    if lines:
        print_note(f"interrupted while the script waited at {script.name}:{lines[-1]}")
    for line in opened.waiting:
        print_note(line)


def _print_traceback(error: BaseException, script: Path) -> None:
    """From the script on, and without our own lines in between."""
    where = str(script.resolve())
    told = traceback.TracebackException.from_exception(error)
    frames = list(told.stack)
    first = next((number for number, frame in enumerate(frames) if frame.filename == where), None)
    if first is None and isinstance(error, LabError | StackError):
        return
    theirs = [frame for frame in frames[first or 0 :] if not frame.filename.startswith(_NOT_THEIRS)]
    if not isinstance(error, SyntaxError):  # which says itself where it is
        theirs = theirs or frames
    told.stack = traceback.StackSummary.from_list(theirs)
    sys.stderr.writelines(told.format())
