"""Compare the engine with a seeded kernel, and print what was compared. Ends with 1 where they differ, and with 2 where
there is no such kernel or no QEMU.

Each case is also compared with the engine under another seed. That must differ, or the comparison sees nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lab.model.impairment_text import describe
from nodes import impairment as values
from tests.oracle_seeded import boot
from tests.oracle_seeded.cases import PLENTY, STEP_FRAMES, STEPS, Step, cases, first_judged, phases
from tests.oracle_seeded.kernel import Kernel, KernelMissingError, newest
from tests.oracle_seeded.verdicts import first_difference
from tests.uml.answer import GuestError
from tests.uml.engine import through_engine
from tests.uml.traffic import Case, Passage

EQUAL = "equal"
WIDTH = 110
LINK_SEEDS = (0x0123_4567_89AB_CDEF, 2)
_MODULES = ("veth", "sch_netem")
_EXECUTOR_MODULES = (*_MODULES, "sch_ingress", "act_mirred", "cls_matchall")


def main() -> int:
    try:
        lack = boot.missing()
        if lack is not None:
            raise KernelMissingError(lack)
        kernel = newest()
        print(f"{kernel.folder.name} in QEMU, two guests; this takes some minutes.", file=sys.stderr)
        rows = [*_options(kernel), *_executor(kernel)]
    except (KernelMissingError, GuestError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    equal = sum(verdict.startswith(EQUAL) for verdict in rows)
    print(f"\n{equal} of {len(rows)} equal to {kernel.folder.name}")
    return 0 if equal == len(rows) else 1


def _options(kernel: Kernel) -> Iterator[str]:
    wanted = cases()
    arguments = {"cases": {name: case.to_json() for name, case in wanted.items()}}
    answers = boot.run(kernel, "tests.uml.jobs.netem", arguments, _MODULES)
    print(f"{'frames  options':<{WIDTH}}  kernel and engine")
    for name, case in wanted.items():
        yield _row(case, Passage.from_json(answers[name]))


def _executor(kernel: Kernel) -> Iterator[str]:
    arguments = {
        "seeds": LINK_SEEDS,
        "phases": [case.to_json() for case in phases()],
        "steps": [step.case.to_json() for step in STEPS],
    }
    answer = boot.run(kernel, "tests.oracle_seeded.executor", arguments, _EXECUTOR_MODULES)
    print("\nOne link of the kernel executor, changed again and again")
    yield _say(f"        lab doctor's probe finds seeds: {answer['seeds']}", EQUAL if answer["seeds"] else "no seeds")
    for case, told in zip(phases(), answer["phases"], strict=True):
        applied = values.decode(told["applied"])
        passage = Passage.from_json(told["passage"])
        passage.facts["differences"] = told["differences"]
        if not told["seeded"] or applied.seed != told["seed"]:
            passage.facts["differences"].append(f"seed {applied.seed} applied, {told['seed']} told")
        yield _row(replace(case, impairment=applied), passage)
    print("\nOne netem, changed by messages with every option")
    for step, told in zip(STEPS, answer["steps"], strict=True):
        yield _say(f"{STEP_FRAMES:6}  {step.says}", _verdict_of_step(step, told))


def _row(case: Case, kernel: Passage) -> str:
    shown = case.impairment
    if shown.limit == PLENTY:
        shown = replace(shown, limit=0)
    return _say(f"{len(kernel.sent):6}  {describe(shown)}", _verdict(case, kernel))


def _say(text: str, verdict: str) -> str:
    print(f"{text:<{WIDTH}}  {verdict}", flush=True)
    return verdict


def _verdict(case: Case, kernel: Passage) -> str:
    if kernel.facts["differences"] or kernel.foreign:
        return f"read back otherwise: {'; '.join(kernel.facts['differences'])}; {kernel.foreign} foreign frames"
    difference = first_difference(case, kernel, through_engine(case, 0, kernel.sent))
    if difference is not None:
        return difference
    seed = case.impairment.seed
    other = replace(case, impairment=replace(case.impairment, seed=1 if seed is None else seed ^ 0x5555))
    if first_difference(other, kernel, through_engine(other, 0, kernel.sent)) is None:
        return "cannot be told from another seed"
    since = first_judged(case)
    if case.impairment.ecn and case.impairment.duplicate:
        return f"{EQUAL}, where a mark on one of two counts for both"
    return f"{EQUAL} from frame {since}" if since else EQUAL


def _verdict_of_step(step: Step, told: dict[str, Any]) -> str:
    if told["differences"] or told["seed"] != step.told:
        return f"read back otherwise: seed {told['seed']}; {'; '.join(told['differences'])}"
    impairment = replace(step.case.impairment, seed=step.told)
    there = through_engine(Case(impairment, step.start + STEP_FRAMES), 0).lost()[step.start :]
    here = Passage.from_json(told["passage"]).lost()
    unlike = [number for number in range(STEP_FRAMES) if here[number] != there[number]]
    return f"frame {unlike[0]}, and {len(unlike) - 1} more, not as in that sequence" if unlike else EQUAL


if __name__ == "__main__":
    sys.exit(main())
