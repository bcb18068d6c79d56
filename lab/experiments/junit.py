"""Results as JUnit XML, which every CI system reads: a test suite per run, a test case per claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from lab.errors import UserInputError
from lab.experiments.runner import Result


def write_junit(path: Path, results: Sequence[Result]) -> None:
    """Raises UserInputError where the file cannot be written."""
    root = ElementTree.Element("testsuites")
    for result in results:
        root.append(_suite(result))
    ElementTree.indent(root)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}", hint="`--junit FILE` has to be writable") from None


def _suite(result: Result) -> ElementTree.Element:
    variation = f".{result.asked.variation}" if result.asked.variation else ""
    name = f"{result.experiment.name}{variation}"
    failures = [verdict for verdict in result.verdicts if verdict.passed == (verdict.claim in result.broken)]
    suite = ElementTree.Element(
        "testsuite",
        name=f"{name} on {result.asked.driver}, seed {result.seed}",
        tests=str(len(result.verdicts) + bool(result.error)),
        failures=str(len(failures)),
        errors=str(int(bool(result.error))),
        time=f"{result.seconds:.3f}",
    )
    for verdict in result.verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=verdict.claim)
        if verdict in failures:
            word = "it had to fail" if verdict.passed else verdict.numbers
            failure = ElementTree.SubElement(case, "failure", message=word)
            failure.text = f"{verdict.numbers}\n{verdict.where}\nrun {result.run}"
        ElementTree.SubElement(case, "system-out").text = verdict.numbers
    if result.error:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="the script comes to its end")
        ElementTree.SubElement(case, "error", message=result.error)
    return suite
