"""The timeline of a written experiment: one action after the other, or each at its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.experiments.trial import Trial
from lab.experiments.written_model import Cable, Happening, Impairing, Program, Step
from nodes.units import SECOND

Results = dict[str, dict[str, Any]]
"""What runs found, by their names, with `seconds`: how long they took."""

PATIENCE = 60.0
"""Seconds for an event that the file gives no time for."""
HEAD_START = 0.01
"""Seconds that a program in the background has before the next action, so that it listens."""


@dataclass
class _Run:
    trial: Trial
    results: Results = field(default_factory=dict)
    background: list[asyncio.Task[Any]] = field(default_factory=list)


async def carry_out(trial: Trial, steps: Sequence[Step]) -> Results:
    """All of them. Programs that were started end at the end. Raises what an action raises."""
    run = _Run(trial)
    try:
        for step in steps:
            if step.at is not None:
                await trial.lab.sleep(max(step.at / SECOND - trial.lab.now, 0))
            await _ACTIONS[step.action](run, getattr(step, step.action))
            for task in run.background:
                if task.done():
                    task.result()  # one that has failed ends the experiment
    finally:
        for task in run.background:
            task.cancel()
        await asyncio.gather(*run.background, return_exceptions=True)
    return run.results


async def _start(run: _Run, program: Program) -> None:
    node = run.trial.lab.node(program.node)
    run.background.append(asyncio.create_task(node.application(program.application, **program.options())))
    await run.trial.lab.sleep(HEAD_START)


async def _run(run: _Run, program: Program) -> None:
    lab = run.trial.lab
    begun = lab.now
    result = await lab.node(program.node).application(program.application, **program.options())
    if program.name is not None:
        run.results[program.name] = {**result, "seconds": lab.now - begun}


async def _until(run: _Run, wanted: Happening) -> None:
    limit = PATIENCE if wanted.within is None else wanted.within / SECOND
    await run.trial.lab.wait_until(wanted.event, timeout=limit, node=wanted.node, **wanted.fields)


async def _link(run: _Run, change: Cable) -> None:
    link = run.trial.lab.link(change.name)
    if change.set is not None:
        await (link.up() if change.set == "up" else link.down())
    if change.mtu is not None:
        await link.set_mtu(change.mtu)


async def _impair(run: _Run, change: Impairing) -> None:
    await run.trial.lab.link(change.link).impair(from_=change.sender, **change.settings())


async def _sleep(run: _Run, duration: int) -> None:
    await run.trial.lab.sleep(duration / SECOND)


async def _partition(run: _Run, groups: list[list[str]]) -> None:
    await run.trial.lab.partition(*groups)


async def _heal(run: _Run, _: bool) -> None:
    await run.trial.lab.heal()


async def _kill(run: _Run, node: str) -> None:
    await run.trial.lab.node(node).kill()


async def _restart(run: _Run, node: str) -> None:
    await run.trial.lab.node(node).restart()


async def _pause(run: _Run, node: str) -> None:
    await run.trial.lab.node(node).pause()


async def _resume(run: _Run, node: str) -> None:
    await run.trial.lab.node(node).resume()


_ACTIONS: Mapping[str, Callable[[_Run, Any], Awaitable[None]]] = {
    "start": _start,
    "run": _run,
    "sleep": _sleep,
    "until": _until,
    "link": _link,
    "impair": _impair,
    "kill": _kill,
    "restart": _restart,
    "pause": _pause,
    "resume": _resume,
    "partition": _partition,
    "heal": _heal,
}
