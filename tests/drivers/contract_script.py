"""What a script does to a lab of any driver; it returns what it saw. test_contract_api.py says what that must be."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from contract_programs import ask, echo

from lab.api.lab import Lab
from lab.errors import LabError
from nodes.units import MILLISECOND


async def refused(action: Callable[[], Awaitable[Any]]) -> list[str]:
    """The error's type and text."""
    try:
        await action()
    except LabError as error:
        return [type(error).__name__, error.message]
    return []


async def reaches(lab: Lab, count: int = 1) -> bool:
    return bool((await lab.node("a").ping("b", count=count, interval=0.2, timeout=1.0))["received"])


async def soon_reaches(lab: Lab) -> bool:
    """Within ten seconds: who has just come back may first have to be found."""
    return any([await reaches(lab) for _ in range(10)])


async def main(lab: Lab) -> dict[str, Any]:
    """Each step leaves the lab as it was."""
    seen: dict[str, Any] = {"driver": lab.driver, "nodes": list(lab.nodes), "reaches": await reaches(lab, 3)}
    seen["routes"] = [route["prefix"] for route in (await lab.node("r").state())["routes"]]
    seen["unknown"] = [said.replace(lab.name, "this lab") for said in await refused(partial(called, lab.node, "zz"))]
    for step in (programs, impairments, cables, faults, files):
        seen |= await step(lab)
    return seen


async def called(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
    """A function as a coroutine function."""
    function(*arguments, **keywords)


async def programs(lab: Lab) -> dict[str, Any]:
    server = lab.node("b").start(echo)
    await lab.sleep(1)
    answer = await lab.node("a").run(ask)
    server.cancel()
    return {"answer": answer}


async def impairments(lab: Lab) -> dict[str, Any]:
    link, a = lab.link("far"), lab.node("a")
    said = await refused(partial(link.impair, delay="100ms"))
    if said:
        return {"impair": said}
    slow = await a.ping("b", count=3, interval=0.2, timeout=3.0)
    delayed = (slow["received"], slow["rtt_min"] >= 200 * MILLISECOND)
    await link.impair(delay="0ms", loss="100%")
    lost = await reaches(lab)
    await link.clear()
    return {"impair": [], "delayed": delayed, "through all loss": lost, "cleared": await soon_reaches(lab)}


async def cables(lab: Lab) -> dict[str, Any]:
    link, a = lab.link("far"), lab.node("a")
    await link.down()
    down = await reaches(lab)
    await link.up()
    up = await soon_reaches(lab)
    await link.set_mtu(1000)
    whole = await a.ping("b", count=1, size=1400, dont_fragment=True, timeout=1.0)
    await link.set_mtu(1500)
    return {"down": down, "up": up, "through an MTU of 1000": whole["received"]}


async def faults(lab: Lab) -> dict[str, Any]:
    a, b = lab.node("a"), lab.node("b")
    await b.pause()
    paused = await reaches(lab)
    await b.resume()
    resumed = await soon_reaches(lab)
    await b.kill()
    killed = await reaches(lab)
    program = await refused(partial(b.run, ask))
    await b.restart()
    restarted = await soon_reaches(lab)
    clock = await refused(partial(called, a.set_clock, offset="1s"))
    return {
        "paused": paused,
        "resumed": resumed,
        "killed": killed,
        "a program of the dead": program[:1],
        "restarted": restarted,
        "clock": clock,
    }


async def files(lab: Lab) -> dict[str, Any]:
    """From the folder of the script's first argument, into the node's folder of the second."""
    a, (here, there) = lab.node("a"), (Path(sys.argv[1]), sys.argv[2])
    seen: dict[str, Any] = {"exec": await refused(partial(a.exec, "true"))}
    seen["copy"] = await refused(partial(a.copy_in, here / "page", f"{there}/copied"))
    if not seen["copy"]:
        await a.copy_out(f"{there}/copied", here / "back")
        await a.exec("rm", f"{there}/copied")
    return seen
