"""`lab experiment`: Run claims of a networking course, and see whether they hold."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import DriverOption, JsonOption, SeedOption
from lab.cli.output import counted, print_json, print_note, print_table
from lab.drivers.abilities import CANNOT
from lab.errors import UserInputError, VerdictError
from lab.experiments.catalogue import CATALOGUE, find
from lab.experiments.experiment import Experiment
from lab.experiments.junit import write_junit
from lab.experiments.runner import Asked, Result, run_experiment
from lab.experiments.verdict import Verdict
from lab.experiments.where import drivers_of, why_not
from lab.experiments.written import load_experiment

WIDTH = 78

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="One of the catalogue, or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another value for a parameter.")
]
RunsOption = Annotated[
    Path | None, typer.Option("--runs", metavar="FOLDER", help="Folder for the runs.", show_default="./runs")
]


def list_all(json: JsonOption = False) -> None:
    """List the catalogue by topics: names, drivers on which they run, claims; and why not on all."""
    if json:
        print_json([_facts(each) for each in CATALOGUE.values()])
        return
    width = max(map(len, CATALOGUE))
    for topic in _TOPICS:
        rows = [
            (each.name.ljust(width), " ".join(drivers_of(each)).ljust(len("sim netns mininet")), each.claim)
            for each in CATALOGUE.values()
            if each.topic == topic
        ]
        print_table([topic.upper(), "DRIVERS", "CLAIM"], rows)
        print()
    print("Why in virtual time (sim) only:")
    for each in CATALOGUE.values():
        if each.only_virtual:
            print(_folded(f"  {each.name}: ", each.only_virtual))


def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show an experiment: the claim, what to look at, the topology, parameters and what breaks it."""
    found = _found(name)
    if json:
        print_json(_facts(found))
        return
    print(f"{found.name}: {found.claim}\n")
    print(found.explanation + "\n")
    print(_folded("Look at: ", found.look_at))
    if found.only_virtual:
        print(_folded("In virtual time only: ", found.only_virtual))
    print("\nTopology:\n")
    print(textwrap.indent(found.topology_with(found.parameters).rstrip(), "    "))
    if found.parameters:
        print("\nParameters:\n")
        for key, value in found.parameters.items():
            print(f"    {key}={value}")
    print("\nWhat breaks it:\n")
    for key, variation in found.variations.items():
        changes = " ".join(f"{name}={value}" for name, value in variation.parameters.items())
        print(_folded(f"    {key}: ", f"{variation.text} ({changes})"))


def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Of the catalogue, or YAML files.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the catalogue, with their variations.")] = False,
    driver: DriverOption = "sim",
    seed: SeedOption = None,
    variation: Annotated[
        str | None,
        typer.Option("--variation", metavar="NAME", help="A variation, which breaks it.", show_default=False),
    ] = None,
    changes: SetOption = None,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=1, help="So many times, each with a seed of its own.")
    ] = 1,
    runs: RunsOption = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run experiments, and say of each claim whether it held, with the numbers. Ends with 7 where one did not."""
    chosen = _chosen(names or [], everything)
    asked = [
        (each, Asked(driver, _seed(seed, number), which, _changes(changes or []), runs))
        for each in chosen
        for which in ((None, *each.variations) if everything else (variation,))
        for number in range(repeat)
    ]
    results = list(_results(asked, driver, skip=everything, quiet=json))
    if junit is not None:
        write_junit(junit, results)
    if json:
        print_json([result.facts() for result in results])
    failed = [result for result in results if not result.passed]
    if failed:
        raise VerdictError(
            f"{len(failed)} of {len(results)} runs failed: " + ", ".join(dict.fromkeys(map(_title, failed))),
            hint=f"the run of the first: {failed[0].run}",
        )
    if not json:
        seconds = sum(result.seconds for result in results)
        print_note(f"{counted(len(results), 'run')} passed, {seconds:.1f} s")


def compare(
    name: NameArgument,
    variations: Annotated[
        list[str] | None, typer.Argument(metavar="VARIATION", help="Which of its variations.", show_default="all")
    ] = None,
    drivers: Annotated[
        str, typer.Option("--drivers", metavar="NAME,...", help="Drivers to compare, instead of variations.")
    ] = "",
    seed: SeedOption = None,
    runs: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """Run an experiment and its variations, or the same on several drivers, and put the numbers beside each other."""
    found = _found(name)
    if drivers:
        asked = [Asked(each, seed, None, {}, runs) for each in _drivers(drivers)]  # type: ignore[arg-type]
    else:
        asked = [Asked("sim", seed, each, {}, runs) for each in (None, *(variations or found.variations))]
    results = [run_experiment(found, each) for each in asked]
    if json:
        print_json([result.facts() for result in results])
        return
    for claim in dict.fromkeys(verdict.claim for result in results for verdict in result.verdicts):
        print(claim)
        rows = []
        for result in results:
            verdict = next((each for each in result.verdicts if each.claim == claim), None)
            label = result.asked.driver if drivers else result.asked.variation or "as it is"
            rows.append((label, _word(verdict), "not reached" if verdict is None else verdict.numbers))
        for label, word, numbers in rows:
            print(_folded(f"  {word}  {label}: ", numbers))


COMMANDS = {"list": list_all, "show": show, "run": run, "compare": compare}

_TOPICS = list(dict.fromkeys(each.topic for each in CATALOGUE.values()))


def _chosen(names: Sequence[str], everything: bool) -> list[Experiment]:
    if everything and names:
        raise UserInputError("--all, and names", hint="one or the other")
    if not everything and not names:
        raise UserInputError("which experiment?", hint="`lab experiment list` lists them; `--all` runs them all")
    return list(CATALOGUE.values()) if everything else [_found(name) for name in names]


def _found(name: str) -> Experiment:
    """One of the catalogue, or of a file."""
    return load_experiment(Path(name)) if name.endswith((".yml", ".yaml")) else find(name)


def _results(asked: Sequence[tuple[Experiment, Asked]], driver: str, *, skip: bool, quiet: bool) -> Iterator[Result]:
    """One after the other, telling the verdicts as they come."""
    for each, how in asked:
        if skip and (refused := why_not(each, driver, each.with_parameters(how.variation, {}))) is not None:
            if how.variation is None and not quiet:
                print(refused.message)
            continue
        if not quiet:
            print(f"{each.name}{f', {how.variation}' if how.variation else ''}: {_claim(each, how)}", flush=True)
        told = _ignore if quiet else partial(_print, each.broken_by(how.variation))
        result = run_experiment(each, how, told)
        if not quiet:
            if result.error:
                print(_folded("  FAIL  ", f"the script did not come to its end: {result.error}"))
            print(f"        seed {result.seed}, {result.seconds:.1f} s, {result.run}", flush=True)
        yield result


def _claim(found: Experiment, asked: Asked) -> str:
    variation = found.variations.get(asked.variation or "")
    return found.claim if variation is None else variation.text


def _ignore(_: Verdict) -> None:
    """With --json everything is said at the end."""


def _print(breaks: Sequence[str], verdict: Verdict) -> None:
    has_to_fail = verdict.claim in breaks
    word = "FAIL" if verdict.passed == has_to_fail else "pass" if verdict.passed else "fails, as it has to"
    print(_folded(f"  {word}  ", verdict.claim))
    print(_folded("        ", verdict.numbers))
    if verdict.where and not has_to_fail:
        print(_folded("        ", f"in the trace of {verdict.where}"))
    if verdict.picture:
        print(verdict.picture)


def _word(verdict: Verdict | None) -> str:
    return "-   " if verdict is None else "pass" if verdict.passed else "FAIL"


def _title(result: Result) -> str:
    return result.experiment.name + (f" ({result.asked.variation})" if result.asked.variation else "")


def _folded(first: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * min(len(first), 8), break_on_hyphens=False
    )


def _seed(seed: int | None, number: int) -> int | None:
    """Of the n-th repetition."""
    if seed is None:
        return None if number == 0 else number
    return seed + number


def _changes(words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise UserInputError(f"--set {word}", hint="NAME=VALUE expected, as buffer=65535")
    return dict(word.split("=", 1) for word in words)


def _drivers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CANNOT:
            raise UserInputError(f"there is no driver {name!r}", hint=f"there are {', '.join(CANNOT)}")
    return names


def _facts(found: Experiment) -> dict[str, object]:
    return {
        "name": found.name,
        "topic": found.topic,
        "claim": found.claim,
        "look_at": found.look_at,
        "explanation": found.explanation,
        "drivers": list(drivers_of(found)),
        "only_virtual": found.only_virtual or None,
        "parameters": dict(found.parameters),
        "variations": {
            name: {"text": each.text, "parameters": dict(each.parameters), "breaks": list(each.breaks)}
            for name, each in found.variations.items()
        },
        "topology": found.topology,
    }
