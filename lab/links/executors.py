"""Which executor carries a link, and why: `auto` takes the kernel's netem where it can do all that is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lab.errors import EnvironmentLackError, UserInputError
from lab.host.netlink import Netlink
from lab.host.probe import NetemSupport, netem_support
from lab.links.base import LinkExecutor, Samples
from lab.links.kernel import KernelExecutor, can_express
from lab.links.link_meter import LinkMeter
from lab.links.relay_executor import RelayExecutor
from nodes.impairment import Executor, Impairment

RELAY_HINT = "`--impair relay`, or `impair_by: relay`, has our own emulator do it"


class Ended(NamedTuple):
    """`how` a process ended, what that means for the run, and the descriptors of its successor to `watch`."""

    how: str
    trouble: str
    watch: dict[int, str]


class Executors:
    """Of one lab. Executors are made when the first link needs them; all in the calling process's network namespace."""

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._relay: RelayExecutor | None = None
        self._kernel: KernelExecutor | None = None
        self._probed: NetemSupport | None = None

    def choose(self, by: Executor, wanted: Iterable[Impairment]) -> tuple[LinkExecutor, str]:
        """The executor for a link on which `wanted` will be asked, at once or later, and why it is that one. Raises
        EnvironmentLackError where the machine has not what is asked for, UserInputError where netem cannot do it."""
        if by == "relay":
            return self._the_relay(), "asked for"
        lack, seeds = self._support()
        beyond = next(filter(None, (can_express(each, seeds=seeds) for each in wanted)), None)
        if by == "kernel":
            if lack is not None:
                raise EnvironmentLackError(f"the kernel cannot impair links: {lack}", hint=RELAY_HINT)
            if beyond is not None:
                raise UserInputError(f"the kernel's netem has no {beyond}", hint=RELAY_HINT)
            return self._the_kernel(), "asked for"
        if lack is not None:
            return self._the_relay(), lack
        if beyond is not None:
            return self._the_relay(), f"the kernel's netem has no {beyond}"
        return self._the_kernel(), "the kernel has netem"

    def restart(self, process: str) -> Ended:
        """Replace a process that ended, a relay or the meter."""
        executor: RelayExecutor | KernelExecutor = self._the_relay()
        trouble = "the emulator {0} {1}, with the frames that it held"
        if self._kernel is not None and process in self._kernel.watch().values():
            executor, trouble = self._kernel, "the {0} {1}, with the delays that it had measured"
        how = executor.restart(process)
        watch = {descriptor: name for descriptor, name in executor.watch().items() if name == process}
        return Ended(how, trouble.format(process, how), watch)

    def samples(self) -> dict[str, Samples]:
        """Of all links of all executors."""
        found: dict[str, Samples] = {}
        for executor in (self._relay, self._kernel):
            if executor is not None:
                found |= executor.samples()
        return found

    def close(self) -> None:
        for executor in (self._relay, self._kernel):
            if executor is not None:
                executor.close()
        self._relay = self._kernel = None

    def _the_relay(self) -> RelayExecutor:
        if self._relay is None:
            self._relay = RelayExecutor(self._lab)
        return self._relay

    def _the_kernel(self) -> KernelExecutor:
        if self._kernel is None:
            self._kernel = KernelExecutor(Netlink(), LinkMeter(self._lab))
        return self._kernel

    def _support(self) -> NetemSupport:
        """What the kernel can; asked once."""
        if self._probed is None:
            self._probed = netem_support()
        return self._probed
