"""`lab compose`: the lab as a Docker Compose file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import SeedOption, TopologyArgument
from lab.cli.output import print_warning
from lab.compose.document import DEFAULT_IMAGE, Options, compose_file
from lab.compose.networks import DEFAULT_RANGE
from lab.errors import EnvironmentLackError
from lab.model.load import load
from lab.plan.planner import make_plan


def main(
    topology: TopologyArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.", show_default="stdout")
    ] = None,
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="The image of the nodes.")] = DEFAULT_IMAGE,
    build: Annotated[
        str,
        typer.Option(
            "--build",
            metavar="FOLDER",
            help="Layerlab's sources, seen from FILE: `up` then makes the image.",
            show_default="the image is there",
        ),
    ] = "",
    subnets: Annotated[
        str, typer.Option("--subnets", metavar="PREFIX", help="Where Docker takes addresses that nobody sees.")
    ] = DEFAULT_RANGE,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            metavar="FOLDER",
            help="Where traces and captures go, a folder that user 1000 may write to.",
            show_default="a volume",
        ),
    ] = None,
    seed: SeedOption = None,
) -> None:
    """Write a file with which `docker compose up` starts the lab, without Layerlab on that machine.

    Each link becomes a Docker network, each node a container that configures itself. What such a file cannot express
    is refused."""
    loaded = load(topology)
    plan = make_plan(loaded, seed)
    for warning in plan.warnings:
        print_warning(warning)
    options = Options(image, build, subnets, _mount(recordings), f"lab compose {topology}")
    if output is not None:
        options = replace(options, file=str(output))
    text = compose_file(loaded, plan, options)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentLackError(f"cannot write {output}: {error.strerror}") from error


def _mount(folder: Path | None) -> str:
    """As Compose takes it: a name without a slash would be a volume."""
    return "" if folder is None else str(folder.absolute())
