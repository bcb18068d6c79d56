"""The command `lab`. One file per command; only the one that is asked for is imported.

Data goes to standard output, messages to standard error. A command fails with the exit code of its error's class
(lab/errors.py), a usage error with 2, Ctrl-C with 130.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from lab import __version__
from lab.cli.output import print_error
from lab.errors import LabError
from nodes.errors import StackError

COMMANDS = {
    "up": "Build and start a lab from a topology file.",
    "down": "End a lab.",
    "ps": "List labs, or the nodes of one.",
    "ping": "Send echo requests from one node to another.",
    "traceroute": "Find the path from one node to another.",
    "exec": "Run a Linux command inside a node.",
    "shell": "Open a shell inside a node.",
    "state": "Show the state of a node: addresses, routes, ARP, sockets, counters.",
    "events": "Show or follow what happened in the nodes.",
    "capture": "Start or stop recording a node's frames.",
    "ladder": "Draw a run's captures as a ladder diagram.",
    "start": "Start a stopped node, or an application in a node.",
    "stop": "Stop a node, or an application in a node.",
    "link": "Take a link down, or up again.",
    "validate": "Check a topology file; create nothing.",
    "plan": "Print what would be built: addresses, routes, links.",
    "generate": "Print a topology of a known shape.",
    "schema": "Print the JSON schema of topology files, for editors.",
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
        return _command(module.main, cmd_name, getattr(module, "SETTINGS", {}))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of all commands, which needs the module of none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _command(function: Callable[..., None], name: str, settings: dict[str, Any]) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, **settings)(_guarded(function))
    return typer.main.get_command(single)


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The function, ending with message, hint and exit code where it raises one of our errors."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except LabError as error:
            print_error(error.message, error.hint)
            raise typer.Exit(error.exit_code) from error
        except StackError as error:
            print_error(error.message, error.hint)
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            print_error("interrupted")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of our output has gone: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None

    run.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return run


app = typer.Typer(
    cls=LazyGroup,
    name="lab",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"layerlab {__version__}")
        raise typer.Exit


@app.callback()
def _lab(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Emulated networks from one YAML file, every node with a TCP/IP stack written in Python."""


def main() -> None:
    app(prog_name="lab")


if __name__ == "__main__":
    main()
