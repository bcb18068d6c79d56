"""`lab generate`: topologies of a known shape."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lab.errors import UserInputError
from lab.model import generate

Shape = Literal["star", "line", "ring", "mesh", "tree", "fattree", "graphml"]
_NUMBERS = {
    "star": ("N",),
    "line": ("N",),
    "ring": ("N",),
    "mesh": ("N",),
    "tree": ("DEPTH", "FANOUT"),
    "fattree": ("K",),
    "graphml": ("FILE",),
}


def main(
    shape: Annotated[Shape, typer.Argument(metavar="SHAPE", help="What it looks like.")],
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER", help="N; for a tree DEPTH FANOUT; a file.")],
    impl: Annotated[
        Literal["kernel", "stack"] | None,
        typer.Option("--impl", help="What switches are.", show_default="kernel; stack with --stp"),
    ] = None,
    stp: Annotated[bool, typer.Option("--stp", help="Switches run a spanning tree.")] = False,
) -> None:
    """Print a topology file: `lab generate star 50 > star.yml`.

    star N: hosts on a switch. line N, ring N, mesh N: routers with hosts. tree DEPTH FANOUT: switches, hosts below.
    fattree K: routers. graphml FILE: a router for each node of the file."""
    chosen = impl or ("stack" if stp else "kernel")
    expected = _NUMBERS[shape]
    if len(numbers) != len(expected):
        raise UserInputError(f"{shape} takes {' '.join(expected)}", hint=f"`lab generate {shape} {' '.join(expected)}`")
    if shape == "graphml":
        text = generate.graphml(numbers[0])
    elif shape == "star":
        text = generate.star(_number(numbers[0]), impl=chosen, stp=stp)
    elif shape == "tree":
        text = generate.tree(_number(numbers[0]), _number(numbers[1]), impl=chosen, stp=stp)
    else:
        text = {"line": generate.line, "ring": generate.ring, "mesh": generate.mesh, "fattree": generate.fattree}[
            shape
        ](_number(numbers[0]))
    print(text, end="")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UserInputError(f"{text!r} is not a whole number")
    return int(text)
