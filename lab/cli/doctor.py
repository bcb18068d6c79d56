"""`lab doctor`: what this machine can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_note, print_table, terminal_width, wrapped
from lab.errors import EnvironmentLackError, UserInputError
from lab.host.probe import Finding, probe


def main(
    require: Annotated[
        str | None, typer.Option("--require", metavar="NAME,...", help="Fail (4) where one of these is missing.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Try what labs need and say what is missing, and what to do about it."""
    findings = probe()
    if json:
        print_json([{"name": row.name, "ok": row.ok, "detail": row.detail, "hint": row.hint} for row in findings])
    else:
        print_table(["", "WHAT", "FOUND"], [(_mark(row), row.name, row.detail) for row in findings])
        for row in findings:
            if row.hint and not row.ok:
                print(wrapped(f"\n{row.name}: {row.hint}", terminal_width(sys.stdout)))
        print_note(_summary(findings))
    if require is not None:
        _check(findings, [name.strip() for name in require.split(",") if name.strip()])


def _mark(finding: Finding) -> str:
    return {True: "yes", False: "no", None: "-"}[finding.ok]


def _summary(findings: list[Finding]) -> str:
    missing = [finding.name for finding in findings if finding.ok is False]
    if missing:
        return f"\nlabs cannot run here: {', '.join(missing)} missing"
    return "\nlabs can run here; what has a - is optional"


_NETNS = ("network and PID namespaces", "own /proc", "veth", "bridge", "packet sockets")
GROUPS: dict[str, tuple[str, ...]] = {
    "sim": (),
    "netns": _NETNS,
    "relay": _NETNS,
    "kernel": (*_NETNS, "sch_netem"),
    "docker": ("Docker engine", "veth", "bridge"),
    "mininet": ("root", *_NETNS, "Mininet"),
}
"""What drivers and executors need: names for `--require` beside those of the findings."""


def _check(findings: list[Finding], required: list[str]) -> None:
    known = {finding.name: finding for finding in findings}
    for name in required:
        if name not in known and name not in GROUPS:
            names = ", ".join([*GROUPS, *known])
            raise UserInputError(f"--require {name}: nothing of that name is tried", hint=f"known: {names}")
    needed = dict.fromkeys(each for name in required for each in GROUPS.get(name, (name,)))
    missing = [known[name] for name in needed if not known[name].ok]
    if missing:
        what = ", ".join(finding.name for finding in missing)
        raise EnvironmentLackError(
            f"missing here: {what}", hint="; ".join(finding.hint for finding in missing if finding.hint)
        )
