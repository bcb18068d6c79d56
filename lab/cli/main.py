"""The command `lab`. One file per command; only the one that is asked for is imported.

Data goes to standard output, messages to standard error. A command fails with the exit code of its error's class
(lab/errors.py), a usage error with 2, Ctrl-C with 130.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lab import __version__
from lab.cli.output import print_error
from lab.errors import LabError
from lab.model.errors import did_you_mean
from nodes.errors import StackError

COMMANDS = {
    "up": "Build and start a lab from a topology file.",
    "down": "End a lab.",
    "run": "Run a script on a lab, in processes or in virtual time.",
    "ps": "List labs, or the nodes of one.",
    "ping": "Send echo requests from one node to another.",
    "traceroute": "Find the path from one node to another.",
    "exec": "Run a Linux command inside a node.",
    "shell": "Open a shell inside a node.",
    "cp": "Copy files into a node, or out of it.",
    "state": "Show the state of a node: addresses, routes, ARP, sockets, counters.",
    "sockets": "Show a node's TCP and UDP sockets, as ss does.",
    "circuits": "Show the virtual circuits of nodes: labels, neighbors, sockets.",
    "events": "Show or follow what happened in the nodes.",
    "capture": "Start or stop recording a node's frames.",
    "ladder": "Draw a run's captures as a ladder diagram.",
    "start": "Start a stopped node, or an application in a node.",
    "stop": "Stop a node, or an application in a node.",
    "pause": "Let a node stand still: it hears and sends nothing.",
    "resume": "Let a paused node go on.",
    "link": "Take a link down, or up again.",
    "impair": "Delay, lose, damage or slow a link's frames; show what it did.",
    "experiment": "Run claims of a networking course, and see whether they hold.",
    "sweep": "Run an experiment over a grid of parameters; make tables of it.",
    "validate": "Check a topology file; create nothing.",
    "plan": "Print what would be built: addresses, routes, links.",
    "generate": "Print a topology of a known shape.",
    "export": "Print a topology for Mininet.",
    "compose": "Write a Docker Compose file that is the lab.",
    "schema": "Print the JSON schema of topology files, for editors.",
    "requirements": "List what the RFCs require, and the tests that show it.",
    "drivers": "Show what each driver can do.",
    "doctor": "Say what this machine can do.",
    "gc": "Clear away what is left of labs that crashed.",
    "demo": "Build a small network and show what it does.",
}


class LazyGroup(TyperGroup):
    """Knows the commands by name and imports the module of one when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lab.cli.{cmd_name}")
        if hasattr(module, "COMMANDS"):
            return _group(module, cmd_name)
        return _command(module.main, cmd_name, getattr(module, "SETTINGS", {}))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of all commands, which needs the module of none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class CtrlCError(LabError):
    """Ctrl-C, which is no mistake of anybody."""

    exit_code = 130


class Command(TyperCommand):
    """Writes its arguments as manuals do: `NODE [SECTION]`, `FILE...`. Ends in the ways that typer would hide."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise CtrlCError("interrupted") from None
        except BrokenPipeError:  # the reader of our output has gone: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = ["[OPTIONS]"]
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                name = f"{parameter.metavar}{'...' if parameter.nargs == -1 else ''}"
                pieces.append(name if parameter.required else f"[{name}]")
        return pieces


def _group(module: Any, name: str) -> Any:
    """A command that has commands: functions by their names."""
    group = typer.Typer(
        name=name,
        help=module.__doc__.partition(": ")[2],
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for each, function in module.COMMANDS.items():
        group.command(each, cls=Command)(function)
    return typer.main.get_command(group)


def _command(function: Callable[..., None], name: str, settings: dict[str, Any]) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, cls=Command, **settings)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup,
    name="lab",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"layerlab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _lab(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001 - its callback does it
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Emulated networks from one YAML file, every node with a TCP/IP stack written in Python."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's, whether typer imports click or carries it along."""
_PLAIN = (
    (r"Value error, ", ""),
    (r"\s*Input should be a valid integer\b.*", " a whole number expected"),
    (r"\s*Input should be a valid number\b.*", " a number expected"),
    (r"Input should be less than or equal to (\S+)", r"at most \1 is possible"),
    (r"Input should be greater than or equal to (\S+)", r"at least \1 is possible"),
)
"""Words of pydantic, which typer uses, and what they mean to a person at a command line."""


def run(arguments: Sequence[str]) -> int:
    """One command, and its exit code. Errors become a message and a hint."""
    try:
        code = app(list(arguments), prog_name="lab", standalone_mode=False)
        sys.stdout.flush()
    except LabError as error:
        if isinstance(error, CtrlCError) and sys.stderr.isatty():
            print(file=sys.stderr)  # after the ^C that the terminal shows
        print_error(error.message, error.hint)
        return error.exit_code
    except StackError as error:
        print_error(error.message, error.hint)
        return 2
    except UsageError as error:
        print_error(*usage_words(error))
        return 2
    except BrokenPipeError:  # what was still buffered
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code if isinstance(code, int) else 0


def usage_words(error: Any) -> tuple[str, str]:
    """Message and hint for a command line that makes no sense."""
    message = " ".join(error.format_message().split()).rstrip(".")
    for pattern, words in _PLAIN:
        message = re.sub(pattern, words, message)
    message = message[:1].lower() + message[1:]
    unknown = re.fullmatch(r"no such command '(.*)'", message)
    if unknown:
        hint = did_you_mean(unknown[1], list(COMMANDS), " ").strip()
        return message, f"{hint} `lab --help` lists the commands".lstrip()
    if error.ctx is None:
        return message, "`lab --help` lists the commands"
    usage = " ".join(error.ctx.command.collect_usage_pieces(error.ctx))
    return message, f"{error.ctx.command_path} {usage}; `{error.ctx.command_path} --help` explains"


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding that lacks a character stops no command
    sys.exit(run(sys.argv[1:]))
